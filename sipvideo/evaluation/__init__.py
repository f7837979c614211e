"""Scores of results against annotations."""
