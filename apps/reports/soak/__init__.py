"""``make soak``."""
