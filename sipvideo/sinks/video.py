"""The annotated video: H.264 in mp4, with the source's own clock and sound."""

from __future__ import annotations

import errno
import math
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, cast

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import ColorRange
from numpy.typing import NDArray

from sipvideo.errors import SinkError
from sipvideo.machine import usable_cores
from sipvideo.remote import StoredFile
from sipvideo.sinks.audio import IN_MP4, AudioTrack, SoundForm
from sipvideo.sinks.encoders import encoder_of, quality
from sipvideo.sinks.joining import joined
from sipvideo.sinks.sink import Kept, Mark, Sink, parts, replacing, to_disk
from sipvideo.sinks.yuv import MOST_PIXELS, MOST_SIDE, ToYuv, fitted, resized, within
from sipvideo.structures import FrameResult

AT_ONCE = {"flush_packets": "1", "max_interleave_delta": "500000"}
PIECES = {"movflags": "+delay_moov+default_base_moof", "frag_duration": "500000", **AT_ONCE}
"""Options of an mp4 whose beginnings all play: pieces of half a second, handed to the operating system at once; no
picture waits longer than that for sound."""

LATE = 10.0
"""Seconds until the first sound above which a video is not written in pieces: the first piece waits for all tracks."""

THREADS, B_FRAMES = 16, 3
"""Threads of the encoder, at most: each holds back a frame, and so do the frames between which it looks to and fro."""

SAFE = 2.0
"""Seconds of video after which a frame that went into the muxer is on disk: pieces and waiting sound are shorter."""

SOUND_RATES = (44100, 48000)
"""Samples per second of nearly all sound, or multiples of it."""

LARGE = 22_000_000
"""Pixels from which on every frame that the encoder holds back is felt in the memory."""

NO_ROOM = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)

FINEST_TICK = Fraction(1, 90_000)
MOST_TICKS = 2**31 - 2**16
"""Units of time that an mp4 lets one picture be shown for; of the finest that are six hours."""
BT709 = 1


class Clip(Protocol):
    """What an annotated video wants to know of its source; every Source fits."""

    @property
    def path(self) -> StoredFile | None:
        """The file with the sound, None where there is none."""

    @property
    def stream(self) -> int | None:
        """Number of the video in that file."""

    @property
    def clock_start(self) -> float:
        """Second 0 of the timestamps on that file's own clock."""

    @property
    def frame_count(self) -> int | None:
        """Number of frames as declared."""

    @property
    def duration(self) -> float | None:
        """Seconds."""

    @property
    def fps(self) -> float | None:
        """Average frames per second."""

    @property
    def start(self) -> float | None:
        """Timestamp of second 0; None: the first frame's."""

    @property
    def time_base(self) -> Fraction | None:
        """Unit of the timestamps."""

    @property
    def pixel_aspect(self) -> Fraction:
        """Width of a pixel divided by its height."""

    @property
    def is_live(self) -> bool:
        """Frames come when they happen."""

    @property
    def hardware(self) -> str:
        """What decodes it; empty: software."""


class VideoForm(NamedTuple):
    """A kind of video.

    Attributes:
        suffix: of its files.
        codec: FFmpeg's name of the encoder.
        name: of the codec, for people.
        pixels: FFmpeg's name of the encoder's pictures.
        sound: how sound is kept, and in which container.
    """

    suffix: str
    codec: str
    name: str
    pixels: str
    sound: SoundForm


