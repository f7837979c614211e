"""Which models play which of COCO's classes, and the kinds of places where they meet."""

from __future__ import annotations

from dataclasses import dataclass

MODELS: dict[str, str] = {
    "person": """reallusion/boyStanding reallusion/female01 reallusion/female02 reallusion/female03
        reallusion/girlStanding reallusion/holdingFemale01 reallusion/holdingFemale02
        reallusion/holdingFemale03 reallusion/holdingMale01 reallusion/male01 reallusion/male02
        reallusion/male03 katorlegaz/female-01-casual-clothing katorlegaz/male-01-suit
        reallusion/boyLying reallusion/girlSittingGround reallusion/lyingDownFemale01
        reallusion/lyingDownMale02 reallusion/sitFemale01 reallusion/sitFemale02
        reallusion/sitMale03""",
    "bicycle": "scopia/bicycle blendswap-cc-by/bike",
    "car": """katorlegaz/concept-sedan-01v1 katorlegaz/concept-sedan-01v2 katorlegaz/VW-new-beetle
        scopia/suv scopia/chevrolet scopia/smart-car scopia/seat_leon scopia/peugeot-308
        scopia/renault-scenic blendswap-cc-by/fordFocus""",
    "motorcycle": "scopia/yamaha-yzr-r6 scopia/scooter2 katorlegaz/scooter",
    "bus": "scopia/bus scopia/cityBus",
    "truck": "scopia/truck blendswap-cc-by/dafTruck",
    "fire hydrant": "katorlegaz/fire-hydrant",
    "bench": """blendswap-cc-0/bench katorlegaz/concrete-bench katorlegaz/painted-bench
        scopia/wood_bank""",
    "bird": "blendswap-cc-0/chicken",
    "cat": "scopia/cat blendswap-cc-by/siameseCat",
    "dog": "scopia/dog blendswap-cc-by/bulldog",
    "horse": "blendswap-cc-by/horse blendswap-cc-0/horse2",
    "backpack": "blendswap-cc-by/backpack",
    "umbrella": "blendswap-cc-0/umbrella",
    "handbag": "blendswap-cc-0/handbag",
    "suitcase": "blendswap-cc-by/suitcase blendswap-cc-0/briefcase",
    "sports ball": "blendswap-cc-0/basketball blendswap-cc-by/ballonFoot",
    "skateboard": "scopia/skateboard",
    "bottle": """blendswap-cc-by/beer_bottle scopia/wine_bottle katorlegaz/red-wine-bottle-01
        blendswap-cc-0/mamadeira blendswap-cc-0/yogurtBottle""",
    "cup": """blendswap-cc-0/caffe_final blendswap-cc-by/coffee_cup katorlegaz/coffee-mug scopia/cup
        blendswap-cc-0/plasticCup scopia/creamer""",
    "bowl": "scopia/bowl katorlegaz/bowl scopia/bowlWithFruits",
    "sandwich": "blendswap-cc-by/hamburger",
    "hot dog": "blendswap-cc-0/hotDog",
    "cake": "scopia/birthday_cake blendswap-cc-0/cupcake",
    "chair": """blendswap-cc-0/armchair blendswap-cc-0/oakChair blendswap-cc-0/plasticChair
        blendswap-cc-0/chair blendswap-cc-0/chair2 blendswap-cc-0/antiqueChair
        blendswap-cc-0/armchair2 blendswap-cc-by/armchair1 blendswap-cc-by/ella_chair_f
        blendswap-cc-by/plaidChair blendswap-cc-by/chair3 katorlegaz/office-chair
        katorlegaz/dining-chair katorlegaz/mid-century-chair scopia/silla_teca scopia/armchair1
        scopia/armchair2 scopia/chair3 scopia/chair4 scopia/office_chair scopia/modern_armchair
        scopia/plastic_chair scopia/rattanArmchair""",
    "couch": """blendswap-cc-0/couch blendswap-cc-0/sofa2 blendswap-cc-0/winchesterSofa
        blendswap-cc-by/sofa2 blendswap-cc-by/sofa3 katorlegaz/futon-couch
        katorlegaz/mid-century-sofa scopia/clear_sofa scopia/simple_sofa scopia/beige_sofa
        scopia/beige_sofa_2seats scopia/burlap_sofa scopia/sofa_white_beige scopia/rattanSofa""",
    "potted plant": """blendswap-cc-0/littlePlant blendswap-cc-0/plant blendswap-cc-0/decorativePlant
        blendswap-cc-by/mediumIndoorPlant blendswap-cc-by/spatifilum blendswap-cc-by/decorativePlant
        scopia/maceta""",
    "bed": """blendswap-cc-0/bed1 blendswap-cc-0/bed3 blendswap-cc-by/juniorBed
        blendswap-cc-by/lettoCloud scopia/bed1 scopia/iron_bed""",
    "dining table": """blendswap-cc-0/oakTable blendswap-cc-0/table blendswap-cc-by/table
        scopia/table3 scopia/table4 scopia/black_table scopia/round-table""",
    "toilet": """blendswap-cc-0/toiletsUnit blendswap-cc-by/toilets_unit_jay_hardy
        blendswap-cc-by/modernToilet""",
    "tv": "blendswap-cc-0/led_tv scopia/tv scopia/wall-flat-tv",
    "laptop": "blendswap-cc-by/laptop katorlegaz/apple-ibook-2001",
    "microwave": "blendswap-cc-by/microwave",
    "oven": "blendswap-cc-0/oven blendswap-cc-0/doubleOven scopia/small-oven",
    "toaster": "scopia/toaster",
    "refrigerator": "blendswap-cc-0/refrigerator blendswap-cc-0/largeFridge katorlegaz/fridge",
    "book": "blendswap-cc-by/book",
    "vase": "scopia/jar scopia/vase2 scopia/vase3 scopia/calla_lily_with_roses",
    "teddy bear": "blendswap-cc-0/teddyBear",
}
"""COCO class -> models; seen from all sides before they were listed here."""

