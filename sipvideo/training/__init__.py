"""Training: what is minimised, and the loop that does it."""

from sipvideo.training.objectives import MasksOnFrozenDetector
from sipvideo.training.trainer import PairStream, Trainer, TrainingConfig

__all__ = ["MasksOnFrozenDetector", "PairStream", "Trainer", "TrainingConfig"]
