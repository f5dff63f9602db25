"""Variational Saccading for a label that is a number of things.

A crop's features are averaged over the crop, not maximised: a maximum says *that* a
marine is there, an average *how many*. Places can be made to count once
(`Config.once`): features of points that an earlier window has shown are left out of a
later one. The paper suspects that its model counts some marines twice; this is what
would repair it.
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
        once: leave out of a window's average what an earlier window has shown.
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

    STRIDE = 4  # points of a crop, on an axis, for one of its features

    def forward(self, o: Tensor, fresh: Tensor | None = None) -> Tensor:
        """Features ``(B, F)`` of crops; with ``fresh (B, L/4, L/4)`` of those alone."""
        f = self.net(o)  # (B, 64, L/4, L/4)
        if fresh is not None:
            f = f * fresh[:, None]
        return F.relu(self.out(f.mean(dim=(2, 3))))


class NoCorrection(nn.Module):
    """A posterior head whose means are zero: only its variances are learned."""

    def __init__(self, head: nn.Module):
        super().__init__()
        self.head = head

    def forward(self, state: Tensor) -> Tensor:
        mu, log_variance = self.head(state).chunk(2, dim=1)  # (B, 3) each
        return torch.cat((torch.zeros_like(mu), log_variance), dim=1)


class Counting(ByWindows):
    """`ByWindows` with `CountNet`, and with places that count once if asked for."""

    def __init__(self, config: Config):
        super().__init__(config)
        self._holding = False
        if config.encoder != "small":
            raise ValueError(
                f"there is no counting encoder {config.encoder!r}: 'small'"
            )
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

    def look(self, x: Tensor, places: Places) -> tuple[Tensor, Tensor]:
        if not self.config.once:
            return super().look(x, places)
        o = self._cut(x, places.location, places.scale)  # (B, T, C, L, L)
        n = o.shape[-1] // CountNet.STRIDE
        fresh = ~shown_before(places.location, places.scale, n)  # (B, T, n, n)
        features = self.read_crop(o.flatten(0, 1), fresh.flatten(0, 1))
        return self.classify(features.unflatten(0, o.shape[:2]).sum(dim=1)), o


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
