"""Runs of the paper against its code: each difference alone, on the small model.

The reference is `ablation-base` (eq. 5 with weights, a pointer, bounded noise). Where a
difference needs another one first, that one has a row of its own: the code's reading of
the KL needs a free sigma, its window a dense posterior.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from saccade_lib import train as training
from saccade_lib.data import door
from saccade_lib.models import baselines
from saccade_lib.runs.experiment import build, evaluate
from saccade_lib.runs.measurement import Measured, Measurement
from saccade_lib.runs.on_digits import OnDigits
from saccade_lib.runs.variational_saccading.ablations import BASE, changed, row

LARGE_SIDE = 240  # of the enlarged and of the true canvases
READERS = (12, 60)  # sides at which a classifier of the whole canvas reads them


def differences() -> dict[str, dict[str, OnDigits]]:
    """One row a difference, and one with all of them."""
    code = {
        "product": dict(objective="product"),
        "kl-reading": dict(sigma_max=None, kl_reading="code"),
        "window": dict(posterior="dense", window="code"),
        "state": dict(state_in_classifier=True),
        "full-proxy": dict(proxy=BASE.side),
    }
    together = {k: v for change in code.values() for k, v in change.items()}
    code |= {
        "sum": dict(objective="sum"),
        # Constant weights of the size that the product's have on the way.
        "product-weights": dict(reconstruction_weight=0.01, kl_weight=0.05),
        "free-noise": dict(sigma_max=None),
        "dense": dict(posterior="dense"),
        "all": together,
    }
    return {
        f"released-{name}": changed(BASE, **change) for name, change in code.items()
    }


def enlarged_or_true() -> dict[str, dict[str, OnDigits]]:
    """Classifiers of the whole canvas, shrunk, on both kinds of large canvases.

    An enlarged canvas is a canvas of 60 x 60, as the paper's are of 100 x 100; a true
    one has its digits, 28 pixels wide, at full resolution only.
    """
    rows = {}
    for side in READERS:
        model = baselines.ProxyConfig(classes=10, proxy=side, width=8)
        run = replace(BASE, model=model)
        enlarged = replace(run, enlarge=LARGE_SIDE)
        true = replace(run, side=LARGE_SIDE)
        rows[f"released-enlarged-{side}"] = row(enlarged)
        rows[f"released-true-{side}"] = row(true)
    return rows


# --- choosing on the test set ---------------------------------------------------------


@dataclass(frozen=True)
class Choosing:
    """A training whose weights are chosen twice, each time on the set that it reports.

    Attributes:
        run: the experiment that is trained, validated on both test sets.
        images: in each of them: other canvases of the same test digits.
    """

    run: OnDigits
    images: int


def choose(config: Choosing, seed: int, device: torch.device, folder: Path) -> Measured:
    """What a test set says of the weights that it chose, and what another says.

    ``reported`` is the best accuracy of any validation on one test set, as when the
    best epoch is reported; ``fresh`` that of the same weights on the other set. Both
    are averaged over the two sets in exchanged roles; ``last`` is the last epoch's.
    """
    run, pack = config.run, door.mnist(quiet=True)
    model = build(run, seed).to(device)
    stream, batch = run.canvases(pack, "train", seed), run.schedule.batch
    test = run.canvases(pack, "test", seed)
    n = config.images
    halves = {"accuracy": torch.arange(n), "other": torch.arange(n, 2 * n)}

    def batches(step: int) -> dict:
        return stream.batch(torch.arange(step * batch, (step + 1) * batch), device)

    def validate(model) -> dict[str, float]:
        return {
            name: evaluate(model, _Part(test, index), n, device)["accuracy"]
            for name, index in halves.items()
        }

    fit = training.fit(model, batches, validate, run.schedule, seed, progress=False)
    found = optimism(fit.curves["validation_accuracy"], fit.curves["validation_other"])
    metrics = {name: {"value": v, "unit": "%"} for name, v in found.items()}
    return Measured(metrics=metrics, curves=fit.curves, data=pack.record())


def optimism(one: list[float], other: list[float]) -> dict[str, float]:
    """`choose`'s numbers from the accuracies on the two sets, one a validation."""
    pairs = [(one, other), (other, one)]
    best = [max(range(len(a)), key=a.__getitem__) for a, _ in pairs]
    reported = sum(a[k] for (a, _), k in zip(pairs, best, strict=True)) / 2
    fresh = sum(b[k] for (_, b), k in zip(pairs, best, strict=True)) / 2
    return {
        "reported": reported,
        "fresh": fresh,
        "optimism": reported - fresh,
        "last": (one[-1] + other[-1]) / 2,
    }


@dataclass(frozen=True)
class _Part:
    """The canvases of some indices, counted from zero."""

    of: object
    index: torch.Tensor

    def batch(self, index, device="cpu") -> dict:
        return self.of.batch(self.index[index], device)

    def hits(self, location, batch):
        return self.of.hits(location, batch)


OFTEN = replace(BASE, schedule=replace(BASE.schedule, validate_every=50))
CHOOSING = {
    "quick": Measurement(choose, Choosing(row(OFTEN)["quick"], images=250)),
    "standard": Measurement(choose, Choosing(OFTEN, images=2_000)),
}
ROWS = differences() | enlarged_or_true() | {"released-choosing": CHOOSING}
