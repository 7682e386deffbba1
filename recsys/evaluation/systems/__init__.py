"""What is evaluated: baselines, channels, the LLM."""
