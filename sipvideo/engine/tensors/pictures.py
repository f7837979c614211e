"""Decoded pictures on the device: planes of brightness and colour differences to RGB, with the levels of FFmpeg."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from sipvideo.sources.hardware import Planes
from sipvideo.structures import DevicePicture

WEIGHTS = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}
"""Red's and blue's share of brightness by matrix (ITU-T H.273: BT.709, FCC, SMPTE 240M, BT.2020)."""
BT601 = (0.299, 0.114)
"""Those of BT.601, which unmarked pictures are taken for."""
UNMARKED = (2, 5, 6)

CUT_OFF = {(8, False): 1.25, (8, True): 0.75, (10, False): 1.5, (10, True): 0.0}
"""Levels by which FFmpeg's tables, which cut off where others round, are darker on average: by bits, and full range."""

FORMS = {"nv12": (8, 0), "yuv420p": (8, 0), "p010le": (10, 6), "yuv420p10le": (10, 0)}
"""Forms of pictures: bits, and empty bits below them."""


def to_rgb(y: Tensor, u: Tensor, v: Tensor, matrix: int, *, full: bool, bits: int) -> Tensor:
    """RGB of a picture with a quarter of the colour samples (4:2:0), within two levels of FFmpeg's.

    As there, the four pixels of a square have one colour; of more than 8 bits, the rows of colours are interpolated
    first and all is rounded to 8 bits.

    Args:
        y: [H, W], whole numbers of so many bits.
        u, v: [H / 2, W / 2].
        matrix: of ITU-T H.273; 2: unmarked.
        full: black is 0 and white is the largest number.
        bits: 8 or 10.

    Returns:
        uint8 [H, W, 3].
    """
    bright, blue, red = y.float(), u.float(), v.float()
    if bits > 8:
        scale = 2.0 ** (8 - bits)
        bright = (bright * scale + 0.5).floor()
        blue, red = ((_between_rows(c) * scale + 0.5).floor() for c in (blue, red))
    else:
        blue, red = (c.repeat_interleave(2, 0) for c in (blue, red))
    blue, red = (c.repeat_interleave(2, 1) - 128 for c in (blue, red))
    if not full:
        bright = (bright - 16) * (255 / 219)
        blue, red = blue * (255 / 224), red * (255 / 224)
    of_red, of_blue = WEIGHTS.get(matrix, BT601)
    of_green = 1 - of_red - of_blue
    to_red, to_blue = 2 * (1 - of_red), 2 * (1 - of_blue)
    green = bright - red * (to_red * of_red / of_green) - blue * (to_blue * of_blue / of_green)
    rgb = torch.stack((bright + to_red * red, green, bright + to_blue * blue), 2)
    return (rgb - CUT_OFF[bits, full] + 0.5).floor().clamp(0, 255).to(torch.uint8)


def _between_rows(colour: Tensor) -> Tensor:
    """Twice the rows, each a quarter of the way to the next one: [h, w] to [2 h, w]."""
    above = torch.cat((colour[:1], colour[:-1]))
    below = torch.cat((colour[1:], colour[-1:]))
    rows = torch.stack((0.75 * colour + 0.25 * above, 0.75 * colour + 0.25 * below), 1)
    return rows.flatten(0, 1)


class CardPicture(DevicePicture):
    """A picture on a device of PyTorch.

    Args:
        pixels: uint8 [H, W, 3], RGB.
    """

    def __init__(self, pixels: Tensor) -> None:
        self.pixels = pixels
        self.size = (pixels.shape[0], pixels.shape[1])

    def host(self) -> NDArray[np.uint8]:
        """See :meth:`DevicePicture.host`."""
        image: NDArray[np.uint8] = self.pixels.cpu().numpy()
        return image

    @classmethod
    def of(cls, picture: Planes) -> CardPicture | None:
        """The RGB of a decoded picture, where it lies; None: of a form or colours that only the host knows.

        The decoder gets its memory back when this returns: on a card, the conversion is waited for.
        """
        known = picture.form in FORMS and picture.matrix in (*WEIGHTS, *UNMARKED)
        if not known or picture.size[0] % 2 or picture.size[1] % 2:
            return None
        bits, empty = FORMS[picture.form]
        # Handed over as they are: PyAV waits for no stream, and its decoder works in the default one, as this does.
        planes: list[Tensor] = [from_dlpack(plane.__dlpack__()) for plane in picture.planes]
        device = planes[0].device
        y, u, v = planes if len(planes) == 3 else (planes[0], *planes[1].unbind(2))
        if bits > 8:  # few operations know numbers without sign of 16 bits
            y, u, v = ((p.view(torch.int16).int() & 0xFFFF) >> empty for p in (y, u, v))
        pixels = to_rgb(y, u, v, picture.matrix, full=picture.full, bits=bits)
        if device.type == "cuda":
            torch.cuda.current_stream(device).synchronize()
        return cls(pixels)
