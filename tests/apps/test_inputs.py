from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipvideo.apps.inputs import find_inputs


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def texts(*given: Path | str) -> list[str]:
    return [found.text for found in find_inputs(map(str, given))]


def names(*given: Path | str) -> list[str]:
    return [found.name for found in find_inputs(map(str, given))]


def test_a_file_is_one_input_whether_it_exists_or_not(tmp_path: Path) -> None:
    touch(tmp_path / "a.mp4")
    assert names(tmp_path / "a.mp4", tmp_path / "missing.mp4") == ["a", "missing"]


def test_a_folder_of_videos_is_all_its_videos_in_natural_order(tmp_path: Path) -> None:
    touch(
        *(
            tmp_path / n
            for n in (
                "take10.mp4",
                "take2.MKV",
                "take1.avi",
                "notes.txt",
                ".hidden.mp4",
                "cover.jpg",
            )
        )
    )
    assert names(tmp_path) == ["take1", "take2", "take10"]


def test_a_folder_of_pictures_is_one_sequence_with_the_folders_name(tmp_path: Path) -> None:
    touch(tmp_path / "walk" / "1.jpg", tmp_path / "walk" / "2.jpg")
    assert texts(tmp_path / "walk") == [str(tmp_path / "walk")]
    assert names(tmp_path / "walk") == ["walk"]
    assert names(f"{tmp_path}/other/../walk/") == ["walk"]


def test_an_empty_folder_stays_an_input_so_that_opening_it_can_complain(tmp_path: Path) -> None:
    assert texts(tmp_path) == [str(tmp_path)]


def test_a_pattern_is_its_videos_or_one_sequence_of_pictures(tmp_path: Path) -> None:
    touch(*(tmp_path / n for n in ("b.mp4", "a.mp4", "run/01.png", "run/02.png")))
    assert names(tmp_path / "*.mp4") == ["a", "b"]
    assert texts(tmp_path / "run" / "*.png") == [str(tmp_path / "run" / "*.png")]
    assert names(tmp_path / "run" / "*.png") == ["run"]
    assert texts(tmp_path / "*.mkv") == [str(tmp_path / "*.mkv")]


def test_a_file_with_pattern_characters_in_its_name_is_that_file(tmp_path: Path) -> None:
    touch(tmp_path / "clip [final].mp4", tmp_path / "clip f.mp4")
    assert names(tmp_path / "clip [final].mp4") == ["clip [final]"]


def test_equal_names_get_numbers_also_where_only_case_differs(tmp_path: Path) -> None:
    given = [tmp_path / n for n in ("x/clip.mp4", "y/clip.mp4", "z/Clip.mkv", "clip-2.mp4")]
    assert names(*given) == ["clip", "clip-2", "Clip-3", "clip-2-2"]


def test_the_same_input_named_twice_is_run_once(tmp_path: Path) -> None:
    touch(tmp_path / "a.mp4", tmp_path / "b.mp4")
    assert names(tmp_path / "b.mp4", tmp_path, f"{tmp_path}/./a.mp4") == ["b", "a"]


def test_an_address_becomes_a_name_without_its_password() -> None:
    assert names("rtsp://anna:secret@camera.local:8554/hall/left?x=1") == ["camera.local_hall_left"]


@given(
    st.lists(st.sampled_from(["a.mp4", "A.mp4", "b/a.avi", "a-2.mp4", "a-2-2.mp4", "rtsp://a/"]))
)
def test_names_are_always_different(given: list[str]) -> None:
    found = [name.casefold() for name in names(*given)]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("given", ["/", ".", "..", "*", "rtsp://"])
def test_odd_inputs_still_get_a_name(given: str) -> None:
    assert all(name and "/" not in name for name in names(given))
