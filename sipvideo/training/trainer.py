"""The training loop: batches in, weights, checkpoints and logs out.

Everything random in a step is drawn from generators seeded with (seed, step), and the data order is a function of the
seed, so a run that was killed goes on from its last checkpoint exactly as if nothing had happened.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from sipvideo.config import Config
from sipvideo.data import Batch, ClipStream, PackedBatch
from sipvideo.errors import CheckpointError, ConfigError, SinkError, SipVideoError
from sipvideo.model import checkpoint
from sipvideo.model.sipmask import SipMask
from sipvideo.model.waiting import is_host
from sipvideo.training.curves import draw_curves
from sipvideo.training.distributed import Objective, Ranks, losses_of
from sipvideo.training.logs import Logs, Progress
from sipvideo.training.optimiser import (
    Schedule,
    WeightMean,
    build_optimiser,
    clip,
    freeze,
    set_training,
)
from sipvideo.training.recipe import Recipe
from sipvideo.training.state import copy as copy_file
from sipvideo.training.state import read_state, write_state

Validate = Callable[[SipMask], "dict[str, float] | None"]
"""A model (its own copy) to figures, the one that decides which weights are best first; None: it was stopped."""

RESULT = "model.safetensors"
BEST = "best.safetensors"


def passes_per_step(recipe: Recipe, processes: int) -> int:
    """How often each process goes through the network before the weights change.

    Raises:
        ConfigError: the pictures of a step cannot be shared evenly.
    """
    pictures, at_once = recipe.stream.pictures, recipe.stream.at_once
    passes = math.ceil(pictures / (processes * at_once))
    while passes < pictures and pictures % (processes * passes):
        passes += 1
    if pictures % (processes * passes):
        raise ConfigError(
            f"stream.pictures: {pictures} per step cannot be shared evenly by {processes} processes"
        )
    return passes


@dataclass(frozen=True)
class Surroundings:
    """What a run needs to know that does not change its result.

    Attributes:
        device: where the network is.
        ranks: this process among those that train together.
        save_seconds: time between two checkpoints.
        validate: segments the validation set.
        stopped: whether the run should end after this step.
        read_every: steps after which the device is waited for and losses are read; 0: 1 on CPUs, else 10.
        report: takes lines of progress; None: standard error.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    ranks: Ranks = field(default_factory=Ranks)
    save_seconds: float = 120.0
    validate: Validate | None = None
    stopped: Callable[[], bool] = lambda: False
    read_every: int = 0
    report: Callable[[str], None] | None = None


