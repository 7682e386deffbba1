"""Offline fine-tuning: interactions -> training examples -> adapters."""
