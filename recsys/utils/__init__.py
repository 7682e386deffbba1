"""Files, locks, text, time and machine: small helpers that every room may use."""
