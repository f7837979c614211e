"""Names of the figures for people."""

from __future__ import annotations

TITLES = {
    "ap": "AP (IoU 0.50:0.95)",
    "ap50": "AP50",
    "ap75": "AP75",
    "ap_small": "AP small",
    "ap_medium": "AP medium",
    "ap_large": "AP large",
    "ap_occlusion_light": "AP lightly occluded",
    "ap_occlusion_medium": "AP moderately occluded",
    "ap_occlusion_heavy": "AP heavily occluded",
    "ar_1": "AR@1",
    "ar_10": "AR@10",
    "ar_100": "AR@100",
    "ar_small": "AR small",
    "ar_medium": "AR medium",
    "ar_large": "AR large",
    "ar_occlusion_light": "AR lightly occluded",
    "ar_occlusion_medium": "AR moderately occluded",
    "ar_occlusion_heavy": "AR heavily occluded",
}
"""Of :class:`~sipvideo.evaluation.report.Report` and :class:`~sipvideo.evaluation.pictures.PictureScores`."""

TRACKING_TITLES = {
    "hota": "HOTA",
    "det_a": "DetA",
    "ass_a": "AssA",
    "loc_a": "LocA",
    "idf1": "IDF1",
    "mota": "MOTA (MOTSA)",
    "smota": "sMOTA (sMOTSA)",
    "id_switches": "identity switches",
    "fragmentations": "fragmentations",
}
"""Of :class:`~sipvideo.evaluation.tracking.TrackingScores`."""


def counted(count: int, what: str) -> str:
    """``1 object``, ``2 objects``."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def number(value: float) -> str:
    """A figure 0..1 with three decimals; ``-`` where nothing is annotated (-1)."""
    return "-" if value == -1 else f"{value:.3f}"
