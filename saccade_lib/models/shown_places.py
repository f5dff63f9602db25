"""Variational Saccading whose windows lie at the true places at first (ours).

The beginning of TNet's rows ``shown`` for a pathwise gradient: in a first share of
training the crops are cut where the things are, so that the classifier learns to read;
the VRNN learns its own terms meanwhile. From then on the windows lie where it says, and
the slope of the crops is all that can move them.

Letters: B images, D things, T glimpses.
"""

from dataclasses import dataclass, replace

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
    """

    shown: float = 0.4
    held: bool = False

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.shown < 1:
            raise ValueError(f"shown must be a share in (0, 1), got {self.shown}")
        if self.places != "learned":
            raise ValueError("a control has no places of its own to go on with")


class ShownPlaces(ByWindows):
    """Images read by windows, whose batches hold ``centre (B, D, 2)`` in training."""

    _is_shown = False

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

    def places(self, x: Tensor, batch: dict, sample: bool) -> Places:
        """Learned places, with the windows of the true ones while they are shown."""
        found = super().places(x, batch, sample)
        if not self._is_shown:
            return found
        turn = [t % batch["centre"].shape[1] for t in range(self.config.glimpses)]
        reach = 1 - self.window_side
        return replace(found, location=batch["centre"][:, turn].clamp(-reach, reach))
