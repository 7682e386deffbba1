"""Helpers that know nothing of recommenders."""
