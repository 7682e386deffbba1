"""Routes for programs, `/v1`."""
