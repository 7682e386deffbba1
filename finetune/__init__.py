"""Offline tuning: interactions -> training examples -> adapters."""
