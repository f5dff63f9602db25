"""When has a trained TNet seen enough? A learned stop, beside simpler ones.

The network is trained as its own row is, and left alone then. The stop learns on
validation images, of pictures that the network was not trained on, at one price of a
location after another. On test images stand beside it, at the same mean number of
locations: a threshold on the best class's probability, fitted on validation images, and
the learned stop's own numbers dealt to other images, a random stop. Last, a number of
locations that is the same for all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from saccade_lib import cost
from saccade_lib.models.tnet import TNet
from saccade_lib.runs.experiment import batches_of, train
from saccade_lib.runs.measurement import Measured
from saccade_lib.runs.on_traversal import OnTraversal, ranking
from saccade_lib.train import evaluating

PRICES = (0.0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)  # of a location, in right answers


@dataclass(frozen=True)
class Stopping:
    """A row of TNet on two levels, and what its stop learns from.

    Attributes:
        run: the row.
        most: J, locations at most.
        fitted: number of validation images.
        prices: of one location, in right answers.
    """

    run: OnTraversal
    most: int = 5
    fitted: int = 4_000
    prices: tuple[float, ...] = PRICES


@dataclass
class Known:
    """What is known of N images after 0, ..., J locations.

    Attributes:
        probabilities: ``(N, 1 + J, classes)``.
        following: log p of the cell that would come next, ``(N, J)``.
        right: 1 for a right answer, else 0, ``(N, 1 + J)``.
    """

    probabilities: Tensor
    following: Tensor
    right: Tensor


@torch.no_grad()
def known(model: TNet, batches: Iterable[dict], most: int) -> Known:
    """Read J locations of each image, the most probable cells first."""
    found = []
    with evaluating(model):
        for batch in batches:
            seen = model.traverse(batch["image"], (most,))
            order = ranking(seen)[..., None]  # (B, J, 1)
            cells = seen.levels[1].vectors
            cells = cells.gather(1, order.expand_as(cells))  # (B, J, F)
            whole = seen.levels[0].vectors
            prefixes = [
                model.join(torch.cat((whole, cells[:, :j]), dim=1))
                for j in range(most + 1)
            ]
            p = model.classify(torch.stack(prefixes, dim=1)).softmax(dim=-1)
            log_p = seen.levels[0].log_p[:, 0].sort(dim=1, descending=True).values
            right = p.argmax(dim=2) == batch["label"][:, None]
            found.append((p, log_p[:, :most], right.float()))
    return Known(*(torch.cat(each).cpu() for each in zip(*found, strict=True)))


def facts(data: Known, j: int) -> Tensor:
    """What the decision after j locations reads, ``(N, C + 5)``.

    The classes' probabilities, the largest first, squares and product of the two
    largest, log p of the next cell, and 1.
    """
    best = data.probabilities[:, j].sort(dim=1, descending=True).values  # (N, C)
    one, two = best[:, 0], best[:, 1]
    more = (one * one, one * two, two * two, data.following[:, j], torch.ones_like(one))
    return torch.cat((best, torch.stack(more, dim=1)), dim=1).double()


def learn(data: Known, price: float, ridge: float = 1e-5) -> Tensor:
    """A stop at one price of a location: weights ``(J, C + 5)`` of the `facts`.

    Backwards from the last location (optimal stopping by regression, Longstaff and
    Schwartz 2001). Of each image it is known what the answer is now, and what it will
    be at the end if later decisions are those learned already. The difference, less
    the price of what is read until then, is fitted by least squares: where it is
    expected above 0, the search goes on.
    """
    N, J = data.following.shape
    weights: list[Tensor] = []
    numbers = torch.full((N,), J)  # where the search ends that comes past j
    for j in reversed(range(J)):
        later = data.right.gather(1, numbers[:, None])[:, 0] - data.right[:, j]
        gain = (later - price * (numbers - j)).double()
        x = facts(data, j)
        square = x.T @ x + ridge * N * torch.eye(x.shape[1], dtype=x.dtype)
        weights.insert(0, torch.linalg.solve(square, x.T @ gain))
        numbers = torch.where(x @ weights[0] > 0, numbers, j)
    return torch.stack(weights)


def learned_numbers(stop: Tensor, data: Known) -> Tensor:
    """Locations that are read, ``(N,)``: until no gain is expected."""
    gains = [facts(data, j) @ of_j for j, of_j in enumerate(stop)]
    return first_true(torch.stack(gains, dim=1) <= 0)


def confident_numbers(data: Known, threshold: float) -> Tensor:
    """Locations that are read, ``(N,)``, until a class is so probable."""
    return first_true(data.probabilities.amax(dim=2)[:, :-1] >= threshold)


def first_true(ends: Tensor) -> Tensor:
    """Position of the first True of ``(N, J)``; J where there is none."""
    last = torch.ones_like(ends[:, :1])
    return torch.cat((ends, last), dim=1).long().argmax(dim=1)


def fitted_threshold(data: Known, wanted: float) -> float:
    """The threshold that comes nearest the wanted mean number of locations."""
    steps = torch.linspace(0, 1, 1_001).tolist()
    return min(
        steps,
        key=lambda t: abs(float(confident_numbers(data, t).float().mean()) - wanted),
    )


def right_at(data: Known, numbers: Tensor) -> float:
    """Per cent right where image i reads ``numbers[i]`` locations."""
    return 100 * float(data.right.gather(1, numbers[:, None]).mean())


def dealt(data: Known, numbers: Tensor) -> float:
    """Per cent right, expected, where the numbers are dealt to images at random."""
    J = data.following.shape[1]
    share = numbers.bincount(minlength=J + 1) / len(numbers)  # (1 + J,)
    return 100 * float((share * data.right.mean(dim=0)).sum())


def compare(fit: Known, test: Known, price: float) -> dict[str, float]:
    """Three stops at one price: per cent right, and mean number of locations."""
    stop = learn(fit, price)
    numbers = learned_numbers(stop, test)
    wanted = float(learned_numbers(stop, fit).float().mean())
    confident = confident_numbers(test, fitted_threshold(fit, wanted))
    return {
        "price": price,
        "locations_learned": float(numbers.float().mean()),
        "accuracy_learned": right_at(test, numbers),
        "locations_confident": float(confident.float().mean()),
        "accuracy_confident": right_at(test, confident),
        "accuracy_random": dealt(test, numbers),
    }


def measure(config: Stopping, seed: int, device, folder: Path) -> Measured:
    """Train the row, then its stops; a column of the curves for each price."""
    run = config.run
    outcome = train(run, seed, device, folder)
    model, pack = outcome.model, outcome.pack

    def of(split: str, count: int) -> Known:
        canvases = run.canvases(pack, split, 0)
        return known(model, batches_of(canvases, count, device), config.most)

    fit, test = of("validation", config.fitted), of("test", run.test)
    lines = [compare(fit, test, price) for price in config.prices]
    curves = {name: [line[name] for line in lines] for name in lines[0]}
    image = run.canvases(pack, "test", 0).batch(torch.arange(1), device)["image"]
    none, one = (multiplications(model, image, k) for k in (0, 1))
    costs = {"multiplications_whole": none, "multiplications_location": one - none}
    metrics = {
        f"test_accuracy_{j}": {"value": 100 * float(v), "unit": "%"}
        for j, v in enumerate(test.right.mean(dim=0))
    }
    best = test.right.amax(dim=1).mean()  # of stops that know the label
    metrics["test_accuracy_some"] = {"value": 100 * float(best), "unit": "%"}
    return Measured(
        metrics,
        {name: {"value": v / 1e6, "unit": "M"} for name, v in costs.items()},
        curves,
        pack.record(),
    )


def multiplications(model: TNet, image: Tensor, k: int) -> int:
    return cost.multiplications(lambda: model.predict(image, locations=(k,)))
