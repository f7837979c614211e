"""Prints every object of a video, frame by frame: python examples/library.py VIDEO"""

import sys

import sipvideo

segmenter = sipvideo.load()
for result in segmenter.run(sipvideo.open_source(sys.argv[1])):
    objects = result.detections
    for k, track_id in enumerate(result.track_ids):
        name = segmenter.class_names[objects.labels[k]]
        mask = objects.masks.dense(k)  # bool [height, width]
        print(f"{result.frame.timestamp:.2f} s: {name} {track_id}, {mask.sum()} pixels")
