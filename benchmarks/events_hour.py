"""An hour of ten watched cameras, and a broker that dies twice: is every event told, and is the log right?

    python benchmarks/events_hour.py --minutes 60 -o hour
    python benchmarks/events_hour.py --report -o hour

Ten network cameras of this machine (HTTP, RTSP, UDP, TCP) show people who walk. ``sipvideo serve`` watches a zone and
two lines in each of them and sends its events to a Mosquitto of its own, which is killed after a quarter of the time
for 20 seconds and after three fifths of it for a twelfth of the time. A receiver with a lasting session writes down
what arrives. At the end the log on disk is compared with a second reckoning of the same events, from the objects of
all frames by the direct definition and without the code that is measured; with the table beside it; with the counts
that ``/metrics`` tells; and with what arrived.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from events_reckoned import GONE_AFTER, HALL, LINES, STAY, logged, reckoned

from sipvideo.apps import serve
from sipvideo.apps.reports.cameras import NetworkCamera, Picture

CLIP = Path(__file__).parents[1] / "examples" / "pedestrians.mp4"
KINDS = ("http", "rtsp", "udp", "tcp")
CAMERAS = 10
SIZE = (240, 320)
FPS = 1.0
SLOWER = 12
"""The film goes so many times slower than it was taken: ten cameras on a busy machine get few results a second."""
PART = (180, 576, 240, 768)
"""Rows and columns of the film that are shown: where people are large."""
DEATHS = ((0.25, 20.0), (0.6, None))
"""When the broker dies, as a part of the time, and for how many seconds; None: a twelfth of the time."""
EVERY = 10.0
"""Seconds between samples."""


def main() -> int:
    """Runs, and reports; 1 where something is not as promised."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="default: 60")
    parser.add_argument("-o", "--output", type=Path, default=Path("hour"), help="default: hour")
    parser.add_argument("--report", action="store_true", help="only of what is in the folder")
    parser.add_argument("--serve", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve is not None:
        # Beside the events all objects of all frames, for the second reckoning.
        serve.WATCHED = ("events", "lines")
        return serve.main(args.serve)
    if not args.report:
        args.output.mkdir(parents=True)
        run(args.output, args.minutes * 60)
    return report(args.output)


def run(folder: Path, seconds: float) -> None:
    """The hour."""
    (folder / "zones.yaml").write_text(rules(), encoding="utf-8")
    pictures = film()
    broker = Broker(folder)
    kinds = [KINDS[k % len(KINDS)] for k in range(CAMERAS)]
    cameras = [NetworkCamera(kind, of(pictures, k), FPS) for k, kind in enumerate(kinds)]
    with contextlib.ExitStack() as stack:
        stack.callback(broker.kill)
        broker.start()
        stack.enter_context(receiver(folder, broker.port))
        for camera in cameras:
            stack.enter_context(camera)
        address = f"mqtt://127.0.0.1:{broker.port}/sipvideo/events"
        sources = [camera.address for camera in cameras]
        server, page = stack.enter_context(serving(folder, sources, address))
        deaths = threading.Thread(target=die_twice, args=(broker, seconds), daemon=True)
        deaths.start()
        sample(folder, server, seconds)
        deaths.join()
        for camera in cameras:
            camera.kill()
        time.sleep(10)  # what was on its way is counted
        with urllib.request.urlopen(f"{page}metrics", timeout=60) as answer:
            (folder / "metrics.txt").write_bytes(answer.read())
        server.send_signal(signal.SIGINT)
        server.wait(120)
        time.sleep(5)


def rules() -> str:
    """The zones file."""
    lines = "".join(f"  {name}: {{from: [{x}, 0], to: [{x}, 1]}}\n" for name, x in LINES.items())
    polygon = f"[[{HALL}, 0], [1, 0], [1, 1], [{HALL}, 1]]"
    return f"zones:\n  hall: {{polygon: {polygon}, stay: {STAY}}}\nlines:\n{lines}gone_after: {GONE_AFTER}\n"


def film() -> list[Picture]:
    """The example clip, small."""
    import cv2

    from sipvideo.sources import VideoFile

    with VideoFile(CLIP) as video:
        top, bottom, left, right = PART
        parts = [frame.image[top:bottom, left:right] for frame in video]
    return [
        np.asarray(cv2.resize(part, SIZE[::-1], interpolation=cv2.INTER_AREA)) for part in parts
    ]


def of(pictures: Sequence[Picture], camera: int) -> Any:
    """What a camera sees: the same film forth and back, each begins somewhere else."""
    there_and_back = [*pictures, *reversed(pictures)]
    begin = camera * len(there_and_back) // CAMERAS

    def at(moment: float) -> Picture:
        return there_and_back[(begin + int(moment * 10 / SLOWER)) % len(there_and_back)].copy()

    return at


def quiet_port() -> int:
    """A free port that the machine gives to nobody by itself, so that it is still free when the broker comes back."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in range(lowest - 1, 1024, -1):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise SystemExit("no port is free")


class Broker:
    """A Mosquitto that keeps sessions on disk, at one address for all its lives."""

    def __init__(self, folder: Path) -> None:
        self.port = quiet_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._program = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
        self._settings = folder / "mosquitto.conf"
        place = folder.resolve() / "broker"
        place.mkdir()
        self._settings.write_text(
            f"user {getpass.getuser()}\nlistener {self.port} 127.0.0.1\nallow_anonymous true\npersistence true\n"
            f"persistence_location {place}/\nautosave_on_changes true\nautosave_interval 1\n"
            "max_queued_messages 0\n"
        )
        self._log = folder / "broker.log"

    def start(self) -> None:
        """Begins a life."""
        assert self._program is not None, "mosquitto is not installed"
        with self._log.open("a") as log:
            command = [self._program, "-c", str(self._settings)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        time.sleep(1)
        assert self._process.poll() is None, f"the broker does not run: see {self._log}"

    def kill(self) -> None:
        """Ends it without a word."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def die_twice(broker: Broker, seconds: float) -> None:
    """Kills the broker and starts it again, at the times of ``DEATHS``."""
    begun = time.monotonic()
    for part, away in DEATHS:
        time.sleep(max(begun + part * seconds - time.monotonic(), 0))
        broker.kill()
        time.sleep(seconds / 12 if away is None else min(away, seconds / 12))
        broker.start()


@contextlib.contextmanager
def receiver(folder: Path, port: int) -> Iterator[None]:
    """Writes down every event that arrives, doubles too."""
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    client = Client(CallbackAPIVersion.VERSION2, "receiver", clean_session=False)
    client.reconnect_delay_set(1, 2)
    client.on_connect = lambda *_: client.subscribe("sipvideo/events", qos=1)
    with (folder / "received.jsonl").open("w", encoding="utf-8") as file:

        def keep(*arrived: Any) -> None:
            file.write(arrived[2].payload.decode() + "\n")
            file.flush()

        client.on_message = keep
        until = time.monotonic() + 10
        while True:
            try:
                client.connect("127.0.0.1", port, keepalive=10)
                break
            except OSError:
                assert time.monotonic() < until
                time.sleep(0.1)
        client.loop_start()
        try:
            yield
        finally:
            client.disconnect()
            client.loop_stop()


@contextlib.contextmanager
def serving(
    folder: Path, sources: Sequence[str], address: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """``sipvideo serve`` as a process, and its page."""
    command = [sys.executable, __file__, "--serve", "--port", "0"]
    command += [part for source in sources for part in ("--source", source)]
    command += ["--zones", str(folder / "zones.yaml"), "--send", address]
    command += ["--events", str(folder / "events"), "--set", "input.size=[192,192]"]
    with (folder / "server.log").open("w") as log:
        surroundings = os.environ | {"OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, env=surroundings, text=True
        )
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().split()[2]
        finally:
            process.kill()
            process.wait()


def sample(folder: Path, server: subprocess.Popen[str], seconds: float) -> None:
    """A line of figures every ten seconds."""
    begun = due = time.monotonic()
    with (folder / "samples.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(("seconds", "mb", "handles", "threads", "received"))
        while due - begun < seconds:
            due += EVERY
            time.sleep(max(due - time.monotonic(), 0))
            if server.poll() is not None:
                raise SystemExit(f"the server ended: see {folder / 'server.log'}")
            status = Path(f"/proc/{server.pid}/status").read_text()
            about = dict(line.split(":", 1) for line in status.splitlines())
            received = len((folder / "received.jsonl").read_bytes().splitlines())
            mb = int(about["VmRSS"].split()[0]) / 1024
            handles = len(os.listdir(f"/proc/{server.pid}/fd"))
            table.writerow(
                (round(due - begun), round(mb, 1), handles, int(about["Threads"]), received)
            )
            file.flush()


def report(folder: Path) -> int:
    """Compares everything, and prints it."""
    troubles: list[str] = []
    log: dict[str, dict[str, Any]] = {}
    frames = kinds = 0
    by_kind: Counter[str] = Counter()
    counted: Counter[str] = Counter()
    for place in sorted((folder / "events").iterdir()):
        records = _lines(place / "events" / "events.jsonl")
        objects = _lines(place / "results.jsonl")
        with (place / "events" / "events.csv").open(encoding="utf-8", newline="") as file:
            table = [row["id"] for row in csv.DictReader(file)]
        frames += len(objects)
        by_kind.update(record["kind"] for record in records)
        counted.update(_counts(records))
        ours, second = Counter(map(logged, records)), reckoned(objects)
        kinds += 1
        if ours != second:
            examples = [*(ours - second), *(second - ours)][:4]
            wrong = (ours - second).total(), (second - ours).total()
            troubles.append(f"{place.name}: {wrong[0]} too many, {wrong[1]} missing: {examples}")
        numbers = [int(record["id"].rpartition(":")[2]) for record in records]
        if numbers != list(range(len(numbers))) or table != [r["id"] for r in records]:
            troubles.append(f"{place.name}: numbers or table are wrong")
        log |= {record["id"]: record for record in records}
    received = _lines(folder / "received.jsonl")
    arrived = {record["id"]: record for record in received}
    if arrived != log:
        lost = [key for key in log if key not in arrived]
        strange = [key for key in arrived if arrived[key] != log.get(key)]
        troubles.append(f"receiver: {len(lost)} lost, {len(strange)} not in the log: {lost[:3]}")
    told = _metrics(folder / "metrics.txt")
    if told != counted:
        troubles.append(
            f"/metrics: {dict(told - counted)} too many, {dict(counted - told)} missing"
        )
    print(f"{kinds} cameras, {frames} frames, {len(log)} events: {dict(by_kind)}")
    print(f"received {len(received)}, of which {len(received) - len(arrived)} doubles")
    print(f"counts of /metrics: {dict(told)}")
    _print_samples(folder / "samples.csv")
    print(f"troubles: {len(troubles)}", *troubles, sep="\n")
    return 1 if troubles else 0


def _lines(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def _counts(records: Sequence[dict[str, Any]]) -> Iterator[str]:
    for record in records:
        if record["kind"] == "entered":
            yield record["place"]
        elif record["kind"] == "crossed":
            yield f"{record['place']}, {record['direction']}"


def _metrics(path: Path) -> Counter[str]:
    """Visits and crossings that the server told, over all cameras and classes."""
    from prometheus_client.parser import text_string_to_metric_families

    counts: Counter[str] = Counter()
    for family in text_string_to_metric_families(path.read_text(encoding="utf-8")):
        for one in family.samples:
            if one.name == "sipvideo_zone_visits_total":
                counts[one.labels["zone"]] += int(one.value)
            elif one.name == "sipvideo_line_crossings_total":
                counts[f"{one.labels['line']}, {one.labels['direction']}"] += int(one.value)
    return counts


def _print_samples(path: Path) -> None:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    print(f"{float(rows[-1]['seconds']) / 60:.0f} minutes; medians of the second and last quarter:")
    for name in ("mb", "handles", "threads"):
        values = [float(row[name]) for row in rows]
        quarter = max(len(values) // 4, 1)
        then, now = np.median(values[quarter : 2 * quarter or None]), np.median(values[-quarter:])
        print(f"  {name}: {then:g}, {now:g}")


if __name__ == "__main__":
    sys.exit(main())
