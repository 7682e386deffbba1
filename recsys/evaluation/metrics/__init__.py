"""Metrics of rankings, with intervals."""
