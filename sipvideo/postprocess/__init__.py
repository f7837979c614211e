"""Raw outputs of the dense network to detections in frame pixels, in numpy: needs no deep-learning framework."""
