"""The network and what turns its raw outputs into detections."""
