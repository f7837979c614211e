from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipvideo.apps.inputs import find_inputs
from sipvideo.files import matches


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


def test_a_pattern_over_folders_is_one_sequence_per_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(
        *(tmp_path / "seq" / n for n in ("a/1.jpg", "a/2.jpg", "b/1.jpg", "b10/1.jpg", "c/x.txt"))
    )
    touch(tmp_path / "other" / "a" / "1.jpg", tmp_path / "p [1]" / "1.jpg")
    monkeypatch.chdir(tmp_path)
    assert texts("seq/*/*.jpg") == ["seq/a/*.jpg", "seq/b/*.jpg", "seq/b10/*.jpg"]
    assert names("seq/*/*.jpg") == ["a", "b", "b10"]
    assert names("*/a/*.jpg") == ["a", "a-2"]
    assert names("seq/*/1.jpg") == ["a", "b", "b10"]
    assert (texts("p [1]/*.jpg"), names("p [1]/*.jpg")) == (["p [1]/*.jpg"], ["p [1]"])
    assert names("**/*.jpg") == ["a", "p [1]", "a-2", "b", "b10"]
    assert names("seq/*") == ["a", "b", "b10"]  # folders that hold pictures
    assert names("seq/**") == ["a", "b", "b10"]
    for single in find_inputs(["seq/*/*.jpg", "p [1]/*.jpg", "seq/**"]):
        assert matches(single.text), single
    monkeypatch.chdir(tmp_path / "seq" / "a")
    assert (texts("*.jpg"), names("*.jpg")) == (["*.jpg"], ["a"])


def test_names_of_results_have_nothing_that_shells_or_terminals_choke_on(tmp_path: Path) -> None:
    touch(tmp_path / "a*b?" / "1.jpg", tmp_path / "-rf.mp4", tmp_path / "new\nline.mp4")
    assert names(tmp_path / "a[*]b[?]" / "*.jpg") == ["a_b_"]
    assert [str(p) for p in matches(texts(tmp_path / "a[*]b[?]" / "*.jpg")[0])] == [
        str(tmp_path / "a*b?" / "1.jpg")
    ]
    assert names(tmp_path / "-rf.mp4", tmp_path / "new\nline.mp4") == ["rf", "new_line"]
    assert all("*" not in name for name in names("none/*.jpg", "none/*/*.jpg", "*", "\udcff.mp4"))


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("caf\udce9.mp4", "caf_"),
        ("cafe\u0301.mp4", "caf\u00e9"),
        ('a:b<c>"|d\\e.mp4', "a_b_c_d_e"),
        ("CON.mp4", "_CON"),
        ("nul.tar.mp4", "_nul.tar"),
        (" spaces . .mp4", "spaces"),
        ("\x1b[31mred.mp4", "_[31mred"),
        (".hidden.mp4", "hidden"),
        ("日本語 🎬.mp4", "日本語 🎬"),
        ("é" * 120 + ".mp4", "é" * 100),
    ],
)
def test_names_of_results_fit_every_file_system(tmp_path: Path, given: str, name: str) -> None:
    touch(tmp_path / given)
    assert names(tmp_path / given) == [name]


def test_pictures_beside_videos_are_not_left_out_without_a_word(tmp_path: Path) -> None:
    touch(*(tmp_path / n for n in ("a.mp4", "b.mp4", "1.jpg", "2.jpg")))
    notes = [single.note for single in find_inputs([str(tmp_path)])]
    assert notes == [f"2 pictures beside the videos of {tmp_path} are left out", ""]


def test_a_pattern_of_an_unknown_ending_is_every_file_that_has_it(tmp_path: Path) -> None:
    touch(tmp_path / "a.h264", tmp_path / "b.h264")
    assert names(tmp_path / "*.h264") == ["a", "b"]


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