class AnnotatedVideo(Sink):
    """An mp4 that plays everywhere (H.264, yuv420p, index at the front).

    While running, the hidden file is an mp4 in pieces of half a second, so that a run that is killed loses no more
    than that and what the encoder holds back: at most another second of a file, nothing of a live source.
    Every frame keeps its presentation time, also at a variable frame rate. The first audio track of the source's
    file is copied in step, without re-encoding where mp4 allows it, up to the last frame if the run ends early;
    memory does not grow with the length.
    A run that goes on later begins a second hidden file with a key frame; at the end their packets are joined.
    Odd sizes are padded by a repeated row or column; pictures of other sizes than the first are fitted into it
    with black bars; pictures larger than H.264 goes are drawn at the size to which it does.

    Args:
        path: an ``.mp4`` file.
        draw: result -> uint8 [H, W, 3], RGB.
        source: where the frames come from: gives clock, pixel shape and sound; None: timestamps from 0, no sound.
        crf: quality, 0 (lossless) to 51; 18 is hard to tell from the original.
        preset: x264's trade of speed for size.
        keys: frames from which others can be sought, one of so many at least; None: as x264 likes.

    Attributes:
        form: what kind of video it is; others are in :mod:`sipvideo.sinks.transparent`.
    """

    form: ClassVar[VideoForm] = VideoForm(".mp4", "libx264", "H.264", "yuv420p", IN_MP4)

    def __init__(
        self,
        path: str | Path,
        draw: Callable[[FrameResult], NDArray[np.uint8]],
        source: Clip | None = None,
        *,
        crf: int = 20,
        preset: str = "superfast",
        keys: int | None = None,
        mark: Mark | None = None,
    ) -> None:
        if Path(path).suffix.lower() != self.form.suffix:
            raise SinkError(f"{path}: expected a name ending in {self.form.suffix}")
        if source is not None and source.path is not None and _same_file(source.path, Path(path)):
            raise SinkError(f"{path}: is the source itself and must not be overwritten")
        self._file = Path()
        super().__init__(path, mark=mark)
        self._draw = draw
        self._clip = source
        self._crf, self._preset, self._codec = crf, preset, ""
        self._quality: dict[str, str] = {}
        if keys is not None:
            self._quality["g"] = str(keys)
        self._tick = max((source and source.time_base) or FINEST_TICK, FINEST_TICK)
        self._start = source.start if source is not None else 0.0
        fps = min(
            max((source and source.fps) or 25.0, 0.01), 1000.0
        )  # broken files declare anything
        self._fps = Fraction(fps).limit_denominator(1001)
        self._last_tick = -1
        self._paused = 0  # ticks that were left out
        self._next_index = 0
        self._size, self._others, self._reduced = (0, 0), 0, 0
        self._video: av.VideoStream | None = None
        self._audio: AudioTrack | None = None
        self._convert: Callable[[NDArray[np.uint8]], av.VideoFrame] = ToYuv()
        self._in_pieces, self._muxed, self._key_next = True, -math.inf, False
        if mark is not None:
            memory = mark["memory"]
            self._start, self._last_tick = memory["start"], memory["tick"]
            self._paused = memory["paused"]
            self._size, self._others = tuple(memory["size"]), memory["others"]
            self._codec = memory.get("codec", self.form.codec)
            self._reduced = memory["reduced"]
            self._next_index = memory["next_index"]

    def _growing(self) -> tuple[str, ...]:
        return ()  # they are not cut off: packets that come too late are left out in the end

    def _take_up(self, mark: Mark, *, folder: bool) -> None:
        super()._take_up(mark, folder=folder)
        known = mark["sizes"]
        for part in parts(self._partial):
            name = str(part)[len(str(self._partial)) :]
            if name not in known:
                part.unlink()
            elif part.stat().st_size < known[name]:
                raise SinkError(f"{self.path}: what was written of it before is not all there")
        self._file = Path(f"{self._partial}.{len(known)}")

    def _memory(self) -> dict[str, Any]:
        return {
            "start": self._start,
            "tick": self._last_tick,
            "paused": self._paused,
            "size": list(self._size),
            "codec": self._codec,
            "others": self._others,
            "reduced": self._reduced,
            "next_index": self._next_index,
        }

    def mark(self) -> Mark:
        """See :meth:`Sink.mark`. The next picture is a key frame, so that all up to here can do without it."""
        self._key_next = True
        return super().mark()

    def keeps(self, mark: Mark) -> bool:
        """See :meth:`Sink.keeps`."""
        if not self._in_pieces or self._muxed < mark["memory"]["tick"] * self._tick + SAFE:
            return False
        with self._guarded():
            for part in parts(self._partial):
                name = str(part)[len(str(self._partial)) :]
                to_disk(part)
                mark["sizes"][name] = part.stat().st_size
        return True

    def _write(self, result: FrameResult) -> None:
        self._reduced += (size := within(result.frame.size)) != result.frame.size
        picture = self._draw(resized(result, size))
        if self._video is None:
            self._begin(picture, result.frame.timestamp)
        assert self._video is not None
        self._others += picture.shape[:2] != self._size
        frame = self._convert(fitted(picture, (self._video.height, self._video.width)))
        del picture
        frame.pts, frame.time_base = self._next_tick(result.frame.timestamp), self._tick
        if self._key_next:
            frame.pict_type, self._key_next = PictureType.I, False
        self._next_index = result.frame.index + 1
        self._mux(self._video.encode(frame))

    def _next_tick(self, timestamp: float) -> int:
        tick = round((timestamp - (self._start or 0.0)) / self._tick) - self._paused
        if tick - self._last_tick > MOST_TICKS:
            left_out = tick - self._last_tick - round(1 / self._fps / self._tick)
            self._paused, tick = self._paused + left_out, tick - left_out
            self._leave_out(float(left_out * self._tick))
        # Two frames in one tick cannot be told apart: the later one moves on by one.
        self._last_tick = max(tick, self._last_tick + 1)
        return self._last_tick

    def _leave_out(self, seconds: float) -> None:
        """Tells of a pause that mp4 cannot hold. Sound would not be in step behind it, and ends there."""
        second = float(max(self._last_tick, 0) * self._tick)
        sound = ", and the sound behind it" if self._audio is not None else ""
        self.notes.append(
            f"a pause of {seconds / 3600:.1f} hours at {second:.1f} s is left out{sound}: mp4 holds none so long"
        )
        if self._audio is not None:
            self._audio.copy_until(second)
            self.notes += self._audio.notes
            self._audio = None

    def _begin(self, picture: NDArray[np.uint8], timestamp: float) -> None:
        """Opens the file: its size is the first picture's, made even, as yuv420p demands."""
        self._size = self._size if any(self._size) else picture.shape[:2]
        if self._start is None:
            self._start = timestamp
        begin = None if self._mark is None else timestamp - self._start
        options = self._options(goes_on=begin is not None)
        file = str(self._file if self._mark is not None else self._partial)
        self._target = av.open(file, "w", format=self.form.sound.container, options=options)
        self._handles.callback(self._release)  # called last
        self._handles.callback(self._target.close)
        if not self._codec:
            hardware = self._clip.hardware if self._clip is not None else ""
            self._codec, note = encoder_of(self.form.codec, hardware)
            self.notes += [note] if note else []
        made = self._target.add_stream(self._codec, self._fps, self._encoder(self._size))
        self._video = video = cast(av.VideoStream, made)
        video.height, video.width = (side + side % 2 for side in self._size)
        video.pix_fmt = self.form.pixels
        context = video.codec_context
        context.time_base = self._tick
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = ColorRange.MPEG
        if self._clip is not None:
            context.sample_aspect_ratio = self._clip.pixel_aspect
            if self._clip.path is not None and not self._paused:
                self._audio = AudioTrack(
                    self._clip.path,
                    self._target,
                    self._start + self._clip.clock_start,
                    self._clip.stream,
                    since=begin,
                    form=self.form.sound,
                )
                self._handles.callback(self._audio.close)
                late = LATE < self._audio.begin - (begin or 0.0) < math.inf
                if late and "frag_duration" in self._target.options:
                    self._in_pieces = False
                    self._target.options.pop("frag_duration")
                    self._target.options["movflags"] = "+faststart"

    def _options(self, *, goes_on: bool) -> dict[str, str]:
        """Options of a container of which every beginning plays."""
        # The unit in which delays of pictures and sound are told; by default it is a coarse millisecond.
        unit = self._tick.denominator
        if goes_on and (finer := math.lcm(unit, *SOUND_RATES)) < 1 << 31:
            unit = finer
        return {**PIECES, "movie_timescale": str(unit)}

    def _encoder(self, size: tuple[int, int]) -> dict[str, str]:
        """Options of an encoder: it may hold back a second, and nothing of what cannot be filmed again, or is large."""
        threads = min(THREADS, math.ceil(1.5 * usable_cores()))
        live = self._clip is not None and self._clip.is_live
        large = size[0] * size[1] > LARGE
        at_once = live or large or threads + B_FRAMES > self._fps
        options = quality(self._codec, self._crf, self._preset, at_once=at_once) | self._quality
        if self._codec != self.form.codec:
            return options
        options["threads"] = str(threads)
        if large:
            # Motion by whole pixels: one plane of each frame in place of four.
            options["subq"] = "0"
        return options

    def _release(self) -> None:
        """The encoder's threads end now: whoever draws may know this sink, and both wait for the garbage collector."""
        self._video = self._audio = None
        del self._target

    def _mux(self, packets: list[av.Packet[Any]]) -> None:
        for packet in packets:
            if self._audio is not None and packet.dts is not None:
                self._audio.copy_until(float(packet.dts * packet.time_base))
            self._target.mux(packet)
            if packet.dts is not None:
                self._muxed = float(packet.dts * packet.time_base)

    def _finish(self) -> None:
        if self._video is None and self._mark is None:
            raise SinkError(f"{self.path}: there was no frame to write")
        if self._others:
            height, width = self._size
            self.notes.append(
                f"{self._others} pictures of another size are fitted into that of the first, {width} x {height}"
            )
        if self._reduced and not self.keep:
            self.notes.append(
                f"{self._reduced} pictures are larger than {self.form.name} goes, and shown smaller: up to"
                f" {MOST_PIXELS / 1e6:.0f} million pixels, {MOST_SIDE} a side"
            )
        if self._video is not None:
            self._mux(self._video.encode(None))
        if self._audio is not None:
            end = float(self._last_tick * self._tick + 1 / self._fps)
            self._audio.copy_until(math.inf if self._is_whole(end) else end)
            self.notes += self._audio.notes

    @classmethod
    def assemble(cls, partial: Path, path: Path, *, keep: bool = False) -> Kept:
        """See :meth:`Sink.assemble`. Where there is no room for a copy, the pieces themselves become the video."""
        files = parts(partial)
        for file in files:
            cls._cut(file)
        if not partial.stat().st_size:
            for file in files:
                file.unlink()
            return Kept(0)
        try:
            with replacing(path) as new:
                kept = joined(files, new, cls.form.sound.container)
        except OSError as error:
            if error.errno not in NO_ROOM or len(files) > 1:
                raise
            kept = joined(files, None, cls.form.sound.container)
            super().assemble(partial, path, keep=keep)
        else:
            for file in reversed(files if not keep else ()):
                file.unlink()
        return kept

    @classmethod
    def _cut(cls, file: Path) -> None:
        """Cuts off what was being written when a file ended; where nothing is left that plays, it is empty."""
        _cut_to_whole_pieces(file)

    def _is_whole(self, end: float) -> bool:
        """Whether the source was shown to its last frame, which sound may outlast; ``end`` in seconds."""
        clip = self._clip
        if clip is None or (clip.frame_count is not None and self._next_index >= clip.frame_count):
            return True
        return clip.duration is not None and end + 0.1 >= clip.duration


def _cut_to_whole_pieces(path: Path) -> None:
    """Cuts off what was being written when a video in pieces ended; needs no room. Without any piece it is empty."""
    size = path.stat().st_size
    whole = position = pieces = 0
    with path.open("r+b") as file:
        while position + 16 <= size:
            file.seek(position)
            length, kind, long = struct.unpack(">I4sQ", file.read(16))
            length = long if length == 1 else length
            if length < 8 or position + length > size:
                break
            position += length
            if kind != b"moof":  # the index of a piece, of no use without the piece
                whole = position
            pieces += kind == b"mdat"
        if whole < size or not pieces:
            file.truncate(whole if pieces else 0)


def _same_file(a: StoredFile, b: Path) -> bool:
    return isinstance(a, Path) and b.exists() and a.exists() and a.samefile(b)
