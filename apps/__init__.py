"""The commands: argument parsing and wiring only."""
