"""Experiments on battlefields: how many marines?"""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, fields
from typing import ClassVar

import torch
from torch import Tensor, nn

from saccade_lib.data import balanced, battlefield, digits, door, frames, sprites
from saccade_lib.data.balanced import Balanced
from saccade_lib.models import baselines, counting
from saccade_lib.models.variational_saccading import VariationalSaccading
from saccade_lib.runs.experiment import Experiment


@dataclass(frozen=True)
class OnBattlefield(Experiment):
    """A row at one profile whose images are `battlefield.Scenes`, drawn in balance.

    Attributes:
        side, most, sprite, squads: of `battlefield.Scenes`.
        proxy: J, side of the minimap.
        samples: number of training scenes; ``validation`` and ``test`` count theirs.
        art: ``"plain"``, or ``"best"``: Bos Wars where it has been fetched.
        frames: folder of a reader's own frames (`data.frames`), read in their place.
    """

    side: int
    most: int
    sprite: int
    proxy: int
    _: KW_ONLY
    squads: int = 2
    samples: int = 20_000
    art: str = "plain"
    frames: str = ""

    code: ClassVar = (digits, sprites, battlefield, balanced, frames)
    unit_of: ClassVar = {
        name: "marines"
        for name in ("count_error", "error_per_twice", "error_per_missed")
    }

    def find(self, quiet: bool) -> door.Source:
        if self.frames:
            return frames.source(self.frames)
        return sprites.find(quiet) if self.art == "best" else sprites.plain()

    def canvases(self, pack: door.Source, split: str, seed: int) -> Balanced:
        # Whatever does not read the whole scene never has it composed.
        windows = not isinstance(self.model, baselines.Config)
        form = dict(side=self.side, most=self.most, proxy=self.proxy, seed=seed)
        if self.frames:
            own = frames.Frames(self.frames, split, windows=windows, **form)
            return Balanced(own, len(own))
        kind = battlefield.Windows if windows else battlefield.Scenes
        scenes = kind(pack, split, sprite=self.sprite, squads=self.squads, **form)
        sizes = {"train": self.samples, "validation": self.validation}
        return Balanced(scenes, sizes.get(split, self.test))

    def kind(self) -> type[nn.Module]:
        looks = isinstance(self.model, counting.Config)
        return counting.Counting if looks else super().kind()

    def evaluate(self, model, canvases: Balanced, count: int, device) -> dict:
        """Metrics of one pass over the raw scenes of a set.

        Returns:
            ``accuracy``: on ``count`` draws from the set in balance, as in the paper;
            ``raw_accuracy``: on the set as it is; ``balanced_accuracy``: the mean of
            the accuracies of the classes, which is what resampling estimates;
            ``count_error``: mean of |answer - count| over the draws; for a model that
            looks, ``hit_rate`` and ``seen_twice``: per cent of the marines of the set
            that are in a window, and in two or more; and `slopes`.
        """
        found = look_over(model, canvases.scenes, canvases.samples, device)
        return summary(found, canvases.draw(torch.arange(count)))


def look_over(model, scenes, count: int, device="cpu") -> dict[str, Tensor]:
    """Answers of a model about scenes 0 to ``count`` - 1.

    Returns:
        ``label (N,)``; ``answer (N,)``, the likeliest count; ``expected (N,)``, the
        mean of the model's distribution over counts; and where windows are known
        ``marines (N,)`` that stand in no window, ``once`` and ``twice`` (or more).
    """
    rows = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # of places that are random
        for start in range(0, count, 250):
            index = torch.arange(start, min(start + 250, count))
            batch = scenes.batch(index, device)
            seen = model.predict(batch["image"], batch=batch)
            p = seen.probabilities.double().cpu()  # (B, classes)
            row = {"label": batch["label"].cpu(), "answer": p.argmax(dim=1)}
            row["expected"] = p @ torch.arange(p.shape[1], dtype=p.dtype)
            if isinstance(model, VariationalSaccading) and "kind" in batch:
                row |= windows_on_marines(seen, batch)
            rows.append(row)
    return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}


def windows_on_marines(seen, batch: dict) -> dict[str, Tensor]:
    """How many marines ``(B,)`` are in no window, in one, in more."""
    times = battlefield.windows_on(seen.location, seen.scale, batch["centre"])
    marine = batch["kind"] == 0  # (B, U)
    by_times = {"missed": times == 0, "once": times == 1, "twice": times > 1}
    return {name: (marine & of).sum(dim=1).cpu() for name, of in by_times.items()}


def summary(found: dict[str, Tensor], draws: Tensor) -> dict[str, float]:
    """`OnBattlefield.evaluate`'s metrics of answers, and draws ``(M,)`` from them."""
    label, right = found["label"], found["answer"] == found["label"]
    off = (found["answer"] - label).abs().double()
    classes = [right[label == y].double().mean() for y in label.unique()]
    metrics = {
        "accuracy": 100 * right[draws].double().mean(),
        "raw_accuracy": 100 * right.double().mean(),
        "balanced_accuracy": 100 * torch.stack(classes).mean(),
        "count_error": off[draws].mean(),
    }
    if "twice" in found:
        there = label.sum().clamp(min=1)
        metrics["hit_rate"] = 100 * (there - found["missed"].sum()) / there
        metrics["seen_twice"] = 100 * found["twice"].sum() / there
        metrics |= {
            f"error_per_{name}": slope
            for name, (slope, _) in slopes(found, found["expected"] - label).items()
        }
    return {name: float(value) for name, value in metrics.items()}


