"""Birds in scenes: a small bird somewhere in a large picture, and its box.

A scene is a window of a satellite picture of field, forest or grass. On it lie, at
random places that do not overlap and with edges that fade, one bird, mirrored in half
of the scenes, and a few *distractors*: pieces of satellite pictures of buildings and
water. The label is the bird's family, the last word of its species' name. Shrunk to a
fourth of its side a scene still shows where the bird is; what bird it is, less well.

Birds are crops to their boxes (`birds`), ground and distractors `satellite.Pictures`;
where a reader has neither pack, drawn birds lie on photographs and patterns of the
dependencies. All are split into training, validation and test before anything is
composed. What lies where is a function of (seed, index).
"""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from saccade_lib.data import birds, door, satellite
from saccade_lib.data.composites import turned
from saccade_lib.data.digits import SPLITS, Canvases, uniforms

STREAM = 530  # of random numbers, plus the split
SHRINKS = (0.8, 0.9, 1.0)  # sides of birds, over that of the largest
EDGE = 0.1  # of a patch's side that fades, at each border
FAMILIES = 9  # in the pack
CANDIDATES = 24  # places tried for each patch
KIN = {"Yellowthroat": "Warbler"}  # whose name does not say it


@dataclass(frozen=True, eq=False)
class Parts(door.Source):
    """What scenes are made of, apart by split.

    Attributes:
        birds: crops by split, with their species.
        ground: satellite pictures by split: their ``ground`` is the background, their
            ``classes`` are distractors.
    """

    birds: birds.Birds
    ground: satellite.Pictures

    @property
    def families(self) -> tuple[str, ...]:
        return families(self.birds.species)[0]


def find(quiet: bool = False) -> Parts:
    """The packs' birds and grounds, or their stand-ins; says in one line which."""
    flock, ground = birds.find(quiet=True), satellite.find(quiet=True)
    note = f"scenes: {flock.note}, on {ground.note}"
    names = (flock.source, ground.source)
    own = "embedded" in (flock.origin, ground.origin)
    found = Parts(
        f"scenes-{names[0]}",
        "embedded" if own else flock.origin,
        flock.sha256 | ground.sha256,
        note,
        flock,
        ground,
    )
    if not quiet:
        print(f"data: {note}" + (" (for the packs: `make data`)" if own else ""))
    return found


