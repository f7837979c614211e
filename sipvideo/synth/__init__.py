"""Rendered videos with exact masks and identities."""
