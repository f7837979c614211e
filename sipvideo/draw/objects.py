"""One frame's result as a picture for people: tinted masks with outlines, and tags that say who is who.

Everything happens inside the objects' windows, so that a hundred objects on a 4K frame stay affordable.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sipvideo.structures import FrameResult

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]
Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels, x1, y1 exclusive."""

Path = NDArray[np.float32]
"""float32 [P, 2], x, y in frame pixels."""

UNTRACKED: Colour = (176, 180, 186)
FONT = cv2.FONT_HERSHEY_DUPLEX
STROKE = 13 if cv2.__version__ < "5" else 1000
"""Text height per pixel of stroke: OpenCV 4 draws letters with a pen, OpenCV 5 has a font with its own weight."""


TAGS = ("class", "id", "score")
"""What a tag can say, in its order."""


@dataclass(frozen=True)
class Style:
    """What is drawn, and how strongly.

    Attributes:
        opacity: share of the identity's colour inside the mask, 0..1.
        outline: draw the mask's border.
        boxes: draw the detection's box.
        labels: draw a tag.
        tags: what it says, some of :data:`TAGS`.
        text_scale: factor on the size of the tags, which follows the size of the frame.
    """

    opacity: float = 0.45
    outline: bool = True
    boxes: bool = False
    labels: bool = True
    tags: tuple[str, ...] = TAGS
    text_scale: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.opacity <= 1:
            raise ValueError(f"Style.opacity: expected 0..1, got {self.opacity}")
        if not set(self.tags) <= set(TAGS):
            raise ValueError(f"Style.tags: expected some of {TAGS}, got {self.tags}")
        if not self.text_scale > 0:
            raise ValueError(f"Style.text_scale: expected above 0, got {self.text_scale}")


def draw(
    result: FrameResult,
    class_names: Sequence[str],
    style: Style = Style(),
    trails: Mapping[int, Path] | None = None,
) -> Picture:
    """Draws the objects of one frame; the frame itself is not touched. Carried and filled objects have
    dashed outlines.

    Args:
        result: the frame and its N objects.
        class_names: names in label order; a label beyond them is shown as its number.
        style: what to draw.
        trails: where identities were before, see :meth:`Trails.paths`.

    Returns:
        uint8 [H, W, 3], RGB, a new picture of the frame's size.
    """
    picture = result.frame.image.copy()
    draw_trails(picture, trails or {})
    draw_objects(picture, result, class_names, style)
    return picture


def draw_objects(
    picture: Picture, result: FrameResult, class_names: Sequence[str], style: Style
) -> None:
    """The same onto a picture uint8 [H, W, 3] of the frame's size."""
    detections = result.detections
    colours = [colour_of(int(track_id)) for track_id in result.track_ids]
    line = line_width(result.frame.size)
    # Large and doubtful objects go to the bottom, small and certain ones stay visible.
    weights = detections.masks.areas() / np.maximum(detections.scores, 1e-3)
    order = np.argsort(-weights, kind="stable").tolist()
    for k in order:
        window = detections.masks.windows[k]
        dashed = result.carried or (result.filled is not None and bool(result.filled[k]))
        how = (style, line, dashed)
        _draw_mask(picture, detections.masks.crop(k), window, colours[k], how)
    if style.boxes:
        for k in order:
            x0, y0, x1, y1 = _pixels(detections.boxes[k])
            cv2.rectangle(picture, (x0, y0), (x1 - 1, y1 - 1), colours[k], line)
    if style.labels:
        texts = [_tag_text(result, k, class_names, style) for k in range(len(detections))]
        said = [k for k, text in enumerate(texts) if text]
        draw_tags(
            picture,
            [texts[k] for k in said],
            detections.boxes[said],
            [colours[k] for k in said],
            style.text_scale,
        )


def line_width(frame_size: tuple[int, ...]) -> int:
    """Of outlines in a frame of (height, width), pixels."""
    return max(1, round(min(frame_size[:2]) / 400))


