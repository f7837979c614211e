"""How good a model in training is on a validation set: pictures one by one, videos with the tracker."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

    from sipvideo.config import Config
    from sipvideo.data import CocoPictures, Sample, YouTubeVis
    from sipvideo.model.sipmask import SipMask
    from sipvideo.structures import Detections

Json = dict[str, Any]
Figures = dict[str, float]


class Validation:
    """Segments a validation set with a model.

    Args:
        data: pictures or videos, with the model's classes.
        config: the model's configuration; on pictures with ``score_threshold`` in place of its own, if that is lower.
        device: where the model runs.
        score_threshold: see above; None keeps the configuration's.
        stopped: asked between two pictures; ends the validation.
    """

    def __init__(
        self,
        data: CocoPictures | YouTubeVis,
        config: Config,
        device: torch.device,
        score_threshold: float | None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        from sipvideo.data import YouTubeVis

        self.data, self.config, self.device, self.stopped = data, config, device, stopped
        self._videos = isinstance(data, YouTubeVis)
        own = config.postprocess.score_threshold
        if not self._videos and score_threshold is not None and score_threshold < own:
            overrides = [f"postprocess.score_threshold={score_threshold}"]
            overrides.append(
                f"postprocess.max_detections={max(100, config.postprocess.max_detections)}"
            )
            self.config = config.with_overrides(overrides)

    def __call__(self, model: SipMask) -> Figures | None:
        """Average precisions, 0..1, -1 where nothing is annotated; None if it was stopped.

        Args:
            model: is rearranged for inference: a copy.
        """
        return self._of_videos(model) if self._videos else self._of_pictures(model)

    def _of_pictures(self, model: SipMask) -> Figures | None:
        """Average precision of masks and boxes as COCO defines it."""
        from sipvideo.build import build_segmenter
        from sipvideo.evaluation.pictures import evaluate_pictures
        from sipvideo.structures import Frame

        segment = build_segmenter(self.config, model, str(self.device), "torch").segment
        images: list[Json] = []
        annotations: list[Json] = []
        results: list[Json] = []
        for index in range(len(self.data)):
            if self.stopped():
                return None
            sample: Sample = self.data[index]
            height, width = sample.image.shape[:2]
            images.append({"id": index + 1, "height": height, "width": width})
            annotations += _annotations(sample, index + 1, len(annotations) + 1)
            results += _results(segment(Frame(sample.image, index, 0.0)), sample, index + 1)
        content: Json = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": k + 1, "name": n} for k, n in enumerate(self.data.classes)],
        }
        masks = evaluate_pictures(content, results, "segm")
        boxes = evaluate_pictures(content, results, "bbox")
        return {
            "mask_ap": masks.ap,
            "mask_ap50": masks.ap50,
            "box_ap": boxes.ap,
            "box_ap50": boxes.ap50,
        }

    def _of_videos(self, model: SipMask) -> Figures | None:
        """Average precision of tracks as YouTube-VIS defines it, with the application's own tracker."""
        from sipvideo.build import build_segmenter
        from sipvideo.data import YouTubeVis
        from sipvideo.evaluation import YTVOS, YTVOSeval
        from sipvideo.sinks import YouTubeVISResults

        assert isinstance(self.data, YouTubeVis)
        segmenter = build_segmenter(self.config, model, str(self.device), "torch")
        ids = self.data.category_ids
        known = np.array([key is not None for key in ids])
        with TemporaryDirectory() as folder:
            path = Path(folder) / "results.json"
            first = self.data.videos[0]
            category_ids = [-1 if key is None else key for key in ids]
            with YouTubeVISResults(path, first.id, category_ids, first.length) as sink:
                for video in self.data.videos:
                    if video is not first:
                        sink.start_video(video.id, video.length)
                    for result in segmenter.run(self.data.frames(video)):
                        if self.stopped():
                            return None
                        sink.write(_only(result, known[result.detections.labels]))
            truth = YTVOS(self.data.path)
            evaluation = YTVOSeval(truth, truth.loadRes(str(path)), "segm")
        evaluation.params.vidIds = [video.id for video in self.data.videos]
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return {"mask_ap": float(evaluation.stats[0]), "mask_ap50": float(evaluation.stats[1])}


def _annotations(sample: Sample, image_id: int, first: int) -> list[Json]:
    """The objects of a picture in COCO's format; a crowd of no class is left out."""
    areas = sample.masks.areas()
    return [
        {
            "id": first + k,
            "image_id": image_id,
            "category_id": int(sample.labels[k]) + 1,
            "iscrowd": int(sample.crowd[k]),
            "segmentation": sample.masks.rle(k),
            "bbox": _box(sample.boxes[k]),
            "area": int(areas[k]),
        }
        for k in range(len(sample))
        if sample.labels[k] >= 0
    ]


def _results(found: Detections, sample: Sample, image_id: int) -> list[Json]:
    """Detections in COCO's format; classes that are not annotated in this picture cannot be judged."""
    mask_scores = found.scores if found.mask_scores is None else found.mask_scores
    return [
        {
            "image_id": image_id,
            "category_id": int(label) + 1,
            "score": float(found.scores[k]),
            "mask_score": float(mask_scores[k]),
            "bbox": _box(found.boxes[k]),
            "segmentation": found.masks.rle(k),
        }
        for k, label in enumerate(found.labels.tolist())
        if sample.labelled is None or label in sample.labelled
    ]


def _box(box: Any) -> list[float]:
    x0, y0, x1, y1 = (float(v) for v in box)
    return [x0, y0, x1 - x0, y1 - y0]


def _only(result: Any, keep: Any) -> Any:
    from sipvideo.structures import FrameResult

    if keep.all():
        return result
    return FrameResult(
        result.frame, result.detections[keep], result.track_ids[keep], result.latency_ms
    )
