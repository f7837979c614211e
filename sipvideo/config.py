"""Strict, typed configuration: names, types, defaults and checks stand here, YAML files list only differences.

What changes a result is configuration; where things are and how they are shown are command line flags.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sipvideo.classes import CLASS_SETS
from sipvideo.errors import ConfigError
from sipvideo.yaml_files import plain_yaml, yaml_mapping

if TYPE_CHECKING:
    from importlib.abc import Traversable  # importlib.resources.abc only from Python 3.11 on

SHAPE_MAPS = 6
"""Of an object's box: see ``HeadConfig.shape_maps``."""
GRID_MARGIN = 0.1
"""box_grid: how far the taps reach beyond the box, in box sides."""
MOST_OF_A_KIND = 4096
"""Channels and the like of a network; a damaged file could ask for more than fits into the memory."""
Amount = Annotated[int, Field(ge=0, le=MOST_OF_A_KIND)]
Units = Annotated[int, Field(ge=0, le=64)]
Side = Annotated[int, Field(ge=1, le=16384)]
Deviation = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """Base of all sections: unknown keys are refused, values cannot be changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)


S = TypeVar("S", bound=Section)


class InputConfig(Section):
    """Frame to model input as the published test pipelines do it."""

    resize: Literal["keep_ratio", "stretch", "shortest_edge"] = "keep_ratio"
    """keep_ratio: fit inside ``size``; stretch: to exactly ``size``; shortest_edge: the FCOS tree's rule, by Pillow."""
    size: tuple[Side, Side] = (640, 360)
    """Long and short side in pixels (keep_ratio, shortest_edge), or width and height (stretch)."""
    pad_multiple: int = Field(default=32, ge=1)
    channel_order: Literal["bgr", "rgb"] = "bgr"
    mean: tuple[float, float, float] = (102.9801, 115.9465, 122.7717)
    """Subtracted per channel, in ``channel_order``, from 0..255."""
    std: tuple[Deviation, Deviation, Deviation] = (1.0, 1.0, 1.0)


class BackboneConfig(Section):
    """Convolutional trunk; gives strides 8, 16 and 32."""

    name: Literal["resnet50", "resnet101", "shufflenet_v2_x1_0", "shufflenet_v2_x1_5"] = "resnet50"
    style: Literal["caffe", "pytorch"] = "caffe"
    """Where a ResNet bottleneck keeps its stride: first 1x1 (caffe) or 3x3 (pytorch)."""
    norm_epsilon: float = Field(default=1e-5, ge=0)
    """Added to the batch norms' variances; the FCOS tree adds nothing."""
    deformable_every: Units = 0
    """SipMask++: every n-th block of layer2-4 has a deformable 3x3 convolution; 0 means none."""

    @model_validator(mode="after")
    def _deformable_has_no_stride(self) -> BackboneConfig:
        if self.deformable_every and (self.style != "caffe" or "resnet" not in self.name):
            raise ValueError("deformable_every needs a ResNet of style caffe")
        return self


class NeckConfig(Section):
    """Feature pyramid."""

    name: Literal["fpn", "pan", "ghost_pan"] = "fpn"
    """fpn: lateral and output convolutions plus two extra levels; pan: resize-and-add in both directions; ghost_pan:
    the same paths with ghost blocks, and a level at stride 64."""
    channels: Amount = 256


