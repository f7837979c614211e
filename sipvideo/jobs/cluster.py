"""Workers that are actors of Ray, on this machine or on the nodes of a cluster.

Through Ray travel the segmenter as plain values with its files, jobs, and lines and summaries back; videos and results
do not: nodes read and write them where the jobs say.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import sys
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from sipvideo import __version__
from sipvideo.errors import SipVideoError
from sipvideo.extras import absence
from sipvideo.jobs.node import Here, Node, Order, packed
from sipvideo.jobs.pool import LOOK_EVERY, Pool, Worker
from sipvideo.jobs.spec import Spec
from sipvideo.jobs.worker import Broken

STORE = 1 << 28
"""Bytes of shared memory of a Ray that is started here: files of the model are all that lies there."""
ROOM = 60.0
"""Seconds without any worker's sign of life after which that is told."""
GROW = 10.0
"""Seconds between looks for nodes that have joined."""


@dataclass(frozen=True)
class Cluster:
    """Which Ray, and what of it.

    Attributes:
        address: ``ray://HOST:PORT``, ``HOST:PORT`` or ``auto`` of one that runs; None: one of this machine's own,
            which ends with the run.
        workers: how many; None: as many as have room, also on nodes that join later.
        cpus: of each; None: its share of what there is.
        gpus: of each, may be a fraction; None: one where there are any.
        dashboard: of a Ray that is started here; several processes.
    """

    address: str | None = None
    workers: int | None = None
    cpus: float | None = None
    gpus: float | None = None
    dashboard: bool = True

    def needs(self, there: Mapping[str, float]) -> dict[str, float]:
        """CPUs and GPUs of a worker, where so many are there."""
        all_cpus, all_gpus = there.get("CPU", 0.0), there.get("GPU", 0.0)
        gpus = self.gpus if self.gpus is not None else float(all_gpus > 0)
        cpus = self.cpus
        if cpus is None:
            cpus = max(1.0, all_cpus * gpus // all_gpus) if gpus and all_gpus else 1.0
        return {"num_cpus": cpus, "num_gpus": gpus}

    def count(self, there: Mapping[str, float]) -> int:
        """How many workers there shall be."""
        needs = self.needs(there)
        room = [there.get("CPU", 0.0) / needs["num_cpus"]] if needs["num_cpus"] else []
        if needs["num_gpus"]:
            room.append(there.get("GPU", 0.0) / needs["num_gpus"])
        return self.workers or max(1, int(min(room, default=1.0)))


class Actor(Worker):
    """One actor.

    Args:
        number: from 1.
        ray: the module.
        handle: of a :class:`Node`.
    """

    def __init__(self, number: int, ray: ModuleType, handle: Any) -> None:
        super().__init__(number)
        self.node = ""
        self._ray, self._handle = ray, handle
        self._error: Exception | None = None
        self.heard = handle.said.remote()

    @property
    def name(self) -> str:
        """See :class:`Worker`."""
        return f"{self.node}/{self.number}" if self.node else str(self.number)

    def send(self, message: object) -> None:
        """See :class:`Worker`."""
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._handle.take.remote(message)

    def received(self) -> Iterator[Any]:
        """See :class:`Worker`."""
        try:
            messages = self._ray.get(self.heard)
        except self._ray.exceptions.RayError as error:
            self._error = error
            yield None
            return
        self.heard = self._handle.said.remote()
        for message in messages:
            if isinstance(message, Here):
                self.node = message.node
            elif isinstance(message, Broken):
                yield Broken(f"node {self.node}: {message.problem}")
            else:
                yield message

    def kill(self) -> None:
        """See :class:`Worker`."""
        with contextlib.suppress(Exception):  # it may be dead, and Ray too
            self._ray.kill(self._handle)

    @property
    def cause(self) -> str:
        """See :class:`Worker`."""
        place = f" {self.node}" if self.node else ""
        if self.innocent:
            return f"with its node{place}"
        if isinstance(self._error, self._ray.exceptions.OutOfMemoryError):
            return f"for lack of memory on node{place}"
        if "No module named 'sipvideo" in str(self._error):
            return "because sipvideo is not installed on a node"
        return f"on node{place or ' unknown'}, killed or crashed"

    @property
    def innocent(self) -> bool:
        """See :class:`Worker`."""
        return "node has died" in str(self._error) or "node died" in str(self._error)


class RayPool(Pool[Actor]):
    """Actors of Ray, each with the model, some CPUs, and GPUs or a part of one.

    On every node the same version of sipvideo is installed; files of weights and configuration come with the run. A
    node with another version, other bytes, or without the place of the results is done without.

    Args:
        cluster: which Ray.
        spec: builds the segmenter, once in every actor.
        place: folder of the results that all nodes must see; None: results go where no node need look.
        timeout, tell: as :class:`Pool`.
    """

    def __init__(
        self,
        cluster: Cluster,
        spec: Spec,
        place: Path | None = None,
        timeout: float | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(timeout, tell)
        self._cluster, self._spec, self._place = cluster, spec, place
        self._ray: Any = None
        self._mark: Path | None = None
        self._begun = self._looked = time.monotonic()
        self._patient = True

    def __exit__(self, *exception: object) -> None:
        """Ends the actors, and Ray where it was started here."""
        super().__exit__(*exception)
        if self._mark is not None:
            with contextlib.suppress(OSError):
                self._mark.unlink(missing_ok=True)
        if self._ray is not None:
            with contextlib.suppress(Exception):  # the cluster may be gone
                self._ray.shutdown()

    def _open(self) -> int:
        self._ray = imported()
        context = connected(self._ray, self._cluster)
        there = self._ray.cluster_resources()
        needs, count = self._cluster.needs(there), self._cluster.count(there)
        order = Order(self._spec, self._timeout, os.getcwd(), self._marked(), needs["num_cpus"])
        files = packed(self._spec)
        self._given = (__version__, pickle.dumps(order), self._ray.put(files))
        # One call waits for what is said, one hands something over, one is spare.
        self._kind = self._ray.remote(max_concurrency=3, max_restarts=0, **needs)(Node)
        self._tell(self._described(context, needs, count))
        return count

    def _start(self, number: int) -> Actor:
        return Actor(number, self._ray, self._kind.remote(*self._given))

    def _speaking(self) -> Iterable[Actor]:
        self._look()
        asked = {worker.heard: worker for worker in self._workers}
        try:
            ready, _ = self._ray.wait(list(asked), timeout=LOOK_EVERY)
            if ready:
                ready, _ = self._ray.wait(list(asked), num_returns=len(asked), timeout=0)
        except (self._ray.exceptions.RayError, ConnectionError) as error:
            raise SipVideoError(f"the Ray cluster is gone: {_line(error)}") from error
        return [asked[reference] for reference in ready]

    def _look(self) -> None:
        """At the cluster: more room, or none."""
        now = time.monotonic()
        if self._patient and now - self._begun > ROOM:
            self._patient = False
            if not any(worker.node for worker in self._workers):
                self._tell("no worker has begun yet: Ray has no room for it, or takes its time")
        if self._loaded is not None and now - self._looked > GROW:
            self._looked = now
            wanted = self._cluster.count(self._ray.cluster_resources())
            for number in range(len(self._workers) + 1, wanted + 1):
                self._workers.append(self._start(number))

    def _marked(self) -> Path | None:
        """A file in the place of the results for as long as the run goes: nodes that do not see it are elsewhere."""
        if self._place is not None:
            self._mark = (self._place / f".ray-{uuid.uuid4().hex}").absolute()
            try:
                self._place.mkdir(parents=True, exist_ok=True)
                self._mark.touch()
            except OSError as error:
                raise SipVideoError(
                    f"{self._place}: cannot be written: {error.strerror}"
                ) from error
        return self._mark

    def _described(self, context: Any, needs: Mapping[str, float], count: int) -> str:
        nodes = sum(node["Alive"] for node in self._ray.nodes())
        each = f"{needs['num_cpus']:g} CPU" + (
            f" and {needs['num_gpus']:g} GPU" if needs["num_gpus"] else ""
        )
        model = getattr(self._spec, "checksum", "")
        dashboard = context.dashboard_url
        parts = [
            f"Ray {self._ray.__version__} with {nodes} node{'s' * (nodes != 1)}",
            f"{count} worker{'s' * (count != 1)} of {each}",
            f"model SHA-256 {model[:16]}" if model else "",
            f"dashboard http://{dashboard}" if dashboard else "no dashboard",
            "" if self._cluster.address else "its usage reports are off",
        ]
        return ", ".join(filter(None, parts))


def imported() -> ModuleType:
    """Ray, quiet.

    Raises:
        SipVideoError: it is not installed.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise SipVideoError(absence("ray")) from error
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    # What dies is told by the run itself, in one line; Ray would print a page of its log, and has no switch for that.
    internal: Any = sys.modules.get("ray._private.worker")
    if hasattr(internal, "print_to_stdstream"):
        internal.print_to_stdstream = lambda *_, **__: None
    module: ModuleType = ray
    return module


def connected(ray: Any, cluster: Cluster) -> Any:
    """Starts Ray here, or connects to one that runs; what Ray tells about itself.

    Raises:
        SipVideoError: it cannot be started or reached.
    """
    quiet = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    address = cluster.address
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if address is not None:
                return ray.init(address, **quiet)
            dashboard = None if cluster.dashboard else False
            shared = {"object_store_memory": STORE, "include_dashboard": dashboard}
            return ray.init("local", **shared, **quiet)
    except Exception as error:  # of many kinds, from ValueError to gRPC's own
        where, hint = "Ray cannot be started here", ""
        if address is not None:
            where = f"{address}: cannot be reached"
            hint = " (a cluster with a token: RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH=FILE)"
        raise SipVideoError(f"{where}: {_line(error)}{hint}") from error


def _line(error: Exception) -> str:
    """The first line of what Ray says."""
    return str(error).strip().partition("\n")[0][:300] or type(error).__name__
