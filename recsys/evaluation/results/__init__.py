"""Results on disk and as a page."""
