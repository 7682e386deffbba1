"""The next-item model: network, training, and what is stored of it."""
