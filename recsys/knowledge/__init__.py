"""What a domain knows of its items beyond behaviour."""
