"""Recurrent attention on small images, some of them with a designer's maps."""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from saccade_lib.data import birds, digits, image_sets, taught, taught_maps
from saccade_lib.data.image_sets import ImageSet
from saccade_lib.data.taught_maps import TaughtMaps
from saccade_lib.design import entropy
from saccade_lib.models.distilled import Distilled
from saccade_lib.runs.on_sequences import OnSequences


@dataclass(frozen=True)
class OnMaps(OnSequences):
    """A row of `OnSequences` that is told whole maps.

    Attributes:
        share: entropy of each map's probabilities over log L, their only setting.
    """

    _: KW_ONLY
    told: str = "designed"
    share: float = 0.3

    code: ClassVar = (digits, image_sets, birds, taught, taught_maps)

    def __post_init__(self):
        super().__post_init__()
        if self.told != "designed" or not 0 < self.share < 1:
            raise ValueError(
                "maps are of designed sequences, with a share in (0, 1), got "
                f"{self.told!r} and {self.share}"
            )

    def kind(self) -> type[nn.Module]:
        return Distilled

    def canvases(self, pack, split: str, seed: int) -> TaughtMaps:
        plain = super().canvases(pack, split, seed)

        def find_soft() -> tuple[Tensor, Tensor]:
            return self.soft(plain.images, split)

        return TaughtMaps(**vars_of(plain), find_soft=find_soft)

    def soft(self, images: ImageSet, split: str) -> tuple[Tensor, Tensor]:
        """What `TaughtMaps.find_soft` gives; only training images have maps."""
        T, L = self.model.glimpses, self.grid.L
        row = torch.full((len(images),), -1)
        if split != "train":
            return torch.zeros(0, T, L), row
        found, at = self.designed(), self.annotated_rows(images)
        mine = [found.of(int(id)) for id in images.id[at]]
        row[at] = torch.arange(len(at))
        return softened(found.maps[mine, :T], found.places[mine, :T], self.share), row


def vars_of(plain) -> dict:
    """The fields of a `Taught`, without what it has cached."""
    return {name: getattr(plain, name) for name in plain.__dataclass_fields__}


def softened(maps: Tensor, places: Tensor, share: float) -> Tensor:
    """Probabilities ``(M, T, L)`` that fall with EPE; 0 at places seen before.

    As `sequences.concentrated` of the places that are left, all maps at once.

    Args:
        maps: ``(M, T, L)``, expected posterior entropies, nats.
        places: ``(M, T)``, the sequence; its entries before t are seen at t.
        share: as of `sequences.concentrated`.
    """
    T = maps.shape[1]
    seen = torch.zeros(maps.shape, dtype=torch.bool)
    for t in range(1, places.shape[1]):
        seen[:, t:].scatter_(2, places[:, None, t - 1 : t].expand(-1, T - t, -1), True)
    maps = maps.double().masked_fill(seen, torch.inf)
    goal = share * (~seen).sum(dim=2, keepdim=True).double().log()
    above = maps - maps.amin(dim=2, keepdim=True)  # 0 at the best place
    low, high = torch.full_like(goal, 1e-9), torch.full_like(goal, 1e3)  # of tau
    for _ in range(60):
        tau = (low * high).sqrt()
        p = (-above / tau).softmax(dim=2)
        sharp = entropy(p)[..., None] < goal
        low, high = torch.where(sharp, tau, low), torch.where(sharp, high, tau)
    return (-above / high).softmax(dim=2).float()
