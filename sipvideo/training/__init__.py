"""Training: recipes, what is minimised, and the loop that does it."""

from sipvideo.training.identities import IdentityLoss
from sipvideo.training.objectives import IdentitiesOnFrozenDetector, MasksOnFrozenDetector
from sipvideo.training.recipe import Recipe, available_recipes, load_recipe
from sipvideo.training.trainer import Surroundings, Trainer
from sipvideo.training.whole import WholeModel

__all__ = [
    "IdentitiesOnFrozenDetector",
    "IdentityLoss",
    "MasksOnFrozenDetector",
    "Recipe",
    "Surroundings",
    "Trainer",
    "WholeModel",
    "available_recipes",
    "load_recipe",
]
