"""A segmenter as plain values: what another process or machine needs to build the very same one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sipvideo import __version__
from sipvideo.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from sipvideo.engine import Area
    from sipvideo.pipeline import VideoSegmenter


class Spec(Protocol):
    """Builds a segmenter, wherever it is. Can be pickled."""

    def build(self) -> VideoSegmenter:
        """A ready segmenter, set up for stored videos."""


@dataclass(frozen=True)
class SegmenterSpec:
    """The arguments of :func:`sipvideo.build.load`, which see, as values that may travel.

    Attributes:
        checksum: SHA-256 of what the model is made of, see :meth:`sealed`; "": not looked at.
    """

    config: str | None = None
    weights: str | None = None
    device: str = "auto"
    overrides: tuple[str, ...] = ()
    runtime: str = "auto"
    model: str | None = None
    classes: tuple[str | int, ...] = ()
    area: Area | None = None
    tiles: str | None = None
    min_score: float | None = None
    max_objects: int | None = None
    privacy: tuple[str | int, ...] | None = None
    blur_all: bool = False
    segmenter: str | None = None
    checksum: str = ""

    def sealed(self) -> SegmenterSpec:
        """The same with its checksum: whoever builds it elsewhere gets the same bytes, or an error.

        The checksum is over the content of weights and configuration and over all settings but the device, so files
        may lie elsewhere there.

        Raises:
            ConfigError: an unknown model or configuration.
            CheckpointError: the weights cannot be read.
        """
        return replace(self, checksum=self._digest())

    def build(self) -> VideoSegmenter:
        """See :class:`Spec`; errors as :meth:`load`."""
        return self.load().for_files()

    def load(self) -> VideoSegmenter:
        """A ready segmenter.

        Raises:
            ConfigError: weights or configuration are others here than where the spec was sealed; or as
                :func:`sipvideo.build.load`, like all others.
        """
        from sipvideo.build import load

        if self.checksum and self._digest() != self.checksum:
            raise ConfigError(
                f"{self.weights or self.model or 'model'}: other weights, configuration or version of sipvideo"
                " here than where the run was started"
            )
        return load(**self._values("checksum"))

    def settings(self) -> dict[str, Any]:
        """As part of a job's settings: what determines results. Only what was asked for, beside the usual."""
        always = ("config", "weights", "overrides", "runtime", "model", "checksum")
        usual = vars(SegmenterSpec())
        values = self._values("device")
        return {key: one for key, one in values.items() if key in always or one != usual[key]}

    def _values(self, *apart: str) -> dict[str, Any]:
        """By name, but for some."""
        names = (field.name for field in fields(SegmenterSpec))
        return {name: getattr(self, name) for name in names if name not in apart}

    def _digest(self) -> str:
        whole = hashlib.sha256()
        for path, name in self._files():
            try:
                content = path.read_bytes()
            except OSError as error:
                raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
            whole.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
        whole.update(f"{self._configuration()}\n{__version__}\n".encode())
        rest = self._values("config", "weights", "device", "checksum")
        whole.update(json.dumps(rest, sort_keys=True).encode())
        return whole.hexdigest()

    def _files(self) -> Iterator[tuple[Path, str]]:
        """What the weights are, each with a name that is the same wherever they lie."""
        from sipvideo.build import packaged_export, packaged_weights
        from sipvideo.engine.foreign import foreign_file

        paths: Sequence[Path] = [packaged_export(self.model), packaged_weights(self.model)]
        if self.weights is not None:
            paths = [Path(self.weights)]
        if self.segmenter is not None:
            file = foreign_file(self.segmenter)
            paths = [] if file is None else [file]
        for path in paths:
            if path.is_dir():
                yield from ((one, one.name) for one in sorted(path.iterdir()) if one.is_file())
            else:
                yield path, "weights"

    def _configuration(self) -> str:
        """The configuration's content; "" where it is the one inside of the weights."""
        from sipvideo.config import load_config

        return "" if self.config is None else load_config(self.config).model_dump_json()
