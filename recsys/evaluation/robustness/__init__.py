"""Adversarial text and noisy histories."""