class HeadConfig(Section):
    """SipMask head; defaults are the published video model's (R50, YouTube-VIS)."""

    unit: Literal["conv", "separable"] = "conv"
    norm: Literal["group", "none"] = "group"
    tower_bias: bool | None = None
    """Bias of the tower convolutions; by default only where there is no norm."""
    class_units: Units = 2
    box_units: Units = 3
    """Units of the box tower; 0: the box prediction reads the class tower."""
    track_units: Units = 2
    mask_units: Units = 0
    """Units of a tower of its own for the coefficients, shared by the levels; 0: they read the class tower."""
    tower_kernel: Literal[3, 5] = 3
    """Unit separable: side of the depthwise kernels of class and box towers; all other towers have 3."""
    levels_share_towers: bool = True
    cell_point: Literal["centre", "corner"] = "centre"
    """Where a cell's box distances start: the middle of its input pixels, or their top left."""
    box_distances: Literal["linear", "relu", "distribution"] = "linear"
    """distribution: expectation over ``distance_bins`` per side (generalised focal loss), in strides."""
    distance_bins: Amount = 8
    centerness: bool = True
    alignment: Literal["classes_and_coefficients", "coefficients", "box_grid", "none"] = (
        "classes_and_coefficients"
    )
    """What reads the feature aligned to the predicted box (section 3.2 of the paper). box_grid: the coefficients,
    from a grid of taps over the box that see the basis masks too."""
    alignment_groups: Amount = 4
    grid_side: int = Field(default=7, ge=1, le=MOST_OF_A_KIND)
    """box_grid: taps per side of the box."""
    grid_hidden: int = Field(default=512, ge=1, le=MOST_OF_A_KIND)
    """box_grid: width of its hidden layer."""
    grid_quality: bool = False
    """box_grid: one more output, the expected overlap of the mask with its object; masks are ranked by it."""
    object_map: bool = False
    """box_grid: each object has a map of its own, twice the grid's side, which is added to what it combines of the
    basis masks; and its mask may reach as far as the grid's taps, a little beyond its box."""
    sub_regions: int = Field(default=2, ge=1, le=MOST_OF_A_KIND)
    """Each box is split into sub_regions x sub_regions parts with coefficients of their own (section 3.1)."""
    shape_maps: bool = False
    """Each part of a box combines 1, u, v, u^2, v^2 and u v too, where u and v run from -1 to 1 across and down the
    object's box: what is special to an object needs no basis mask."""
    bases: Amount = 32
    basis_channels: Amount = 512
    basis_source: Literal["box_tower", "pyramid"] = "box_tower"
    basis_units: Units = 1
    """Basis source pyramid: units before the upsampling."""
    basis_detail: bool = False
    """Basis source pyramid: it also sees the trunk's feature at stride 2; needs a ShuffleNetV2."""
    basis_residuals: Units = 0
    """Basis source pyramid: units beside the way, after the upsampling."""
    mask_pyramid: bool = False
    """Masks have a pyramid of their own at strides 8, 16 and 32, from the detector's levels and the trunk; needs basis
    source pyramid. The coefficients of coarser levels are read in its coarsest one."""
    mask_channels: int | None = Field(default=None, ge=1, le=MOST_OF_A_KIND)
    """Of the mask pyramid; by default the neck's."""
    basis_upsample: Literal[1, 2, 4, 8] = 4
    """Factor from stride 8 to the basis masks; 4 gives half the input's resolution. The pyramid's is always 2."""
    embedding: Amount = 512
    """Channels of the tracking map; 0: no tracking branch."""
    rescoring: bool = False
    """SipMask++: predict the quality of each mask."""

    @property
    def coefficient_count(self) -> int:
        """Coefficients per object: part by part those of the basis masks and of the shape maps; then its own map."""
        per_part = self.bases + SHAPE_MAPS * self.shape_maps
        return self.sub_regions**2 * per_part + self.map_side**2

    @property
    def map_side(self) -> int:
        """Side of an object's own map; 0: it has none."""
        return 2 * self.grid_side * self.object_map

    @property
    def mask_margin(self) -> float:
        """How far masks may reach beyond their boxes, in box sides."""
        return GRID_MARGIN * self.object_map

    def cell_offset(self, stride: int) -> int:
        """Input pixels from a cell's top left to the point that its box distances start from, along both axes."""
        return stride // 2 if self.cell_point == "centre" else 0


