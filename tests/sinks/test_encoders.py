"""An annotated video is encoded by the card that decodes its source, where it has an encoder."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from sipvideo.sinks import AnnotatedVideo, encoders
from sipvideo.sources import VideoFile
from sipvideo.structures import Detections, Frame, FrameResult
from tests.media import film


def result(frame: Frame) -> FrameResult:
    return FrameResult(frame, Detections.empty(frame.size), np.zeros(0, np.int64), 0.0)


def test_software_stays_where_no_card_decodes() -> None:
    assert encoders.encoder_of("libx264", "") == ("libx264", "")
    assert encoders.encoder_of("prores_ks", "cuda") == ("prores_ks", "")
    assert encoders.encoder_of("libx264", "vaapi") == ("libx264", "")


def test_without_an_encoder_on_the_card_x264_takes_its_place_and_says_so(tmp_path: Path) -> None:
    clip = film(tmp_path / "clip.mp4", 4)
    with VideoFile(clip) as source:
        source.hardware = "cuda"
        with AnnotatedVideo(tmp_path / "out.mp4", lambda r: r.frame.image, source) as video:
            for frame in source:
                video.write(result(frame))
    [note] = [line for line in video.notes if "nvenc" in line]
    assert note.startswith("encoded by libx264, not by h264_nvenc: ")
    with av.open(str(tmp_path / "out.mp4")) as made:
        assert len(list(made.decode(video=0))) == 4
