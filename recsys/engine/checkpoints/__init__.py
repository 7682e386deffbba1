"""Model weights on disk: converted, merged, quantised, each once."""