class PostprocessConfig(Section):
    """Raw outputs to detections."""

    candidates_per_level: int = Field(default=200, ge=1)
    score: Literal["product", "sqrt_product"] = "product"
    """Class probability times centerness, or its square root (FCOS tree)."""
    threshold_on: Literal["score", "class"] = "score"
    """What ``score_threshold`` looks at: the final score, or the class probability alone."""
    candidate_rule: Literal["location", "location_and_class"] = "location"
    """Top candidates per level are locations, or (location, class) pairs above the threshold (FCOS tree)."""
    score_threshold: float = Field(default=0.03, ge=0, le=1)
    nms: Literal["fast", "classwise"] = "fast"
    nms_iou: float = Field(default=0.5, ge=0, le=1)
    nms_pixel: float = 0.0
    """1 for the closed-pixel overlap of the classwise published models, else 0."""
    max_detections: int = Field(default=10, ge=1)
    mask_threshold: float = Field(default=0.5, gt=0, lt=1)
    mask_quality: bool = False
    """Masks are scored too: by the class score times the mean probability of the mask's pixels."""
    mask_scale: Literal["frame", "min_ratio"] = "frame"
    """How masks return to the frame: by the recorded scale factors, or 2 / smallest ratio (FCOS tree)."""
    colour_share: float = Field(default=0.0, ge=0, le=1)
    """Share that the colours of an object's pixels have in the likeness of embeddings; the network's own has the rest.
    0: embeddings are the network's alone, as published; else a network without embeddings has those of colours."""


