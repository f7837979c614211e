"""Rendered videos with exact masks and identities."""

from sipvideo.synth.dataset import SyntheticDataset, picture, pictures, video_names
from sipvideo.synth.film import CAMERAS, DIFFICULTIES, FPS, Film, Recipe, Shot
from sipvideo.synth.models import ModelLibrary
from sipvideo.synth.scenes import ScenesFilm
from sipvideo.synth.shapes import SHAPES, ShapesFilm

__all__ = [
    "CAMERAS",
    "DIFFICULTIES",
    "FPS",
    "SHAPES",
    "Film",
    "ModelLibrary",
    "Recipe",
    "ScenesFilm",
    "ShapesFilm",
    "Shot",
    "SyntheticDataset",
    "picture",
    "pictures",
    "video_names",
]
