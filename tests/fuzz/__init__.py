"""Damaged, hostile and odd inputs by the thousand; ``python -m tests.fuzz`` runs them (docs/reliability.md)."""