def slopes(
    found: dict[str, Tensor],
    change: Tensor,
    columns: tuple[str, ...] = ("twice", "missed"),
) -> dict[str, tuple[float, float]]:
    """By how much ``change (N,)`` grows with each marine seen twice, and each missed.

    Least squares among scenes with the same number of marines: a network that is
    unsure answers towards the middle, so that its error falls with the number, and
    scenes with many marines have more that are seen twice.

    Args:
        found: ``label`` and the columns, ``(N,)`` each.
        columns: what else is regressed on.

    Returns:
        For each column its slope and the standard error. One that does not vary is
        left out.
    """
    label = found["label"]

    def within(values: Tensor) -> Tensor:
        values = values.double()
        sums = torch.zeros(int(label.max()) + 1, dtype=values.dtype)
        sums = sums.index_add(0, label, values)
        return values - (sums / label.bincount().clamp(min=1))[label]

    parts = {name: within(found[name]) for name in columns}
    parts = {name: x for name, x in parts.items() if float(x.abs().max()) > 1e-9}
    if not parts:
        return {}
    x, y = torch.stack(list(parts.values()), dim=1), within(change)  # (N, k), (N,)
    inverse = torch.linalg.pinv(x.T @ x)  # (k, k)
    slope = inverse @ (x.T @ y)
    free = len(y) - len(label.unique()) - x.shape[1]
    error = ((y - x @ slope).square().sum() / free * inverse.diagonal()).sqrt()
    pairs = zip(slope.tolist(), error.tolist(), strict=True)
    return dict(zip(parts, pairs, strict=True))


class Bare(battlefield.Windows):
    """The same fields when no unit stands on them."""

    def layout(self, index: Tensor, device: str | torch.device = "cpu"):
        layout = super().layout(index, device)
        layout.kind = torch.full_like(layout.kind, -1)
        return layout


def erase(
    model, scenes: battlefield.Windows, count: int, mask: Callable, fill: str = "ground"
) -> dict[str, Tensor]:
    """What a model answers when points of its crops are erased, places as before.

    Args:
        model: whose places are a function of the scene: not random ones.
        mask: ``mask(location, scale, size) -> (B, T, L, L)``, true where to erase.
        fill: ``"ground"``, what would be seen if no unit stood there; or ``"black"``.

    Returns:
        ``label (N,)``; ``change (N,)`` of the expected count; ``gone (N,)``, marines
        that show nowhere any more; ``again (N,)``, appearances that went away beside
        the last one of a marine.
    """
    rows, bare = [], Bare(**vars_of(scenes))
    for start in range(0, count, 250):
        index = torch.arange(start, min(start + 250, count))
        batch = scenes.batch(index)
        crop, ground = batch["crop"], bare.batch(index)["crop"]

        def erased(*window, crop=crop, ground=ground):
            instead = 0.0 if fill == "black" else ground(*window)
            return torch.where(mask(*window)[:, :, None], instead, crop(*window))

        seen = model.predict(batch["image"], batch=batch)
        after = model.predict(batch["image"], batch=batch | {"crop": erased})
        change = after.probabilities - seen.probabilities  # (B, classes)
        numbers = torch.arange(change.shape[1], dtype=change.dtype)
        row = {"label": batch["label"], "change": change @ numbers}
        away = mask(seen.location, seen.scale, seen.crops.shape[-1])
        rows.append(row | marines_lost(seen, batch, away))
    return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}


def marines_lost(seen, batch: dict, erased: Tensor) -> dict[str, Tensor]:
    """`erase`'s ``gone`` and ``again`` where points ``(B, T, L, L)`` are erased."""
    marine = batch["kind"] == 0  # (B, U)
    before, now = (
        appearances(seen.location, seen.scale, batch["centre"], points) * marine
        for points in (torch.zeros_like(erased), erased)
    )
    gone = (before > 0) & (now == 0)
    again = before - now - gone.int()
    return {"gone": gone.sum(dim=1), "again": again.sum(dim=1)}


def vars_of(scenes) -> dict:
    """The fields with which a frozen dataclass was made."""
    return {f.name: getattr(scenes, f.name) for f in fields(scenes)}


def appearances(location, scale, centre: Tensor, erased: Tensor) -> Tensor:
    """In how many windows each centre shows, ``(B, U)``, but for erased points.

    Args:
        location, scale: ``(B, T, 2)`` and ``(B, T)``.
        centre: ``(B, U, 2)``.
        erased: ``(B, T, L, L)``.
    """
    at = (centre[:, None] - location[:, :, None]) / scale[:, :, None, None]
    inside = (at.abs() <= 1).all(dim=3)  # (B, T, U)
    L = erased.shape[-1]
    x, y = ((at + 1) / 2 * L).floor().long().clamp(0, L - 1).unbind(3)
    hidden = erased.flatten(2).gather(2, y * L + x)  # (B, T, U)
    return (inside & ~hidden).sum(dim=1)
