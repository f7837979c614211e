"""How much of people leaves uncovered: rendered scenes, whose masks are exact, through ``privacy``.

    sipvideo data synth --kind scenes --videos 10 --frames 60 --seed 501 -o scenes
    python benchmarks/privacy_scenes.py scenes [more ...]

A pixel of a person has left uncovered if it has its own colour in the picture that everything else is given.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask

import sipvideo
from sipvideo.structures import Frame
from sipvideo.synth.dataset import picture

LARGE = 16 * 16
"""Pixels from which a person counts as one whom a model of this size can see."""


def main() -> int:
    """Prints the share of uncovered pixels, of all people and of those that are not tiny."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenes", type=Path, nargs="+", help="folders of sipvideo data synth")
    parser.add_argument("--model", help="nano or small")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--films", type=int, default=1000, help="of each folder at most")
    args = parser.parse_args()
    video = sipvideo.load(model=args.model, privacy=("person",), overrides=args.overrides)
    shown, every, large, covered = 0, 0, np.zeros(2), 0.0
    frames = 0
    for folder in args.scenes:
        content = json.loads((folder / "instances.json").read_text(encoding="utf-8"))
        person = next(c["id"] for c in content["categories"] if c["name"] == "person")
        for film in content["videos"][: args.films]:
            people = [
                a["segmentations"]
                for a in content["annotations"]
                if a["video_id"] == film["id"] and a["category_id"] == person
            ]
            video.reset()
            for t, name in enumerate(film["file_names"]):
                image = picture(folder / "images" / name)
                result = video.step(Frame(image, t, film["seconds"][t]))
                same = (result.frame.image == image).all(2)
                frames, covered = frames + 1, covered + float((~same).mean())
                for masks in people:
                    if masks[t] is None:
                        continue
                    inside = coco_mask.decode(masks[t]).astype(bool)
                    left = int((same & inside).sum())
                    shown, every = shown + left, every + int(inside.sum())
                    if inside.sum() >= LARGE:
                        large += left, inside.sum()
            print(f"{name}: {shown / max(every, 1):.2%} so far", file=sys.stderr, flush=True)
    print(
        f"{frames} frames: {shown / max(every, 1):.2%} of the pixels of people left uncovered, "
        f"{large[0] / max(large[1], 1):.2%} of those of people of at least {LARGE} pixels; "
        f"{covered / max(frames, 1):.1%} of the pictures were covered"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
