"""Variational Saccading whose windows lie at the true places at first (ours).

The beginning of TNet's rows ``shown`` for a pathwise gradient: in a first share of
training the crops are cut where the things are, so that the classifier learns to read;
the VRNN learns its own terms meanwhile. From then on the windows lie where it says; of
what moves them, only the slope of the crops knows the class. With ``told`` the places
of the VRNN are pulled to the things meanwhile, so that both halves have been taught.

The things may be those that a rule finds in the proxy (`salient`), so that nobody needs
to know where they are.

Letters: B images, D things, T glimpses.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from saccade_lib import glimpse
from saccade_lib.models import variational_saccading
from saccade_lib.models.by_windows import ByWindows
from saccade_lib.models.variational_saccading import Places
from saccade_lib.session import one_of
from saccade_lib.train import Loss


@dataclass(frozen=True)
class ShownConfig(variational_saccading.Config):
    """`variational_saccading.Config`, and:

    shown: share of training, at its start, in which windows lie at the true places.
    held: after it, the crop network and the classifier learn no more.
    teacher: whose places these are: ``"truth"``, read from the batch, or ``"rule"``.
    told: weight of the pull on the VRNN's own places in that first share, 0 for none.
    ratio: learning rates of the reader (crop network and classifier) and of all else,
        which says where to look, over the schedule's.
    """

    shown: float = 0.4
    held: bool = False
    teacher: str = "truth"
    told: float = 0.0
    ratio: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.shown < 1:
            raise ValueError(f"shown must be a share in (0, 1), got {self.shown}")
        if min(self.ratio) <= 0:
            raise ValueError(f"ratio must be two positive numbers, got {self.ratio}")
        one_of("teacher", self.teacher, ("truth", "rule"))
        if self.places != "learned":
            raise ValueError("a control has no places of its own to go on with")


class ShownPlaces(ByWindows):
    """Images read by windows.

    In training, batches hold ``centre (B, D, 2)``, unless the teacher is the rule.
    """

    _is_shown = False
    _told = None  # where the VRNN would look, and the things, while it is told

    def rates(self) -> list[dict]:
        """Parameters for `train.fit`: the reader's, and the VRNN's with the proxy's."""
        reader = [*self.read_crop.parameters(), *self.classify.parameters()]
        known = {id(p) for p in reader}
        looker = [p for p in self.parameters() if id(p) not in known]
        groups = zip((reader, looker), self.config.ratio, strict=True)
        return [{"params": params, "ratio": ratio} for params, ratio in groups]

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
        T = self.config.glimpses
        things = salient(x, T) if self.config.teacher == "rule" else batch["centre"]
        things = things.clamp(-reach, reach)  # (B, D, 2)
        if self.config.told:
            self._told = found.location, things
        turn = [t % things.shape[1] for t in range(T)]
        return replace(found, location=things[:, turn])


def salient(c: Tensor, count: int, width: float = 0.35) -> Tensor:
    """Places ``(B, count, 2)``, x and y, at which colours are furthest from the median.

    Args:
        c: proxies ``(B, C, J, J)``.
        width: distance within which a place that was found rules out others, in units
            of the book's coordinates: the image is 2 wide.
    """
    middle = c.flatten(2).median(dim=2).values[..., None, None]  # (B, C, 1, 1)
    odd = ((c - middle) ** 2).sum(dim=1)  # (B, J, J)
    odd = F.avg_pool2d(odd, 3, stride=1, padding=1).flatten(1)  # (B, J * J)
    i = glimpse.pixel_centres(c.shape[-1], c.device, c.dtype)
    places = torch.cartesian_prod(i, i).flip(1)  # (J * J, 2), x and y
    found = []
    for _ in range(count):
        found.append(places[odd.argmax(dim=1)])  # (B, 2)
        away = ((places - found[-1][:, None]) ** 2).sum(dim=2)  # (B, J * J)
        odd = odd * (away > width**2)
    return torch.stack(found, dim=1)


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
    pairs = [linear_sum_assignment(one) for one in far.detach().cpu().numpy()]
    thing = torch.from_numpy(np.stack([d for _, d in pairs])).to(far.device)  # (B, T)
    return far.gather(2, thing[:, :, None]).mean()
