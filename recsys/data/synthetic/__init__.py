"""Generated people whose truth is known, and what they choose from."""
