"""Class names in label order of the datasets whose published models exist."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from sipvideo.errors import ConfigError

COCO = tuple(
    """person|bicycle|car|motorcycle|airplane|bus|train|truck|boat|traffic light|fire hydrant|stop sign|parking meter
|bench|bird|cat|dog|horse|sheep|cow|elephant|bear|zebra|giraffe|backpack|umbrella|handbag|tie|suitcase|frisbee|skis
|snowboard|sports ball|kite|baseball bat|baseball glove|skateboard|surfboard|tennis racket|bottle|wine glass|cup|fork
|knife|spoon|bowl|banana|apple|sandwich|orange|broccoli|carrot|hot dog|pizza|donut|cake|chair|couch|potted plant|bed
|dining table|toilet|tv|laptop|mouse|remote|keyboard|cell phone|microwave|oven|toaster|sink|refrigerator|book|clock
|vase|scissors|teddy bear|hair drier|toothbrush""".replace("\n", "").split("|")
)

YOUTUBE_VIS_2019 = tuple(
    """person giant_panda lizard parrot skateboard sedan ape dog snake monkey hand rabbit duck cat cow fish train horse
turtle bear motorbike giraffe leopard fox deer owl surfboard airplane truck zebra tiger elephant snowboard boat shark
mouse frog eagle earless_seal tennis_racket""".split()
)

CLASS_SETS: dict[str, tuple[str, ...]] = {"coco": COCO, "youtube_vis_2019": YOUTUBE_VIS_2019}


def labels_of(
    classes: Sequence[str | int], class_names: Sequence[str], where: str = ""
) -> frozenset[int]:
    """Labels of classes given by name (any case) or number.

    Raises:
        ConfigError: the model has no such class; begins with ``where``, says the nearest one.
    """
    numbers: Mapping[str, int] = {name.casefold(): k for k, name in enumerate(class_names)}
    labels = set()
    for given in classes:
        text = str(given).strip().casefold()
        if text in numbers:
            labels.add(numbers[text])
        elif text.isdecimal() and int(text) < len(class_names):
            labels.add(int(text))
        else:
            near = difflib.get_close_matches(text, list(numbers), n=1, cutoff=0.4)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"{where}unknown class {given!r}{hint}")
    return frozenset(labels)
