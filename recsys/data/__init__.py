"""Items, users and events: read, checked, stored, and turned into arrays."""
