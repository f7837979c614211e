"""Configuration: strict names, typed values, one clear line for every mistake."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from pydantic import ValidationError

from sipvideo.config import Config, available, config_from_values, load_config
from sipvideo.errors import ConfigError

LAUGHS = "a: &a [x, x]\n" + "\n".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in itertools.pairwise("abcdefghij")
)
"""Ten lines that stand for two thousand million values."""


@pytest.mark.parametrize("name", available())
def test_every_packaged_configuration_loads_under_its_own_name(name: str) -> None:
    config = load_config(name)
    assert config.name == name
    assert len(config.class_names) in (40, 80)


@pytest.mark.parametrize("name", available())
def test_published_embeddings_stay_as_they_are_and_who_has_none_has_those_of_colours(
    name: str,
) -> None:
    config = load_config(name)
    ours = name.startswith("sipmask_")
    expected = 0.5 if ours else 0.0 if config.head.embedding else 1.0
    assert config.postprocess.colour_share == expected


def test_values_survive_a_round_trip() -> None:
    config = load_config("sipmask_nano", ["postprocess.max_detections=3"])
    again = config_from_values(config.model_dump(exclude_unset=True, mode="json"), "again")
    assert again == config


def test_overrides_change_one_value_and_leave_the_rest() -> None:
    plain = load_config("sipmask_nano")
    changed = plain.with_overrides(["tracker.max_age=5", "input.size=[320, 320]"])
    assert changed.tracker.max_age == 5
    assert changed.input.size == (320, 320)
    assert changed.head == plain.head


def test_a_file_of_ones_own_may_name_its_classes(tmp_path: Path) -> None:
    path = tmp_path / "horses.yaml"
    path.write_text("name: horses\nclasses: [horse, rider]\n")
    assert load_config(path).class_names == ("horse", "rider")


def test_configurations_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValidationError):
        load_config("sipmask_nano").name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: x\nhead: {basess: 3}", "head.basess: unknown key; did you mean 'bases'?"),
        ("name: x\ntraker: {}", "traker: unknown key; did you mean 'tracker'?"),
        ("name: x\nhead: {bases: many}", "head.bases: Input should be a valid integer"),
        ("name: x\nclasses: cocoo", "classes: unknown set 'cocoo'; did you mean 'coco'?"),
        ("name: x\nhead: 3", "head: "),
        ("- a\n- b", "expected a mapping of sections, got list"),
        ("name: [", "not valid YAML"),
        ("[" * 20000, "not valid YAML: nested too deeply"),
        ("name: 2021-13-45", "not valid YAML: month must be in 1..12"),
        (f"name: {'9' * 5000}", "not valid YAML: Exceeds the limit"),
        ("name: !!python/name:os.system", "not valid YAML: could not determine a constructor"),
        (LAUGHS, "not valid YAML: aliases make more than 100000 values of it"),
        ("name: &a [*a]", "not valid YAML: aliases make more than"),
        ("", "name: Field required"),
        ("name: x\ninput: {size: [0, 0]}", "input.size.0: Input should be greater than"),
        ("name: x\ninput: {std: [0, 0, 0]}", "input.std.0: Input should be greater than 0"),
        (
            "name: x\nhead: {basis_channels: 1000000}",
            "head.basis_channels: Input should be less than",
        ),
        ("name: x\nneck: {channels: -1}", "neck.channels: Input should be greater than"),
        ("name: x\nclasses: []", "expected at least one name"),
        ("name: x\nhead: {basis_upsample: 3}", "head.basis_upsample: Input should be 1, 2, 4 or 8"),
        ("name: x\nhead: {basis_source: pyramid}", "basis_source pyramid gives 2"),
        ("name: x\nneck: {name: pan}\ninput: {pad_multiple: 16}", "needs a multiple of 32"),
        (
            "name: x\nhead: {rescoring: true}\ninput: {resize: stretch, size: [224, 224]}",
            "at least 127",
        ),
        (
            "name: x\nbackbone: {style: pytorch, deformable_every: 3}",
            "needs a ResNet of style caffe",
        ),
    ],
)
def test_mistakes_in_a_file_give_one_line_with_file_and_place(
    text: str, expected: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert expected in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("head.bases", "expected section.key=value"),
        ("head.base=3", "did you mean 'bases'"),
        ("name.x=3", "name is not a section"),
        ("head.bases=[", "not valid YAML"),
        ("postprocess.score_threshold=7", "less than or equal to 1"),
    ],
)
def test_mistakes_in_overrides_are_named(override: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected.replace("(", r"\(")):
        load_config("sipmask_nano", [override])


def test_unknown_names_and_files_are_named_with_the_nearest_known() -> None:
    with pytest.raises(ConfigError, match="did you mean 'sipmask_nano'"):
        load_config("sipmask_nanoo")
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        load_config("missing.yaml")


def test_the_defaults_are_the_published_video_model() -> None:
    published = load_config("vis_sipmask_r50_caffe_fpn_gn_1x")
    default = Config(name=published.name, classes=published.classes)
    assert published.model_copy(update={"tracker": default.tracker}) == default
