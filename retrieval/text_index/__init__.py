"""A FAISS index over item texts that changes without a rebuild."""
