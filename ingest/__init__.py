"""The write path: files become chunks."""
