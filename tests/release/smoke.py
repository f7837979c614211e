"""``python smoke.py CLIP``: an installed sipvideo at work, run by its own interpreter in an empty folder.

Needs nothing of the checkout. Every step is one line; whatever fails ends it with exit code 1.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import urllib.request
from pathlib import Path

COMMAND = [sys.executable, "-I", "-m", "sipvideo.apps.main"]
PATIENCE = 300.0
"""Seconds after which a step is taken for stuck."""
LIBRARY = """
import sys
import sipvideo
with sipvideo.open_source(sys.argv[1]) as source:
    for result in sipvideo.load(device="cpu").run(source):
        print(len(result.track_ids))
        if result.frame.index == 2:
            break
assert len(sys.argv) == 2 or "torch" not in sys.modules
"""


def main() -> int:
    """Runs all steps on a clip; returns the exit code."""
    clip = str(Path(sys.argv[1]).resolve())
    has_torch = importlib.util.find_spec("torch") is not None
    print(f"python {sys.version.split()[0]}, {'with' if has_torch else 'without'} PyTorch")
    print(f"version: {ran('--version')}")
    ran("video", clip, "-o", "out", "--save", "video,json,csv,lines", "--device", "cpu")
    folder = Path("out") / Path(clip).stem
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    lines = (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()
    objects = sum(len(json.loads(line)["objects"]) for line in lines)
    assert summary["state"] == "complete", summary
    assert objects > len(lines) > 0, "objects in every frame"
    print(
        f"video: {len(lines)} frames, {objects} objects, {sorted(p.name for p in folder.iterdir())}"
    )
    ran("data", "convert", str(folder), "--to", "coco", "-o", "coco")
    print(f"library: objects of three frames: {library(clip, has_torch)}")
    print(f"serve: {health(clip)}")
    if not has_torch:
        said = ran("train", "pictures.json", code=2).splitlines()
        assert said == ["sipvideo: error: PyTorch is not installed: pip install 'sipvideo[torch]'"]
        print(f"train: {said[0]}")
    return 0


def ran(*words: str, code: int = 0) -> str:
    """What a command says; an error where its exit code is another one."""
    done = subprocess.run(
        [*COMMAND, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == code, f"{words}: exit code {done.returncode}\n{done.stdout}"
    return done.stdout.strip()


def library(clip: str, has_torch: bool) -> list[int]:
    """Numbers of objects, as a program gets them."""
    code = [sys.executable, "-I", "-c", LIBRARY, clip, *(["torch"] if has_torch else [])]
    done = subprocess.run(code, check=True, stdout=subprocess.PIPE, text=True, timeout=PATIENCE)
    found = [int(word) for word in done.stdout.split()]
    assert len(found) == 3
    assert min(found) > 0
    return found


def health(clip: str) -> str:
    """What a server of the clip answers to whoever looks after it; its page and its metrics are there too."""
    line = [*COMMAND, "serve", "--source", clip, "--port", "0"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = next(w for w in server.stdout.readline().split() if w.startswith("http"))
            answer = json.loads(fetched(f"{address}api/health"))
            assert answer["status"] == "ok", answer
            assert b"<title>" in fetched(address)
            assert b"sipvideo_info" in fetched(f"{address}metrics")
        finally:
            server.terminate()
    return f"{answer['status']}, {answer['model']}"


def fetched(address: str) -> bytes:
    """The answer of a server, which listens before it says its address."""
    with urllib.request.urlopen(address, timeout=PATIENCE) as answer:
        content: bytes = answer.read()
    return content


if __name__ == "__main__":
    sys.exit(main())
