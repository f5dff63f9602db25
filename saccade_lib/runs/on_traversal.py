"""Rows that traverse a pyramid of two levels, and how they are tested.

TNet is trained with one number of locations and tested with several: the cells are
scored once, and of the five best the first 0, 1, 2, 3, 4 and 5 are used.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from saccade_lib.data import augmentation, door, imagenet
from saccade_lib.models.imagenet_dram import ImagenetDram
from saccade_lib.models.saccader import Saccader
from saccade_lib.models.tnet import TNet, Traversal
from saccade_lib.models.tnet_parts import grid_over
from saccade_lib.runs.experiment import Experiment, Stream, batches_of
from saccade_lib.runs.on_digits import OnDigits
from saccade_lib.train import evaluating

# Those of Table 1 and section 5.3 of the paper.
LOCATIONS = (0, 1, 2, 3, 4, 5)
PLACES = (1, 2, 3, 4, 5, 6, 8, 20, 30)  # of Saccader
GLIMPSES = (1, 2, 3, 4, 5, 8, 20)  # of DRAM


class OnTraversal:
    """What rows on digits and on photographs share: `evaluate`."""

    def evaluate(self, model, canvases: Stream, count: int, device) -> dict:
        """Per cent right. Of a classifier of whole images ``accuracy`` and ``top5``; of
        Saccader ``accuracy_k``, ``top5_k`` and ``hit_rate_k`` too, at each k of
        `PLACES`, and of DRAM at each k of `GLIMPSES`.

        Of TNet, at each number k of `LOCATIONS`: ``accuracy_k`` and ``top5_k``;
        ``attended_k``, the same without the whole image's vector (k > 0);
        ``coverage_k``, per cent of the image (its added row and column included) in
        some attended cell; ``hit_rate_k``, per cent of the images with the centre of
        what is to be found in such a cell. ``accuracy`` is that at the number of
        locations that is trained.
        """
        sums = {TNet: _one_batch, Saccader: _visits, ImagenetDram: _glimpses}
        one = next((of for kind, of in sums.items() if isinstance(model, kind)), None)
        if one is None:
            return _whole(model, canvases, count, device)
        found: dict[str, float] = {}
        with torch.random.fork_rng(devices=[]), evaluating(model), torch.no_grad():
            torch.manual_seed(0)  # random places
            for batch in batches_of(canvases, count, device):
                for name, value in one(model, batch).items():
                    found[name] = found.get(name, 0.0) + 100 * float(value) / count
        cfg = model.config
        trained = cfg.locations[0] if isinstance(model, TNet) else cfg.glimpses
        return {"accuracy": found[f"accuracy_{trained}"]} | found


def _whole(model, canvases: Stream, count: int, device) -> dict:
    found = {"accuracy": 0.0, "top5": 0.0}
    for batch in batches_of(canvases, count, device):
        p = model.predict(batch["image"]).probabilities
        for name, k in (("accuracy", 1), ("top5", 5)):
            found[name] += 100 * right(p, batch["label"], k) / count
    return found


def _one_batch(model: TNet, batch: dict) -> dict[str, float]:
    """Sums over a batch of everything that `OnTraversal.evaluate` names."""
    seen = model.traverse(batch["image"], (max(LOCATIONS),), batch=batch)
    whole, order = seen.levels[0].vectors, ranking(seen)  # (B, 1, F), (B, 5)
    vectors = _ordered(seen.levels[1].vectors, order)  # (B, 5, F), best first
    corner = _ordered(seen.levels[1].corner, order)  # (B, 5, 2), pixels
    location = _ordered(seen.location, order)  # (B, 5, 2)
    found = {}
    for k in LOCATIONS:
        both = torch.cat((whole, vectors[:, :k]), dim=1)  # (B, 1 + k, F)
        p = model.classify(model.join(both))
        found[f"accuracy_{k}"] = right(p, batch["label"], 1)
        found[f"top5_{k}"] = right(p, batch["label"], 5)
        if k:
            alone = model.classify(model.join(vectors[:, :k]))
            found[f"attended_{k}"] = right(alone, batch["label"], 1)
            found[f"coverage_{k}"] = covered(corner[:, :k], seen, model.config).sum()
            away = (location[:, :k] - batch["centre"][:, :1]).abs()  # (B, k, 2)
            inside = (away <= seen.scale[:, :k, None]).all(dim=2)
            found[f"hit_rate_{k}"] = inside.any(dim=1).sum()
    return found


def _visits(model: Saccader, batch: dict) -> dict[str, float]:
    """Sums over a batch: Saccader with its first k places, the best at each step."""
    x = 2 * batch["image"] - 1
    seen = model.visit(x, max(PLACES), sample=False)
    scores = {k: seen.chosen(k) for k in PLACES}
    return _of_windows(scores, *model.windows(seen, x.shape[-1]), batch)


def _glimpses(model: ImagenetDram, batch: dict) -> dict[str, float]:
    """Sums over a batch: DRAM after k glimpses at the means of its places."""
    made = model.run(batch["image"], max(GLIMPSES), sample=False)
    location = made["location"]  # (B, 20, 2)
    share = model.config.size / batch["image"].shape[-1]
    scale = location.new_full(location.shape[:2], share)
    scores = {k: made["scores"][:, k - 1] for k in GLIMPSES}
    return _of_windows(scores, location, scale, batch)


def _of_windows(
    scores: dict[int, Tensor], location: Tensor, scale: Tensor, batch: dict
) -> dict[str, float]:
    """How many are right, and have the centre of what is to be found in a window."""
    away = (location - batch["centre"][:, :1]).abs()  # (B, T, 2)
    inside = (away <= scale[..., None]).all(dim=2)  # (B, T)
    found = {}
    for k, of in scores.items():
        found[f"accuracy_{k}"] = right(of, batch["label"], 1)
        found[f"top5_{k}"] = right(of, batch["label"], 5)
        found[f"hit_rate_{k}"] = inside[:, :k].any(dim=1).sum()
    return found


def ranking(seen: Traversal) -> Tensor:
    """Attended cells of level 2, the best first: positions ``(B, k)`` among them."""
    level = seen.levels[0]
    score = level.log_p.gather(-1, level.chosen)[:, 0]  # (B, k)
    return score.argsort(dim=1, descending=True, stable=True)


def _ordered(values: Tensor, order: Tensor) -> Tensor:
    return values.gather(1, order[..., None].expand(-1, -1, values.shape[-1]))


def right(scores: Tensor, label: Tensor, k: int) -> int:
    """How many of the labels ``(B,)`` are among the k best of ``(B, classes)``."""
    best = scores.topk(min(k, scores.shape[1]), dim=1).indices
    return int((best == label[:, None]).any(dim=1).sum())


def covered(corner: Tensor, seen: Traversal, config) -> Tensor:
    """Share of an image, with its added row and column, in some square ``(B,)``.

    Args:
        corner: first pixels ``(B, k, 2)`` of squares of the second level.
    """
    grid = grid_over(seen.size, config.grid, config.cell)
    at = torch.arange(grid.first, grid.origins(config.grid)[-1] + grid.patch)
    at = at.to(corner.device)  # (P,)
    within = (at >= corner[..., None]) & (at < corner[..., None] + grid.patch)
    columns, rows = within.unbind(dim=2)  # (B, k, P) each
    return (rows[..., None] & columns[:, :, None]).any(dim=1).float().mean(dim=(1, 2))


@dataclass(frozen=True)
class OnDigitCells(OnTraversal, OnDigits):
    """A row at one profile on canvases of handwritten digits."""


@dataclass(frozen=True, kw_only=True)
class OnPictures(OnTraversal, Experiment):
    """A row at one profile on photographs in ImageNet's folders.

    Attributes:
        side: of the image, pixels.
        picture: side of the picture on it; 0 fills the image.
        own: whether it must be a reader's own ImageNet.
    """

    side: int = 224
    picture: int = 0
    own: bool = False

    code: ClassVar = (imagenet, augmentation)

    def find(self, quiet: bool) -> door.Source:
        return imagenet.find(quiet, self.own)

    def canvases(self, pack: door.Source, split: str, seed: int):
        return imagenet.Photographs(
            pack, split, side=self.side, picture=self.picture, seed=seed
        )

    def evaluate(self, model, canvases: Stream, count: int, device) -> dict:
        """Each photograph once."""
        return super().evaluate(model, canvases, min(count, len(canvases)), device)
