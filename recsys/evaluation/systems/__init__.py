"""Systems under evaluation: baselines, channels, the LLM."""
