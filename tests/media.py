"""Small real files for tests: videos, made by the codecs that people's files come from, and annotated pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

SIZE = (96, 128)  # height, width


def picture(index: int, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """A picture that tells its number and which way up it is: four flat quarters that survive any codec."""
    height, width = size
    image = np.full((height, width, 3), 40 + 8 * (index % 24), np.uint8)
    image[: height // 2, : width // 2] = (210, 40, 40)
    image[: height // 2, width // 2 :] = (40, 190, 60)
    image[height // 2 :, : width // 2] = (50, 70, 200)
    return image


def number_in(image: NDArray[np.uint8]) -> int:
    """The number that :func:`picture` painted into the lower right quarter."""
    height, width = image.shape[:2]
    grey = float(image[height * 5 // 8 : -height // 8, width * 5 // 8 : -width // 8].mean())
    return round((grey - 40) / 8)


@dataclass(frozen=True)
class Tone:
    """A sine wave as audio track, from second ``begin`` on."""

    codec: str = "aac"
    seconds: float = 1.0
    rate: int = 44100
    begin: int = 0


def write_video(
    path: Path,
    pictures: Sequence[NDArray[np.uint8]],
    codec: str = "libx264",
    ticks: Sequence[int] | None = None,
    *,
    time_base: Fraction = Fraction(1, 25),
    tone: Tone | None = None,
    options: dict[str, str] | None = None,
    encoder: dict[str, str] | None = None,
    fps: int = 25,
) -> Path:
    """Encodes pictures; ``ticks`` are presentation times in units of ``time_base``, by default 0, 1, 2...

    ``options`` are the container's, ``encoder`` the codec's.
    """
    speed = {"crf": "12", "preset": "ultrafast"} if codec == "libx264" else {}
    if codec.startswith("libvpx"):
        speed = {"deadline": "realtime", "cpu-used": "8", "crf": "20"}
    speed |= encoder or {}
    with av.open(str(path), "w", options=options or {}) as container:
        video = container.add_stream(codec, rate=Fraction(fps), options=speed)
        assert isinstance(video, av.VideoStream)
        video.bit_rate = 4_000_000
        video.height, video.width = pictures[0].shape[:2]
        video.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if video.height % 2 or video.width % 2:
            video.pix_fmt = "yuv444p"
        video.codec_context.time_base = time_base
        if tone is not None:
            audio = container.add_stream(tone.codec, rate=tone.rate)
            assert isinstance(audio, av.AudioStream)
            audio.bit_rate = 64_000 if tone.codec.startswith("wma") else 0
            samples = np.sin(np.arange(int(tone.seconds * tone.rate)) * 2 * np.pi * 440 / tone.rate)
            for start in range(0, len(samples), 1024):
                part = (samples[None, start : start + 1024] * 8000).astype(np.int16)
                sound = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
                sound.sample_rate, sound.pts = tone.rate, start + tone.begin * tone.rate
                sound.time_base = Fraction(1, tone.rate)
                container.mux(audio.encode(sound))
            container.mux(audio.encode(None))
        for index, image in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = (ticks[index] if ticks else index), time_base
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return path


def film(path: Path, count: int = 30, codec: str = "libx264", tone: Tone | None = None) -> Path:
    """``count`` numbered pictures at 25 per second."""
    return write_video(path, [picture(k) for k in range(count)], codec, tone=tone)


def turn_mp4(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Writes the display matrix a, b, c, d (as -1, 0, 1) into the track header, as a phone does."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (value * 0x10000 for value in matrix)
    data[start : start + 36] = b"".join(
        value.to_bytes(4, "big", signed=True) for value in (a, b, 0, c, d, 0, 0, 0, 0x40000000)
    )
    path.write_bytes(data)


def write_coco(folder: Path) -> Path:
    """Five pictures of one to three coloured ellipses, cats and dogs, annotated as COCO does; gives the json."""
    rng = np.random.default_rng(0)
    height, width = SIZE
    y, x = np.mgrid[:height, :width]
    images: list[object] = []
    annotations: list[object] = []
    (folder / "images").mkdir(parents=True)
    for key in range(5):
        image = np.full((height, width, 3), 90, np.uint8)
        for _ in range(1 + key % 3):
            cy, cx = rng.uniform(0.3, 0.7, 2) * SIZE
            mask = ((y - cy) / rng.uniform(15, 30)) ** 2 + ((x - cx) / rng.uniform(15, 30)) ** 2 < 1
            image[mask] = rng.integers(0, 255, 3)
            rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
            rle["counts"] = rle["counts"].decode()
            number = {"id": len(annotations) + 1, "image_id": key, "category_id": 1 + key % 2}
            annotations.append({**number, "segmentation": rle})
        cv2.imwrite(str(folder / "images" / f"{key}.png"), image)
        images.append({"id": key, "file_name": f"{key}.png", "height": height, "width": width})
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    path = folder / "instances.json"
    path.write_text(json.dumps(content))
    return path
