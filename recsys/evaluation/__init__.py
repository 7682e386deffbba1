"""Offline and online evaluation of rankings, explanations and robustness."""