class TrackerConfig(Section):
    """Association of detections across frames, by one of two presets; each setting names the one it belongs to."""

    preset: Literal["sipvideo", "paper"] = "sipvideo"
    """paper: the published rule, for comparison with published results; sipvideo: ours."""

    birth_score: float = Field(default=0.4, ge=0, le=1)
    """sipvideo: detections from this score on are confident: they may begin an identity or find a lost one."""
    keep_score: float = Field(default=0.15, ge=0, le=1)
    """sipvideo: detections from this score on may still go on with the track that they clearly fit."""
    match_affinity: float = Field(default=0.05, ge=-1, lt=1)
    """sipvideo: least affinity of a sure detection and its track; higher gives more, but purer identities."""
    sure_score: float = Field(default=0.48, ge=0, le=1)
    """sipvideo: detections from this score on are sure; the others need more affinity."""
    doubt_penalty: float = Field(default=2.2, ge=0, le=10)
    """sipvideo: how much more, as a multiple of what their score lacks to ``sure_score``; less where frames are further
    apart."""
    duplicate_iou: float = Field(default=0.4, ge=0, le=1)
    """sipvideo: mask overlap above which two detections are reports of one object, whatever their labels."""
    part_share: float = Field(default=0.8, ge=0, le=1)
    """sipvideo: share of a mask inside a better one of the same class above which it is a part of that object: a
    dog's head."""
    embedding_weight: float = Field(default=0.55, ge=0, le=1)
    """sipvideo: share of the embeddings' likeness in an affinity; the overlap has the rest."""
    label_penalty: float = Field(default=0.2, ge=0, le=1)
    """sipvideo: affinity lost where the labels differ; small, as detectors do confuse classes."""
    mask_weight: float = Field(default=0.3, ge=0, le=1)
    """sipvideo: share of the masks in the overlap of contested pairs; the boxes have the rest."""
    rival_affinity: float = Field(default=0.25, ge=0, le=1)
    """sipvideo: pairs above it that share a detection or a track are contested: masks are compared for those alone,
    as they cost time."""
    max_age: float = Field(default=3.0, gt=0, le=3600)
    """sipvideo: seconds that an object is looked for near its place while it is not seen."""
    probation: float = Field(default=0.08, ge=0, le=1)
    """sipvideo: share of ``max_age`` that an object detected only once is remembered: most are false alarms."""
    max_tracks: int = Field(default=512, ge=1)
    """sipvideo: bound of the memory; the longest unseen tracks go first."""
    embedding_momentum: float = Field(default=0.8, ge=0, lt=1)
    """sipvideo: share of the old embedding that a track keeps at each match."""
    velocity_memory: float = Field(default=0.15, gt=0, le=60)
    """sipvideo: seconds over which velocity is averaged; evens out the jitter of boxes."""
    velocity_fade: float = Field(default=0.5, gt=0, le=60)
    """sipvideo: seconds in which an unseen object loses all but 1/e of its velocity."""
    size_memory: float = Field(default=3.0, gt=0, le=3600)
    """sipvideo: seconds over which the usual size of an object settles, and its usual width and height."""
    margin: float = Field(default=0.1, ge=0, le=10)
    """sipvideo: distance from the prediction that is plausible at once, in sizes of the object."""
    margin_growth: float = Field(default=1.5, ge=0, le=100)
    """sipvideo: how fast that distance grows while the object is unseen, in sizes per second."""
    margin_doubt: float = Field(default=0.5, ge=0, le=2)
    """sipvideo: how much less an overlap counts the wider the search has become, as a power of its width; 0: none."""
    side_weight: float = Field(default=0.1, ge=0, le=1)
    """sipvideo: share of an overlap that does not count where neither width nor height of the box is the usual one."""
    bare_affinity: float = Field(default=0.0, ge=0, lt=1)
    """sipvideo: ``match_affinity`` of detections without embeddings: whoever is not found near its place is lost for
    good."""
    bare_growth: float = Field(default=3.0, ge=0, le=100)
    """sipvideo: ``margin_growth`` of those, for the same reason."""
    bare_side_weight: float = Field(default=0.3, ge=0, le=1)
    """sipvideo: ``side_weight`` of those: where looks do not tell who is who, sides do."""

    camera: bool = True
    """sipvideo: follow the camera's motion by the background, and move what is known of places with it."""
    returns: bool = True
    """sipvideo: objects that come back elsewhere, or after ``max_age``, are known again by their embeddings."""
    return_memory: float = Field(default=60.0, ge=0, le=86400)
    """sipvideo: seconds that the looks of an identity are remembered."""
    return_tracks: int = Field(default=256, ge=0)
    """sipvideo: bound of that memory; the longest unseen identities go first."""
    return_views: int = Field(default=6, ge=1, le=100)
    """sipvideo: views that are remembered of each identity."""
    return_hits: int = Field(default=3, ge=1)
    """sipvideo: detections that an identity needs to be remembered."""
    return_likeness: float = Field(default=0.38, ge=0, le=1)
    """sipvideo: least likeness of embeddings by which an identity is known again; higher gives fewer and surer ones."""
    return_ratio: float = Field(default=0.75, ge=0, le=1)
    """sipvideo: what is missing to full likeness may be at most this share of what is missing for the next best pair of
    either side; lower gives fewer and surer ones."""
    return_wait: float = Field(default=0.5, ge=0, le=60)
    """sipvideo: seconds that an object which could be one that left is without an identity, for a better look."""
    return_mark: float = Field(default=2.0, ge=0, le=3600)
    """sipvideo: seconds for which an identity that came back is marked in results."""

    score_weight: float = 1.0
    """paper: weight of the logarithm of the score."""
    iou_weight: float = 2.0
    """paper: weight of the box overlap."""
    label_weight: float = 10.0
    """paper: bonus for the label of the memory, and for a new object."""
    memory_survives_empty_first_frame: bool = False
    """paper: the published behaviour that a video without objects in its first frame inherits old identities."""


class VeilConfig(Section):
    """What is made unrecognisable before anything else sees the picture, see :mod:`sipvideo.veil`."""

    classes: tuple[str | int, ...] = ()
    """Names or numbers of classes whose objects are covered; empty: none."""
    everything: bool = False
    """Every frame is covered as a whole."""
    how: Literal["blur", "fill"] = "blur"
    """fill: grey, which leaves nothing at all."""
    margin: float = Field(default=0.12, ge=0, le=2)
    """Around each mask, in parts of the root of its area."""
    seconds: float = Field(default=0.6, ge=0, le=60)
    """For which a place stays covered after its object was there."""
    doubtful: float = Field(default=0.1, ge=0, le=1)
    """Score from which objects are covered, also where they are too doubtful to be reported."""


