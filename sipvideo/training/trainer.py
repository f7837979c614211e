"""The training loop: batches in, weights, checkpoints and a log out.

Everything random in step k is drawn from generators seeded with (seed, k), and the data order is a function of the
seed, so a run that was killed goes on from its last checkpoint exactly as if nothing had happened.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sipvideo.data import Augmentation, Batch, CocoPictures, Sample, collate
from sipvideo.errors import CheckpointError, DatasetError, SipVideoError
from sipvideo.model.sipmask import SipMask
from sipvideo.transforms import FrameTransform

Objective = Callable[[SipMask, Batch], dict[str, Tensor]]


@dataclass(frozen=True)
class TrainingConfig:
    """How long and how fast a model learns.

    Attributes:
        steps: number of optimiser steps.
        pictures: pictures per step; each gives two views.
        sizes: smallest and largest long side of a view, pixels; drawn per step in multiples of 32.
        learning_rate: after the warm-up; falls to 0 along half a cosine.
        warm_up: steps during which the learning rate rises linearly.
        weight_decay: of AdamW, on weights only, not on biases and norms.
        clip: largest norm of the gradient.
        trained: parameters whose names start with one of these are trained, all others stay; empty: all are.
        seed: of everything random.
        save_seconds: time between two checkpoints.
    """

    steps: int = 10_000
    pictures: int = 2
    sizes: tuple[int, int] = (352, 480)
    learning_rate: float = 2e-3
    warm_up: int = 200
    weight_decay: float = 1e-2
    clip: float = 5.0
    trained: tuple[str, ...] = ()
    seed: int = 0
    save_seconds: float = 120.0

    def rate(self, step: int) -> float:
        """Learning rate of a step, 0-based."""
        rising = min(1.0, (step + 1) / max(self.warm_up, 1))
        return self.learning_rate * rising * 0.5 * (1 + math.cos(math.pi * step / self.steps))


class PairStream:
    """Step number to batch: random pictures, two views of each.

    Args:
        sources: data sets with the same classes; their pictures are mixed.
        augmentation: how views are made.
        transform: normalisation and padding.
        config: sizes, pictures per step, seed.

    Raises:
        DatasetError: no picture shows an object.
    """

    def __init__(
        self,
        sources: Sequence[CocoPictures],
        augmentation: Augmentation,
        transform: FrameTransform,
        config: TrainingConfig,
    ) -> None:
        self.augmentation = augmentation
        self.transform = transform
        self.config = config
        self._pictures = [
            (source, index)
            for source in sources
            for index in range(len(source))
            if source.count(index)
        ]
        if not self._pictures:
            raise DatasetError("training: no picture shows an object of the model's classes")

    def __len__(self) -> int:
        """Number of pictures with objects."""
        return len(self._pictures)

    def batch(self, step: int) -> Batch:
        """The views of a step; 2k and 2k + 1 show the same picture."""
        rng = np.random.default_rng((self.config.seed, 1, step))
        low, high = (side // 32 for side in self.config.sizes)
        long_side = int(rng.integers(low, high + 1)) * 32
        views: list[Sample] = []
        for position in range(step * self.config.pictures, (step + 1) * self.config.pictures):
            epoch, place = divmod(position, len(self))
            order = np.random.default_rng((self.config.seed, 0, epoch)).permutation(len(self))
            source, index = self._pictures[order[place]]
            height, width = source.size(index)
            ratio = long_side / max(height, width)
            size = (round(height * ratio), round(width * ratio))
            views.extend(self.augmentation.pair(source[index], size, rng))
        return collate(views, self.transform)

    def batches(self, first: int, stop: int) -> Generator[Batch, None, None]:
        """Batches of steps ``first`` to ``stop - 1``; the next one is made while the current one is used."""
        with ThreadPoolExecutor(1) as worker:
            coming = worker.submit(self.batch, first)
            for step in range(first, stop):
                batch = coming.result()
                if step + 1 < stop:
                    coming = worker.submit(self.batch, step + 1)
                yield batch


class Trainer:
    """Trains one model in one folder: ``last.pt`` (to go on from) and ``log.csv``.

    Args:
        model: the network with its starting weights.
        objective: batch to named losses; their sum is minimised.
        stream: gives the batches.
        folder: made if it is not there. If it holds a checkpoint, the run goes on from it.
        report: takes a line of progress about every ten seconds.

    Raises:
        CheckpointError: the folder's checkpoint is damaged or belongs to other settings.
    """

    def __init__(
        self,
        model: SipMask,
        objective: Objective,
        stream: PairStream,
        folder: str | Path,
        report: Callable[[str], None] = print,
    ) -> None:
        # The depthwise convolutions of CPUs are faster on this layout.
        self.model = model.train().to(memory_format=torch.channels_last)
        self.objective = objective
        self.stream = stream
        self.config = stream.config
        self.folder = Path(folder)
        self.report = report
        self.step = 0
        names = self.config.trained
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(not names or name.startswith(names))
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in self._parameters if p.ndim > 1]},
            {"params": [p for p in self._parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self._optimizer = torch.optim.AdamW(
            groups, lr=self.config.learning_rate, weight_decay=self.config.weight_decay
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.checkpoint.exists():
            self._restore()

    @property
    def checkpoint(self) -> Path:
        """The file that the run goes on from."""
        return self.folder / "last.pt"

    def run(self, stop: int | None = None) -> None:
        """Trains to step ``stop`` (default: to the end) and writes a checkpoint there.

        Raises:
            DatasetError: a picture cannot be read.
            SipVideoError: the loss is not finite.
        """
        stop = self.config.steps if stop is None else min(stop, self.config.steps)
        started, first = time.monotonic(), self.step
        saved = reported = started
        means: dict[str, float] = {}
        with (
            closing(self.stream.batches(first, stop)) as batches,
            open(self.folder / "log.csv", "a", newline="", encoding="utf-8") as file,
        ):
            log = csv.writer(file)
            for batch in batches:
                values = self._train(batch)
                now = time.monotonic()
                if file.tell() == 0:
                    log.writerow(["step", *values])
                log.writerow([self.step, *(f"{v:.6g}" for v in values.values())])
                for name, value in values.items():
                    means[name] = 0.98 * means.get(name, value) + 0.02 * value
                if now - reported > 10 or self.step == stop:
                    reported = now
                    pace = (now - started) / (self.step - first)
                    self.report(self._progress(means, pace, stop))
                if now - saved > self.config.save_seconds and self.step < stop:
                    file.flush()
                    self._save()
                    saved = now
        if self.step > first:
            self._save()

    def _train(self, batch: Batch) -> dict[str, float]:
        """One optimiser step: learning rate, losses and gradient norm."""
        rate = self.config.rate(self.step)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        torch.manual_seed(self.config.seed * 1_000_003 + self.step)
        terms = self.objective(self.model, batch)
        total = torch.stack(list(terms.values())).sum()
        if not torch.isfinite(total):
            raise SipVideoError(
                f"training: the loss of step {self.step} is not finite; lower the learning rate"
            )
        self._optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self.config.clip)
        self._optimizer.step()
        self.step += 1
        return {
            "rate": rate,
            **{n: float(v.detach()) for n, v in terms.items()},
            "gradient": float(norm),
        }

    def _progress(self, means: dict[str, float], pace: float, stop: int) -> str:
        terms = "  ".join(f"{name} {value:.4g}" for name, value in means.items())
        left = int(pace * (stop - self.step))
        clock = f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02}"
        return f"step {self.step}/{stop}  {terms}  {pace:.3f} s/step  {clock} left"

    def _save(self) -> None:
        content = {
            "step": self.step,
            "config": _plain(self.config),
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(content, partial)
        partial.replace(self.checkpoint)

    def _restore(self) -> None:
        path = self.checkpoint
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            step, config = content["step"], content["config"]
            same = config == _plain(self.config)
            if same:
                self.model.load_state_dict(content["model"])
                self._optimizer.load_state_dict(content["optimizer"])
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise CheckpointError(f"{path}: cannot go on from it: {reason}") from error
        if not same:
            names = sorted(k for k, v in _plain(self.config).items() if config.get(k) != v)
            raise CheckpointError(
                f"{path}: belongs to a run with other settings ({', '.join(names)});"
                " use another folder"
            )
        self.step = step
        _keep_rows(self.folder / "log.csv", step)


def _plain(config: TrainingConfig) -> dict[str, Any]:
    """The settings that a resumed run must share, as lists and numbers."""
    values = asdict(config)
    del values["save_seconds"]
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


def _keep_rows(path: Path, step: int) -> None:
    """Removes the log's rows after ``step``: they will be written again."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[: step + 1]), encoding="utf-8")