def families(species: tuple[str, ...]) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of families, sorted, and the family of each species, ``(K,)``.

    A family is the last word of a name. Where all names share it (drawn birds), the
    first nine species are a family each, as many as the pack has, and the others, -1,
    do not appear.
    """
    last = [name.rsplit("_", 1)[-1] for name in species]
    last = [KIN.get(word, word) for word in last]
    if len(set(last)) == 1:
        last = list(species)
        names = tuple(sorted(last[:FAMILIES]))
    else:
        names = tuple(sorted(set(last)))
    return names, np.array([names.index(w) if w in names else -1 for w in last])


@dataclass(frozen=True)
class Scenes:
    """An endless, random-access stream of scenes.

    Attributes:
        parts: what they are made of (`find`).
        split: ``"train"``, ``"validation"`` or ``"test"``; their pictures never mix.
        side: K, pixels; at most that of the smallest ground picture, 384.
        bird: side of the largest bird, pixels; others have one of `SHRINKS` of it.
        distractors: D, each of the size of a bird.
        species: label the species, not the family.
        seed: of the layout. Validation and test use 0 whatever the training seed.
    """

    parts: Parts = field(repr=False)
    split: str = "train"
    side: int = 256
    bird: int = 72
    distractors: int = 3
    species: bool = False
    seed: int = 0

    def __post_init__(self):
        satellite.check_split(self.split)
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")
        if not birds.SIDES[0] <= self.bird <= self.side / 3:
            raise ValueError(
                f"a bird of {self.bird} pixels: expected {birds.SIDES[0]} to a third "
                f"of the scene's {self.side}"
            )
        if not 0 <= self.distractors <= 3:
            raise ValueError(f"0 to 3 distractors have room, got {self.distractors}")

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes."""
        return self.parts.birds.species if self.species else self.parts.families

    @property
    def classes(self) -> int:
        return len(self.names)

    def layout(self, index: Tensor) -> "Layout":
        """What lies where on the scenes of the indices ``(B,)``."""
        P = 1 + self.distractors
        seed = self.seed if self.split == "train" else 0
        sizes = (1, 1, P, 2 * CANDIDATES, P, self.distractors * 2, 2, 2, 1)
        stream = STREAM + SPLITS.index(self.split)
        u = uniforms(seed, stream, index, sum(sizes)).split(sizes, dim=1)
        of_class = self._members()
        label = (u[0][:, 0] * self.classes).long()  # (B,)
        share = u[1][:, 0].tolist()
        picture = [
            of_class[k][int(s * len(of_class[k]))]
            for k, s in zip(label.tolist(), share, strict=True)
        ]
        sides = torch.tensor([round(self.bird * s) for s in SHRINKS])
        size = sides[(u[2] * len(sides)).long()]  # (B, P)
        return Layout(
            label=label,
            picture=torch.tensor(picture),
            size=size,
            corner=self._corners(u[3].unflatten(1, (CANDIDATES, 2)), size),
            turn=(u[4] * 8).long(),
            other=u[5].unflatten(1, (self.distractors, 2)),
            ground=u[6],
            window=u[7],
            ground_turn=(u[8][:, 0] * 8).long(),
        )

    def batch(self, index: Tensor, device: str | torch.device = "cpu") -> dict:
        """Scenes of the indices ``(B,)``.

        Returns:
            ``image (B, 3, K, K)`` in [0, 1]; ``label (B,)``; in [-1, 1] the bird's
            ``box (B, 4)``, left, top, right, bottom, and its ``centre (B, 1, 2)``; the
            ``index (B,)`` itself.
        """
        layout = self.layout(index)
        image = np.stack([self._composed(layout, b) for b in range(len(index))])
        corner, size = layout.corner[:, 0], layout.size[:, :1]
        box = torch.cat((corner, corner + size), dim=1) * (2 / self.side) - 1
        found = {
            "image": torch.from_numpy(image).float().div_(255),
            "label": layout.label,
            "box": box,
            "centre": box.unflatten(1, (2, 2)).mean(dim=1, keepdim=True),
            "index": index,
        }
        return {name: value.to(device) for name, value in found.items()}

    def hits(self, location: Tensor, batch: dict) -> Tensor:
        """Which birds ``(B,)`` some window ``(B, T, 2)`` is centred on, anywhere in
        their boxes."""
        low, high = batch["box"][:, None, :2], batch["box"][:, None, 2:]
        return ((location >= low) & (location <= high)).all(dim=2).any(dim=1)

    # --- where things lie -------------------------------------------------------------

    def _members(self) -> list[np.ndarray]:
        """Numbers of the split's crops, class by class."""
        labels = self.parts.birds.of(self.split, self.bird).labels
        if not self.species:
            labels = families(self.parts.birds.species)[1][labels]
        return [np.flatnonzero(labels == k) for k in range(self.classes)]

    def _corners(self, u: Tensor, size: Tensor) -> Tensor:
        """Top left corners ``(B, P, 2)`` of patches that keep apart.

        Candidate 0 is the bird's; each other patch takes the first that is a bird's
        side away from all before it, or the last where none is.
        """
        largest, row = self.bird, torch.arange(len(u))
        place = (u * (self.side - largest + 1)).long()  # (B, CANDIDATES, 2)
        found = [place[:, 0]]
        for _ in range(1, size.shape[1]):
            away = torch.stack([(place - c[:, None]).abs().amax(dim=2) for c in found])
            free = (away >= largest).all(dim=0)  # (B, CANDIDATES)
            free[:, -1] |= ~free.any(dim=1)
            found.append(place[row, free.int().argmax(dim=1)])
        return torch.stack(found, dim=1)

    # --- pixels -----------------------------------------------------------------------

    def _composed(self, of: "Layout", b: int) -> np.ndarray:
        """One scene, uint8 ``(3, K, K)``."""
        scene = self._ground(of, b)
        # Distractors first: where one had to overlap, the bird lies on top.
        for p in reversed(range(of.size.shape[1])):
            (x, y), n = of.corner[b, p].tolist(), int(of.size[b, p])
            part = scene[:, y : y + n, x : x + n]
            patch = self._patch(of, b, p, n)
            mixed = part + fading(n) * (patch - part.astype(np.float32))
            part[:] = np.rint(mixed)
        return scene

    def _ground(self, of: "Layout", b: int) -> np.ndarray:
        """The background, a copy."""
        whole = chosen(of.ground[b], self._pictures(), self.parts.ground.ground)
        if min(whole.shape[1:]) < self.side:
            raise ValueError(
                f"a ground picture of {whole.shape[1:]} is smaller than the scene: "
                f"ask for a side of {min(whole.shape[1:])} or less"
            )
        x, y = (
            int(v * (n - self.side + 1))
            for v, n in zip(of.window[b].tolist(), whole.shape[:0:-1], strict=True)
        )
        window = whole[:, y : y + self.side, x : x + self.side]
        return turned(window, int(of.ground_turn[b])).copy()

    def _patch(self, of: "Layout", b: int, p: int, n: int) -> np.ndarray:
        """Patch p, uint8 ``(3, n, n)``: the bird's is number 0."""
        turn = int(of.turn[b, p])
        if p == 0:
            crops = resized(self.parts.birds, self.split, self.bird, n)
            crop = crops[int(of.picture[b])]
            return crop[:, :, ::-1] if turn & 1 else crop
        cuts = details(self.parts.ground, self.split, n)
        return turned(chosen(of.other[b, p - 1], cuts, self.parts.ground.classes), turn)

    def _pictures(self) -> dict[str, list[np.ndarray]]:
        return pictures(self.parts.ground, self.split)


