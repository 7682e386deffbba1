"""The ways to find items."""
