"""Results of a run looked through, mended by edits that never change it, and taught to the model."""
