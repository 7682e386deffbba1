"""Keys, limits, audit, and what no log may hold."""
