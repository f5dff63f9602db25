"""Variational Saccading for a label that is a number of things.

Two changes to the network of two digits. A crop's features are averaged over the crop,
not maximised: a maximum says *that* a marine is there, an average *how many*. And
pixels can be made to count once (`Config.once`): what an earlier window has shown is
black in a later one. The paper suspects that its model counts some marines twice; this
is what would repair it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saccade_lib import glimpse
from saccade_lib.models import variational_saccading
from saccade_lib.models.by_windows import ByWindows
from saccade_lib.models.variational_saccading import CropNet, Places, Pointer

BRIGHT = 2.0  # nats of attention for a standard deviation of brightness, at the start


@dataclass(frozen=True)
class Config(variational_saccading.Config):
    """As of `variational_saccading`, and:

    Attributes:
        once: black out in each window what an earlier window of the image has shown.
        dots: the mean place is the pointer's alone, without the dense correction, and
            the pointer starts on whatever stands out from the proxy's ground, each
            glimpse in its own direction.
        hold: share of training in which the places stay as they began, while the
            classifier learns to read. The slope of a loss that knows nothing yet is
            noise, and Adam takes steps of full length along it: off the dots.
    """

    once: bool = False
    dots: bool = True
    hold: float = 0.0


class CountNet(CropNet):
    """The crop network with an average where it takes the maximum."""

    def forward(self, o: Tensor) -> Tensor:
        return F.relu(self.out(self.net(o).mean(dim=(2, 3))))  # (B, F)


class NoCorrection(nn.Module):
    """A posterior head whose means are zero: only its variances are learned."""

    def __init__(self, head: nn.Module):
        super().__init__()
        self.head = head

    def forward(self, state: Tensor) -> Tensor:
        mu, log_variance = self.head(state).chunk(2, dim=1)  # (B, 3) each
        return torch.cat((torch.zeros_like(mu), log_variance), dim=1)


class Counting(ByWindows):
    """`ByWindows` with `CountNet`, and with pixels that count once if asked for."""

    def __init__(self, config: Config):
        super().__init__(config)
        self._holding = False
        if config.encoder == "small":
            self.read_crop = CountNet(config.channels, config.features)
        if config.dots and config.places == "learned" and config.posterior == "pointer":
            self.posterior = NoCorrection(self.posterior)
            start_on_dots(self.read_proxy.trunk, self.point)

    def saccade(self, c: Tensor, sample: bool) -> Places:
        learning = torch.is_grad_enabled() and not self._holding
        with torch.set_grad_enabled(learning):
            return super().saccade(c, sample)

    def _set_progress(self, progress: float) -> None:
        super()._set_progress(progress)
        self._holding = progress < self.config.hold

    def _cut(self, x: Tensor, location: Tensor, scale: Tensor) -> Tensor:
        o = super()._cut(x, location, scale)  # (B, T, C, L, L)
        if not self.config.once:
            return o
        return o * ~shown_before(location, scale, self.config.size)[:, :, None]


@torch.no_grad()
def start_on_dots(trunk: nn.Sequential, point: Pointer) -> None:
    """First weights by which one feature is the proxy's brightness, and asked for."""
    first = True
    for layer in trunk:
        if isinstance(layer, nn.Conv2d):
            layer.weight[0] = 0
            layer.weight[0, : layer.in_channels if first else 1] = 1.0
            first = False
    point.key.weight[2] = 0
    point.key.weight[2, 0] = 1.0
    point.own[:, 2] = BRIGHT


@torch.no_grad()
def shown_before(location: Tensor, scale: Tensor, size: int) -> Tensor:
    """Which points of each window lie in an earlier window of the same image.

    Args:
        location: ``(B, T, 2)``.
        scale: ``(B, T)``.
        size: L.

    Returns:
        ``(B, T, L, L)``, booleans; all false for the first window.
    """
    i = glimpse.pixel_centres(size, location.device, location.dtype)  # (L,)
    at = location[..., None] + (scale[..., None] * i)[:, :, None]  # (B, T, 2, L)
    away = (at[:, :, None] - location[:, None, :, :, None]).abs()  # (B, T, T', 2, L)
    on = away < scale[:, None, :, None, None]
    x, y = on.unbind(3)  # (B, T, T', L) each
    T = location.shape[1]
    earlier = torch.ones(T, T, dtype=torch.bool, device=on.device).tril(-1)[..., None]
    x = x & earlier
    return (y[..., :, None] & x[..., None, :]).any(dim=2)
