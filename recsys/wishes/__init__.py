"""Wishes in plain words, read by a dictionary and kept as conditions."""
