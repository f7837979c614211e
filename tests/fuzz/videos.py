"""Video files of many containers and codecs, damaged in their bytes, their packets and their numbers."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from tests.fuzz.case import FUNCTION, NETWORK, Case
from tests.fuzz.mutate import NUMBERS, Rng, choose, mutated_bytes
from tests.media import picture

SIZE = (48, 64)
FRAMES = 12

# Name: suffix, video codec, its pixel format, audio codec or nothing.
BASES: dict[str, tuple[str, str, str, str]] = {
    "mp4_h264_aac": (".mp4", "libx264", "yuv420p", "aac"),
    "mp4_hevc_ac3": (".mp4", "libx265", "yuv420p", "ac3"),
    "mp4_mpeg4_mp3": (".mp4", "mpeg4", "yuv420p", "libmp3lame"),
    "mp4_av1_opus": (".mp4", "libsvtav1", "yuv420p", "libopus"),
    "mov_prores_pcm": (".mov", "prores_ks", "yuv422p10le", "pcm_s16le"),
    "mov_qtrle_alac": (".mov", "qtrle", "argb", "alac"),
    "mkv_ffv1_flac": (".mkv", "ffv1", "yuv420p", "flac"),
    "mkv_h264_vorbis": (".mkv", "libx264", "yuv444p", "vorbis"),
    "mkv_vp9_mp2": (".mkv", "libvpx-vp9", "yuv420p", "mp2"),
    "webm_vp8_vorbis": (".webm", "libvpx", "yuv420p", "vorbis"),
    "webm_vp9_opus": (".webm", "libvpx-vp9", "yuva420p", "libopus"),
    "avi_mpeg4_mp3": (".avi", "mpeg4", "yuv420p", "libmp3lame"),
    "avi_mjpeg_adpcm": (".avi", "mjpeg", "yuvj420p", "adpcm_ms"),
    "avi_huffyuv_pcm": (".avi", "huffyuv", "yuv422p", "pcm_u8"),
    "avi_msmpeg4": (".avi", "msmpeg4", "yuv420p", ""),
    "ts_h264_aac": (".ts", "libx264", "yuv420p", "aac"),
    "ts_hevc": (".ts", "libx265", "yuv420p10le", ""),
    "ts_mpeg2_mp2": (".ts", "mpeg2video", "yuv420p", "mp2"),
    "mpg_mpeg1_mp2": (".mpg", "mpeg1video", "yuv420p", "mp2"),
    "vob_mpeg2_ac3": (".vob", "mpeg2video", "yuv420p", "ac3"),
    "flv_flv1_mp3": (".flv", "flv", "yuv420p", "libmp3lame"),
    "flv_h264_aac": (".flv", "libx264", "yuv420p", "aac"),
    "wmv_wmv2_wma": (".wmv", "wmv2", "yuv420p", "wmav2"),
    "asf_msmpeg4": (".asf", "msmpeg4", "yuv420p", ""),
    "3gp_h263": (".3gp", "h263", "yuv420p", "aac"),
    "gif": (".gif", "gif", "rgb8", ""),
    "apng": (".apng", "apng", "rgba", ""),
    "mxf_mpeg2_pcm": (".mxf", "mpeg2video", "yuv420p", "pcm_s16le"),
    "ogv_vp8_flac": (".ogv", "libvpx", "yuv420p", "flac"),
    "y4m_raw": (".y4m", "rawvideo", "yuv420p", ""),
    "raw_h264": (".h264", "libx264", "yuv420p", ""),
    "raw_hevc": (".hevc", "libx265", "yuv420p", ""),
    "ivf_vp8": (".ivf", "libvpx", "yuv420p", ""),
    "nut_utvideo": (".nut", "utvideo", "yuv420p", "pcm_f32le"),
}

QUICK = {
    "libx264": {"preset": "ultrafast", "crf": "28", "g": "6", "bf": "2", "threads": "1"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:pools=none:keyint=6"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8", "threads": "1"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "threads": "1"},
    "libsvtav1": {"preset": "11", "crf": "40", "svtav1-params": "lp=1"},
}
RATES = {"adpcm_ms": 22050, "libopus": 48000, "pcm_s16le": 48000}


@functools.cache
def base(name: str) -> bytes:
    """A small whole file of one kind, made when it is first asked for."""
    suffix, codec, pixels, sound = BASES[name]
    height, width = (96, 128) if codec == "h263" else SIZE
    path = Path(f"base{suffix}")
    if suffix == ".mxf":
        height, width = 576, 720  # MXF takes sizes of broadcast alone
    container_format = {".h264": "h264", ".hevc": "hevc"}.get(suffix)
    av.logging.set_level(None)
    with av.open(str(path), "w", format=container_format) as container:
        stream: Any = container.add_stream(codec, rate=Fraction(25), options=QUICK.get(codec, {}))
        stream.height, stream.width, stream.pix_fmt = height, width, pixels
        if codec != "libsvtav1":  # it takes quality alone
            stream.bit_rate = 200_000
        audio: Any = None
        if sound:
            experimental = {"strict": "experimental"}
            audio = container.add_stream(sound, RATES.get(sound, 44100), options=experimental)
            audio.bit_rate = 64_000
            audio.layout = "mono" if sound in ("pcm_s16le", "adpcm_ms", "alac") else "stereo"
        for index in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(picture(index, (height, width)), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
            if audio is not None:
                container.mux(audio.encode(_tone(index, audio)))
        container.mux(stream.encode(None))
        if audio is not None:
            container.mux(audio.encode(None))
    data = path.read_bytes()
    path.unlink()
    return data


def _tone(index: int, audio: Any) -> av.AudioFrame:
    """One frame's length of sound; the encoder's resampler makes of it what it needs."""
    size = audio.rate // 25
    channels = audio.layout.nb_channels
    wave = np.sin((np.arange(size) + index * size) * 0.06) * 8000
    samples = np.repeat(wave.astype(np.int16), channels)[None]
    frame = av.AudioFrame.from_ndarray(samples, format="s16", layout=audio.layout.name)
    frame.sample_rate, frame.pts, frame.time_base = (
        audio.rate,
        index * size,
        Fraction(1, audio.rate),
    )
    return frame


def damaged(rng: Rng, names: tuple[str, ...] = tuple(BASES)) -> tuple[bytes, str, str]:
    """A damaged file's bytes, its suffix, and the recipe."""
    name = choose(rng, names)
    suffix, data = BASES[name][0], base(name)
    way = int(rng.integers(10))
    if way < 4 or (
        suffix == ".nut" and way < 8
    ):  # FFmpeg itself ends the process where it writes such packets to .nut
        data, how = mutated_bytes(rng, data, base(choose(rng, names)))
    elif way < 8:
        data, how, suffix = repacked(rng, data, suffix)
    else:
        data, how = _renumbered(rng, data)
    return data, suffix, f"{name}: {how}"