@dataclass(frozen=True)
class Layout:
    """What lies where on B scenes: P patches, the bird's first.

    Attributes:
        label, picture: class, and number of the crop in its split, ``(B,)``.
        size: of patches, pixels, ``(B, P)``.
        corner: top left, x and y in pixels, ``(B, P, 2)``.
        turn: ``(B, P)`` of eight ways; an odd one mirrors the bird.
        other: kind and number of each distractor's picture, in [0, 1), ``(B, D, 2)``.
        ground, window: kind and number of the background, and where it is cut, in
            [0, 1), ``(B, 2)``.
        ground_turn: ``(B,)``.
    """

    label: Tensor
    picture: Tensor
    size: Tensor
    corner: Tensor
    turn: Tensor
    other: Tensor
    ground: Tensor
    window: Tensor
    ground_turn: Tensor


@lru_cache(maxsize=6)
def pictures(ground: satellite.Pictures, split: str) -> dict[str, list[np.ndarray]]:
    """A split's pictures by name, channels first."""
    return {
        name: [np.ascontiguousarray(a.transpose(2, 0, 1)) for a in some]
        for name, some in ground.of(split).items()
    }


@lru_cache(maxsize=18)
def details(
    ground: satellite.Pictures, split: str, n: int
) -> dict[str, list[np.ndarray]]:
    """The middle 2n pixels of each distractor's picture, shrunk to n."""
    found = {}
    for name in ground.classes:
        found[name] = []
        for whole in pictures(ground, split)[name]:
            side = min(2 * n, *whole.shape[1:])
            y, x = ((s - side) // 2 for s in whole.shape[1:])
            found[name].append(shrunk(whole[None, :, y : y + side, x : x + side], n)[0])
    return found


@lru_cache(maxsize=18)
def resized(flock: birds.Birds, split: str, side: int, n: int) -> np.ndarray:
    """All crops of a split, ``(N, 3, n, n)`` uint8."""
    return shrunk(flock.of(split, side).images, n)


def chosen(u: Tensor, some: dict[str, list], names: tuple[str, ...]) -> np.ndarray:
    """One of the pictures by name: u ``(2,)`` in [0, 1) says which kind and which."""
    kind, which = u.tolist()
    of_kind = some[names[int(kind * len(names))]]
    return of_kind[int(which * len(of_kind))]


@lru_cache(maxsize=128)
def fading(n: int) -> np.ndarray:
    """How much of a patch is seen, ``(n, n)``: all but a soft edge."""
    at = (np.arange(n) + 0.5) / n
    share = np.clip(np.minimum(at, 1 - at) / EDGE, 0, 1)
    smooth = (1 - np.cos(np.pi * share)) / 2
    return np.minimum.outer(smooth, smooth).astype(np.float32)


def shrunk(some: np.ndarray, n: int) -> np.ndarray:
    """uint8 ``(N, 3, m, m)`` to ``(N, 3, n, n)``, antialiased."""
    if some.shape[-1] == n:
        return some
    parts = []
    for first in range(0, len(some), 64):
        few = torch.from_numpy(np.ascontiguousarray(some[first : first + 64])).float()
        few = F.interpolate(few, (n, n), mode="bilinear", antialias=True)
        parts.append(few.round_().to(torch.uint8).numpy())
    return np.concatenate(parts)


# --- digits with boxes ----------------------------------------------------------------


class BoxedDigits(Canvases):
    """`digits.Canvases` of one digit; batches hold its ``box (B, 4)`` and ``index``."""

    def batch(self, index: Tensor, device: str | torch.device = "cpu") -> dict:
        found = super().batch(index, device)
        half = self.digit / self.side
        centre = found["centre"][:, 0]
        box = torch.cat((centre - half, centre + half), dim=1)
        return found | {"box": box, "index": index.to(device)}
