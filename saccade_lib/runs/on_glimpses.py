"""Recurrent attention on canvases of handwritten digits, and how it is tested.

A policy that draws its places can be tested with one run an image, with its mean or
likeliest places, or with the mean of several runs, at their cost. Public numbers mix
the three. Here all are recorded, and one run chooses.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from saccade_lib.data import digits
from saccade_lib.runs.experiment import Stream, batches_of, is_right
from saccade_lib.runs.on_digits import OnDigits

RUNS = 8  # whose probabilities are averaged


@dataclass(frozen=True)
class OnGlimpses(OnDigits):
    """A row whose model is a `RecurrentAttention`."""

    def evaluate(self, model, canvases: Stream, count: int, device) -> dict:
        """Per cent right: ``accuracy`` of one run with drawn places, ``accuracy_mean``
        with the policy's mean or likeliest, ``accuracy_averaged`` over `RUNS` runs;
        ``error``, what one run gets wrong; ``hit_rate``, per cent of the digits that
        some glimpse of that run is on."""
        ways = {
            "accuracy": dict(sample=True),
            "accuracy_mean": dict(),
            "accuracy_averaged": dict(sample=True, runs=RUNS),
        }
        right = dict.fromkeys(ways, 0)
        hits = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            for batch in batches_of(canvases, count, device):
                for name, how in ways.items():
                    seen = model.predict(batch["image"], batch=batch, **how)
                    p = of_label(seen.probabilities)
                    right[name] += is_right(p, batch["label"])
                    if name == "accuracy":
                        hits.append(canvases.hits(seen.location, batch).flatten())
        found = {name: 100 * n / count for name, n in right.items()}
        found["error"] = 100 - found["accuracy"]
        found["hit_rate"] = 100 * torch.cat(hits).float().mean().item()
        return found


@dataclass(frozen=True)
class OnWholes(OnDigits):
    """A row whose model reads the canvas at once."""

    def evaluate(self, model, canvases: Stream, count: int, device) -> dict:
        """``accuracy`` and ``error``, per cent."""
        found = super().evaluate(model, canvases, count, device)
        return found | {"error": 100 - found["accuracy"]}


def of_label(p: Tensor) -> Tensor:
    """Class probabilities ``(B, 55)`` of two digits in any order.

    Args:
        p: of each digit, ``(B, 2, 10)``; of a label, ``(B, classes)``, as it is.
    """
    if p.dim() == 2:
        return p
    both = p[:, 0, :, None] * p[:, 1, None, :]  # (B, 10, 10), left and right
    pairs = torch.tensor(digits.pairs(), device=p.device)  # (55, 2)
    a, b = pairs.T
    return torch.where(a == b, both[:, a, b], both[:, a, b] + both[:, b, a])
