"""Tasks, the contract of systems, and leak checks."""
