"""Random views of pictures: one map moves picture, masks and boxes; what is pasted or blurred keeps its numbers.

Two views of the same picture stand in for two frames of a video (a pseudo-clip): an object keeps
its number in ``object_ids``, whichever views show it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sipvideo.data import appearance
from sipvideo.data.geometry import Matrix, about, shift, warp
from sipvideo.data.paste import paste
from sipvideo.data.sample import Sample

Size = tuple[int, int]
Range = tuple[float, float]
Clip = tuple[Sample, Sample]


@dataclass(frozen=True)
class Augmentation:
    """How strongly views differ. A field that is a pair is a range, drawn from evenly.

    Attributes:
        zoom: factor on top of fitting the picture into the view, drawn on a logarithmic scale;
            above 1 the view is a random crop of the picture, below 1 the picture lies in a
            random place of the view.
        aspect: largest relative stretch of one axis against the other.
        rotation: largest angle in degrees, either way.
        flip: probability of a horizontal flip.
        brightness: largest shift, of 255.
        contrast: factor around grey level 128.
        saturation: factor; 0 gives a grey picture.
        hue: largest rotation of the colours around the grey axis in degrees, either way.
        fill: RGB of places outside the picture, before colours change.
        min_pixels: objects with fewer visible pixels are left out of a view.
        min_visible: objects with a smaller visible share of their area are left out of a view.
        second_zoom: zoom of a pair's second view relative to its first.
        second_shift: shift of a pair's second view against its first, relative to the view's size.
        own_colours: probability that an object gets colours of its own, the same in both views of a clip: look-alikes
            that differ.
        copy_paste: probability that a pair gets objects of another clip, in front of its own. They move on their own.
        paste_objects: largest number of them.
        paste_zoom: factor on top of fitting the other clip's picture into the view, on a logarithmic scale.
        paste_edge: standard deviation of their soft edge, pixels; 0 for a hard edge.
        motion_blur: probability that a view is blurred, by the camera's motion or by that of one object.
        blur_length: length of the motion, pixels.
        noise: largest standard deviation of added noise, of 255.
        compression: probability that a view is compressed as JPEG.
        quality: of the compression, 1..100.
    """

    zoom: Range = (0.7, 1.6)
    aspect: float = 1.1
    rotation: float = 5.0
    flip: float = 0.5
    brightness: float = 24.0
    contrast: Range = (0.7, 1.3)
    saturation: Range = (0.6, 1.4)
    hue: float = 12.0
    fill: tuple[int, int, int] = (124, 116, 104)
    min_pixels: int = 16
    min_visible: float = 0.15
    second_zoom: Range = (0.8, 1.25)
    second_shift: float = 0.2
    own_colours: float = 0.0
    copy_paste: float = 0.5
    paste_objects: int = 4
    paste_zoom: Range = (0.5, 1.3)
    paste_edge: float = 1.0
    motion_blur: float = 0.1
    blur_length: Range = (3.0, 15.0)
    noise: float = 0.0
    compression: float = 0.0
    quality: tuple[int, int] = (30, 90)

    @classmethod
    def published(cls) -> Augmentation:
        """The YouTube-VIS recipe of the paper's code: a flip of both views or none, nothing else.

        Its sizes are :data:`sipvideo.data.stream.VIS_SIZES` and ``VIS_MULTI_SCALE``.
        """
        still = cls(zoom=(1, 1), aspect=1, rotation=0, second_zoom=(1, 1), second_shift=0)
        plain = replace(still, brightness=0, contrast=(1, 1), saturation=(1, 1), hue=0)
        return replace(plain, min_pixels=1, min_visible=0, copy_paste=0, motion_blur=0)

    def view(self, sample: Sample, size: Size, rng: np.random.Generator) -> Sample:
        """One random view of (height, width) pixels."""
        shown = self._seen(sample, self._geometry(sample, size, self.zoom, rng), size)
        return self._appearance(shown, rng)

    def clip(
        self, samples: Clip, size: Size, rng: np.random.Generator, donor: Clip | None = None
    ) -> Clip:
        """Two views of (height, width) pixels that differ like two frames of a video.

        The second is moved, zoomed and rotated a little further than the first, in other colours; it is
        never flipped against the first, because videos are not.

        Args:
            samples: two frames of a video, or the same picture twice.
            size: of the views.
            rng: where everything random comes from.
            donor: another clip, some of whose objects are pasted in front, under new ids.
        """
        maps = self._motion(samples[0], size, self.zoom, rng)
        views = [self._seen(s, m, size) for s, m in zip(samples, maps, strict=True)]
        if donor is not None:
            maps = self._motion(donor[0], size, self.paste_zoom, rng)
            free = 1 + max((int(s.object_ids.max()) for s in samples if len(s)), default=0)
            chosen = self._chosen(donor[0], rng)
            for k, (sample, matrix) in enumerate(zip(donor, maps, strict=True)):
                objects = _renumbered(sample, chosen, free)
                views[k] = self._covered(views[k], self._seen(objects, matrix, size))
        views = self._dyed(views, rng) if self.own_colours else views
        return self._appearance(views[0], rng), self._appearance(views[1], rng)

    def single(
        self, sample: Sample, size: Size, rng: np.random.Generator, donor: Clip | None = None
    ) -> Sample:
        """As :meth:`view`, with objects of another clip in front."""
        shown = self._seen(sample, self._geometry(sample, size, self.zoom, rng), size)
        if donor is not None:
            matrix = self._geometry(donor[0], size, self.paste_zoom, rng)
            free = 1 + (int(sample.object_ids.max()) if len(sample) else 0)
            objects = _renumbered(donor[0], self._chosen(donor[0], rng), free)
            shown = self._covered(shown, self._seen(objects, matrix, size))
        return self._appearance(shown, rng)

    def _geometry(
        self, sample: Sample, size: Size, zooms: Range, rng: np.random.Generator
    ) -> Matrix:
        """A random map from picture to view."""
        (height, width), (h, w) = size, sample.image.shape[:2]
        zoom = min(height / h, width / w) * _log_uniform(rng, zooms)
        stretch = math.sqrt(_log_uniform(rng, (1 / self.aspect, self.aspect)))
        angle = math.radians(rng.uniform(-self.rotation, self.rotation))
        flip = -1 if rng.random() < self.flip else 1
        centred = about((w / 2, h / 2), zoom * stretch * flip, zoom / stretch, angle)
        # The picture's centre may lie anywhere that leaves no more border than its size asks for.
        shown_w, shown_h = w * zoom * stretch, h * zoom / stretch
        dx = rng.uniform(-0.5, 0.5) * abs(width - shown_w)
        dy = rng.uniform(-0.5, 0.5) * abs(height - shown_h)
        return shift(width / 2 - w / 2 + dx, height / 2 - h / 2 + dy) @ centred

    def _motion(
        self, sample: Sample, size: Size, zooms: Range, rng: np.random.Generator
    ) -> tuple[Matrix, Matrix]:
        """The maps to a clip's two views."""
        height, width = size
        first = self._geometry(sample, size, zooms, rng)
        zoom = _log_uniform(rng, self.second_zoom)
        angle = math.radians(rng.uniform(-self.rotation, self.rotation))
        dx, dy = rng.uniform(-self.second_shift, self.second_shift, 2) * (width, height)
        move = about((width / 2, height / 2), zoom, zoom, angle)
        return first, shift(dx, dy) @ move @ first

    def _seen(self, sample: Sample, matrix: Matrix, size: Size) -> Sample:
        """A view with the objects that it shows well enough."""
        scale = abs(float(np.linalg.det(matrix[:2, :2])))
        return self._kept(warp(sample, matrix, size, self.fill), scale * sample.masks.areas())

    def _kept(self, view: Sample, areas: NDArray[np.floating[Any]]) -> Sample:
        """Without objects of which too little is left, compared with ``areas`` [N]."""
        least = np.maximum(self.min_visible * areas, max(self.min_pixels, 1))
        return view[view.masks.areas() >= least]

    def _chosen(self, donor: Sample, rng: np.random.Generator) -> NDArray[np.int64]:
        """Ids of the objects to paste, at least one if there is any."""
        objects = rng.permutation(donor.object_ids[~donor.crowd])
        most = min(len(objects), self.paste_objects)
        return objects[: int(rng.integers(1, most + 1))] if most else objects[:0]

    def _covered(self, view: Sample, front: Sample) -> Sample:
        before = np.concatenate((view.masks.areas(), front.masks.areas())).astype(float)
        return self._kept(paste(view, front, self.paste_edge), before)

    def _dyed(self, views: list[Sample], rng: np.random.Generator) -> list[Sample]:
        """Both views with some of the objects in other colours."""
        images = [view.image.copy() for view in views]
        for key in np.unique(np.concatenate([view.object_ids for view in views])).tolist():
            if rng.random() < self.own_colours:
                colours = appearance.colour_matrix(
                    rng.uniform(0.6, 1.4),
                    rng.uniform(-48, 48),
                    rng.uniform(0.5, 1.8),
                    rng.uniform(-180, 180),
                )
                for view, image in zip(views, images, strict=True):
                    for k in np.flatnonzero((view.object_ids == key) & ~view.crowd).tolist():
                        x0, y0, x1, y1 = view.masks.windows[k]
                        part, mask = image[y0:y1, x0:x1], view.masks.crop(k)
                        part[mask] = appearance.recolour(part, colours)[mask]
        return [replace(view, image=image) for view, image in zip(views, images, strict=True)]

    def _appearance(self, view: Sample, rng: np.random.Generator) -> Sample:
        """The view's picture in other colours, blurred, noisy, compressed."""
        colours = appearance.colour_matrix(
            rng.uniform(*self.contrast),
            rng.uniform(-self.brightness, self.brightness),
            rng.uniform(*self.saturation),
            rng.uniform(-self.hue, self.hue),
        )
        image = view.image
        if rng.random() < self.motion_blur:
            kernel = appearance.streak(rng.uniform(*self.blur_length), rng.uniform(0, math.pi))
            if len(view) and rng.random() < 0.5:
                image = appearance.blur_object(view, int(rng.integers(len(view))), kernel)
            else:
                image = appearance.blur_all(image, kernel)
        image = appearance.recolour(image, colours)
        if self.noise:
            image = appearance.add_noise(image, rng.uniform(0, self.noise), rng)
        if rng.random() < self.compression:
            image = appearance.compress(image, int(rng.integers(*self.quality, endpoint=True)))
        return replace(view, image=image)


def _renumbered(sample: Sample, chosen: NDArray[np.int64], free: int) -> Sample:
    """Only the chosen objects, with ids from ``free`` on by their place in ``chosen``."""
    numbers = {key: free + place for place, key in enumerate(chosen.tolist())}
    kept = sample[np.isin(sample.object_ids, chosen) & ~sample.crowd]
    ids = np.array([numbers[k] for k in kept.object_ids.tolist()], np.int64)
    return replace(kept, object_ids=ids)


def _log_uniform(rng: np.random.Generator, bounds: Range) -> float:
    return math.exp(rng.uniform(math.log(bounds[0]), math.log(bounds[1])))
