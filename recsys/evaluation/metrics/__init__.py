"""Figures of a ranking, with intervals."""