def draw_trails(picture: Picture, trails: Mapping[int, Path]) -> None:
    """Draws where identities were, x, y float32 [P, 2] each, oldest first: the older, the thinner."""
    line = line_width(picture.shape)
    for track_id, path in trails.items():
        colour = colour_of(track_id)
        points = np.rint(path).astype(np.int32)
        parts = np.array_split(np.arange(len(points)), 4)
        for widen, tint in ((_rim_width(line), _rim(colour)), (0, colour)):
            for part, indices in enumerate(parts):
                if len(indices):
                    stroke = points[max(indices[0] - 1, 0) : indices[-1] + 1]
                    width = max(1, line * (part + 1) // 2) + widen
                    cv2.polylines(picture, [stroke], False, tint, width, cv2.LINE_AA)


@functools.lru_cache(maxsize=4096)
def colour_of(track_id: int) -> Colour:
    """The colour of an identity, RGB: the same in every frame and every run, far from its neighbours'.

    Hues advance by the golden angle in OKLCH, where equal steps look equally different and all hues look
    equally bright; lightness takes turns. Untracked objects are grey.
    """
    if track_id < 0:
        return UNTRACKED
    hue = np.deg2rad((25.0 + 137.50776 * track_id) % 360.0)
    lightness = (0.72, 0.63, 0.82)[track_id % 3]
    for chroma in np.arange(0.19, 0.0, -0.01):  # the strongest colour that a screen can show
        rgb = _from_oklab(lightness, chroma * np.cos(hue), chroma * np.sin(hue))
        if rgb.min() >= 0 and rgb.max() <= 1:
            break
    gamma = np.where(rgb <= 0.0031308, 12.92 * rgb, 1.055 * np.maximum(rgb, 0) ** (1 / 2.4) - 0.055)
    red, green, blue = np.rint(gamma.clip(0, 1) * 255).astype(int).tolist()
    return red, green, blue


def _from_oklab(lightness: float, a: float, b: float) -> NDArray[np.float64]:
    """OKLab to linear sRGB [3], which may lie outside 0..1."""
    cones = np.array([1, 0.3963377774, 0.2158037573, 1, -0.1055613458, -0.0638541728])
    cones = np.concatenate((cones, [1, -0.0894841775, -1.2914855480])).reshape(3, 3)
    lms = (cones @ [lightness, a, b]) ** 3
    matrix = [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
    linear: NDArray[np.float64] = np.array(matrix) @ lms
    return linear


def _draw_mask(
    picture: Picture,
    mask: NDArray[np.bool_],
    window: NDArray[np.int32],
    colour: Colour,
    how: tuple[Style, int, bool],
) -> None:
    style, line, dashed = how
    if not mask.size:
        return
    x0, y0, x1, y1 = window.tolist()
    bits = mask.view(np.uint8)
    if style.opacity:
        region = picture[y0:y1, x0:x1]
        cv2.copyTo(cv2.LUT(region, _tint(colour, style.opacity)), bits, region)
    if style.outline:
        found, _ = cv2.findContours(bits, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE, offset=(x0, y0))
        # Without the stairs of the pixel grid: smoother to the eye, and a tenth of the strokes.
        contours = [cv2.approxPolyDP(contour, 0.8, True) for contour in found]
        if dashed:
            lines = [dash for contour in contours for dash in _dashes(contour[:, 0], 4.0 * line)]
            cv2.polylines(picture, lines, False, colour, line, cv2.LINE_AA)
            return
        if line > 1:
            cv2.drawContours(
                picture, contours, -1, _rim(colour), line + _rim_width(line), cv2.LINE_AA
            )
        cv2.drawContours(picture, contours, -1, colour, line, cv2.LINE_AA)


def _rim(colour: Colour) -> Colour:
    """A dark line of the same hue, which sets a bright one off from any background."""
    return colour[0] // 3, colour[1] // 3, colour[2] // 3


def _rim_width(line: int) -> int:
    """How much wider the dark line is, both sides together."""
    return max(2, round(line / 2))


def _dashes(corners: NDArray[Any], length: float) -> list[NDArray[np.int32]]:
    """A closed line [P, 2] as separate strokes of that length in pixels, with equal gaps."""
    closed = np.concatenate((corners, corners[:1])).astype(np.float64)
    along = np.concatenate(([0.0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))))
    count = max(1, round(along[-1] / (2 * length)))
    places = (np.arange(count)[:, None] + np.linspace(0, 0.5, 4)) * along[-1] / count
    strokes = np.stack([np.interp(places, along, closed[:, axis]) for axis in (0, 1)], axis=2)
    return list(np.rint(strokes).astype(np.int32))


@functools.lru_cache(maxsize=256)
def _tint(colour: Colour, opacity: float) -> Picture:
    """For each channel and value 0..255 the value after blending with the colour; uint8 [1, 256, 3]."""
    values = np.arange(256)[:, None]
    blended = np.rint(values * (1 - opacity) + np.array(colour) * opacity)
    return blended.astype(np.uint8)[None]


def _tag_text(result: FrameResult, k: int, class_names: Sequence[str], style: Style) -> str:
    label, track_id = int(result.detections.labels[k]), int(result.track_ids[k])
    known = 0 <= label < len(class_names)
    words = {"class": class_names[label].replace("_", " ") if known else f"class {label}"}
    if track_id >= 0:
        words["id"] = str(track_id)
    words["score"] = f"{result.detections.scores[k]:.2f}"
    parts = [words[part] for part in TAGS if part in style.tags and part in words]
    away = result.seconds_away(k)
    if away > 0:
        behind = len(parts) - (parts[-1:] == [words["score"]])
        parts.insert(behind, f"back after {away:.{int(away < 1)}f} s")
    # OpenCV's built-in fonts know ASCII only (before version 5).
    return " ".join(parts).encode("ascii", "replace").decode("ascii")


def draw_tags(
    picture: Picture,
    texts: Sequence[str],
    boxes: NDArray[np.float32],
    colours: Sequence[Colour],
    text_scale: float,
) -> None:
    """Tags of the best objects take the best places; they are drawn last, over all others."""
    frame_size = picture.shape[:2]
    height = max(9.0, 4 + 0.018 * min(frame_size)) * text_scale
    scale = height / 27
    thickness = max(1, round(height / STROKE))
    margin = round(height * 0.32)
    sizes = []
    for text in texts:
        (w, h), baseline = cv2.getTextSize(text, FONT, scale, thickness)
        sizes.append((w + 2 * margin, h + baseline + margin))
    taken: list[Box] = []
    for places in _places(np.rint(boxes).astype(np.int64), sizes, frame_size):
        taken.append(_best_place(places, taken))
    for k in reversed(range(len(texts))):
        x0, y0, _, y1 = taken[k]
        (_, h), baseline = cv2.getTextSize(texts[k], FONT, scale, thickness)
        _fill_rounded(picture, taken[k], colours[k], max(1, margin // 2))
        bottom = y0 + (y1 - y0 + h - baseline // 2) // 2
        cv2.putText(
            picture,
            texts[k],
            (x0 + margin, bottom),
            FONT,
            scale,
            _ink(colours[k]),
            thickness,
            cv2.LINE_AA,
        )


def _places(
    boxes: NDArray[np.int64], sizes: Sequence[tuple[int, int]], frame_size: tuple[int, ...]
) -> NDArray[np.int64]:
    """Where tags of (width, height) may go, best first: above the box, in it, below, beside it; int64 [N, P, 4]."""
    x0, y0, x1, y1 = boxes.T
    width, height = np.array(sizes, np.int64).reshape(-1, 2).T
    gap = np.maximum(1, height // 8)
    step = height + gap
    rows = np.stack((y0 - step, y0 + gap, y1 + gap, y1 - step, y0 - 2 * step, y0 + gap + step), 1)
    rows = np.minimum(np.maximum(rows, gap[:, None]), (frame_size[0] - step)[:, None]).clip(min=0)
    columns = np.stack(((x0 + x1 - width) // 2, x0, x1 - width, x0 - gap - width, x1 + gap), 1)
    right = frame_size[1] - width - gap
    columns = np.minimum(np.maximum(columns, gap[:, None]), right[:, None]).clip(min=0)
    top = np.hstack((rows.repeat(3, 1), rows.repeat(2, 1)))
    left = np.hstack((np.tile(columns[:, :3], 6), np.tile(columns[:, 3:], 6)))
    return np.stack((left, top, left + width[:, None], top + height[:, None]), 2)


def _best_place(places: NDArray[np.int64], taken: Sequence[Box]) -> Box:
    """The first place [P, 4] that covers no tag, else the one that covers least."""
    others = np.array(taken, np.int64).reshape(-1, 4)
    common = np.minimum(places[:, None, 2:], others[:, 2:])
    common = (common - np.maximum(places[:, None, :2], others[:, :2])).clip(min=0)
    x0, y0, x1, y1 = places[common.prod(2).sum(1).argmin()].tolist()
    return x0, y0, x1, y1


def _fill_rounded(picture: Picture, box: Box, colour: Colour, radius: int) -> None:
    x0, y0, x1, y1 = box[0] + radius, box[1] + radius, box[2] - 1 - radius, box[3] - 1 - radius
    cv2.rectangle(picture, (x0, y0), (x1, y1), colour, cv2.FILLED)
    # A thick line has round ends, and so the frame has round corners.
    cv2.rectangle(picture, (x0, y0), (x1, y1), colour, 2 * radius, cv2.LINE_AA)


@functools.lru_cache(maxsize=4096)
def _ink(colour: Colour) -> Colour:
    """Black or white, whichever contrasts more (WCAG relative luminance)."""
    linear = (np.array(colour) / 255) ** 2.2
    bright = float(linear @ [0.2126, 0.7152, 0.0722]) > 0.18
    return (12, 14, 18) if bright else (255, 255, 255)


def _pixels(box: NDArray[np.float32]) -> Box:
    x0, y0, x1, y1 = np.rint(box).astype(int).tolist()
    return x0, y0, x1, y1
