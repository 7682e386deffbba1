"""Keys, the guard that asks for them, limits, audit, and what no log may hold."""