def repacked(rng: Rng, data: bytes, suffix: str) -> tuple[bytes, str, str]:
    """Packets in another order, lost, doubled, damaged or with other times, in a whole container again.

    Where the container does not take them, what it took so far; another container now and then.
    """
    source = Path(f"repacked{suffix}")
    source.write_bytes(data)
    if rng.random() < 0.3:
        suffix = choose(rng, (".mkv", ".mp4", ".avi", ".ts", ".mov"))
    target = Path(f"target{suffix}")
    change = choose(rng, PACKET_CHANGES)
    try:
        with av.open(str(source)) as given, av.open(str(target), "w") as taken:
            streams = {s.index: taken.add_stream_from_template(s) for s in given.streams}
            packets = [p for p in given.demux() if p.size]
            for packet in change(rng, packets):
                packet.stream = streams[packet.stream.index]
                taken.mux_one(packet)
    except (av.error.FFmpegError, ValueError, OverflowError):
        pass
    made = target.read_bytes() if target.exists() else b""
    source.unlink()
    target.unlink(missing_ok=True)
    if not made:
        return data[: int(rng.integers(len(data)))], "cut", suffix
    return made, f"packets {change.__name__.strip('_')}{suffix}", suffix


def _shuffled(rng: Rng, packets: list[Any]) -> Iterator[Any]:
    for k in rng.permutation(len(packets)).tolist():
        yield packets[k]


def _lost(rng: Rng, packets: list[Any]) -> Iterator[Any]:
    keep = rng.random(len(packets)) > rng.choice([0.1, 0.5, 0.9])
    yield from (p for p, k in zip(packets, keep, strict=True) if k)


def _doubled(rng: Rng, packets: list[Any]) -> Iterator[Any]:
    for packet in packets:
        yield packet
        if rng.random() < 0.3:
            yield _with_bytes(packet, bytes(packet))


def _damaged(rng: Rng, packets: list[Any]) -> Iterator[Any]:
    for packet in packets:
        if rng.random() < 0.3:
            yield _with_bytes(packet, mutated_bytes(rng, bytes(packet))[0])
        else:
            yield packet


def _crossed(rng: Rng, packets: list[Any]) -> Iterator[Any]:
    """The contents of one packet under the times, or the stream, of another."""
    for packet in packets:
        yield _with_bytes(packet, bytes(choose(rng, packets))) if rng.random() < 0.2 else packet


def _retimed(rng: Rng, packets: list[Any]) -> Iterator[Any]:
    for packet in packets:
        if rng.random() < 0.3:
            time = choose(
                rng, (None, 0, -5, -(2**40), 2**33, 2**40, 2**62, int(rng.integers(9000)))
            )
            packet.pts = time
            if rng.random() < 0.5:
                packet.dts = time
        yield packet


