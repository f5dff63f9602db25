"""Variational Saccading whose windows lie at the true places at first (ours).

The beginning of TNet's rows ``shown`` for a pathwise gradient: in a first share of
training the crops are cut where the things are, so that the classifier learns to read;
the VRNN learns its own terms meanwhile. From then on the windows lie where it says, and
the slope of the crops is all that can move them. With ``told`` the places of the VRNN
are pulled to the things meanwhile, so that both halves of the task have been taught.

Letters: B images, D things, T glimpses.
"""

from dataclasses import dataclass, replace
from itertools import permutations

import torch
from torch import Tensor

from saccade_lib.models import variational_saccading
from saccade_lib.models.by_windows import ByWindows
from saccade_lib.models.variational_saccading import Places
from saccade_lib.train import Loss


@dataclass(frozen=True)
class ShownConfig(variational_saccading.Config):
    """`variational_saccading.Config`, and:

    shown: share of training, at its start, in which windows lie at the true places.
    held: after it, the crop network and the classifier learn no more.
    told: weight of the pull on the VRNN's own places in that first share, 0 for none.
    """

    shown: float = 0.4
    held: bool = False
    told: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.shown < 1:
            raise ValueError(f"shown must be a share in (0, 1), got {self.shown}")
        if self.places != "learned":
            raise ValueError("a control has no places of its own to go on with")


class ShownPlaces(ByWindows):
    """Images read by windows, whose batches hold ``centre (B, D, 2)`` in training."""

    _is_shown = False
    _told = None  # where the VRNN would look, and the things, while it is told

    def loss(self, batch: dict) -> Loss:
        """As of the parent; ``progress`` in [0, 1], 1 without."""
        self._is_shown = bool(batch.get("progress", 1.0) < self.config.shown)
        learns = self._is_shown or not self.config.held
        for part in (self.read_crop, self.classify):
            part.requires_grad_(learns)
        try:
            return super().loss(batch)
        finally:
            self._is_shown = False
            self._told = None

    def _terms(self, nll: Tensor, places: Places) -> dict[str, Tensor]:
        terms = super()._terms(nll, places)
        if self.config.told:
            far = pull(*self._told) if self._told else torch.zeros_like(nll)
            terms["pull"] = self.config.told * far
        return terms

    def places(self, x: Tensor, batch: dict, sample: bool) -> Places:
        """Learned places, with the windows of the true ones while they are shown."""
        found = super().places(x, batch, sample)
        if not self._is_shown:
            return found
        reach = 1 - self.window_side
        true = batch["centre"].clamp(-reach, reach)  # (B, D, 2)
        if self.config.told:
            self._told = found.location, true
        turn = [t % true.shape[1] for t in range(self.config.glimpses)]
        return replace(found, location=true[:, turn])


def pull(location: Tensor, centre: Tensor) -> Tensor:
    """Mean squared distance of places ``(B, T, 2)`` to T of the D things ``(B, D, 2)``.

    Each place goes to a thing of its own, as the least sum of an image allows.

    Raises:
        ValueError: fewer things than places.
    """
    T, D = location.shape[1], centre.shape[1]
    if D < T:
        raise ValueError(f"{T} places have no things of their own among {D}")
    far = (location[:, :, None] - centre[:, None]).square().sum(dim=3)  # (B, T, D)
    order = torch.tensor(list(permutations(range(D), T)), device=far.device)  # (P, T)
    sums = far[:, torch.arange(T, device=far.device), order].sum(dim=2)  # (B, P)
    return sums.amin(dim=1).mean() / T
