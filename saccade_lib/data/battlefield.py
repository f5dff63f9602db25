"""Battlefields seen from above, made on the fly from (seed, index): count the marines.

The counterpart of Variational Saccading's StarCraft II data (section 4.3): scenes with
three kinds of units, at most 22 of each, and a minimap on which two of the kinds look
alike. The label is the number of marines; more than half of all scenes have none.

Units stand in squads, one in a cell of a lattice at most, so that none hides another
and every pixel belongs to one cell: a window is computed from the layout, at a cost
that depends neither on the scene's side nor on the number of units. `Scenes` composes
whole scenes, `Windows` reads windows of scenes that nobody composes.
"""

from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from saccade_lib import glimpse
from saccade_lib.data.digits import SPLITS, uniforms
from saccade_lib.data.sprites import DIRECTIONS, KINDS, Art

COUNTS, PLACES = 10, 20  # streams of random numbers, plus the split
NONE = 0.55  # share of scenes without a marine
FALL = 2.0  # the largest count is exp(-FALL) times as frequent as a count of 0 were
HILLS = 5  # points an axis of the ground's shade
EMPTY = -(2**30)  # of a cell, below any place in a table of sprites
DOT = 2  # side of a unit on the minimap, pixels
# Minimap: nothing, a soldier of either kind, a vehicle.
COLOURS = ((0.0, 0.0, 0.0), (0.25, 1.0, 0.25), (1.0, 0.85, 0.1))
ON_MAP = (1, 1, 2)  # colour of each kind: the first two look alike


