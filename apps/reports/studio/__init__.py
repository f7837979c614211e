"""``make studio-report``."""
