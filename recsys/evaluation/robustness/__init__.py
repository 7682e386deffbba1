"""Hostile text and noisy histories."""