class RepairConfig(Section):
    """Identities looked at again with what came later: ``sipvideo repair`` and ``--lookahead``."""

    join_seconds: float = Field(default=60.0, gt=0, le=86400)
    """Seconds for which an object may be away and still be joined to what it was before."""
    join_odds: float = Field(default=-3.0, ge=-30, le=30)
    """Least logarithm of the odds that two stretches of identities show one object; higher joins fewer."""
    ghost_seconds: float = Field(default=2.0, ge=0, le=60)
    """Identities seen for less time in all are dropped, unless they are sure; 0: none is. With ``--lookahead`` at most
    half of the time that is known of an identity when it is given."""
    ghost_score: float = Field(default=0.55, ge=0, le=1)
    """An identity is sure if its best score is at least this; one seen only for a moment needs 0.13 more."""
    copy_seconds: float = Field(default=1.0, ge=0, le=60)
    """Identities seen for less time in all, and mostly inside a better object's mask, are dropped too."""
    fill_seconds: float = Field(default=1.0, ge=0, le=10)
    """Gaps of an identity up to this long are filled, without pictures those up to half a second; 0: none is."""


class Config(Section):
    """Everything that determines a result."""

    name: str
    classes: str | tuple[str, ...] = "coco"
    """A named class set, or the class names in label order."""
    input: InputConfig = InputConfig()
    backbone: BackboneConfig = BackboneConfig()
    neck: NeckConfig = NeckConfig()
    head: HeadConfig = HeadConfig()
    postprocess: PostprocessConfig = PostprocessConfig()
    tracker: TrackerConfig = TrackerConfig()
    veil: VeilConfig = VeilConfig()
    repair: RepairConfig = RepairConfig()

    @model_validator(mode="after")
    def _parts_fit(self) -> Config:
        if not self.classes:
            raise ValueError("classes: expected at least one name")
        if self.neck.name != "fpn" and self.input.pad_multiple % 32:
            raise ValueError(f"input.pad_multiple: neck {self.neck.name} needs a multiple of 32")
        if self.head.basis_source == "pyramid" and self.head.basis_upsample != 2:
            raise ValueError("head.basis_upsample: basis_source pyramid gives 2")
        if self.head.mask_pyramid and (
            self.head.basis_source != "pyramid" or self.neck.name == "fpn"
        ):
            raise ValueError(
                "head.mask_pyramid: needs basis_source pyramid and neck pan or ghost_pan"
            )
        if self.head.basis_detail and not self.backbone.name.startswith("shufflenet"):
            raise ValueError("head.basis_detail: needs a ShuffleNetV2 backbone")
        if self.head.grid_quality and self.head.alignment != "box_grid":
            raise ValueError("head.grid_quality: needs alignment box_grid")
        if self.head.object_map and self.head.alignment != "box_grid":
            raise ValueError("head.object_map: needs alignment box_grid")
        if self.head.mask_channels and not self.head.mask_pyramid:
            raise ValueError("head.mask_channels: needs mask_pyramid")
        basis = min(self.input.size) * self.head.basis_upsample // 8
        if self.head.rescoring and self.input.resize == "stretch" and basis < 127:
            raise ValueError(
                "input.size: re-scoring needs basis masks of at least 127 pixels a side"
            )
        return self

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names in label order."""
        return CLASS_SETS[self.classes] if isinstance(self.classes, str) else self.classes

    def with_overrides(self, overrides: Sequence[str]) -> Config:
        """A copy with ``section.key=value`` changes."""
        values = self.model_dump(exclude_unset=True)
        return config_from_values(values, f"config {self.name!r}", overrides)


def available() -> list[str]:
    """Names of the configurations that come with the package."""
    return yaml_names(_packaged())


def yaml_names(folder: Traversable) -> list[str]:
    """Names of the YAML files of a folder, without suffix, sorted."""
    return sorted(
        p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml")
    )


def _packaged() -> Traversable:
    return resources.files("sipvideo.configs")


def load_config(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Reads a configuration.

    Args:
        name_or_path: a name from :func:`available`, or the path of a YAML file.
        overrides: ``section.key=value`` texts, values in YAML syntax.

    Raises:
        ConfigError: unknown name, unreadable file, unknown key (with the nearest known one), wrong value.
    """
    text = str(name_or_path)
    return config_from_values(read_yaml("config", text, _packaged()), text, overrides)


