"""One published table, one file; each registers itself."""
