"""Ways to read an image of any size at one small size, for a network behind them.

The saliency sampler of Recasens et al. (2018), and what it is compared with: uniform
reading, spatial transformers (Jaderberg et al., 2015) with an affine map or a thin
plate, a network that gives the grid itself, and maps that are told instead of learned.
All look at the same small copy, all read through the same reading of points or
averages, and all that learn start at uniform reading.

Letters: B images, C channels, H x W pixels of J, h x w cells of S, F features.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saccade_lib import glimpse, toy_maps, zoom, zoom_peers, zoom_reading
from saccade_lib.data.digits import uniforms
from saccade_lib.pyramid import Pyramids
from saccade_lib.session import one_of

SHARE = zoom.CODE_SIGMA / zoom.CODE_CELLS  # sigma over the map's side, public code
POOL, HIDDEN = 4, 64  # of the layers between features and the numbers of a transform


@dataclass(frozen=True)
class Config:
    """How an image is read.

    Attributes:
        size: (H, W) of J, what the task network sees.
        look: side of I_l, what the saliency network sees; J's longer side if None.
        cells: side of the saliency map; 31 in the public code.
        share: sigma over the map's side; 1/3 in the paper, 0.178 in its code.
        padding: ``"reflect"`` (ours), or ``"replicate"`` as in the paper.
        prefilter: side of the squares over which the image is averaged before it is
            read; 1 reads points, as the paper does; by default (None) each output pixel
            gets its own (`zoom_reading`).
        blur: share of the training during which J is blurred (section 3.3).
        least: smallest side to which blurring shrinks J, over its side; 64 of 224 in
            the public code.
        temperature: by which logits are divided before the softmax.
        rounds: of Sinkhorn that make the output's density follow S
            (`zoom_peers.balanced`); 0 pulls by S itself, as the paper does.
    """

    size: tuple[int, int]
    look: int | None = None
    cells: int = 31
    share: float = SHARE
    padding: str = "reflect"
    prefilter: int | None = None
    blur: float = 0.0
    least: float = 64 / 224
    temperature: float = 1.0
    rounds: int = 0

    def __post_init__(self):
        if not 0 <= self.blur <= 1 or not 0 < self.least <= 1:
            raise ValueError(f"blur and least are shares: {self.blur}, {self.least}")
        if not self.temperature > 0 or self.rounds < 0:
            raise ValueError(
                "temperature must be positive and rounds 0 or more, got "
                f"{self.temperature} and {self.rounds}"
            )
        one_of("padding", self.padding, zoom.PADDINGS)


@dataclass
class Stored:
    """A batch of images on disk, read in parts: files and which of them, ``(B,)``."""

    store: Pyramids
    index: Tensor


@dataclass
class Reading:
    """What a reader made of a batch.

    Attributes:
        image: J, ``(B, C, H, W)``.
        saliency: S, ``(B, h, w)``, summing to 1; None where there is no map.
        at: places that were read, ``(B, H, W, 2)``.
    """

    image: Tensor
    saliency: Tensor | None
    at: Tensor


class Reader(nn.Module):
    """Reads images of any size; the classes below say where.

    Args:
        config: of the reading.
    """

    def __init__(self, config: Config):
        super().__init__()
        self.config = config

    def read(self, images: Tensor | Stored, batch: dict | None = None) -> Reading:
        """J, with the map and the places behind it.

        Args:
            images: ``(B, C, H_image, W_image)`` in any range, or files.
            batch: what a `Told` map is told.
        """
        S, at = self.places(self.small(images), batch or {})
        return Reading(self.pixels(images, at), S, at)

    def places(self, small: Tensor, batch: dict) -> tuple[Tensor | None, Tensor]:
        """S ``(B, h, w)`` or None, and places ``(B, H, W, 2)``, from I_l."""
        raise NotImplementedError

    def small(self, images: Tensor | Stored) -> Tensor:
        """I_l ``(B, C, look, look)``: averages over areas of the whole image."""
        side = self.config.look or max(self.config.size)
        if isinstance(images, Stored):
            return images.store.proxies(images.index, side)
        if images.dim() != 4 or not images.is_floating_point():
            raise ValueError(
                "images must be floats (B, C, H, W), got "
                f"{images.dtype} of shape {tuple(images.shape)}"
            )
        return F.interpolate(images.detach(), (side, side), mode="area")

    def pixels(self, images: Tensor | Stored, at: Tensor) -> Tensor:
        """What is read at the places, ``(B, C, H, W)``."""
        if isinstance(images, Stored):
            return zoom_reading.warp_files(images.store, images.index, at)
        if self.config.prefilter is None:
            return zoom_reading.warp(images, at)
        return zoom.warp(images, at, self.config.prefilter)

    def pulled(self, S: Tensor) -> Tensor:
        """Places to which a map pulls, ``(B, H, W, 2)``."""
        cfg, pull = self.config, S
        sigma = zoom.in_cells(cfg.share, S)
        if cfg.rounds:
            pull = zoom_peers.balanced(S, sigma[0], cfg.padding, cfg.rounds)
        return zoom.positions(pull, cfg.size, sigma, cfg.padding)


class Uniform(Reader):
    """The whole image at one scale: the plain task network."""

    def places(self, small: Tensor, batch: dict) -> tuple[None, Tensor]:
        return None, even(self.config.size, small)

    def pixels(self, images: Tensor | Stored, at: Tensor) -> Tensor:
        """Averages over areas; with a prefilter, what the sampler reads on its grid."""
        if isinstance(images, Stored) or self.config.prefilter is not None:
            return super().pixels(images, at)
        return F.interpolate(images.detach(), self.config.size, mode="area")


class SaliencyReader(Reader):
    """J = g(I, S) with S = f_s(I_l): the paper's (section 3).

    Args:
        saliency: f_s, from ``(B, C, look, look)`` to logits ``(B, ., .)`` of any size.
    """

    def __init__(self, saliency: nn.Module, config: Config):
        super().__init__(config)
        self.saliency = saliency

    def places(self, small: Tensor, batch: dict) -> tuple[Tensor, Tensor]:
        S = self.salient(small)
        return S, self.pulled(S)

    def salient(self, small: Tensor) -> Tensor:
        """S: a softmax over all cells."""
        logits = self.saliency(small)[:, None]  # (B, 1, ., .)
        cells = (self.config.cells,) * 2
        logits = F.interpolate(logits, cells, mode="bilinear")[:, 0]
        logits = logits / self.config.temperature
        return logits.flatten(1).softmax(dim=1).view_as(logits)


class Told(Reader):
    """The sampler with a map that nothing learns: a round blob on a low floor.

    Args:
        where: ``"oracle"``, on the middle of the batch's ``box (B, 4)``, which is
            (left, top, right, bottom) in [-1, 1]; ``"random"``, anywhere, a function
            of the batch's ``index (B,)`` alone; ``"centre"``.
        blob: standard deviation of the blob over the side of the image.
        box: what the oracle is told by; of ``(B, P, 4)`` each box has a blob.
    """

    def __init__(
        self, where: str, config: Config, blob: float = 0.11, box: str = "box"
    ):
        super().__init__(config)
        one_of("where", where, ("oracle", "random", "centre"))
        if not blob > 0:
            raise ValueError(f"a blob must have a width, got {blob}")
        self.where, self.blob, self.box = where, blob, box

    def places(self, small: Tensor, batch: dict) -> tuple[Tensor, Tensor]:
        n = self.config.cells
        middle = self.middle(len(small), batch).cpu()  # (B, P, 2) in [-1, 1]
        centres = (middle.double() + 1) / 2 * n - 0.5
        blobs = sum(toy_maps.blob(n, c, self.blob * n) for c in centres.unbind(1))
        S = toy_maps.normalised(blobs + toy_maps.BASE).to(small)
        return S, self.pulled(S)

    def middle(self, count: int, batch: dict) -> Tensor:
        """Where the blobs are, ``(B, P, 2)`` in [-1, 1]."""
        if self.where == "centre":
            return torch.zeros(count, 1, 2)
        needed = self.box if self.where == "oracle" else "index"
        if needed not in batch:
            raise ValueError(
                f'the "{self.where}" map is told by batch["{needed}"], which is not '
                f"among {sorted(batch)}: pass a batch that has it"
            )
        if self.where == "oracle":
            middle = batch[needed].unflatten(-1, (2, 2)).mean(dim=-2)
            return middle.view(count, -1, 2)
        return 2 * uniforms(0, 0, batch["index"].cpu(), 2)[:, None] - 1


class Transformer(Reader):
    """A spatial transformer: a localisation network gives a few numbers an image.

    Args:
        trunk: the beginning of f_s, from ``(B, C, look, look)`` to features.
        features: F, its channels.
        numbers: given out, zero at the start.
    """

    def __init__(self, trunk: nn.Module, features: int, numbers: int, config: Config):
        super().__init__(config)
        self.trunk = trunk
        self.last = nn.Sequential(
            nn.AdaptiveAvgPool2d(POOL),
            nn.Flatten(),
            nn.Linear(features * POOL**2, HIDDEN),
            nn.ReLU(inplace=True),
            zeroed(nn.Linear(HIDDEN, numbers)),
        )

    def numbers(self, small: Tensor) -> Tensor:
        """``(B, numbers)``."""
        return self.last(self.trunk(small))


class Affine(Transformer):
    """(u, v) is an affine function of (x, y): six numbers, from the identity."""

    def __init__(self, trunk: nn.Module, features: int, config: Config):
        super().__init__(trunk, features, 6, config)

    def places(self, small: Tensor, batch: dict) -> tuple[None, Tensor]:
        p = even(self.config.size, small)  # (B, H, W, 2)
        A = self.numbers(small).unflatten(1, (2, 3))  # beside the identity
        moved = p @ A[:, None, :, :2].mT + A[:, None, None, :, 2]
        return None, p + moved


class ThinPlate(Transformer):
    """The smoothest plate through control points, whose places are given.

    Args:
        points: control points a side, on an even grid over the output.
    """

    def __init__(self, trunk: nn.Module, features: int, config: Config, points: int):
        if points < 2:
            raise ValueError(f"a plate needs 2 points a side or more, got {points}")
        super().__init__(trunk, features, 2 * points**2, config)
        controls = lattice((points, points)).flatten(0, 1)  # (P, 2)
        plate = thin_plate(lattice(config.size).flatten(0, 1), controls)  # (H W, P)
        self.register_buffer("plate", plate.float(), persistent=False)

    def places(self, small: Tensor, batch: dict) -> tuple[None, Tensor]:
        shift = self.numbers(small).unflatten(1, (-1, 2))  # (B, P, 2)
        moved = (self.plate @ shift).unflatten(1, self.config.size)
        return None, even(self.config.size, small) + moved


class GridEstimator(Reader):
    """f_s that gives the grid itself, u and v of every cell, and no map (section 4).

    What it gives is enlarged bilinearly, and added to the even grid.
    """

    def __init__(self, trunk: nn.Module, features: int, config: Config):
        super().__init__(config)
        self.trunk = trunk
        self.last = zeroed(nn.Conv2d(features, 2, 1))

    def places(self, small: Tensor, batch: dict) -> tuple[None, Tensor]:
        moved = self.last(self.trunk(small))  # (B, 2, ., .)
        moved = F.interpolate(moved, self.config.size, mode="bilinear")
        return None, even(self.config.size, small) + moved.permute(0, 2, 3, 1)


def lattice(size: tuple[int, int]) -> Tensor:
    """Centres of H x W pixels, ``(H, W, 2)`` in float64, borders at +-1."""
    y, x = (glimpse.pixel_centres(n, dtype=torch.float64) for n in size)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)


def even(size: tuple[int, int], like: Tensor) -> Tensor:
    """The identity's places ``(B, H, W, 2)`` for the images of a batch."""
    return lattice(size).to(like).expand(len(like), *size, 2)


def thin_plate(points: Tensor, controls: Tensor) -> Tensor:
    """Weights ``(N, P)`` of values at P controls in the thin plate's at N points.

    Bookstein (1989): the function through all values that bends least is a sum of
    r^2 log r^2 around the controls and a linear function. Values that are linear are
    met exactly, everywhere.
    """
    P = len(controls)
    around = torch.cat((controls, controls.new_ones(P, 1)), dim=1)  # (P, 3)
    system = controls.new_zeros(P + 3, P + 3)
    system[:P, :P], system[:P, P:] = _bend(controls, controls), around
    system[P:, :P] = around.mT
    weights = torch.linalg.inv(system)[:, :P]  # (P + 3, P)
    ones = points.new_ones(len(points), 1)
    return torch.cat((_bend(points, controls), points, ones), dim=1) @ weights


def _bend(points: Tensor, controls: Tensor) -> Tensor:
    squared = (points[:, None] - controls).square().sum(dim=-1)  # (N, P)
    return torch.special.xlogy(squared, squared)


def zeroed(layer: nn.Module) -> nn.Module:
    """The layer with all its weights at zero: what comes behind starts at uniform."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
