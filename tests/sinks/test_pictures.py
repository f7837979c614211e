"""Annotated pictures and label maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sipvideo.errors import SinkError
from sipvideo.sinks import (
    AnnotatedPicture,
    AnnotatedPictures,
    AnnotatedVideo,
    LabelMapPngs,
)
from sipvideo.structures import Frame
from tests.media import picture
from tests.sinks.runs import (
    SIZE,
    one_result,
    plain,
    read_map,
    write_all,
)


def test_a_single_picture_is_written_as_a_picture(tmp_path: Path) -> None:
    result = one_result([], [], frame=Frame(picture(4), 0, 0.0, "a.jpg"))
    write_all(AnnotatedPicture(tmp_path / "out.png", plain), [result])
    got = read_map(tmp_path / "out.png")[:, :, ::-1]
    assert np.array_equal(got, picture(4))
    write_all(AnnotatedPicture(tmp_path / "out.jpg", plain), [result])
    assert (tmp_path / "out.jpg").read_bytes()[:2] == b"\xff\xd8"
    with pytest.raises(SinkError, match="holds a single picture, the source has more"):
        write_all(AnnotatedPicture(tmp_path / "two.png", plain), [result, result])


@pytest.mark.parametrize("kind", [AnnotatedVideo, AnnotatedPicture])
def test_without_any_frame_there_is_no_picture_to_make(tmp_path: Path, kind: Any) -> None:
    path = tmp_path / ("a.mp4" if kind is AnnotatedVideo else "a.png")
    with pytest.raises(SinkError, match="there was no frame to write"):
        write_all(kind(path, plain), [])
    assert list(tmp_path.iterdir()) == []


def test_a_picture_too_long_for_jpeg_is_refused_in_one_line(tmp_path: Path) -> None:
    long = one_result([], [], frame=Frame(np.zeros((1, 70_000, 3), np.uint8), 0, 0.0))
    with pytest.raises(SinkError, match=r"a\.jpg: 70000 x 1 pixels are too many for JPEG, use PNG"):
        write_all(AnnotatedPicture(tmp_path / "a.jpg", plain), [long])
    write_all(AnnotatedPicture(tmp_path / "a.png", plain), [long])
    assert read_map(tmp_path / "a.png").shape == (1, 70_000, 3)


def test_annotated_pictures_keep_their_names_and_do_not_overwrite_each_other(
    tmp_path: Path,
) -> None:
    names = ["b.jpg", "a.png", "a.webp", "", "a.jpg"]
    run = [
        one_result([], [], frame=Frame(picture(k), k, k / 25, name)) for k, name in enumerate(names)
    ]
    write_all(AnnotatedPictures(tmp_path / "out", plain), run)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "000003.png",
        "a.jpg",
        "a.png",
        "a_000002.png",
        "b.jpg",
    ]
    write_all(LabelMapPngs(tmp_path / "maps"), run)
    assert len(list((tmp_path / "maps").iterdir())) == 5


def test_label_maps_hold_every_id_up_to_the_limit(tmp_path: Path) -> None:
    mask = np.zeros(SIZE, bool)
    mask[3:5, 7:9] = True
    write_all(LabelMapPngs(tmp_path / "maps"), [one_result([65534], [mask])])
    values = read_map(tmp_path / "maps" / "000000.png")
    assert np.array_equal(values, mask * np.uint16(65535))
