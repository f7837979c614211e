"""The pictures under a run's masks: its source found again, single frames of it, and a film that browsers play."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sipvideo.errors import SinkError, SipVideoError, SourceError
from sipvideo.remote import shown
from sipvideo.results import FILES
from sipvideo.results_reader import source_of
from sipvideo.sinks import AnnotatedVideo
from sipvideo.sources import Capture, Source, browser_type, open_source
from sipvideo.structures import Detections, FrameResult
from sipvideo.studio.index import CACHE, Progress, RunIndex

PROXY = "proxy-"
POINTED = "source.json"
NEAR = 48
"""Frames ahead that are decoded one after the other rather than sought."""
MOST_BACK, BACK_PIXELS = 12, 50_000_000
"""Pictures that are kept behind the latest one, at most, and how many pixels they have."""
KEYS = 12
"""Of so many frames of a proxy one can be sought."""
KEPT = 64
"""Pictures that are kept as JPEG."""
QUALITY = 88

Kind = Literal["source", "annotated"]


@dataclass(frozen=True)
class Upload:
    """The video that a run was made from, where a server keeps it itself.

    Attributes:
        path: of the file.
        open: opens it.
        options: of FFmpeg, for files that are not trusted.
    """

    path: Path
    open: Callable[[], AbstractContextManager[Source]]
    options: Mapping[str, str] = field(default_factory=dict)


class RunVideo:
    """The pictures of one run. All methods may be called from any thread.

    Args:
        index: of the run.
        upload: its video, where a server has it.

    Attributes:
        kind: what is there: the run's source; or, where that is not found or people were covered in it, the run's own
            video with masks drawn in; None: no picture.
    """

    def __init__(self, index: RunIndex, upload: Upload | None = None) -> None:
        self._index = index
        self._upload = upload
        self._lock = threading.Lock()
        self._source: Source | None = None
        self._stack = contextlib.ExitStack()
        self._captures: Generator[Capture, None, None] | None = None
        self._passed: OrderedDict[int, Capture] = OrderedDict()
        self._jpegs: OrderedDict[int, bytes] = OrderedDict()
        self.kind: Kind | None = None
        self._text: str | None = None
        self._find()

    def point(self, text: str) -> None:
        """Takes another source, as a moved file, for this time and later ones.

        Raises:
            SipVideoError: it cannot be opened, is not of the run's size, or people were covered.
        """
        source_of(self._index.folder, text)  # raises where people were covered
        self._check(text)
        folder = self._index.folder / CACHE
        try:
            folder.mkdir(exist_ok=True)
            (folder / POINTED).write_text(json.dumps({"source": text}), "utf-8")
        except OSError as error:
            raise SinkError(f"{folder}: cannot be written: {error.strerror}") from error
        with self._lock:
            self._forget()
            self._find()

    def image(self, frame: int) -> NDArray[np.uint8]:
        """The picture of a frame, uint8 [H, W, 3], RGB.

        Raises:
            SourceError: there is none.
        """
        with self._lock:
            return self._image(frame)

    def jpeg(self, frame: int) -> bytes:
        """The picture of a frame as JPEG. Raises SourceError."""
        with self._lock:
            known = self._jpegs.get(frame)
            if known is None:
                file = BytesIO()
                Image.fromarray(self._image(frame)).save(file, "JPEG", quality=QUALITY)
                known = self._jpegs[frame] = file.getvalue()
                if len(self._jpegs) > KEPT:
                    self._jpegs.popitem(last=False)
            self._jpegs.move_to_end(frame)
            return known

    def under(self, results: Iterable[FrameResult]) -> Generator[FrameResult, None, None]:
        """Results of the run with their pictures, as far as the source has them.

        Raises:
            SourceError: there is none, or it is damaged.
        """
        if self.kind != "source":
            raise SourceError(f"{self._index.folder}: what it was made from is not there")
        with self._opened() as source, contextlib.closing(source.captures()) as frames:  # type: ignore[type-var]
            at: Capture | None = None
            for result in results:
                while at is None or at.index < result.frame.index:
                    at = next(frames, None)
                    if at is None:
                        return
                if at.index == result.frame.index:
                    yield replace(result, frame=at.frame())

    def clip(self) -> AbstractContextManager[Source] | None:
        """The source, opened, for whoever wants its sound and clock; None: it is not there."""
        return self._opened() if self.kind == "source" else None

    @property
    def path(self) -> Path | None:
        """The file of the source; None: there is none, or it is none."""
        return self._file() if self.kind == "source" else None

    @property
    def film(self) -> tuple[Path, str] | None:
        """A file that browsers play, and its media type; None: there is none (yet)."""
        if self.kind is None:
            return None
        if self._proxy.is_file():
            return self._proxy, "video/mp4"
        path = self._file()
        kind = None if path is None else browser_type(path, self._options)
        return None if path is None or kind is None else (path, kind)

    def make_proxy(self, progress: Progress) -> Path:
        """Makes a film that browsers play of every frame of the source up to the run's last, with the same times.

        Raises:
            SipVideoError: it cannot be read, or not be written.
        """
        path = self._proxy
        path.parent.mkdir(exist_ok=True)
        for former in path.parent.glob(f"{PROXY}*.mp4"):
            former.unlink()
        last = int(self._index.columns.numbers[-1])
        with self._opened() as source:
            draw = _picture_of
            with AnnotatedVideo(path, draw, source, keys=KEYS) as sink:
                for frame in source:
                    if frame.index > last:
                        break
                    none = Detections.empty(frame.size)
                    sink.write(FrameResult(frame, none, np.zeros(0, np.int64), 0.0))
                    progress((frame.index + 1) / (last + 1))
        return path

    def close(self) -> None:
        """Frees what is open."""
        with self._lock:
            self._forget()

    @property
    def _proxy(self) -> Path:
        """Its name tells of what it is made: a film of what was there before, perhaps uncovered, is never taken."""
        about = [self._text]
        with contextlib.suppress(OSError):
            found = Path(self._text or "").stat()
            about += [str(found.st_size), str(found.st_mtime_ns)]
        name = hashlib.sha256(json.dumps(about).encode("utf-8", "surrogateescape")).hexdigest()
        return self._index.folder / CACHE / f"{PROXY}{name[:16]}.mp4"

    @property
    def _options(self) -> Mapping[str, str]:
        return self._upload.options if self._upload is not None else {}

    def _find(self) -> None:
        """Looks for the source where it was, beside the run, and where somebody said it is."""
        if self._upload is not None:
            # A visitor names his file as he likes: files of this machine are not looked for under that name.
            covered = source_of(self._index.folder) is None
            if not covered and self._upload.path.is_file():
                self.kind, self._text = "source", str(self._upload.path)
                return
            self._upload = None
        else:
            for text in self._candidates():
                with contextlib.suppress(SipVideoError):
                    self._check(text)
                    self.kind, self._text = "source", text
                    return
        drawn = self._index.folder / FILES["video"]
        self.kind, self._text = ("annotated", str(drawn)) if drawn.is_file() else (None, None)

    def _candidates(self) -> Iterator[str]:
        folder = self._index.folder
        told = source_of(folder)
        if told is None:
            return
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            yield str(json.loads((folder / CACHE / POINTED).read_text("utf-8"))["source"])
        if "://" in told or told.isdigit():
            return
        yield told
        for parent in (folder, *folder.resolve().parents[:2]):
            yield str(parent / told)
            yield str(parent / Path(told).name)

    def _check(self, text: str) -> None:
        """Raises SourceError where a source does not fit the run."""
        if text.isdigit() or not ("://" in text or Path(text).exists()):
            raise SourceError(f"{shown(text)}: no such file or folder")
        with open_source(text) as source:
            if source.is_live:
                raise SourceError(f"{source.name}: is live, the frames of the run are gone")
            size, wanted = source.frame_size, tuple(self._index.columns.sizes[0].tolist())
            if size is not None and size != wanted:
                raise SourceError(
                    f"{source.name}: has pictures of {size[1]} x {size[0]}, the run is of {wanted[1]} x {wanted[0]}"
                )

    def _opened(self) -> AbstractContextManager[Source]:
        if self._text is None:
            raise SourceError(f"{self._index.folder}: what it was made from is not there")
        return open_source(self._text) if self._upload is None else self._upload.open()

    def _file(self) -> Path | None:
        path = None if self._text is None else Path(self._text)
        return path if path is not None and path.is_file() else None

    def _image(self, frame: int) -> NDArray[np.uint8]:
        capture = self._capture(frame)
        if capture is None:
            raise SourceError(
                f"{self._index.folder}: frame {frame} is not in what it was made from"
            )
        return np.asarray(capture.rgb(), np.uint8)

    def _capture(self, frame: int) -> Capture | None:
        """A frame's capture: one of those at hand, one soon after them, or sought."""
        number = self._number(frame)
        if number in self._passed:
            return self._passed[number]
        latest = next(reversed(self._passed), -NEAR)
        if self._captures is None or not latest < number <= latest + NEAR:
            self._captures = self._begin(frame)
        for capture in self._captures:
            self._passed[capture.index] = capture
            if len(self._passed) > self._room:
                self._passed.popitem(last=False)
            if capture.index >= number:
                return self._passed.get(number)
        self._captures = None
        return None

    def _number(self, frame: int) -> int:
        """A frame's number in the source. A video with masks drawn in has the run's frames alone."""
        return frame if self.kind == "annotated" else int(self._index.columns.numbers[frame])

    @property
    def _room(self) -> int:
        """Pictures before one that was sought which are kept, for whoever goes back from there frame by frame."""
        height, width = self._index.columns.sizes[0].tolist()
        return int(min(MOST_BACK, max(2, BACK_PIXELS // (height * width))))

    def _begin(self, frame: int) -> Generator[Capture, None, None]:
        """Captures from a few before a frame on: they have to be decoded anyway."""
        self._passed.clear()
        if self._source is None:
            self._source = self._stack.enter_context(self._opened())
        elif self._captures is not None:
            self._captures.close()
        first = max(0, frame - self._room + 1)
        second = float(self._index.columns.times[first])
        captures = self._source.captures_at(self._number(first), second)
        return (capture for capture in captures)

    def _forget(self) -> None:
        self._stack.close()
        self._source = self._captures = None
        self._passed.clear()
        self._jpegs.clear()


def _picture_of(result: FrameResult) -> NDArray[np.uint8]:
    return result.frame.image