RESTING = frozenset(
    """reallusion/boyLying reallusion/girlSittingGround reallusion/lyingDownFemale01
    reallusion/lyingDownMale02 reallusion/sitFemale01 reallusion/sitFemale02 reallusion/sitMale03
    scopia/cat scopia/dog""".split()
)
"""Models that sit or lie, and so do not walk."""

PACE = {
    "person": 1.3,
    "bicycle": 3.5,
    "car": 5.0,
    "motorcycle": 5.0,
    "bus": 5.0,
    "truck": 5.0,
    "bird": 0.6,
    "cat": 1.0,
    "dog": 1.6,
    "horse": 2.5,
}
"""Classes that move by themselves, looking where they go -> metres per second."""


@dataclass(frozen=True)
class Place:
    """A kind of place.

    Attributes:
        classes: who may be met there; those named twice are met more often.
        near, far: distances from the camera at which objects are, metres.
        eye: lowest and highest height of the camera, metres.
        push: metres per second of what does not move by itself.
        pushed: share of those that are pushed around.
        patterns: of the ground.
    """

    classes: tuple[str, ...]
    near: float
    far: float
    eye: tuple[float, float]
    push: float
    pushed: float
    patterns: tuple[str, ...]


def _listed(names: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in names.split(","))


PLACES = {
    "street": Place(
        classes=_listed(
            """person,person,person,person,person,person,bicycle,bicycle,car,car,car,car,car,motorcycle,
            motorcycle,bus,truck,fire hydrant,bench,dog,dog,horse,suitcase,umbrella"""
        ),
        near=3.0,
        far=32.0,
        eye=(0.9, 2.6),
        push=0.8,
        pushed=0.3,
        patterns=("rough", "bricks", "checks"),
    ),
    "room": Place(
        classes=_listed(
            """person,person,person,person,person,person,cat,cat,dog,dog,bird,chair,chair,chair,couch,couch,
            bed,dining table,tv,potted plant,refrigerator,oven,toilet,suitcase,backpack,teddy bear,
            sports ball,skateboard"""
        ),
        near=1.8,
        far=7.0,
        eye=(1.0, 2.0),
        push=0.5,
        pushed=0.5,
        patterns=("planks", "checks", "rough"),
    ),
    "table": Place(
        classes=_listed(
            """laptop,laptop,bottle,bottle,cup,cup,bowl,sandwich,hot dog,cake,book,vase,teddy bear,toaster,
            microwave,tv,potted plant,handbag,backpack,sports ball"""
        ),
        near=0.55,
        far=1.9,
        eye=(0.25, 0.6),
        push=0.25,
        pushed=0.8,
        patterns=("planks", "rough", "stripes"),
    ),
}
