"""Generated worlds whose truth is known."""