PACKET_CHANGES = (_shuffled, _lost, _doubled, _damaged, _damaged, _crossed, _retimed, _retimed)


def _with_bytes(packet: Any, data: bytes) -> Any:
    new = av.Packet(data or b"\0")
    new.stream, new.time_base = packet.stream, packet.time_base
    new.pts, new.dts, new.duration = packet.pts, packet.dts, packet.duration
    new.is_keyframe = packet.is_keyframe
    return new


def _renumbered(rng: Rng, data: bytes) -> tuple[bytes, str]:
    """Odd numbers in the fields of a box or chunk, found by its name; elsewhere near the beginning."""
    marks = [m for m in MARKS if m in data]
    changed = bytearray(data)
    how = []
    for _ in range(1 + int(rng.integers(3))):
        if marks:
            mark = choose(rng, marks)
            places = [k for k in range(len(data)) if data.startswith(mark, k)][:8]
            start = choose(rng, places) - 4
        else:
            mark, start = b"head", 0
        place = max(0, start + 4 * int(rng.integers(0, 14)))
        number = choose(rng, (*NUMBERS, int(rng.integers(2**32))))
        order = "big" if data[4:8] == b"ftyp" else choose(rng, ("big", "little"))
        changed[place : place + 4] = number.to_bytes(4, order)
        how.append(f"{mark.decode('latin-1')}+{place - start}={number:#x}")
    return bytes(changed), " ".join(how)


MARKS = (
    *(b"tkhd", b"mdhd", b"mvhd", b"stsd", b"stts", b"ctts", b"stsc", b"stsz", b"stco", b"stss"),
    *(b"elst", b"avc1", b"hvc1", b"avcC", b"hvcC", b"esds", b"mdat", b"trak", b"moov", b"mp4a"),
    *(b"avih", b"strh", b"strf", b"idx1", b"movi", b"LIST", b"00dc", b"01wb", b"hdlr", b"alac"),
    *(b"IHDR", b"acTL", b"fcTL", b"fdAT", b"IDAT", b"\x1aE\xdf\xa3", b"\x16T\xaek", b"\x1cS\xbbk"),
    *(b"FLV", b"OggS", b"GIF89a", b"DKIF", b"YUV4MPEG2", b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3"),
)


def video(rng: Rng, folder: Path) -> Case:
    """A damaged file by itself, or before a whole one that must come out all the same."""
    data, suffix, how = damaged(rng)
    path = folder / f"in{suffix}"
    path.write_bytes(data)
    arguments = ["video", path.name, "-o", "out", "-q"]
    if rng.random() < 0.25:
        (folder / "whole.mp4").write_bytes(base("mp4_h264_aac"))
        arguments.insert(2, "whole.mp4")
    kinds = (
        "lines",
        "csv,json",
        "video",
        "video,lines",
        "mots,png",
        "pictures,csv",
        "parquet,json",
    )
    arguments += ["--save", choose(rng, kinds)]
    return Case(how, arguments, FUNCTION)


def video_by_network(rng: Rng, folder: Path) -> Case:
    """The same through the packaged network."""
    data, suffix, how = damaged(rng)
    (folder / f"in{suffix}").write_bytes(data)
    return Case(how, ["video", f"in{suffix}", "-o", "out", "-q", "--save", "csv"], NETWORK)


def playlist(rng: Rng, folder: Path) -> Case:
    """Files that name other files: they must not lead a reader out of where it was sent."""
    inside = choose(
        rng, ("/etc/passwd", "in.ts", "http://127.0.0.1:9/x.ts", "../../secret", "x" * 300)
    )
    target = choose(
        rng, (inside, f"concat:{inside}|{inside}", f"subfile,,start,0,end,9,,:{inside}")
    )
    (folder / "in.ts").write_bytes(base("ts_h264_aac"))
    texts = {
        ".m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:{choose(rng, (1, -1, 1e30))},\n{target}\n#EXT-X-ENDLIST\n",
        ".ffconcat": f"ffconcat version 1.0\nfile '{target}'\nduration {choose(rng, (1, -1, 1e20))}\n",
        ".sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        ".mpd": f"<MPD><Period><AdaptationSet><BaseURL>{target}</BaseURL></AdaptationSet></Period></MPD>",
    }
    suffix = choose(rng, tuple(texts))
    data = texts[suffix].encode()
    how = target[:40]
    if rng.random() < 0.5:
        data, how = mutated_bytes(rng, data)
    (folder / f"in{suffix}").write_bytes(data)
    return Case(f"{suffix} {how}", ["video", f"in{suffix}", "-o", "out", "-q", "--save", "lines"])
