"""Evaluation of reasons: whether they are true, and what they cost."""
