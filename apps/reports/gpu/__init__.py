"""``make gpu-report``."""
