"""Measurements of whole models and of the application, each a script: ``python apps/reports/NAME.py``."""

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
"""They need more than what is installed: examples, benchmarks, docs."""
