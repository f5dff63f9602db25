"""Iterative patch selection (Bergner, Lippert and Mahendran, ICLR 2023).

All windows of an image are read, but only a few are learned from. In passes without
gradients, I windows at a time, an attention layer scores the windows at hand together
with the M best so far, and the best M of both are kept. Those M are then read once
more, with gradients, and the same attention layer pools them into one vector. Memory
is that of M + I windows, whatever the size of the image; time is that of all windows.

Nothing chooses where to look before having looked: the score of a window is that of its
own features. What is saved is memory, and the backward pass.

Letters: B images, C channels, N windows, M kept, I at a time, L x L pixels, F features,
H heads.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saccade_lib import glimpse
from saccade_lib.models.variational_saccading import CropNet, Prediction
from saccade_lib.models.whole import dense, tiling
from saccade_lib.train import Loss, evaluating


@dataclass(frozen=True)
class Config:
    """What the paper leaves open.

    Attributes:
        classes: number of classes.
        channels: C.
        size: L.
        scale: side of a window over that of the image; the windows tile it.
        kept: M.
        chunk: I.
        features: F.
        width: channels of the first convolution.
        heads: H; with one the order of windows does not depend on who is compared.
    """

    classes: int
    channels: int = 1
    size: int = 24
    scale: float = 0.25
    kept: int = 4
    chunk: int = 32
    features: int = 128
    width: int = 16
    heads: int = 4

    def __post_init__(self):
        if not 1 <= self.kept <= len(tiling(self.scale)):
            raise ValueError(
                f"{self.kept} of {len(tiling(self.scale))} windows cannot be kept"
            )
        if self.chunk < 1:
            raise ValueError(f"chunk must be 1 or more, got {self.chunk}")
        if self.features % self.heads:
            raise ValueError(
                f"features must be a multiple of heads: {self.features}, {self.heads}"
            )


class Pool(nn.Module):
    """One learned query that attends to windows: their scores, and their pooling."""

    def __init__(self, features: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query = nn.Parameter(torch.randn(features) * features**-0.5)
        self.norm = nn.LayerNorm(features)
        self.key = nn.Linear(features, features, bias=False)
        self.value = nn.Linear(features, features, bias=False)

    def attention(self, f: Tensor) -> Tensor:
        """Of each head over windows ``(B, N, F)``: ``(B, H, N)``, sums of 1."""
        k = self.key(self.norm(f)).unflatten(2, (self.heads, -1))  # (B, N, H, F/H)
        q = self.query.view(self.heads, -1)  # (H, F/H)
        logits = (k * q).sum(dim=3) * q.shape[1] ** -0.5  # (B, N, H)
        return glimpse.precise(logits).softmax(dim=1).transpose(1, 2)

    def forward(self, f: Tensor) -> Tensor:
        """``(B, F)`` of windows ``(B, N, F)``."""
        v = self.value(f).unflatten(2, (self.heads, -1)).transpose(1, 2)
        return (self.attention(f)[:, :, None] @ v).flatten(1)  # (B, H, 1, F/H) before


class PatchSelection(nn.Module):
    """Select without gradients, then learn from what was selected."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.read = CropNet(config.channels, config.features, config.width)
        self.pool = Pool(config.features, config.heads)
        self.classify = dense(config.features, config.classes)
        self.register_buffer("places", tiling(config.scale), persistent=False)

    def embed(self, x: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Features ``(B, n, F)`` and pixels of the windows numbered ``(B, n)``."""
        location = self.places[chosen]  # (B, n, 2)
        o = glimpse.crop(x, location, self.config.scale, self.config.size)
        return self.read(o.flatten(0, 1)).unflatten(0, o.shape[:2]), o

    @torch.no_grad()
    def select(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The M best windows: their numbers ``(B, M)`` and features ``(B, M, F)``.

        Normalisation uses running statistics here, in training too: those of a few
        windows would depend on which are read together.
        """
        B, N, M = len(x), len(self.places), self.config.kept
        best, of_best = torch.empty(B, 0, dtype=torch.long, device=x.device), None
        with evaluating(self):
            for start in range(0, N, self.config.chunk):
                end = min(start + self.config.chunk, N)
                more = torch.arange(start, end, device=x.device).expand(B, -1)
                f, _ = self.embed(x, more)
                f = f if of_best is None else torch.cat((of_best, f), dim=1)
                both = torch.cat((best, more), dim=1)  # (B, M + I)
                score = self.pool.attention(f).mean(dim=1)  # (B, M + I)
                keep = score.topk(min(M, both.shape[1]), dim=1).indices
                best = both.gather(1, keep)
                of_best = f.gather(1, keep[..., None].expand(-1, -1, f.shape[2]))
        return best, of_best

    def loss(self, batch: dict) -> Loss:
        """Cross-entropy from the selected windows.

        Args:
            batch: ``image (B, C, H, W)`` in [0, 1], ``label (B,)``.
        """
        x = glimpse.checked(batch["image"], self.config.channels)
        chosen, _ = self.select(x)
        f, _ = self.embed(x, chosen)
        logits = self.classify(self.pool(f))
        right = (logits.argmax(dim=1) == batch["label"]).float().mean()
        terms = {"class": F.cross_entropy(logits, batch["label"])}
        return Loss(terms, {"train_accuracy": 100 * right})

    @torch.no_grad()
    def predict(
        self, images: Tensor, sample: bool = False, batch: dict | None = None
    ) -> Prediction:
        """Classify ``(B, C, H, W)`` images in [0, 1] and say which windows counted.

        Nothing is sampled. The features of the kept windows are those of selection.
        """
        x = glimpse.checked(images, self.config.channels)
        with evaluating(self):
            chosen, f = self.select(x)
            logits = self.classify(self.pool(f))
        location = self.places[chosen]
        scale = location.new_full(location.shape[:2], self.config.scale)
        o = glimpse.crop(x, location, self.config.scale, self.config.size)
        return Prediction(logits.softmax(dim=1), location, scale, o)
