"""``make identity-report``."""
