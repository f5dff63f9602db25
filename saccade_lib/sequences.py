"""Glimpse sequences of least expected posterior entropy, for a block of images.

For t = 1..T: complete the image N times (`retrieval`), ask g what it would believe of
each completion after a look at each place (equation 6), look at the place of the lowest
mean entropy. The first map sees no image, so that it is the same for all. No place is
looked at twice: that brings nothing, as the exact EPE knows, and its estimate may not.

At the places that were seen, completions show the true pixels; the released code leaves
the completion's own there, which agrees if the completion does.

Shapes: B images of a block, M of the database, T glimpses, L places, N completions,
U different ones among them, F features, K labels.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from saccade_lib.data.image_sets import ImageSet
from saccade_lib.design import Grid, entropy
from saccade_lib.estimators import effective_sample_size
from saccade_lib.models.avp import Avp
from saccade_lib.retrieval import Database, drawn, tempered

ROWS = 8_192  # evaluations of a network's head at once
# Beak, eye, forehead, belly, feet: the order of the paper.
BY_HAND = (
    ("beak",),
    ("left eye", "right eye"),
    ("forehead",),
    ("belly",),
    ("left leg", "right leg"),
)


class Scorer(Protocol):
    """Equation 6 for the completions of one image."""

    evaluations: int  # of g, so far

    def epe(
        self, image: Tensor, places: Tensor, candidates: Tensor, weights: Tensor
    ) -> Tensor:
        """EPE of every place, ``(L,)``, in nats.

        Args:
            image: ``(C, H, W)``; places: ``(t,)``, where it was seen, t may be 0.
            candidates, weights: ``(U,)`` each.
        """


class Cached:
    """For the set network: what it makes of each patch of the database, once.

    A shift by a stride shows the patch of the next place; so one table, a border wider
    than the grid, serves all shifts, and another one the mirror images.
    """

    def __init__(self, g: Avp, database: Database):
        if g.config.network != "set":
            raise ValueError(f"a {g.config.network} keeps nothing: use `Plain`")
        self.g, self.database, self.evaluations = g.eval(), database, 0
        padded, grid = database.padded, database.grid
        n = grid.n + 2 * database.reach
        self.content = padded.new_empty(*padded.shape[:2], n, n, g.config.features)
        with torch.no_grad():
            for row in range(n):
                for column in range(n):
                    top, left = row * grid.stride, column * grid.stride
                    block = padded[..., top : top + grid.size, left : left + grid.size]
                    self.content[:, :, row, column] = g.net.content(block)
        self.all = torch.arange(grid.L)

    def shown(self, candidates: Tensor) -> Tensor:
        """e of every place of candidates, ``(U, L, F)``."""
        base, n = self.database, self.database.grid.n
        found = []
        for c in candidates.tolist():
            down, right, mirrored = base.versions[c // base.M]
            top, left = base.reach - down, base.reach - right
            table = self.content[mirrored, c % base.M]  # (n', n', F)
            found.append(table[top : top + n, left : left + n].flatten(0, 1))
        return self.g.net.embed(torch.stack(found), self.all)

    @torch.no_grad()
    def epe(self, image, places, candidates, weights) -> Tensor:
        e = self.shown(candidates)  # (U, L, F)
        seen = places.unique()
        if len(seen):
            net, of = self.g.net, image.expand(1, -1, -1, -1)
            patches = self.g.grid.patches(of, seen[None])
            total = net.embed(net.content(patches), seen[None])[0].sum(dim=0)  # (F,)
            e = e + total
        count = torch.tensor(len(seen) + 1)
        H = torch.cat([self._entropy(x, count) for x in e.split(self._chunk())])
        self.evaluations += H.numel()
        found = weights @ H  # (L,)
        if len(seen):  # nothing new to be seen there
            found[seen] = self._entropy(total, count - 1)
        return found

    def _chunk(self) -> int:
        return max(1, ROWS // len(self.all))

    def _entropy(self, total: Tensor, count: Tensor) -> Tensor:
        hidden = self.g.net.head(total, count.expand(total.shape[:-1]))
        logits, _ = self.g.net.tell(hidden)
        return entropy(self.g.tempered(logits, count).softmax(dim=-1))


class Plain:
    """For every network: put each masked completion together and read it."""

    def __init__(self, g: Avp, database: Database):
        self.g, self.database, self.evaluations = g.eval(), database, 0

    @torch.no_grad()
    def epe(self, image, places, candidates, weights) -> Tensor:
        L, views = self.g.grid.L, self.g.grid.views
        known = views[places].any(dim=0)  # (H, W)
        made = self.database.candidates(candidates)  # (U, C, H, W)
        made = torch.where(known, image, made)
        found = []
        for place in range(L):
            at = torch.cat((places, torch.tensor([place]))).expand(len(made), -1)
            found.append(weights @ entropy(self.g(made, at).softmax(dim=-1)))
        self.evaluations += L * len(made)
        return torch.stack(found)


@dataclass(frozen=True)
class Settings:
    """How completions are drawn.

    Attributes:
        glimpses: T.
        completions: N, of each image before each glimpse but the first.
        ess: effective sample size of the weights they are drawn with.
        first: images of the database that the first map is the mean of; 0 for all.
        seed: of the draws.
    """

    glimpses: int = 5
    completions: int = 32
    ess: float = 32.0
    first: int = 0
    seed: int = 0

    def __post_init__(self):
        if self.glimpses < 2 or self.completions < 1:
            raise ValueError(
                "expected at least 2 glimpses and 1 completion, got "
                f"{self.glimpses} and {self.completions}"
            )


def first_map(scorer: Scorer, settings: Settings) -> Tensor:
    """EPE of every first place, ``(L,)``: over the database, before any image."""
    base = scorer.database
    count = min(settings.first or base.M, base.M)
    index = torch.linspace(0, base.M - 1, count).long()
    nothing = torch.zeros(0, dtype=torch.long)
    total = torch.zeros(base.grid.L)
    for some in index.split(250):
        weights = torch.full((len(some),), 1 / count)
        total += scorer.epe(base.images[0], nothing, some, weights)
    return total


def design_sequences(
    scorer: Scorer,
    images: Tensor,
    ids: Tensor,
    own: Tensor,
    first: Tensor,
    settings: Settings,
) -> dict[str, Tensor]:
    """Places of least EPE, one after the other.

    Args:
        images: ``(B, C, H, W)``; ids ``(B,)``, from which draws are seeded.
        own: ``(B, candidates)`` bool, what must not complete an image: `Database.own`.
        first: ``(L,)``, of `first_map`.

    Returns:
        ``places (B, T)``; ``maps (B, T, L)``, nats; ``entropy (B, T)``, of g after each
        glimpse; and before each glimpse but the first ``ess (B, T - 1)``, ``candidates
        (B, T - 1, N)`` with their ``weights``.
    """
    T, grid = settings.glimpses, scorer.database.grid
    places = first.argmin().expand(len(images), 1)  # the first among equals
    maps, kept = [first.expand(len(images), -1)], []
    distance = images.new_zeros(own.shape)
    for t in range(1, T):
        last = places[:, -1:]
        patches = grid.patches(images, last)[:, 0]
        distance += scorer.database.distance(patches, last[:, 0])
        weights, _ = tempered(distance, own, settings.ess)
        seeds = [seed_of(settings.seed, id, t) for id in ids.tolist()]
        index, share = drawn(weights, settings.completions, seeds)
        rows = zip(images, places, index, share, strict=True)
        epe = [scorer.epe(x, at, c[w > 0], w[w > 0]) for x, at, c, w in rows]
        epe = torch.stack(epe)  # (B, L)
        maps.append(epe)
        kept.append((effective_sample_size(weights.T), index, share))
        places = torch.cat((places, next_place(epe, places)), dim=1)
    ess, index, share = (torch.stack(each, dim=1) for each in zip(*kept, strict=True))
    return {
        "places": places,
        "maps": torch.stack(maps, dim=1),
        "entropy": after_each(scorer.g, images, places),
        "ess": ess,
        "candidates": index,
        "weights": share,
    }


def next_place(epe: Tensor, places: Tensor) -> Tensor:
    """The place of the lowest EPE (B, L) that is not in places (B, t), ``(B, 1)``.

    The first among equals.
    """
    return epe.scatter(1, places, torch.inf).argmin(dim=1, keepdim=True)


def after_each(g: Avp, images: Tensor, places: Tensor) -> Tensor:
    """Entropy of g after each of the glimpses, ``(B, T)``."""
    p = [
        g.predict(images, places[:, : t + 1]).probabilities
        for t in range(places.shape[1])
    ]
    return entropy(torch.stack(p, dim=1))


def seed_of(seed: int, id: int, t: int) -> int:
    """One seed for the draws of each image and glimpse."""
    return (seed * 1_000_003 + id) * 101 + t


def random_places(g: Avp, count: int, seed: int) -> Tensor:
    """The control: T different places of each image, uniformly, ``(count, T)``."""
    generator = torch.Generator().manual_seed(seed)
    keys = torch.rand(count, g.grid.L, generator=generator)
    return keys.argsort(dim=1)[:, : g.config.glimpses]


# ---- What sequences look like as a whole


def statistics(places: Tensor, grid: Grid) -> dict:
    """What sequences ``(B, T)`` look like as a whole.

    Returns:
        ``entropy``: of the places of glimpse t over the images, bits, a list of T;
        ``most_frequent``: for each t the place taken most often, and its count;
        ``covered``: mean share of the pixels that were seen; ``repeats``: number of
        sequences that return to a place.
    """
    bits, frequent = [], []
    for of in places.T:
        counts = torch.bincount(of, minlength=grid.L).double()
        p = counts / counts.sum()
        bits.append(float(entropy(p)) / math.log(2))
        frequent.append((int(counts.argmax()), int(counts.max())))
    seen = torch.stack([grid.views[row].any(dim=0).float().mean() for row in places])
    repeats = sum(len(row.unique()) < len(row) for row in places)
    return {
        "entropy": bits,
        "most_frequent": frequent,
        "covered": float(seen.mean()),
        "repeats": repeats,
    }


def contained(grid: Grid, places: Tensor, parts: Tensor, visible: Tensor) -> Tensor:
    """Which visible parts lie inside some glimpse of a sequence, ``(B, P)`` bool.

    Args:
        places: ``(B, T)``; parts: ``(B, P, 2)``, x and y in [-1, 1]; visible (B, P).
    """
    half = grid.size / grid.side
    gap = (parts[:, :, None] - grid.locations[places][:, None]).abs()  # (B, P, T, 2)
    return (gap <= half).all(dim=-1).any(dim=-1) & visible


def steady(maps: Tensor, T: int) -> Tensor:
    """A control that looks at nothing: the T places of the lowest mean EPE, ``(T,)``.

    Args:
        maps: ``(B, L)``, or one ``(L,)``.
    """
    return maps.view(-1, maps.shape[-1]).mean(dim=0).argsort(stable=True)[:T]


# ---- Sequences and places that no designer made


def by_hand(images: ImageSet, grid: Grid, seed: int) -> Tensor:
    """Five cells of each bird, ``(N, 5)``: the parts of `BY_HAND` in this order.

    A part is in the middle of its cell, as far as the grid and the border allow. Of two
    that are visible (eyes, legs) one is drawn; in the place of one that is not, any
    part that is.

    Raises ValueError for images without these parts.
    """
    names = images.part_names
    if not {name for group in BY_HAND for name in group} <= set(names):
        raise ValueError(f"these images lack parts of a bird, they have {names}")
    generator = torch.Generator().manual_seed(seed)
    keys = torch.rand(len(images), len(BY_HAND), len(names), generator=generator)
    keys = keys * images.visible[:, None]  # 0 if hidden
    for t, group in enumerate(BY_HAND):
        wanted = torch.tensor([name in group for name in names])
        keys[:, t] += (wanted & images.visible).float()  # before all others
    part = keys.argmax(dim=2)  # (N, 5)
    at = images.parts.gather(1, part[..., None].expand(-1, -1, 2))  # (N, 5, 2)
    corner = (at + 1) / 2 * grid.side - grid.size / 2  # pixels, x and y
    step = (corner / grid.stride).round().long().clamp(0, grid.n - 1)
    return step[..., 1] * grid.n + step[..., 0]


def concentrated(map: Tensor, share: float = 0.6) -> Tensor:
    """Probabilities exp(-map / tau), tau such that their entropy is a share of log L.

    The places that RAM+ is pretrained at (ours: the paper's heuristic is not printed).

    Args:
        map: ``(L,)``, the expected posterior entropy of a first look at each place.
    """
    if not 0 < share < 1:
        raise ValueError(f"share must be between 0 and 1, got {share}")
    low, high = -20.0, 20.0  # of log tau
    spread = (map.max() - map.min()).clamp_min(1e-12)
    goal = share * torch.tensor(float(len(map))).log()
    for _ in range(60):
        middle = (low + high) / 2
        log_p = (-(map - map.min()) / spread / math.exp(middle)).log_softmax(0)
        entropy = -(log_p.exp() * log_p).sum()
        low, high = (middle, high) if entropy < goal else (low, middle)
    return log_p.exp()
