"""The data that flows through the program: one frame in, one result out.

Inside the program pictures are RGB, labels run 0..C-1, and boxes are x0, y0, x1, y1 in frame pixels with
x1, y1 exclusive. Arrays are numpy; tensors live only inside the model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sipvideo.masks import CompactMasks

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]


def _expect(name: str, array: NDArray[Any], shape: tuple[int | None, ...], dtype: Any) -> None:
    if array.shape == shape and array.dtype == dtype:
        return
    fits = array.dtype == dtype and array.ndim == len(shape)
    for expected, got in zip(shape, array.shape, strict=False):
        fits = fits and expected in (got, None)
    if not fits:
        wanted = ["*" if n is None else n for n in shape]
        raise ValueError(
            f"{name}: expected {np.dtype(dtype)} {wanted}, got {array.dtype} {list(array.shape)}"
        )


class DevicePicture(ABC):
    """A picture, upright RGB, whose pixels lie on a device.

    Attributes:
        size: (height, width) in pixels.
    """

    size: tuple[int, int]

    @abstractmethod
    def host(self) -> NDArray[np.uint8]:
        """The pixels, brought to the host: uint8 [H, W, 3]."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a source.

    Attributes:
        image: uint8 [H, W, 3], RGB. Of a picture on a device it is a copy, made when somebody asks for it, once.
        index: frame number in the source; a gap means that frames were dropped.
        timestamp: seconds on the source's clock (a file's presentation time, a camera's capture time).
        name: the picture's file name for image folders, else empty.
        part: rises where a live source begins a new video, with new identities: a recording that starts over.
        on_device: the picture where it was decoded, for whoever can use it there; None: it is on the host alone.
    """

    image: NDArray[np.uint8]
    index: int
    timestamp: float
    name: str = ""
    part: int = 0
    # Not for whoever makes frames: another image (a part, a covered one) is another picture.
    on_device: DevicePicture | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        _expect("Frame.image", self.image, (None, None, 3), np.uint8)

    @classmethod
    def of(
        cls,
        picture: NDArray[np.uint8] | DevicePicture,
        index: int,
        timestamp: float,
        name: str = "",
        part: int = 0,
    ) -> Frame:
        """A frame of a picture, wherever it lies."""
        if not isinstance(picture, DevicePicture):
            return cls(picture, index, timestamp, name, part)
        frame = object.__new__(cls)
        values = {"index": index, "timestamp": timestamp, "name": name, "part": part}
        vars(frame).update(values, on_device=picture)
        return frame

    def in_part(self, part: int) -> Frame:
        """The same picture in another part."""
        picture = self.on_device
        image = self.image if picture is None else picture
        return Frame.of(image, self.index, self.timestamp, self.name, part)

    def __getattr__(self, name: str) -> Any:
        # Called for what is not there yet: the copy on the host.
        picture = vars(self).get("on_device")
        if name != "image" or picture is None:
            raise AttributeError(name)
        image = vars(self)["image"] = picture.host()
        return image

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        if self.on_device is not None:
            return self.on_device.size
        return self.image.shape[0], self.image.shape[1]


@dataclass(frozen=True, eq=False)
class Detections:
    """What the model sees in one frame, N objects by descending score. Carries no identities.

    Attributes:
        boxes: float32 [N, 4], frame pixels, x0, y0, x1, y1.
        scores: float32 [N], 0..1.
        labels: int64 [N], 0..C-1.
        masks: N compact masks.
        embeddings: float32 [N, E], for association: what objects look like; E = 0 where nothing is known of that.
        mask_scores: float32 [N], what masks are ranked by: score times quality of the mask (SipMask++, or
            ``mask_quality``); None where that is the score.
        grey: uint8 [h, w], the whole frame small and grey, for whoever looks at its motion; None: nobody made one.
    """

    boxes: FloatArray
    scores: FloatArray
    labels: IntArray
    masks: CompactMasks
    embeddings: FloatArray
    mask_scores: FloatArray | None = None
    grey: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        n = len(self.boxes)
        _expect("Detections.boxes", self.boxes, (n, 4), np.float32)
        _expect("Detections.scores", self.scores, (n,), np.float32)
        _expect("Detections.labels", self.labels, (n,), np.int64)
        _expect("Detections.embeddings", self.embeddings, (n, None), np.float32)
        if self.mask_scores is not None:
            _expect("Detections.mask_scores", self.mask_scores, (n,), np.float32)
        if self.grey is not None:
            _expect("Detections.grey", self.grey, (None, None), np.uint8)
        if len(self.masks) != n:
            raise ValueError(f"Detections.masks: expected {n} masks, got {len(self.masks)}")

    @classmethod
    def empty(cls, frame_size: tuple[int, int], embedding_size: int = 0) -> Detections:
        """No objects on a frame of (height, width)."""
        return cls(
            boxes=np.zeros((0, 4), np.float32),
            scores=np.zeros(0, np.float32),
            labels=np.zeros(0, np.int64),
            masks=CompactMasks.empty(frame_size),
            embeddings=np.zeros((0, embedding_size), np.float32),
        )

    @classmethod
    def concatenated(cls, parts: Sequence[Detections]) -> Detections:
        """Objects of one frame, at least one part, one after the other; the grey picture is the first part's.

        Embeddings and mask scores are kept where all parts with objects have them, embeddings of one size.
        """
        full = [part for part in parts if len(part)] or parts[:1]
        embeddings = [part.embeddings for part in full]
        if len({one.shape[1] for one in embeddings}) > 1:
            embeddings = [one[:, :0] for one in embeddings]
        quality = [part.mask_scores for part in full if part.mask_scores is not None]
        return cls(
            boxes=np.concatenate([part.boxes for part in full]),
            scores=np.concatenate([part.scores for part in full]),
            labels=np.concatenate([part.labels for part in full]),
            masks=CompactMasks.concatenated([part.masks for part in full]),
            embeddings=np.concatenate(embeddings),
            mask_scores=np.concatenate(quality) if len(quality) == len(full) else None,
            grey=parts[0].grey,
        )

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: NDArray[Any] | Sequence[int]) -> Detections:
        """Selects by an integer or boolean index array."""
        chosen = np.arange(len(self))[np.asarray(index, dtype=None if len(index) else np.int64)]
        return Detections(
            boxes=self.boxes[chosen],
            scores=self.scores[chosen],
            labels=self.labels[chosen],
            masks=self.masks[chosen],
            embeddings=self.embeddings[chosen],
            mask_scores=None if self.mask_scores is None else self.mask_scores[chosen],
            grey=self.grey,
        )


@dataclass(frozen=True, eq=False)
class FrameResult:
    """A frame with its objects and their identities.

    Attributes:
        frame: the frame itself.
        detections: N objects.
        track_ids: int64 [N]; -1 means untracked, any other id is unique in the frame and never reused in a video.
        latency_ms: time from the start of this frame's step to its end, in milliseconds.
        carried: the objects were not detected in this frame but moved here from an earlier one.
        filled: bool [N], objects that were put into this frame afterwards, where the detector had missed them; None:
            none was.
        returned: float32 [N], for how many seconds an identity was away that came back just now (the tracker marks it
            for a while), 0 for others; None: nobody looked.
        explanation: why the objects have these identities, a :class:`sipvideo.tracker.explain.Explanation`; None:
            nobody asked.
        memory: what every stage that the result has passed knew right after it, plain values and arrays by stage, so
            that a later run goes on after this frame; None: nobody asked.
    """

    frame: Frame
    detections: Detections
    track_ids: IntArray
    latency_ms: float
    carried: bool = False
    filled: NDArray[np.bool_] | None = None
    returned: FloatArray | None = None
    explanation: Any = None
    memory: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        _expect("FrameResult.track_ids", self.track_ids, (len(self.detections),), np.int64)
        if self.filled is not None:
            _expect("FrameResult.filled", self.filled, (len(self.detections),), np.bool_)
        if self.returned is not None:
            _expect("FrameResult.returned", self.returned, (len(self.detections),), np.float32)
        ids = [track_id for track_id in self.track_ids.tolist() if track_id >= 0]
        if len(set(ids)) != len(ids):
            raise ValueError(
                f"FrameResult.track_ids: expected unique ids, got {self.track_ids.tolist()}"
            )

    def tracked(self) -> FrameResult:
        """The same result with only the objects that have an identity."""
        keep = self.track_ids >= 0
        if keep.all():
            return self
        return self.selected(keep.nonzero()[0])

    def selected(self, rows: IntArray) -> FrameResult:
        """The same result with only the objects ``rows`` [M], in that order."""
        filled = None if self.filled is None else self.filled[rows]
        returned = None if self.returned is None else self.returned[rows]
        return replace(
            self,
            detections=self.detections[rows],
            track_ids=self.track_ids[rows],
            filled=filled,
            returned=returned,
        )

    def seconds_away(self, k: int) -> float:
        """For how long the identity of object k was away, if it came back just now, else 0."""
        return 0.0 if self.returned is None else float(self.returned[k])