def read_yaml(what: str, name_or_path: str, folder: Traversable) -> dict[str, Any]:
    """The plain values of a YAML file.

    Args:
        what: "config" or another word for it in errors.
        name_or_path: the name of a file in ``folder``, or (with a suffix) the path of any file.
        folder: the ones that come with the package.

    Raises:
        ConfigError: unknown name, unreadable file, not a mapping.
    """
    path = Path(name_or_path)
    if not path.suffix:
        known = yaml_names(folder)
        if name_or_path not in known:
            raise ConfigError(
                f"{what} {name_or_path!r}: unknown name{_nearest(name_or_path, known)}"
            )
        return yaml_mapping(folder / f"{name_or_path}.yaml", "the configuration", "sections")
    return yaml_mapping(path, "the configuration", "sections")


def config_from_values(values: dict[str, Any], where: str, overrides: Sequence[str] = ()) -> Config:
    """Checks plain values (as in YAML) plus ``section.key=value`` overrides; ``where`` names them in errors."""
    config = section_from_values(Config, values, where, overrides)
    if isinstance(config.classes, str) and config.classes not in CLASS_SETS:
        raise ConfigError(
            f"{where}: classes: unknown set {config.classes!r}{_nearest(config.classes, CLASS_SETS)}"
        )
    return config


def section_from_values(
    kind: type[S], values: dict[str, Any], where: str, overrides: Sequence[str] = ()
) -> S:
    """Checks plain values plus overrides as :func:`config_from_values` does, for any outermost section.

    Raises:
        ConfigError: unknown key (with the nearest known one), wrong value, malformed override.
    """
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise ConfigError(f"--set {override!r}: expected section.key=value")
        parsed = plain_yaml(value, f"--set {override!r}: the value is not valid YAML")
        values = _with_value(values, key.strip().split("."), parsed, override)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_first_problem(kind, error)}") from error


def _with_value(
    values: dict[str, Any], keys: list[str], value: Any, override: str
) -> dict[str, Any]:
    if len(keys) == 1:
        return {**values, keys[0]: value}
    section = values.get(keys[0], {})
    if not isinstance(section, dict):
        raise ConfigError(f"--set {override!r}: {keys[0]} is not a section")
    return {**values, keys[0]: _with_value(section, keys[1:], value, override)}


def _first_problem(kind: type[BaseModel], error: ValidationError) -> str:
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] not in ("extra_forbidden", "unexpected_keyword_argument"):
        # A whole section as it was written would hide what is wrong with it.
        got = "" if isinstance(problem["input"], dict) else f", got {problem['input']!r:.200}"
        message = problem["msg"].removeprefix("Value error, ")
        return f"{where}: {message}{got}".removeprefix(": ")
    section: Any = kind
    for part in problem["loc"][:-1]:
        named = get_origin(section) is dict  # keys are the user's own names
        section = get_args(section)[1] if named else _fields(section)[str(part)]
    return f"{where}: unknown key{_nearest(str(problem['loc'][-1]), _fields(section))}"


def _fields(section: Any) -> dict[str, Any]:
    """Names and types of a section's keys; plain dataclasses can be sections too."""
    if dataclasses.is_dataclass(section):
        return get_type_hints(section)
    return {name: field.annotation for name, field in section.model_fields.items()}


def _nearest(text: str, known: Any) -> str:
    close = difflib.get_close_matches(text, list(known), n=1, cutoff=0.4)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(known))}"
