"""Birds that are drawn, of sixteen species: where a look pays is known.

A species is the colours of crown, wing and belly and the shape of the beak, each of two
kinds: four looks in the right places tell it, none alone does. Place, size, direction,
shades and the ground are chance. Names of parts are those of CUB-200-2011, whose place
these pictures take where nobody has it (`birds`).
"""

from itertools import product

import numpy as np
from PIL import Image, ImageDraw

KINDS = {
    "crown_color": ("red", "black"),
    "wing_color": ("blue", "white"),
    "belly_color": ("white", "orange"),
    "bill_length": ("about_the_same_as_head", "shorter_than_head"),
}
COLORS = {
    "red": (205, 45, 40),
    "black": (35, 32, 38),
    "blue": (60, 95, 190),
    "white": (235, 232, 225),
    "orange": (225, 130, 50),
}
COAT, BEAK, LEG, EYE = (130, 110, 92), (90, 80, 60), (95, 75, 60), (15, 15, 18)
COMBINATIONS = tuple(product(*KINDS.values()))  # of a species, in the order of KINDS
SPECIES = tuple(
    "_".join((*c[:3], "short" if c[3].startswith("short") else "long", "billed"))
    for c in COMBINATIONS
)
ATTRIBUTES = tuple(f"has_{k}::{v}" for k, kinds in KINDS.items() for v in kinds)
# Where a part is on a bird that looks to the right, in units of its body.
LAYOUT = {
    "back": (-0.25, -0.32),
    "beak": (0.92, -0.50),
    "belly": (0.00, 0.28),
    "breast": (0.38, 0.05),
    "crown": (0.55, -0.78),
    "forehead": (0.70, -0.68),
    "left eye": (0.64, -0.54),
    "left leg": (-0.02, 0.66),
    "left wing": (-0.20, -0.02),
    "nape": (0.32, -0.58),
    "right eye": (0.64, -0.54),
    "right leg": (0.14, 0.66),
    "right wing": (-0.20, -0.02),
    "tail": (-0.88, 0.05),
    "throat": (0.60, -0.26),
}
PARTS = tuple(LAYOUT)
COUNTS = {"train": 480, "validation": 96, "test": 320}
STREAM = 240  # of random numbers
FINE = 2  # points an axis that are averaged to a pixel


def of_species() -> np.ndarray:
    """Which species has which of `ATTRIBUTES`, ``(16, 8)``, 0 or 1."""
    has = [
        [
            value == own
            for kind, own in zip(KINDS.values(), c, strict=True)
            for value in kind
        ]
        for c in COMBINATIONS
    ]
    return np.array(has, dtype=float)


def draw(split: str, side: int) -> tuple[np.ndarray, ...]:
    """All birds of a split: the species follow each other in turn.

    Returns:
        images ``(N, 3, side, side)`` uint8, labels ``(N,)`` int64, places of parts
        ``(N, 15, 2)`` in [-1, 1], visible ``(N, 15)`` bool: of eye and wing, those of
        the side that is turned to us.
    """
    count = COUNTS[split]
    labels = np.arange(count) % len(SPECIES)
    images = np.empty((count, 3, side, side), np.uint8)
    places = np.zeros((count, len(PARTS), 2), np.float32)
    visible = np.ones((count, len(PARTS)), bool)
    for i, label in enumerate(labels):
        rng = np.random.default_rng((STREAM, sorted(COUNTS).index(split), i))
        right = bool(rng.random() < 0.5)  # it looks to the right
        unit = rng.uniform(0.62, 0.8, size=2)  # half a body, over half the picture
        middle = rng.uniform(-0.15, 0.15, size=2)
        turn = np.array([1.0 if right else -1.0, 1.0])
        places[i] = np.array(list(LAYOUT.values())) * unit * turn + middle
        hidden = "left" if right else "right"
        visible[i] = [not p.startswith((f"{hidden} e", f"{hidden} w")) for p in PARTS]
        picture = _drawn(COMBINATIONS[label], middle, unit * turn, side * FINE, rng)
        small = picture.resize((side, side), Image.Resampling.BOX)
        images[i] = np.asarray(small).transpose(2, 0, 1)
    places[~visible] = 0
    return images, labels.astype(np.int64), places, visible


def _drawn(kinds, middle, unit, side: int, rng) -> Image.Image:
    """One bird on its ground; `unit` is negative in x where it looks to the left."""
    crown, wing, belly, bill = kinds
    ground = rng.uniform(70, 190, size=(4, 4, 3)).astype(np.uint8)
    picture = Image.fromarray(ground).resize((side, side), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(picture)
    shade = rng.uniform(0.8, 1.1)

    def at(x, y):
        return tuple((np.array([x, y]) * unit + middle + 1) * side / 2)

    def tint(color):
        return tuple(int(min(shade * c, 255)) for c in color)

    def disc(x, y, a, b, color):
        (x0, y0), (x1, y1) = at(x - a, y - b), at(x + a, y + b)
        corners = (min(x0, x1), y0, max(x0, x1), y1)
        pen.ellipse(corners, fill=tint(COLORS.get(color, color)))

    def shape(points, color):
        pen.polygon([at(*p) for p in points], fill=tint(color))

    shape([(-0.5, -0.12), (-1.1, 0.0), (-1.08, 0.14), (-0.5, 0.16)], COAT)  # tail
    for x in (-0.02, 0.14):  # legs
        shape([(x, 0.35), (x + 0.05, 0.35), (x + 0.05, 0.9), (x, 0.9)], LEG)
    disc(0, 0, 0.62, 0.45, COAT)
    disc(0.02, 0.25, 0.42, 0.2, belly)
    disc(-0.2, -0.04, 0.36, 0.2, wing)
    disc(0.55, -0.52, 0.28, 0.3, COAT)
    disc(0.54, -0.7, 0.2, 0.13, crown)
    tip = 1.12 if bill == KINDS["bill_length"][0] else 0.93
    shape([(0.78, -0.58), (tip, -0.47), (0.78, -0.4)], BEAK)
    disc(0.64, -0.54, 0.045, 0.05, EYE)
    return picture
