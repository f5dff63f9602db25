"""Canvases whose proxy is noisy, while the image stays as it is.

Figure 4 of Variational Saccading trains under proxies of growing noise without saying
which. Here it is Gaussian noise on each pixel of the proxy, cut off at black and white.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from saccade_lib import glimpse
from saccade_lib.data.digits import SPLITS, Canvases, uniforms


@dataclass(frozen=True)
class NoisyProxies(Canvases):
    """Canvases with ``proxy = clip(c + noise e, 0, 1)``, e standard normal.

    The noise is a function of (seed, split, index) like all else of a canvas, and not
    drawn anew each time that the canvas is looked at: a test canvas has one proxy.

    Attributes:
        proxy: J, side of the proxy in pixels.
        noise: standard deviation, in units of the range from black to white.
    """

    proxy: int = 32
    noise: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        if not self.noise >= 0:
            raise ValueError(f"noise is a standard deviation >= 0, got {self.noise}")

    def batch(self, index: Tensor, device: str | torch.device = "cpu") -> dict:
        """`Canvases.batch`, and the ``proxy (B, 1, J, J)``."""
        batch = super().batch(index, device)
        c = glimpse.downsample(batch["image"], self.proxy)  # (B, 1, J, J)
        seed = self.seed if self.split == "train" else 0
        stream = len(SPLITS) + SPLITS.index(self.split)  # not that of the layout
        u = uniforms(seed, stream, index, self.proxy**2).clamp(min=2.0**-54)
        e = torch.special.ndtri(u).float().view_as(c.cpu()).to(c)
        return batch | {"proxy": (c + self.noise * e).clamp(0, 1)}
