"""Measurements of speed: the stages of a step and whole runs, and how the cost grows with objects and pixels."""
