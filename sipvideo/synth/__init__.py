"""Rendered videos with exact masks and identities."""

from sipvideo.synth.dataset import SyntheticDataset, pictures, video_names
from sipvideo.synth.film import DIFFICULTIES, FPS, Film, Recipe, Shot
from sipvideo.synth.models import ModelLibrary
from sipvideo.synth.scenes import ScenesFilm
from sipvideo.synth.shapes import SHAPES, ShapesFilm

__all__ = [
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
    "pictures",
    "video_names",
]
