"""Measurements of whole models and of the application, each a script: ``python apps/reports/NAME.py``."""
