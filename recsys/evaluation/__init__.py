"""Offline and online evaluation: protocols, systems, metrics, explanations, robustness."""
