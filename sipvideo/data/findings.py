"""What can be wrong with an annotated data set: what it causes and how to mend it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

Level = Literal["error", "warning", "note"]
EXAMPLES = 5
"""Examples that are kept of each finding."""


@dataclass(frozen=True)
class Rule:
    """A thing that can be wrong.

    Attributes:
        level: an error makes training or evaluation stop or go wrong; a warning lowers quality or stops other
            tools; a note is worth knowing.
        what: is wrong; starts the line that people read.
        causes: what happens then.
        mend: what to do about it.
    """

    level: Level
    what: str
    causes: str
    mend: str


_REFUSED = "training and evaluation refuse the file"
RULES: dict[str, Rule] = {
    "no entries": Rule(
        "error", "no pictures or videos", _REFUSED, "list them under 'images' or 'videos'"
    ),
    "no categories": Rule(
        "error", "no categories", _REFUSED, "list id and name of every class under 'categories'"
    ),
    "category malformed": Rule(
        "error",
        "categories without a whole-number id or a name",
        _REFUSED,
        "give every category both",
    ),
    "category twice": Rule(
        "error",
        "categories with the same id or name",
        "objects of one count for the other, or for none",
        "give each class one id and one name",
    ),
    "entry malformed": Rule(
        "error",
        "pictures or videos without id, width, height or file names",
        _REFUSED,
        "fill in what is missing; sizes are those of the stored pictures, above 0",
    ),
    "entry twice": Rule(
        "error",
        "pictures or videos with the same id",
        "the annotations of both fall on one of them",
        "number them anew, also in the annotations",
    ),
    "file twice": Rule(
        "warning",
        "picture files listed more than once",
        "they weigh more in training and evaluation, and may be in training and test sets at once",
        "list each file once",
    ),
    "ids not in order": Rule(
        "note",
        "video ids are not 1, 2, 3... in the file's order",
        "tools that write the position instead of the id score 0 on this file; sipvideo writes the file's own ids",
        "renumber them where such tools are used",
    ),
    "categories not in order": Rule(
        "note",
        "category ids are not 1, 2, 3... in the file's order",
        "tools that write label + 1 instead of the id score 0 on this file; sipvideo writes the file's own ids",
        "renumber them where such tools are used",
    ),
    "no annotations": Rule(
        "warning",
        "the file has no annotations",
        "nothing to train on and nothing to score; results can still be written",
        "for a score, use a file with annotations",
    ),
    "annotation malformed": Rule(
        "error",
        "annotations that lack a field or have one of the wrong kind",
        _REFUSED,
        "fill in the field",
    ),
    "other type": Rule(
        "warning",
        "fields with another type than the published one, such as numbers as texts",
        "sipvideo reads them as they can only be meant; other tools stop, or take the text '0' for true",
        "write numbers as numbers, polygons as lists of lists",
    ),
    "annotation id twice": Rule(
        "error",
        "annotations with the same id",
        "two objects count as one: wrong identities in training, wrong matches in the score",
        "number the annotations anew: 1, 2, 3...",
    ),
    "annotation id 0": Rule(
        "error",
        "an annotation with id 0",
        "published evaluators take a match with it for none: a perfect result scores 0",
        "number the annotations from 1",
    ),
    "unknown entry": Rule(
        "error",
        "annotations of pictures or videos that are not listed",
        _REFUSED,
        "list the picture or video, or remove the annotation",
    ),
    "unknown category": Rule(
        "error",
        "annotations of categories that are not listed",
        _REFUSED,
        "list the category, or correct category_id",
    ),
    "unknown class": Rule(
        "note",
        "objects of unknown class (category_id null)",
        "ignored in fine-tuning, background in the published recipes; evaluators cannot use them",
        "give them a category for evaluation",
    ),
    "unknown labelled category": Rule(
        "warning",
        "labelled_categories with names that are no category",
        "the name has no effect",
        "use the names under 'categories'",
    ),
    "length differs": Rule(
        "error",
        "lists with another length than file_names",
        "masks fall on wrong frames; the published evaluator cuts the longer list and scores too high or too low",
        "one entry per frame, null where the object is absent",
    ),
    "wrong length": Rule(
        "warning",
        "videos whose 'length' is not the number of their file_names",
        "tools that trust 'length' write results of the wrong length",
        "correct 'length'",
    ),
    "never visible": Rule(
        "error",
        "tracks without a mask in any frame",
        "an object that nothing can match: every one lowers recall and AP",
        "remove the annotation",
    ),
    "null disagrees": Rule(
        "warning",
        "frames with a mask but no area or box, or the reverse",
        "mean areas, and so the size ranges of the score, are wrong",
        "null in all lists where the object is absent, in none where it is visible",
    ),
    "no iscrowd": Rule(
        "warning",
        "annotations without iscrowd",
        "published evaluators stop with KeyError; sipvideo takes it as 0",
        'add "iscrowd": 0',
    ),
    "no area": Rule(
        "warning",
        "annotations without area",
        "published evaluators stop with KeyError; sipvideo's COCO scores fill it in",
        "add the masks' areas in pixels",
    ),
    "zero area": Rule(
        "error",
        "areas of 0 where there is a mask",
        "it counts as small and the other size ranges score -1; the published training skips it",
        "write the mask's area in pixels",
    ),
    "area differs": Rule(
        "warning",
        "areas that differ from the mask's by more than a quarter",
        "the object may be scored in the wrong size range",
        "write the mask's area in pixels",
    ),
    "mask malformed": Rule(
        "error",
        "masks that are no polygons and no RLE, or have another size than the picture",
        "training and evaluation stop there, or the score is wrong without a word",
        "write the mask again at the picture's height and width",
    ),
    "mask empty": Rule(
        "warning",
        "masks without any pixel",
        "never learnt; in a score an object that nothing can match",
        "remove the annotation, or put null for that frame",
    ),
    "box outside": Rule(
        "warning",
        "boxes that reach out of the picture or have no size",
        "sipvideo reads boxes from masks; other tools learn wrong boxes",
        "x, y, width, height in pixels of the picture, inside it",
    ),
    "box differs": Rule(
        "warning",
        "boxes far from their masks",
        "sipvideo reads boxes from masks; other tools learn wrong boxes (often corners in place of width, height)",
        "x, y, width, height of the mask",
    ),
    "picture missing": Rule(
        "error",
        "picture files that are not there",
        _REFUSED,
        "say where they are with --images, or remove their entries",
    ),
    "picture damaged": Rule(
        "error",
        "pictures that cannot be decoded",
        "training and evaluation stop there",
        "fetch the file again, or remove its entry",
    ),
    "picture size": Rule(
        "error",
        "pictures whose size is not the one in the file",
        "masks would lie in the wrong place: training and evaluation stop there",
        "correct width and height (swapped? rotated by an orientation mark?), or the picture",
    ),
    "orientation unclear": Rule(
        "warning",
        "pictures with an orientation mark whose size fits turned and as stored",
        "the mark is applied: if the masks were drawn on the stored pixels, they lie in the wrong place",
        "look at a sheet (--sheet); --ignore-orientation takes the stored pixels, in all commands",
    ),
    "orientation": Rule(
        "note",
        "pictures with an orientation mark whose size tells whether it was applied",
        "sipvideo does as the size says; other tools may not",
        "none needed; for other tools, save the pictures without marks",
    ),
    "several pictures": Rule(
        "note",
        "animations, or files of several pages",
        "only the first picture is used",
        "list the frames as pictures of their own, if all are meant",
    ),
    "empty category": Rule(
        "warning",
        "categories without an object",
        "never learnt; in a score -1, which is left out of the mean",
        "remove the category, or annotate some",
    ),
    "rare category": Rule(
        "note",
        "categories with fewer than ten objects",
        "hardly learnt; their score is mostly chance",
        "annotate more, or merge classes",
    ),
    "small set": Rule(
        "note",
        "a very small data set",
        "scores vary by several points from run to run; training overfits",
        "start from trained weights; report the mean of several runs",
    ),
    "nothing annotated": Rule(
        "note",
        "pictures or videos without an object",
        "not used for training; in a score every detection there is false",
        "fine if they show none of the classes; else annotate them",
    ),
    "one frame": Rule(
        "warning",
        "videos of one frame",
        "nothing to track; training uses two views of it",
        "none needed",
    ),
    "refused": Rule("error", "the reader refuses the file", _REFUSED, "see the message"),
}


@dataclass
class Finding:
    """How often a rule was met, and where first."""

    rule: Rule
    count: int = 0
    examples: list[str] = field(default_factory=list)


class Findings:
    """All findings of a check, errors first.

    Attributes:
        errors: cases of all errors together.
    """

    def __init__(self) -> None:
        self._found: dict[str, Finding] = {}
        self.errors = 0

    def add(self, key: str, where: str, count: int = 1) -> None:
        """Counts one more case of a rule; the first few places are kept."""
        finding = self._found.setdefault(key, Finding(RULES[key]))
        self.errors += count if finding.rule.level == "error" else 0
        finding.count += count
        if len(finding.examples) < EXAMPLES:
            finding.examples.append(where)

    def __contains__(self, key: str) -> bool:
        return key in self._found

    def __iter__(self) -> Iterator[tuple[str, Finding]]:
        order = ("error", "warning", "note")
        return iter(sorted(self._found.items(), key=lambda item: order.index(item[1].rule.level)))

    def count(self, level: Level) -> int:
        """Number of different findings of a level."""
        return sum(finding.rule.level == level for finding in self._found.values())
