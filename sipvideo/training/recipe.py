"""Recipes: everything that determines how a model is trained, strict and typed like a model's configuration."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from sipvideo.config import (
    Config,
    Section,
    config_from_values,
    load_config,
    read_yaml,
    section_from_values,
    yaml_names,
)
from sipvideo.data import Augmentation
from sipvideo.data.stream import ScaleRange
from sipvideo.training.objectives import IdentitiesOnFrozenDetector, MasksOnFrozenDetector
from sipvideo.training.whole import WholeModel

if TYPE_CHECKING:
    from importlib.abc import Traversable  # importlib.resources.abc only from Python 3.11 on


class StreamSection(Section):
    """What one step of the optimiser sees."""

    pictures: int = Field(default=2, ge=1)
    """Pictures (pairs of views) per step, over all processes and passes."""
    at_once: int = Field(default=64, ge=1)
    """Most pictures that one process takes through the network at once; more are accumulated in several passes."""
    sizes: tuple[int, int] | tuple[tuple[int, int], ...] | ScaleRange = (352, 480)
    """Smallest and largest long side, in steps of 32; or (short, long) sizes; or independent ranges of both."""
    workers: int | None = Field(default=None, ge=1)
    """Who prepares batches: so many threads, or processes with CUDA; null: one thread, or as many processes as cores
    allow. Does not change the result."""
    buckets: int | None = Field(default=None, ge=0)
    """Most input sizes that batches are padded to, as a GPU prepares its kernels anew for each; 0: batches stay as they
    come; null: 6 with CUDA, else 0. Which sizes follows from the data and the seed."""
    pairs: bool = True
    """Two views of each picture, as tracking losses need; else one."""


class OptimiserSection(Section):
    """How gradients become changes."""

    name: Literal["sgd", "adamw"] = "adamw"
    rate: float = Field(default=2e-3, gt=0)
    """Learning rate after the warm-up."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """sgd only."""
    weight_decay: float = Field(default=1e-2, ge=0)
    bias_rate: float = Field(default=1.0, ge=0)
    """Factor of the learning rate of biases (not those of norms)."""
    bias_decay: float = Field(default=0.0, ge=0)
    """Factor of the weight decay of biases (not those of norms)."""
    norm_decay: float = Field(default=0.0, ge=0)
    """Factor of the weight decay of norms and of single numbers."""
    as_bias: tuple[str, ...] = ()
    """Biases of norms that count as ordinary ones, by the start of their names."""
    rates: dict[str, float] = Field(default={})
    """Start of parameter names to factor of the learning rate; the longest that fits counts."""
    clip: float | None = Field(default=5.0, gt=0)
    """Largest norm of the gradient; null: not clipped."""


class ScheduleSection(Section):
    """Length of the training, and the learning rate over time."""

    length: int = Field(default=10_000, ge=1)
    unit: Literal["steps", "epochs"] = "steps"
    """Of ``length`` and ``milestones``; an epoch shows as many pictures as there are."""
    kind: Literal["cosine", "step"] = "cosine"
    """cosine: half a cosine down to nothing; step: times ``factor`` at each milestone."""
    milestones: tuple[int, ...] = ()
    factor: float = Field(default=0.1, gt=0, le=1)
    warm_up: int = Field(default=200, ge=0)
    """Steps."""
    warm_up_kind: Literal["linear", "constant"] = "linear"
    warm_up_ratio: float = Field(default=0.005, ge=0, le=1)
    """Share of the learning rate with which the warm-up begins (linear), or that it keeps (constant)."""


class FreezeSection(Section):
    """What is not trained."""

    prefixes: tuple[str, ...] = ()
    """Parameters whose names start with one of these stay as they are."""
    trained: tuple[str, ...] = ()
    """If given, all other parameters stay as they are."""
    batch_norms: bool = True
    """Batch norms keep statistics, scale and shift."""


class ValidationSection(Section):
    """When the validation set is segmented."""

    every: int = Field(default=1, ge=1)
    unit: Literal["steps", "epochs"] = "epochs"
    score_threshold: float | None = Field(default=0.05, ge=0, le=1)
    """Of the model on still pictures, whose average precision needs low scores too; null: its own."""


class Recipe(Section):
    """Everything that determines a trained model, apart from data and initial weights."""

    name: str
    model: str
    """Configuration of the model: its name, or the path of a YAML file."""
    config: dict[str, Any] = Field(default={})
    """What differs from that configuration, as in its YAML file."""
    classes: Literal["model", "data"] = "model"
    """Whose class list the result has."""
    weights: Literal["package", "file", "backbone", "random"] = "package"
    """Where training starts: the model in the package; a SipMask checkpoint; a ResNet trained on ImageNet (both given
    with --weights); nothing."""
    objective: Literal["masks", "identities", "whole"] = "whole"
    masks: MasksOnFrozenDetector = MasksOnFrozenDetector()
    identities: IdentitiesOnFrozenDetector = IdentitiesOnFrozenDetector()
    whole: WholeModel = WholeModel()
    stream: StreamSection = StreamSection()
    augmentation: Augmentation = Augmentation()
    optimiser: OptimiserSection = OptimiserSection()
    schedule: ScheduleSection = ScheduleSection()
    ema: float = Field(default=0.0, ge=0, lt=1)
    """Decay of the running mean of the weights, which is then what is validated and saved; 0: none."""
    precision: Literal["single", "bfloat16", "half"] = "single"
    """Of the network's layers; losses and weights are always in single precision. Counts for either objective."""
    compile: bool = False
    """Translates the network with torch.compile, which takes minutes and a C++ compiler, once for every input size."""
    freeze: FreezeSection = FreezeSection()
    validation: ValidationSection = ValidationSection()
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _parts_fit(self) -> Recipe:
        schedule = self.schedule
        if any(not 0 < m < schedule.length for m in schedule.milestones):
            raise ValueError("schedule.milestones: expected places before the schedule's length")
        tracks = {
            "masks": self.masks.track > 0,
            "identities": True,
            "whole": self.whole.views != "all",
        }
        if tracks[self.objective] and not self.stream.pairs:
            raise ValueError(
                "stream.pairs: tracking losses need pairs; expected masks.track 0, or whole.views all"
            )
        if self.precision == "half" and self.objective != "whole":
            raise ValueError(f"precision: objective {self.objective} knows single and bfloat16")
        return self

    def model_config_for(
        self, classes: Sequence[str] | None = None, base: Config | None = None
    ) -> Config:
        """The model's configuration.

        Args:
            classes: other classes than its own.
            base: takes the place of the configuration that the recipe names.

        Raises:
            ConfigError: unknown or wrong configuration.
        """
        values = (base or load_config(self.model)).model_dump(exclude_unset=True)
        changes = {} if classes is None else {"classes": tuple(classes)}
        return config_from_values(
            _merged(values, {**self.config, **changes}), f"recipe {self.name}"
        )

    def settled(self) -> dict[str, Any]:
        """The values that a resumed run must share, as plain ones."""
        values = self.model_dump(mode="json", exclude={"validation", "compile"})
        values["stream"].pop("workers")
        return values


def available_recipes() -> list[str]:
    """Names of the recipes that come with the package."""
    return yaml_names(_packaged())


def load_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe.

    Args:
        name_or_path: a name from :func:`available_recipes`, or the path of a YAML file.
        overrides: ``section.key=value`` texts, values in YAML syntax.

    Raises:
        ConfigError: unknown name, unreadable file, unknown key (with the nearest known one), wrong value.
    """
    text = str(name_or_path)
    values = {"name": Path(text).stem, **read_yaml("recipe", text, _packaged())}
    return section_from_values(Recipe, values, f"recipe {text}", overrides)


def _packaged() -> Traversable:
    return resources.files("sipvideo.configs") / "recipes"


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``base`` with the keys of ``changes``, section by section."""
    result = dict(base)
    for key, value in changes.items():
        inner = result.get(key)
        both = isinstance(inner, dict) and isinstance(value, dict)
        result[key] = _merged(inner, value) if both else value  # type: ignore[arg-type]
    return result