@dataclass(frozen=True)
class Scenes:
    """An endless, random-access stream of scenes.

    Attributes:
        art: what to draw with (`sprites.plain`, `sprites.find`).
        split: ``"train"``, ``"validation"`` or ``"test"``.
        side: K, pixels.
        most: largest number of units of a kind.
        sprite: side of a unit, pixels; a cell of the lattice is a third wider.
        squads: places around which units stand.
        proxy: J, side of the minimap.
        seed: of the layout. Validation and test use 0 whatever the training seed.
    """

    art: Art = field(repr=False)
    split: str = "train"
    side: int = 1024
    most: int = 22
    sprite: int = 32
    squads: int = 2
    proxy: int = 64
    seed: int = 0

    channels = 3

    def __post_init__(self):
        if self.split not in SPLITS:
            raise ValueError(f"unknown split {self.split!r}: one of {SPLITS}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")
        if min(self.most, self.squads) < 1:
            raise ValueError("most and squads must be 1 or more")
        if self.lattice**2 < 2 * self.slots:
            raise ValueError(
                f"side {self.side} has {self.lattice**2} cells for units of "
                f"{self.sprite} pixels; {self.most} of each kind need {2 * self.slots}"
            )

    @property
    def classes(self) -> int:
        return self.most + 1

    @property
    def slots(self) -> int:
        """U, units a scene can have."""
        return len(KINDS) * self.most

    @property
    def cell(self) -> int:
        return self.sprite * 4 // 3

    @property
    def lattice(self) -> int:
        """n, cells an axis."""
        return self.side // self.cell

    def shares(self) -> Tensor:
        """Probability of each count of marines in a raw scene, ``(most + 1,)``."""
        n = torch.arange(1, self.classes, dtype=torch.float64)
        falling = torch.exp(-FALL * n / self.most)
        some = (1 - NONE) * falling / falling.sum()
        return torch.cat((torch.tensor([NONE], dtype=torch.float64), some))

    def counts(self, index: Tensor) -> Tensor:
        """Units of each kind ``(B, 3)``; the first column is the label."""
        u = self._uniforms(COUNTS, index, len(KINDS))  # (B, 3)
        edges = self.shares().cumsum(0)[:-1]
        marines = torch.bucketize(u[:, :1].contiguous(), edges, right=True)
        return torch.cat((marines, (u[:, 1:] * self.classes).long()), dim=1)

    def labels(self, index: Tensor) -> Tensor:
        """Number of marines ``(B,)``, without drawing anything else."""
        return self.counts(index)[:, 0]

    def batch(self, index: Tensor, device: str | torch.device = "cpu") -> dict:
        """Compose the scenes of the given indices.

        Args:
            index: ``(B,)`` integers >= 0.
            device: where the pixels are composed.

        Returns:
            ``image (B, 3, K, K)`` and ``proxy (B, 3, J, J)`` in [0, 1]; ``label (B,)``;
            of U units, marines first and absent ones last, ``centre (B, U, 2)`` as
            locations and ``kind (B, U)``, -1 for an absent one.
        """
        layout = self.layout(index, device)
        all_of_it = torch.arange(self.side, device=device).expand(len(index), 1, -1)
        image = self.pixels(layout, all_of_it, all_of_it)[:, 0]  # (B, 3, K, K)
        return {"image": image, "proxy": self.minimap(layout)} | layout.truth

    def layout(self, index: Tensor, device: str | torch.device = "cpu") -> "Layout":
        """What stands where in the scenes of the given indices."""
        n, U = self.lattice, self.slots
        parts = {"squads": 2 * self.squads, "chance": n * n, "order": U}
        parts |= {"jitter": 2 * U, "direction": U, "shift": 2, "tile": 2}
        parts["shade"] = HILLS * HILLS
        u = self._uniforms(PLACES, index, sum(parts.values()))
        u = dict(zip(parts, u.split(list(parts.values()), dim=1), strict=True))
        kind = _kinds(self.counts(index), self.most)  # (B, U)
        cells = self._cells(u["squads"].unflatten(1, (-1, 2)), u["chance"])
        cells = cells.gather(1, u["order"].argsort(dim=1))  # no kind before another
        order = torch.where(kind < 0, len(KINDS), kind).argsort(dim=1, stable=True)
        kind = kind.gather(1, order)  # marines first; cells are by chance anyway
        shift = (u["shift"] * (self.side - n * self.cell + 1)).long()  # (B, 2)
        jitter = u["jitter"].unflatten(1, (-1, 2)) * (self.cell - self.sprite + 1)
        layout = Layout(
            kind=kind,
            cells=cells,
            shift=shift,
            jitter=jitter.long(),  # (B, U, 2)
            direction=(u["direction"] * DIRECTIONS).long(),  # (B, U)
            tile=(u["tile"] * 2**20).long(),  # (B, 2)
            shade=0.65 + 0.5 * u["shade"].unflatten(1, (HILLS, HILLS)).float(),
            truth={"label": (kind == 0).sum(dim=1), "kind": kind},
        )
        at = torch.stack((cells % n, cells // n), dim=2) * self.cell  # (B, U, 2)
        middle = shift[:, None] + at + layout.jitter + self.sprite / 2
        layout.truth["centre"] = (middle * 2 / self.side - 1).float()
        return layout.to(device)

    def pixels(self, layout: "Layout", rows: Tensor, columns: Tensor) -> Tensor:
        """The pixels where rows ``(B, T, h)`` and columns ``(B, T, w)`` meet.

        Returns:
            ``(B, T, 3, h, w)`` in [0, 1]; zero outside the scene.
        """
        return self._colours(layout, rows, columns).movedim(0, 2)

    def _colours(self, layout: "Layout", rows: Tensor, columns: Tensor) -> Tensor:
        """`pixels`, colours first: ``(3, B, T, h, w)``."""
        seen = self._ground(layout, rows, columns).flatten(1)  # (3, N)
        unit, where = self._units(layout, rows, columns)  # (n, 4), (n,)
        under = seen[:, where] * (1 - unit[:, 3]) + unit[:, :3].T
        seen[:, where] = under
        return seen.view(3, *rows.shape, columns.shape[-1])

    def minimap(self, layout: "Layout") -> Tensor:
        """Dots on a dark ground, ``(B, 3, J, J)``: not the scene made small."""
        B, J = len(layout.kind), self.proxy
        middle = (layout.truth["centre"] + 1) / 2 * J  # (B, U, 2)
        corner = (middle - DOT / 2).round().long().clamp(0, J - DOT)
        d = torch.arange(DOT, device=corner.device)
        where = (corner[..., 1, None, None] + d[:, None]) * J
        where = where + corner[..., 0, None, None] + d  # (B, U, DOT, DOT)
        colour = torch.tensor((*ON_MAP, 0), device=corner.device)[layout.kind]  # (B, U)
        value = colour[..., None, None].expand(-1, -1, DOT, DOT)
        seen = torch.zeros(B, J * J, dtype=torch.long, device=corner.device)
        seen.scatter_reduce_(1, where.flatten(1), value.flatten(1), "amax")
        dots = torch.tensor(COLOURS, device=corner.device)[seen]  # (B, J * J, 3)
        at = torch.arange(J, device=corner.device).expand(B, 1, J) * self.side // J
        hills = self._shade(layout, at, at)[:, 0].flatten(1)[..., None]  # (B, J * J, 1)
        ground = 0.2 * hills * hills.new_tensor((0.5, 0.7, 1.0))
        made = torch.where(seen[..., None] > 0, dots, ground)
        return made.mT.unflatten(2, (J, J)).contiguous()

    def _uniforms(self, stream: int, index: Tensor, n: int) -> Tensor:
        seed = self.seed if self.split == "train" else 0
        return uniforms(seed, stream + SPLITS.index(self.split), index, n)

    def _cells(self, squads: Tensor, chance: Tensor) -> Tensor:
        """U cells of the lattice ``(B, U)``, the nearer to a squad the likelier.

        The largest of log-weight plus Gumbel noise are a draw without replacement.
        """
        n = self.lattice
        i = (torch.arange(n * n) % n + 0.5) / n, (torch.arange(n * n) // n + 0.5) / n
        places = torch.stack(i, dim=1)  # (n * n, 2)
        squads = 0.15 + 0.7 * squads  # (B, S, 2)
        away = ((places[:, None] - squads[:, None]) ** 2).sum(dim=3)  # (B, n * n, S)
        reach = 0.4 * (self.slots / self.squads) ** 0.5 / n  # of a full squad
        weight = torch.logsumexp(-away / (2 * reach**2), dim=2)  # (B, n * n)
        gumbel = -torch.log(-torch.log(chance.clamp(1e-12, 1 - 1e-12)))
        return (weight + gumbel).topk(self.slots, dim=1).indices

    def _ground(self, layout: "Layout", rows: Tensor, columns: Tensor) -> Tensor:
        """Tile times shade, ``(3, B, T, h, w)``."""
        P, Q, _ = self.art.ground.shape
        tile = self.art.ground.to(rows.device).flatten(0, 1).T.contiguous()  # (3, P*Q)
        y = (rows + layout.tile[:, None, 1:]) % P  # (B, T, h)
        x = (columns + layout.tile[:, None, :1]) % Q  # (B, T, w)
        flat = (y[..., :, None] * Q + x[..., None, :]).flatten()  # (N,)
        shade = self._shade(layout, rows, columns)  # (B, T, h, w)
        colours = torch.stack([colour.take(flat) for colour in tile])
        return colours.view(3, *shade.shape).mul_(shade).clamp_(max=1)

    def _shade(self, layout: "Layout", rows: Tensor, columns: Tensor) -> Tensor:
        """A few random heights, bilinear between; zero outside the scene.

        Returns:
            ``(B, T, h, w)``.
        """
        point = torch.arange(HILLS, device=rows.device)
        weights = []
        for at in (rows, columns):
            near = (at + 0.5)[..., None] * (HILLS - 1) / self.side - point
            inside = ((at >= 0) & (at < self.side))[..., None]
            weights.append(glimpse.tent(near) * inside)  # (B, T, h or w, HILLS)
        return weights[0] @ layout.shade[:, None] @ weights[1].mT

    def _units(
        self, layout: "Layout", rows: Tensor, columns: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Where there are sprites, ``(n, 4)``, and which of the N pixels, ``(n,)``."""
        sprites = self.art.draw(self.sprite).to(rows.device)  # (3, 8, s, s, 4)
        # With a margin, a sprite can be read anywhere in its cell.
        pad = self.cell - self.sprite
        wide = F.pad(sprites, (0, 0, pad, pad, pad, pad))  # (3, 8, q, q, 4)
        q = wide.shape[2]
        which = layout.kind * DIRECTIONS + layout.direction  # (B, U)
        to = pad - layout.jitter  # (B, U, 2), where the cell's corner lies in a sprite
        start = ((which * q + to[..., 1]) * q + to[..., 0]).int()  # (B, U)
        start = torch.where(layout.kind < 0, EMPTY, start)
        m = self.lattice + 1  # the last row and column stand for all that is outside
        cells = layout.cells // self.lattice * m + layout.cells % self.lattice
        starts = start.new_full((len(start), m * m), EMPTY)
        starts = starts.scatter(1, cells, start)  # (B, m * m)
        cell, within = [], []
        for axis, at in ((1, rows), (0, columns)):
            at = at - layout.shift[:, axis, None, None]  # (B, T, h or w)
            outside = (at < 0) | (at >= self.lattice * self.cell)
            cell.append(torch.where(outside, m - 1, at // self.cell))
            within.append((at % self.cell).int())
        here = cell[0][..., :, None] * m + cell[1][..., None, :]  # (B, T, h, w)
        found = starts.gather(1, here.flatten(1))
        within = within[0][..., :, None] * q + within[1][..., None, :]
        where = (found.flatten() != EMPTY).nonzero()[:, 0]  # (n,)
        flat = found.flatten()[where] + within.flatten()[where]
        return wide.flatten(0, 3)[flat], where


@dataclass
class Layout:
    """What stands where in B scenes, before any pixel is composed.

    Attributes:
        kind: ``(B, U)``, -1 for a unit that is absent.
        cells: ``(B, U)``, of the lattice, all different.
        shift: ``(B, 2)``, x and y of the lattice's corner, pixels.
        jitter: ``(B, U, 2)``, x and y of a unit in its cell.
        direction: ``(B, U)``.
        tile: ``(B, 2)``, offset of the ground.
        shade: ``(B, HILLS, HILLS)``.
        truth: what a batch says about the scenes.
    """

    kind: Tensor
    cells: Tensor
    shift: Tensor
    jitter: Tensor
    direction: Tensor
    tile: Tensor
    shade: Tensor
    truth: dict[str, Tensor]

    def to(self, device: str | torch.device) -> "Layout":
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value.to(device))
        self.truth = {name: v.to(device) for name, v in self.truth.items()}
        return self


def _kinds(counts: Tensor, most: int) -> Tensor:
    """Kind of each slot ``(B, 3 * most)`` by counts ``(B, 3)``; -1 if it is empty."""
    place = torch.arange(most)
    there = place < counts[..., None]  # (B, 3, most)
    kind = torch.arange(counts.shape[1])[:, None].expand_as(there)
    return torch.where(there, kind, -1).flatten(1)


@dataclass(frozen=True)
class Windows(Scenes):
    """Scenes that are never composed: a minimap of each, and windows on demand."""

    def batch(self, index: Tensor, device: str | torch.device = "cpu") -> dict:
        """`Scenes.batch` with the minimap in the place of the image.

        Returns:
            ``proxy (B, 3, J, J)``, once more as ``image``; ``crop``, a function of
            location ``(B, T, 2)``, scale ``(B, T)`` and size L that gives what
            `glimpse.crop` gives for the whole scene; and what is true of the scene.
        """
        layout = self.layout(index, device)
        c = self.minimap(layout)
        crop = partial(self._crop, layout)
        return {"image": c, "proxy": c, "crop": crop} | layout.truth

    def _crop(self, layout, location, scale, size) -> Tensor:
        """Eq. 6 from the window's pixels alone, ``(B, T, 3, L, L)``."""
        i = glimpse.pixel_centres(size, location.device, location.dtype)  # (L,)
        wide = int((scale.detach().amax() * self.side).ceil()) + 2  # pixels read
        around, weights = [], []
        for axis in (0, 1):
            reading = location[..., axis, None] + scale[..., None] * i  # (B, T, L)
            u = ((reading + 1) * self.side - 1) / 2  # pixel m is centred at m
            first = u[..., :1].detach().floor()  # (B, T, 1)
            at = first + torch.arange(wide, device=u.device)  # (B, T, w)
            weights.append(glimpse.tent(u[..., None] - at[..., None, :]))
            around.append(at.long())
        columns, rows = around
        region = self._colours(layout, rows, columns)  # (3, B, T, w, w)
        across, down = weights  # (B, T, L, w)
        return (down @ region @ across.mT).movedim(0, 2)


def windows_on(location: Tensor, scale: Tensor, centre: Tensor) -> Tensor:
    """How many of the windows ``(B, T)`` hold each centre ``(B, U, 2)``: ``(B, U)``."""
    away = (location[:, :, None] - centre[:, None]).abs()  # (B, T, U, 2)
    return (away <= scale[:, :, None, None]).all(dim=3).sum(dim=1)
