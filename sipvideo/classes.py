"""Class names in label order of the datasets whose published models exist."""

from __future__ import annotations

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
