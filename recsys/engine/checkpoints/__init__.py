"""Checkpoints on disk: checked, and made from others once."""
