"""Results as pictures for people: masks with tags, or objects and backgrounds made to look otherwise."""

from sipvideo.draw.looks import LOOKS, Background, Drawing, parse_background, parse_look
from sipvideo.draw.objects import (
    FONT,
    STROKE,
    TAGS,
    UNTRACKED,
    Colour,
    Path,
    Picture,
    Style,
    colour_of,
    draw,
    draw_tags,
)
from sipvideo.draw.trails import Trails

__all__ = [
    "FONT",
    "LOOKS",
    "STROKE",
    "TAGS",
    "UNTRACKED",
    "Background",
    "Colour",
    "Drawing",
    "Path",
    "Picture",
    "Style",
    "Trails",
    "colour_of",
    "draw",
    "draw_tags",
    "parse_background",
    "parse_look",
]