class Trainer:
    """Trains one model in one folder.

    The folder gets ``last.pt`` (to go on from), ``log.csv``, ``validation.csv``, ``tensorboard/``, ``best.safetensors``
    where there is a validation set, and at the end ``model.safetensors`` and ``curves.png``.

    Args:
        model: the network with its starting weights, and its configuration.
        objective: batch to named losses; their sum is minimised.
        stream: gives the batches, ``recipe.stream.pictures / passes_per_step`` pictures each.
        recipe: how it is trained.
        folder: made if it is not there. If it holds a checkpoint, the run goes on from it.
        around: what does not change the result.

    Attributes:
        step: steps that are done.
        steps: length of the whole training.
        epoch: steps in which as many pictures are shown as there are.
        passes: how often a process goes through the network per step.
        best: highest validation figure so far.
        best_step: its step, 0 for none.

    Raises:
        CheckpointError: the folder's checkpoint is damaged or belongs to other settings.
        ConfigError: the recipe does not fit the model or the number of processes.
        SinkError: the folder cannot be made.
    """

    def __init__(
        self,
        model: tuple[SipMask, Config],
        objective: Objective,
        stream: ClipStream,
        recipe: Recipe,
        folder: str | Path,
        around: Surroundings | None = None,
    ) -> None:
        around = around or Surroundings()
        every = around.read_every or (1 if around.device.type == "cpu" else 10)
        self.around = replace(around, read_every=every)
        self.recipe, self.stream, self.folder = recipe, stream, Path(folder)
        self.config = model[1]
        # Depthwise convolutions of CPUs, and half precision on GPUs, are faster on this layout.
        self.model = model[0].to(self.around.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        freeze(self.model, recipe.freeze)
        set_training(self.model, recipe.freeze)
        if recipe.compile:
            self.model.compile(dynamic=False)
        self._parameters = [p for p in self.model.parameters() if p.requires_grad]
        self._optimiser = build_optimiser(self.model, recipe.optimiser)
        self._mean = WeightMean(self.model, recipe.ema) if recipe.ema else None
        half = recipe.precision == "half"
        if half and self.around.device.type != "cuda":
            raise ConfigError("precision: half needs CUDA; expected bfloat16 or single on CPUs")
        self._scaler = torch.amp.GradScaler(self.around.device.type, enabled=half)
        self._losses = losses_of(self.model, objective, self.around.ranks)
        self.passes = passes_per_step(recipe, self.around.ranks.count)
        self.epoch = math.ceil(len(stream) / recipe.stream.pictures)
        self._schedule = Schedule(recipe.schedule, self.epoch)
        self.steps = self._schedule.steps
        self.step = 0
        self._validated, self.best, self.best_step = 0, -math.inf, 0
        self._pending: list[tuple[int, float, dict[str, Tensor]]] = []
        self._progress = Progress(self.around.report)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SinkError(f"{folder}: cannot make the folder: {error.strerror}") from error
        self._restore()

    @property
    def checkpoint(self) -> Path:
        """The file that the run goes on from."""
        return self.folder / "last.pt"

    @property
    def ended(self) -> bool:
        """Whether the training is complete."""
        return self.step == self.steps and not self._due()

    def run(self, stop: int | None = None) -> bool:
        """Trains to step ``stop`` (default: to the end), writes a checkpoint there, and the result at the end.

        Returns:
            Whether it came to ``stop``; False: it was stopped and can go on.

        Raises:
            DatasetError: a picture cannot be read.
            SinkError: something cannot be written.
            SipVideoError: the loss is not finite; the last checkpoint stays.
        """
        stop = self.steps if stop is None else min(stop, self.steps)
        first = self.around.ranks.first
        try:
            logs = Logs(self.folder, self.step, self._progress.say) if first else None
            try:
                through = self._loop(stop, logs)
            finally:
                self._progress.end()
                if logs is not None:
                    logs.close()
            if self.ended and first:
                self._finish()
        except OSError as error:
            raise SinkError(f"{self.folder}: cannot write: {error.strerror or error}") from error
        return through

    def _loop(self, stop: int, logs: Logs | None) -> bool:
        """The steps up to ``stop``; False if it was stopped before."""
        ranks, device = self.around.ranks, self.around.device
        started, saved = self.step, time.monotonic()
        if not self._validation(logs):
            return False
        first, last = self.step * self.passes, stop * self.passes
        with closing(
            self.stream.batches(first, last, ranks.rank, ranks.count, packed=device.type != "cpu")
        ) as batches:
            while self.step < stop:
                self._train(batches)
                pause = self._due() or self.step == stop
                # Alone, a process knows at once that it is to stop; several must agree, which takes a message.
                asked = ranks.count == 1 and self.around.stopped()
                if not (pause or asked or len(self._pending) >= self.around.read_every):
                    continue
                stopped = self._read(stop, logs)
                overdue = time.monotonic() - saved > self.around.save_seconds
                if stopped or overdue or pause:
                    self._save(logs)
                    saved = time.monotonic()
                if (stopped and self.step < stop) or not self._validation(logs):
                    return False
        if self.step == started and not self.checkpoint.exists():
            self._save(logs)
        return True

    def _train(self, batches: Iterator[Batch | PackedBatch]) -> None:
        """One step of the optimiser. Its figures stay on the device, so that nothing waits for it: ``_pending``."""
        share = self._schedule(self.step)
        for group in self._optimiser.param_groups:
            group["lr"] = self.recipe.optimiser.rate * group["factor"] * share
        self._optimiser.zero_grad()
        sums: dict[str, Tensor] = {}
        for number in range(self.passes):
            torch.manual_seed((self.recipe.seed * 1_000_003 + self.step) * self.passes + number)
            last = number == self.passes - 1
            alone = isinstance(self._losses, DistributedDataParallel) and not last
            with self._losses.no_sync() if alone else nullcontext():  # type: ignore[operator]
                terms = self._losses(next(batches).to(self.around.device))
                total = torch.stack(list(terms.values())).sum()
                self._scaler.scale(total / self.passes).backward()  # type: ignore[no-untyped-call]
            for name, value in terms.items():
                sums[name] = sums.get(name, 0) + value.detach() / self.passes
        figures = self._change(sums)
        self._pending.append((self.step, self.recipe.optimiser.rate * share, figures))
        self.step += 1
        if self._mean is not None:
            self._mean.update(self.step)

    def _change(self, sums: dict[str, Tensor]) -> dict[str, Tensor]:
        """Changes the weights along the gradient; gives the step's figures.

        On the host nothing is changed by what is not finite. A card is not asked: the run ends when the figures are
        read, before anything of it is saved.
        """
        self._scaler.unscale_(self._optimiser)
        norm = clip(self._parameters, self.recipe.optimiser.clip)
        figures = {**sums, "gradient": norm}
        if is_host(norm):
            self._expect_finite(self.step, {name: float(v) for name, v in figures.items()})
        self._scaler.step(self._optimiser)
        self._scaler.update()
        return figures

    def _read(self, stop: int, logs: Logs | None) -> bool:
        """Waits for the device and logs what the steps since the last time had; whether any process was told to stop.

        Raises:
            SipVideoError: a figure is not finite. Whatever came of it was not saved.
        """
        asked = torch.tensor(float(self.around.stopped()), device=self.around.device)
        figures = [value for _, _, values in self._pending for value in values.values()]
        *means, stopped = self.around.ranks.mean([*figures, asked])
        numbers = iter(means)
        for before, rate, values in self._pending:
            ahead = self.step - before - 1
            read = {name: next(numbers) for name in values}
            self._expect_finite(before, read)
            if logs is not None:
                row = {"rate": rate, **read}
                logs.training(before + 1, row)
                self._progress.step(before + 1, stop, self.recipe.stream.pictures, row, ahead)
        self._pending.clear()
        return stopped > 0

    def _expect_finite(self, step: int, figures: dict[str, float]) -> None:
        wrong = [name for name, value in figures.items() if not math.isfinite(value)]
        # With half precision a gradient may overflow: such a step changes nothing, and the scale is lowered.
        if self._scaler.is_enabled() and wrong == ["gradient"]:
            return
        if wrong:
            losses = [name for name in wrong if name != "gradient"]
            what = f"the loss ({', '.join(losses)})" if losses else "the gradient"
            kept = f"; {self.checkpoint} is the last good state" if self.checkpoint.exists() else ""
            raise SipVideoError(
                f"training: {what} of step {step} is not finite; lower optimiser.rate{kept}"
            )

    def _due(self) -> bool:
        """Whether the present weights should be validated and have not been."""
        if self.around.validate is None or self._validated == self.step or not self.step:
            return False
        rule = self.recipe.validation
        every = rule.every * (self.epoch if rule.unit == "epochs" else 1)
        return self.step % every == 0 or self.step == self.steps

    def _validation(self, logs: Logs | None) -> bool:
        """Validates if it is time to; False if that was stopped."""
        if not self._due():
            return True
        figures: dict[str, float] | None = {}
        began = time.monotonic()
        if logs is not None and self.around.validate is not None:
            figures = self.around.validate(self.averaged())
            if figures:
                logs.validation(self.step, figures)
                self._keep_best(next(iter(figures.values())))
                shown = "  ".join(f"{name} {value:.3f}" for name, value in figures.items())
                best = "" if self.best_step == self.step else f"  (best: step {self.best_step})"
                self._progress.say(f"step {self.step}  validation: {shown}{best}")
        if self.around.ranks.shared(figures) is None:
            return False
        self._validated = self.step
        self._progress.pause(time.monotonic() - began)
        self._save(logs)
        return True

    def _keep_best(self, figure: float) -> None:
        if figure > self.best:
            self.best, self.best_step = figure, self.step
            checkpoint.save(self.folder / BEST, self.averaged(), self.config, half=True)

    def averaged(self) -> SipMask:
        """A copy of the model as it is validated and saved: with the mean weights, if there is a mean."""
        return self._mean.copy_of(self.model) if self._mean else copy.deepcopy(self.model)

    def _finish(self) -> None:
        """Writes the result and the curves."""
        if self.best_step and (self.folder / BEST).exists():
            copy_file(self.folder / BEST, self.folder / RESULT)
        else:
            checkpoint.save(self.folder / RESULT, self.averaged(), self.config, half=True)
        draw_curves(self.folder)

    @property
    def _settings(self) -> dict[str, Any]:
        """What a run that goes on must share."""
        data = {"classes": list(self.config.class_names), "pictures": len(self.stream)}
        return {**self.recipe.settled(), "data": data}

    def _save(self, logs: Logs | None) -> None:
        if logs is None:
            return
        logs.flush()
        content = {
            "settings": self._settings,
            "step": self.step,
            "model": self.model.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "scaler": self._scaler.state_dict(),
            "mean": self._mean.state_dict() if self._mean else {},
            "validation": [self._validated, self.best, self.best_step],
        }
        write_state(self.checkpoint, content)

    def _restore(self) -> None:
        content: dict[str, Any] | None = None
        if self.around.ranks.first and self.checkpoint.exists():
            content = read_state(self.checkpoint, self._settings)
        content = self.around.ranks.shared(content)
        if content is None:
            return
        try:
            self.model.load_state_dict(content["model"])
            self._optimiser.load_state_dict(content["optimiser"])
            self._scaler.load_state_dict(content["scaler"])
            if self._mean is not None:
                self._mean.load_state_dict(content["mean"])
            self.step = content["step"]
            self._validated, self.best, self.best_step = content["validation"]
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{self.checkpoint}: belongs to a run of another model; use another folder"
            ) from error
