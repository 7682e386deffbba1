"""Prompts: found, rendered, budgeted, hashed; and model output parsed."""
