"""Readers: one file in, one document out, or a ReadError that says why not."""
