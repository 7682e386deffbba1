"""Wishes written by hand: what fits, and whether they are read as they are meant."""
