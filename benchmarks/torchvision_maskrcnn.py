"""torchvision's Mask R-CNN (ResNet-50 FPN) over a clip: segment, draw and write. It has no tracker. Prints JSON.

The weights are random, as only the speed is asked for; they see objects everywhere, of which the best ten are kept.

    python benchmarks/torchvision_maskrcnn.py CLIP --frames 20
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import torch
import torchvision
from clip import Annotated, Watch, pictures, rate
from torchvision.models.detection import maskrcnn_resnet50_fpn
from torchvision.utils import draw_segmentation_masks

SIZE = (384, 640)
WARM_UP = 2


@torch.inference_mode()
def main() -> int:
    """Runs once over the clip after a warm-up."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("clip", type=Path)
    parser.add_argument("--frames", type=int, default=20, help="default: 20, as it is slow")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "sipvideo-peers")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    model = maskrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        min_size=SIZE[0],
        max_size=SIZE[1],
        box_detections_per_img=10,
    ).eval()
    for picture in pictures(args.clip, WARM_UP):
        model([tensor(picture) / 255])

    video = Annotated(args.work / "maskrcnn.mp4", rate(args.clip))
    watch = Watch()
    for picture in pictures(args.clip, args.frames):
        image = tensor(picture)
        (found,) = model([image / 255])
        masks = found["masks"][found["scores"] > 0.5, 0] > 0.5
        drawn = draw_segmentation_masks(image, masks, alpha=0.5) if len(masks) else image
        video.write(drawn.permute(1, 2, 0).flip(2).contiguous().numpy())
        watch.objects.append(len(masks))
    video.close()
    watch.tell(
        "Mask R-CNN R50, torch",
        "reading the clip, network, drawing, annotated video; no tracker, no other results",
        f"torchvision {torchvision.__version__}, short side {SIZE[0]}, random weights",
    )
    return 0


def tensor(picture: object) -> torch.Tensor:
    """BGR uint8 [H, W, 3] to RGB uint8 [3, H, W]."""
    return torch.as_tensor(picture).flip(2).permute(2, 0, 1).contiguous()


if __name__ == "__main__":
    sys.exit(main())
