"""TNet (Papadopoulos et al. 2021): hard attention over an image pyramid.

The whole image is shrunk to a small square and read. A location module scores n x n
overlapping cells; the best ones are cut out of the image at full resolution, shrunk to
the same small square and read by the same network; and so on, level after level. The
vectors of all levels, each with its position, are averaged, and the mean is classified:
no recurrence, and any prefix of the traversal is a prediction.

The classifier learns by cross-entropy, the location module by the score function
(eq. 2); the modules themselves stand in `tnet_parts`, the feature extraction in
`bagnet` and `efficientnet`.

Letters: B images, C channels, S x S pixels, L x L pixels of a square as read ("base"),
n x n cells, K = n^2, F features; N nodes of a level, k chosen a node; A nodes attended
on all levels but the first.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from saccade_lib import estimators, glimpse
from saccade_lib.models import bagnet, efficientnet, tnet_beyond, tnet_parts
from saccade_lib.models.tnet_parts import Grid, grid_over, positions
from saccade_lib.session import one_of
from saccade_lib.train import Loss, evaluating


@dataclass(frozen=True)
class Config:
    """What the paper fixes, and what we vary.

    Attributes:
        classes: number of classes.
        channels: C.
        backbone: ``"bagnet"`` (ImageNet) or ``"efficientnet"`` (fMoW); it decides the
            form of the location and the position module too.
        base: L.
        locations: k of each level but the last, (3,) for two levels. Their number of
            levels is one more than this is long.
        grid: n.
        cell: side of a cell over the side of its parent.
        width: factor on all numbers of channels; 1 is the paper's.
        blocks: ``"full"``, or ``"small"`` for fewer blocks (ours).
        picked: rows (and columns) of the map that stand for the cells; None spreads
            them from border to border, which is every second of 9 for 5 cells.
        dropout: of the last map's channels (bagnet) or of the vector (efficientnet).
        gain: factor on bagnet's initial weights (ours): 1 is Xavier's, as in the paper;
            with 1.4, close to He's, a small network without normalisation leaves the
            plateau at its start sooner.
        depth_drop: probability to skip the last residual block of efficientnet in
            training; it grows from 0 block by block.
        lambda_f: weight of the score function.
        lambda_c, lambda_r: weight of the averaged prediction against those of single
            features, in cross-entropy and in reward. With both 1, eq. 2 is eq. 1: no
            per-feature regularisation.
        regularised: the last level whose single features enter eq. 2.
        normalise: bring the scores of the cells to length 1.
        temperature: by which they are divided then.
        choice: ``"top"``: the k most probable cells, also in training (the paper's
            practice); or ``"sample"``: k drawn without replacement, in training.
        log_prob: of the chosen cells: ``"sum"`` of log p (the paper's practice);
            ``"ordered"``, each over what was left to draw (eq. 9); or ``"unordered"``,
            of the set that they are (`tnet_beyond.of_sets`), on two levels.
        reward: ``"right"``: 1 for a right class, else 0; ``"likelihood"``: log p of it.
        pool: of the vectors of a traversal: ``"mean"``, or ``"weighted"`` (ours).
        detach: keep the location module's gradient from the feature extraction. The
            code does; the paper does not say so.
        antialias: shrink with an antialiased filter; the code does not.
        places: ``"learned"``; or a control with the same classifier: ``"random"``
            cells, those nearest the ``"centre"``, or an ``"oracle"``: those nearest
            the batch's true centres.
        shown: share of training, at its start, in which the cells are the oracle's
            (ours): a reward says nothing while hardly any answer is right.
    """

    classes: int
    channels: int = 3
    backbone: str = "bagnet"
    base: int = 77
    locations: tuple[int, ...] = (3,)
    grid: int = 5
    cell: float = 77 / 224
    width: float = 1.0
    blocks: str = "full"
    picked: tuple[int, ...] | None = None
    dropout: float = 0.0
    gain: float = 1.0
    depth_drop: float = 0.0
    lambda_f: float = 0.1
    lambda_c: float = 0.3
    lambda_r: float = 0.3
    regularised: int = 2
    normalise: bool = True
    temperature: float = 1.0
    choice: str = "top"
    log_prob: str = "sum"
    reward: str = "right"
    pool: str = "mean"
    detach: bool = True
    antialias: bool = False
    places: str = "learned"
    shown: float = 0.0

    def __post_init__(self):
        one_of("backbone", self.backbone, tuple(BACKBONES))
        one_of("choice", self.choice, ("top", "sample"))
        one_of("log_prob", self.log_prob, ("sum", "ordered", "unordered"))
        one_of("reward", self.reward, ("right", "likelihood"))
        one_of("pool", self.pool, ("mean", "weighted"))
        one_of("places", self.places, ("learned", "random", "centre", "oracle"))
        for name in ("lambda_f", "lambda_c", "lambda_r"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is in [0, 1], got {getattr(self, name)}")
        if self.grid < 1 or not 0 < self.cell <= 1:
            raise ValueError(
                f"expected a grid of 1 or more cells a side, each in (0, 1] of it, got "
                f"{self.grid} and {self.cell}"
            )
        if self.temperature <= 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature}")
        if self.picked is not None and len(self.picked) != self.grid:
            raise ValueError(f"picked needs {self.grid} rows, got {self.picked}")
        check_locations(self.locations, self.grid)
        if self.log_prob == "unordered":
            check_sets(self.locations, self.regularised)


def mini(classes: int, channels: int = 3, base: int = 45, **more) -> Config:
    """The same design an eighth as wide, with 12 blocks, for small machines (ours).

    A base of 45 reads images of 132 pixels at 5 x 5 cells of 45, and repeats the
    paper's added row and column at that size; 77 reads images of 224.
    """
    small = {"width": 1 / 8, "blocks": "small"} | more
    return Config(classes, channels, base=base, **small)


def check_locations(locations: tuple[int, ...], grid: int) -> None:
    """Raise ValueError where more cells are wanted than there are."""
    for level, k in enumerate(locations, start=1):
        if not 0 <= k <= grid**2:
            raise ValueError(
                f"level {level} has {grid} x {grid} cells: {k} of them cannot be chosen"
            )


def check_sets(locations: tuple[int, ...], regularised: int) -> None:
    """Raise ValueError where the unordered-set estimator has no sets."""
    if len(locations) != 1 or not 2 <= locations[0] <= estimators.MOST_IN_A_SET:
        raise ValueError(
            'log_prob "unordered" takes two levels and 2 to '
            f"{estimators.MOST_IN_A_SET} locations, got {locations}"
        )
    if regularised < 2:
        raise ValueError(
            'log_prob "unordered" rewards single cells: regularised must be 2 or more, '
            f"got {regularised}"
        )


@dataclass
class Level:
    """One level of a traversal: N nodes of each image, in grid order.

    Attributes:
        crops: ``(B, N, C, L, L)`` in [0, 1], as read.
        corner: ``(B, N, 2)``, pixel column and row of each square's first pixel.
        side: of the squares, pixels of the image.
        cells: ``(B, N, 2)``, row and column among all cells of the level: n times the
            parent's, plus its own.
        vectors: ``(B, N, F)``, positions included.
        log_p: of the cells of each node, ``(B, N, K)``; None on a last level, whose
            cells nobody scores. For a control, what ranks them.
        chosen: numbers of the cells, ascending, ``(B, N, k)``; None on a last level.
        log_prob: of each choice, ``(B, N, k)``; None on a last level and for a control.
    """

    crops: Tensor
    corner: Tensor
    side: int
    cells: Tensor
    vectors: Tensor
    log_p: Tensor | None = None
    chosen: Tensor | None = None
    log_prob: Tensor | None = None


@dataclass
class Traversal:
    """All levels, the first of which is the whole image.

    Attributes:
        levels: at least one.
        size: S, side of the image.
    """

    levels: list[Level]
    size: int

    @property
    def vectors(self) -> Tensor:
        """``(B, 1 + A, F)``, level after level."""
        return torch.cat([level.vectors for level in self.levels], dim=1)

    @property
    def log_prob(self) -> Tensor | None:
        """log p of each attended node given its parent, ``(B, A)``; None without."""
        known = [v.log_prob.flatten(1) for v in self.levels if v.log_prob is not None]
        return torch.cat(known, dim=1) if known else None

    @property
    def location(self) -> Tensor:
        """Centres of the attended squares in [-1, 1], ``(B, A, 2)``.

        Squares that begin in the added row or column reach over the border by it.
        """
        middle = [v.corner + v.side / 2 for v in self.levels[1:]]
        if not middle:
            return self.levels[0].vectors.new_zeros(len(self.levels[0].corner), 0, 2)
        return glimpse.to_location(torch.cat(middle, dim=1), self.size, self.size)

    @property
    def scale(self) -> Tensor:
        """Sides of the attended squares over that of the image, ``(B, A)``."""
        like = self.location[..., 0]
        each = [like.new_full(v.corner.shape[:2], v.side) for v in self.levels[1:]]
        return torch.cat(each, dim=1) / self.size if each else like

    @property
    def crops(self) -> Tensor:
        """The attended squares as read, ``(B, A, C, L, L)``."""
        first = self.levels[0].crops
        return torch.cat([first[:, :0], *(v.crops for v in self.levels[1:])], dim=1)


@dataclass
class Prediction:
    """Class probabilities and the cells behind them; the whole image is always seen.

    Attributes:
        probabilities: ``(B, classes)``.
        location: ``(B, A, 2)``.
        scale: ``(B, A)``.
        crops: ``(B, A, C, L, L)`` in [0, 1].
    """

    probabilities: Tensor
    location: Tensor
    scale: Tensor
    crops: Tensor


def _bagnet(c: Config) -> nn.Module:
    return bagnet.BagNet(c.channels, c.width, c.blocks, c.dropout, c.gain)


def _efficientnet(c: Config) -> nn.Module:
    return efficientnet.EfficientNet(c.channels, c.width, c.blocks, c.depth_drop)


# Feature extraction, location module, position module, of the paper's two models.
BACKBONES = {
    "bagnet": (_bagnet, tnet_parts.WithVector, tnet_parts.Joined),
    "efficientnet": (_efficientnet, tnet_parts.WithSqueeze, tnet_parts.Added),
}


class TNet(nn.Module):
    """Figure 4 of the paper for any depth, grid, backbone and number of locations."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        backbone, location, position = BACKBONES[config.backbone]
        self.extract = backbone(config)
        M, Fe = self.extract.map_channels, self.extract.features
        self.position = position(Fe, config.width)
        if config.places == "learned":
            self.locate = location(M, Fe, config.grid, config.width)
        if config.pool == "weighted":
            self.pool = tnet_beyond.WeightedMean(Fe)
        self.classify = nn.Linear(Fe, config.classes)
        of_maps = config.backbone == "bagnet"  # which drops channels of its last map
        self.dropout = nn.Dropout(0.0 if of_maps else config.dropout)
        initialise = (bagnet if of_maps else efficientnet).initialise
        for module in (self.position, self.classify, *self._heads()):
            initialise(module)
        start = 0.5 if config.reward == "right" else -math.log(config.classes)
        # State, so that it is saved with the weights: b of eq. 7.
        self.register_buffer("baseline", torch.tensor(start))

    def _heads(self) -> list[nn.Module]:
        return [self.locate] if self.config.places == "learned" else []

    # 1. The traversal (section 3.1).

    def traverse(
        self,
        images: Tensor | glimpse.Regions,
        locations: tuple[int, ...] | None = None,
        one_by_one: bool = False,
        sample: bool = False,
        batch: dict | None = None,
    ) -> Traversal:
        """Read an image level by level, from the whole to its chosen parts.

        Args:
            images: ``(B, C, S, S)`` in [0, 1]; or files, of which squares are read
                (`pyramid.Pyramids.regions`) and the whole never is.
            locations: k of each level but the last, those of the configuration by
                default. A shorter tuple leaves after an earlier level. With 0 a level's
                cells are scored and none is read, with () nothing is scored.
            one_by_one: read the nodes of a level one after the other: less memory.
            sample: draw cells without replacement; else the k most probable ones.
            batch: what a control needs (``centre``).

        Raises:
            ValueError: images that are not square or of another kind, more locations
                than cells, or levels for which the image has not enough pixels.
        """
        cfg = self.config
        locations = cfg.locations if locations is None else tuple(locations)
        check_locations(locations, cfg.grid)
        size = side = self._checked_side(images, locations)
        B = images.shape[0]
        cells = corner = torch.zeros(B, 1, 2, dtype=torch.long, device=images.device)
        levels = []
        for number in range(len(locations) + 1):
            crops = self._cut(images, corner, side).to(self.baseline.device)
            maps, seen = self._read(crops, one_by_one)  # (B, N, M, n, n), (B, N, F)
            where = positions(cells, number, self.position.length).to(seen.dtype)
            vectors = self.position(seen, where)
            level = Level(crops, corner, side, cells, vectors)
            levels.append(level)
            if number == len(locations):
                break
            self._choose(level, maps, seen, locations[number], size, sample, batch)
            if not locations[number]:
                break
            corner, cells, side = self._children(level)
        return Traversal(levels, size)

    def _checked_side(self, images, locations: tuple[int, ...]) -> int:
        H, W = images.shape[-2:]
        if H != W:
            raise ValueError(
                f"expected square images, got {H} x {W}: resize or pad them first"
            )
        side = W
        read = [*locations, 0].index(0)  # levels behind the first
        for level in range(read + 1):
            if side < self.config.base:
                raise ValueError(
                    f"level {level + 1} would read squares of {side} pixels at "
                    f"{self.config.base}: an image of {W} pixels has not so many levels"
                )
            side = grid_over(side, self.config.grid, self.config.cell).patch
        return W

    def _cut(self, images, corner: Tensor, side: int) -> Tensor:
        """Squares at full resolution, shrunk to the base; outside the image is grey.

        The paper adds zeros to images in [-1, 1]: 0.5 in [0, 1].
        """
        base = self.config.base
        return glimpse.squares(
            images, corner, side, base, fill=0.5, antialias=self.config.antialias
        )

    def _read(self, crops: Tensor, one_by_one: bool) -> tuple[Tensor, Tensor]:
        """Maps at the cells ``(B, N, M, n, n)`` and vectors ``(B, N, F)`` of crops."""
        parts = crops.split(1, dim=1) if one_by_one else [crops]
        maps, vectors = zip(*map(self._read_some, parts), strict=True)
        return torch.cat(maps, dim=1), torch.cat(vectors, dim=1)

    def _read_some(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        x = 2 * crops.flatten(0, 1) - 1  # (B * N, C, L, L) in [-1, 1]
        if x.shape[1] > 1:
            x = x.contiguous(memory_format=torch.channels_last)
        maps, vectors = self.extract(x)
        i = picked(self.config, maps.shape[-1]).to(maps.device)  # (n,)
        maps = maps[:, :, i[:, None], i]  # (B * N, M, n, n)
        return tuple(v.unflatten(0, crops.shape[:2]) for v in (maps, vectors))

    def _choose(self, level, maps, seen, k, size, sample, batch) -> None:
        """Rank the cells of each node and choose k; the level takes notes."""
        cfg = self.config
        if cfg.places != "learned" or self._is_shown(batch):
            level.log_p = self._control(level, size, batch)
            level.chosen = first(level.log_p, k).sort(dim=-1).values
            return
        inputs = (v.flatten(0, 1) for v in (maps, seen))
        scores = self.locate(*(v.detach() if cfg.detach else v for v in inputs))
        level.log_p = tnet_parts.log_probabilities(
            scores, cfg.normalise, cfg.temperature
        ).unflatten(0, maps.shape[:2])  # (B, N, K)
        keys = level.log_p.detach()
        if sample:  # Gumbel noise: the k largest are k draws without replacement
            keys = keys - torch.empty_like(keys).exponential_().log()
        drawn = first(keys, k)  # (B, N, k), in the order drawn
        log_prob = level.log_p.gather(-1, drawn)
        if cfg.log_prob == "ordered":
            log_prob = estimators.ordered_log_probs(level.log_p, drawn)
        level.chosen, order = drawn.sort(dim=-1)
        level.log_prob = log_prob.gather(-1, order)

    def _is_shown(self, batch: dict | None) -> bool:
        """Whether this batch's step is in the part of training with true cells."""
        return self.training and (batch or {}).get("progress", 1.0) < self.config.shown

    def _control(self, level: Level, size: int, batch: dict | None) -> Tensor:
        """What ranks the cells of a control, ``(B, N, K)``: higher is better."""
        B, N, K = *level.corner.shape[:2], self.config.grid**2
        if self.config.places == "random":
            return torch.rand(B, N, K, device=level.corner.device)
        if self.config.places == "centre":
            target = level.corner[:, :, None] + level.side / 2  # (B, N, 1, 2), pixels
        else:
            if not batch or "centre" not in batch:
                raise ValueError("the oracle reads the batch's 'centre' (B, D, 2)")
            target = glimpse.to_pixels(batch["centre"], size, size)[:, None]
        corners, patch = self._corners(level)
        middle = corners + patch / 2  # (B, N, K, 2)
        away = torch.cdist(middle, target.expand(-1, N, -1, -1).to(middle.dtype))
        # Each target's nearest cell comes first, then each one's second nearest.
        rank = away.argsort(dim=2, stable=True).argsort(dim=2)  # (B, N, K, D)
        return -rank.amin(dim=3).float()

    def _corners(self, level: Level) -> tuple[Tensor, int]:
        """First pixels ``(B, N, K, 2)`` of all cells of a level's nodes; their side.

        Column and row, in pixels of the image.
        """
        n = self.config.grid
        grid: Grid = grid_over(level.side, n, self.config.cell)
        line = torch.tensor(grid.origins(n), device=level.corner.device)
        y, x = torch.meshgrid(line, line, indexing="ij")
        offset = torch.stack((x, y), dim=-1).view(n * n, 2)
        return level.corner[:, :, None] + offset, grid.patch

    def _children(self, level: Level) -> tuple[Tensor, Tensor, int]:
        """First pixels and grid coordinates ``(B, N', 2)`` of the chosen cells."""
        corners, patch = self._corners(level)
        wanted = level.chosen[..., None].expand(-1, -1, -1, 2)  # (B, N, k, 2)
        corner = corners.gather(2, wanted)
        n = self.config.grid
        own = torch.stack((level.chosen // n, level.chosen % n), dim=-1)
        cells = n * level.cells[:, :, None] + own
        return corner.flatten(1, 2), cells.flatten(1, 2), patch

    # 2. The objective (eq. 2, as the code has it).

    def loss(self, batch: dict) -> Loss:
        """Named terms.

        The single features are those of the whole image and of the attended cells in
        cross-entropy, of the attended cells alone in reward.

        Args:
            batch: ``image (B, C, S, S)`` in [0, 1], ``label (B,)``; an oracle's
                ``centre (B, D, 2)``.
        """
        cfg = self.config
        x, label = glimpse.checked(batch["image"], cfg.channels), batch["label"]
        seen = self.traverse(x, sample=cfg.choice == "sample", batch=batch)
        log_p = self._log_p(self.join(seen.vectors))  # (B, classes)
        count = sum(v.vectors.shape[1] for v in seen.levels[: cfg.regularised])
        each = self._log_p(seen.vectors[:, :count])  # (B, 1 + A', classes)
        of_label = log_p.gather(1, label[:, None])  # (B, 1)
        of_each = each.gather(2, label[:, None, None].expand(-1, count, 1))[..., 0]
        terms = {
            "class": -cfg.lambda_c * of_label.mean(),
            "each": -(1 - cfg.lambda_c) * of_each.mean(),
        }
        right = (log_p.argmax(dim=1) == label)[:, None]  # (B, 1)
        metrics = {"train_accuracy": 100 * right.float().mean()}
        if seen.log_prob is not None and seen.log_prob.shape[1]:
            reward, reward_each = right.float(), (each.argmax(2) == label[:, None])
            if cfg.reward == "likelihood":
                reward, reward_each = of_label, of_each
            found = reward.detach(), reward_each[:, 1:].detach().to(reward.dtype)
            terms |= self._of_places(seen, *found)
        elif cfg.shown:  # terms of one name in every step
            terms |= dict.fromkeys(("places", "places_each"), log_p.new_zeros(()))
        return Loss(terms, metrics)

    def join(self, vectors: Tensor) -> Tensor:
        """One vector ``(..., F)`` of those of a traversal ``(..., 1 + A, F)``."""
        weighted = self.config.pool == "weighted"
        return self.pool(vectors) if weighted else vectors.mean(dim=-2)

    def _log_p(self, vectors: Tensor) -> Tensor:
        """log p(y | vectors), ``(..., classes)``."""
        scores = self.classify(self.dropout(vectors))
        return glimpse.precise(scores).log_softmax(dim=-1)

    def _of_places(self, seen: Traversal, reward: Tensor, each: Tensor) -> dict:
        """The two terms of the score function, and the step of the baseline.

        Args:
            reward: R^s, ``(B, 1)``.
            each: R^k of the first A' attended nodes, ``(B, A')``.
        """
        cfg, b, count = self.config, self.baseline.clone(), each.shape[1]
        if cfg.log_prob == "unordered":
            level = seen.levels[0]
            of_cells = level.log_p[:, 0], level.chosen[:, 0]  # (B, K), (B, k)
            both, single = tnet_beyond.of_sets(*of_cells, reward, each, b)
        else:
            log_prob = seen.log_prob  # (B, A)
            both = estimators.score(log_prob, reward, b)
            single = estimators.score(log_prob[:, :count], each, b) / max(count, 1)
        if self.training:
            mean = cfg.lambda_r * reward.mean() + (1 - cfg.lambda_r) * each.mean()
            self.baseline.mul_(0.9).add_(0.1 * mean)
        return {
            "places": cfg.lambda_f * cfg.lambda_r * both,
            "places_each": cfg.lambda_f * (1 - cfg.lambda_r) * single,
        }

    # 3. For a plain user.

    @torch.no_grad()
    def predict(
        self,
        images: Tensor | glimpse.Regions,
        sample: bool = False,
        batch: dict | None = None,
        locations: tuple[int, ...] | None = None,
        one_by_one: bool = False,
    ) -> Prediction:
        """Classify ``(B, C, S, S)`` images in [0, 1] and say where the model looked.

        Args: as of `traverse`.
        """
        x = glimpse.checked(images, self.config.channels)
        with evaluating(self):
            seen = self.traverse(x, locations, one_by_one, sample, batch)
            probabilities = self._log_p(self.join(seen.vectors)).exp()
        return Prediction(probabilities, seen.location, seen.scale, seen.crops)


def picked(config: Config, side: int) -> Tensor:
    """Rows (and columns) of a map of ``side`` that stand for the n cells, ``(n,)``.

    Raises ValueError for a map that has fewer.
    """
    n = config.grid
    rows = torch.tensor(config.picked or [], dtype=torch.long)
    if config.picked is None:
        middle = torch.tensor([(side - 1) / 2])
        rows = torch.linspace(0, side - 1, n) if n > 1 else middle
        rows = rows.round().long()
    if side < n or int(rows.max()) >= side:
        raise ValueError(
            f"a map of {side} x {side} has no rows {rows.tolist()} for {n} x {n} "
            "cells: use a larger base or a coarser grid"
        )
    return rows


def first(keys: Tensor, k: int) -> Tensor:
    """Numbers of the k largest keys, largest first, ``(..., k)``.

    Of equal ones the lower number comes first, which `torch.topk` does not promise.
    """
    return keys.argsort(dim=-1, descending=True, stable=True)[..., :k]


# ImageNet, and the paper's dropout; classes of ILSVRC 2012.
IMAGENET = Config(classes=1000, dropout=0.5)
# Satellite images (fMoW) at 448, then, from its weights, at 896.
FMOW_448 = Config(
    classes=62,
    backbone="efficientnet",
    base=224,
    locations=(2,),
    grid=3,
    cell=0.5,
    picked=(2, 6, 10),
    dropout=0.5,
    depth_drop=0.3,
    lambda_c=0.2,
    lambda_r=0.2,
)
FMOW = replace(FMOW_448, locations=(2, 1), depth_drop=0.5, lambda_c=0.05, lambda_r=0.05)
