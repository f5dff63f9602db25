"""Variational Saccading (Ramapuram et al., BMVC 2019), in the paper's order.

A proxy c, a small version of the image x, is all that a recurrent variational
autoencoder (VRNN) reads. At each of T steps it draws z_i = (s, x, y) from a Gaussian
posterior q(z_i | c, z_<i); z_i cuts a crop o_i out of the full-size x, and a convnet
classifies from the crops alone. Gradients are pathwise: through z_i = mu + sigma eps
and through the bilinear crop.

The loop is open: what a crop shows never reaches the recurrence, so all T places are
known before the first pixel is read, and one call cuts all the crops.

Letters: B images, C channels, H x W pixels of x, J x J of c, T glimpses, L x L pixels
of a crop, F its features, N the width of the VRNN.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saccade_lib import glimpse
from saccade_lib.session import one_of
from saccade_lib.train import Loss, evaluating

KERNELS = {"local": 1, "wide-2": 2, "wide-4": 4}  # samplers that read the region only


@dataclass(frozen=True)
class Config:
    """What the paper fixes, what it leaves open, and where its code differs.

    Attributes:
        classes: number of classes.
        channels: C.
        proxy: J.
        glimpses: T.
        size: L.
        scale: smallest and largest s; equal numbers fix it, and z_0 leaves the KL.
        narrow_to: s at the end of training for a fixed scale that shrinks, or None.
        narrow_during: shares of training between which it shrinks.
        sigma: standard deviation of the posterior before training.
        sigma_max: bound of it, or None. Without one, training finds it easier to
            scatter the glimpses by noise than to place them.
        fixed_variance: sigma^2 of the posterior if it is not learned (figure 4).
        encoder: ``"small"`` convnets, or the ``"residual"`` ones of the released code.
        posterior: ``"pointer"``: the mean place is where soft attention over the
            proxy's map points (ours), plus a dense correction; ``"dense"``: a dense
            network of the proxy's features alone (released code).
        inhibition: of ``"pointer"``, nats by which its attention falls where an earlier
            window of the image lies (ours): inhibition of return. 0 is none.
        features: F, width of a crop's features.
        crop_width: channels of the first convolution of ``"small"`` crop networks.
        hidden: N, width of the VRNN: proxy and place features, recurrence, heads.
        objective: ``"sum"`` is eq. 5 with unit weights; ``"weighted"`` scales its two
            VRNN terms; ``"product"`` multiplies classification by VRNN loss, as the
            released code does.
        reconstruction_weight, kl_weight: of ``"weighted"``, a step.
        product_kl, product_unit: KL weight of ``"product"`` and the constant by which
            the product is divided, so that usual learning rates hold.
        kl_reading: ``"gaussian"``; or ``"code"``, which samples with the network's v as
            a log-variance but takes softplus(v) for the standard deviation in the KL:
            the released code's inconsistency, in a form that stays positive. It needs
            a learned, unbounded sigma.
        window: ``"bounded"`` keeps windows inside the image; ``"code"`` uses the
            released code's unbounded offset -s z, and may leave it.
        state_in_classifier: concatenate h_i to each crop's features (released code):
            then the classifier sees the proxy too.
        places: ``"learned"``; or a control with the same classifier: ``"random"``,
            ``"centre"``, ``"oracle"`` (true centres, read from the batch).
        sampler: how crops are cut and what gradient reaches the places (appendix 7.5):
            ``"bilinear"``, the spatial transformer; ``"local"``, the same from the
            window's pixels alone; ``"wide-2"``, ``"wide-4"``, with a tent of that
            half-width in pixels; ``"mask"``, the paper's localised transformer;
            ``"detached"``, none.
    """

    classes: int
    channels: int = 1
    proxy: int = 32
    glimpses: int = 4
    size: int = 24
    scale: tuple[float, float] = (0.5, 0.5)
    narrow_to: float | None = None
    narrow_during: tuple[float, float] = (0.5, 0.8)
    sigma: float = 0.5
    sigma_max: float | None = None
    fixed_variance: float | None = None
    encoder: str = "small"
    posterior: str = "pointer"
    inhibition: float = 8.0
    features: int = 128
    crop_width: int = 16
    hidden: int = 64
    objective: str = "weighted"
    reconstruction_weight: float = 1e-3
    kl_weight: float = 1e-2
    product_kl: float = 5.0
    product_unit: float = 200.0
    kl_reading: str = "gaussian"
    window: str = "bounded"
    state_in_classifier: bool = False
    places: str = "learned"
    sampler: str = "bilinear"

    def __post_init__(self):
        one_of("objective", self.objective, ("sum", "weighted", "product"))
        one_of("kl_reading", self.kl_reading, ("gaussian", "code"))
        one_of("window", self.window, ("bounded", "code"))
        one_of("encoder", self.encoder, ("small", "residual"))
        one_of("posterior", self.posterior, ("pointer", "dense"))
        one_of("places", self.places, ("learned", "random", "centre", "oracle"))
        one_of("sampler", self.sampler, ("bilinear", "detached", "mask", *KERNELS))
        if self.size % 2:
            raise ValueError(f"size must be even, got {self.size}")
        if self.kl_reading == "code" and (self.sigma_max or self.fixed_variance):
            raise ValueError("kl_reading 'code' needs a learned, unbounded sigma")
        start, end = self.narrow_during
        if not 0 <= start < end <= 1:
            raise ValueError(
                f"narrow_during must be 0 <= start < end <= 1: {start, end}"
            )
        if self.window == "code" and self.posterior == "pointer":
            raise ValueError("window 'code' has no inverse to point with: use 'dense'")
        if self.sigma_max is not None and not self.sigma < self.sigma_max:
            raise ValueError(f"sigma {self.sigma} is not below {self.sigma_max}")
        if self.state_in_classifier and self.places != "learned":
            raise ValueError("a control has no recurrent state to hand on")
        low, high = self.scale
        if not 0 < low <= high <= 1:
            raise ValueError(
                f"scale must be 0 < smallest <= largest <= 1: {self.scale}"
            )
        if self.narrow_to is not None and not (low == high and 0 < self.narrow_to <= 1):
            raise ValueError("narrow_to needs a fixed scale and must lie in (0, 1]")


@dataclass
class Places:
    """Where the model looks, and what its VRNN has to say about it.

    Attributes:
        location: ``(B, T, 2)``.
        scale: ``(B, T)``.
        state: h_i after each step, ``(B, T, N)``.
        reconstruction: -log p(c | z_<=i, h), nats, ``(B, T)``.
        kl: KL of posterior to prior, nats, ``(B, T)``.
        sigma: mean standard deviation of the posterior's x and y, ``(B, T)``.
    """

    location: Tensor
    scale: Tensor
    state: Tensor | None = None
    reconstruction: Tensor | None = None
    kl: Tensor | None = None
    sigma: Tensor | None = None


@dataclass
class Prediction:
    """Class probabilities and the glimpses behind them.

    Attributes:
        probabilities: ``(B, classes)``.
        location: ``(B, T, 2)``.
        scale: ``(B, T)``.
        crops: ``(B, T, C, L, L)``.
    """

    probabilities: Tensor
    location: Tensor
    scale: Tensor
    crops: Tensor


# --- building blocks ------------------------------------------------------------------


def convolve(inputs: int, outputs: int, kernel: int, stride: int) -> list[nn.Module]:
    padding = kernel // 2
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]


class ProxyNet(nn.Module):
    """phi_c: the proxy as one feature vector, and as a map that keeps *where*."""

    def __init__(self, config: Config):
        super().__init__()
        C, N = config.channels, config.hidden
        stride = 2 if config.proxy > 16 else 1
        half = (config.proxy + 1) // 2
        self.side = n = (half + stride - 1) // stride
        self.trunk = None
        if config.encoder == "small" or config.posterior == "pointer":
            self.trunk = nn.Sequential(
                *convolve(C, 16, 5, 2),  # (B, 16, J/2, J/2)
                *convolve(16, 32, 3, stride),  # (B, 32, n, n)
                *convolve(32, 32, 3, 1),
            )
        self.whole = ResidualNet(C, N) if config.encoder == "residual" else None
        if self.whole is None:
            self.head = nn.Sequential(
                *convolve(32, 32, 3, 2),  # (B, 32, n/2, n/2)
                nn.Flatten(),
                nn.Linear(32 * ((n + 1) // 2) ** 2, N),
                nn.ReLU(inplace=True),
            )

    def forward(self, c: Tensor) -> tuple[Tensor, Tensor | None]:
        f = None if self.trunk is None else self.trunk(c)  # (B, 32, n, n)
        return self.head(f) if self.whole is None else self.whole(c), f


class Pointer(nn.Module):
    """The place that soft attention over the proxy's map points at.

    A dense network must learn for each position anew how a digit there moves the
    place; attention learns it once for all. The keys know their coordinates, so that
    "the leftmost digit" is as easy to ask for as "a digit". Before training, the first
    two keys are the coordinates and glimpse t asks for its own direction: the windows
    start spread over the image instead of on top of each other.

    Two things keep the attention able to learn. Its scores are bounded, as in pointer
    networks (Bello et al. 2016): unbounded ones grow within a few hundred steps until
    the softmax has no gradient. And where a window of this image has been, they fall,
    as they do in human gaze ("inhibition of return", Posner and Cohen 1984): without
    that all glimpses settle on the same digit.
    """

    LIMIT = 5.0  # of a score, nats: the odds of two cells are at most exp(2 * LIMIT)

    def __init__(
        self,
        side: int,
        hidden: int,
        glimpses: int,
        inhibition: float,
        keys: int = 16,
    ):
        super().__init__()
        self.inhibition = inhibition
        i = glimpse.pixel_centres(side)  # (n,)
        y, x = torch.meshgrid(i, i, indexing="ij")
        self.register_buffer("places", torch.stack((x, y)))  # (2, n, n)
        self.key = nn.Conv2d(32 + 2, keys, 1)
        self.query = nn.Linear(2 * hidden, keys)
        angle = (torch.arange(glimpses) + 0.5) * 2 * math.pi / glimpses
        self.own = nn.Parameter(torch.zeros(glimpses, keys))  # query of each glimpse
        with torch.no_grad():
            self.own[:, 0], self.own[:, 1] = angle.sin(), angle.cos()
            self.key.weight[:2] = 0
            self.key.weight[0, -2] = self.key.weight[1, -1] = 3.0

    def keys(self, f: Tensor) -> Tensor:
        """Keys ``(B, K, n * n)`` of the map ``(B, 32, n, n)``."""
        places = self.places.expand(len(f), -1, -1, -1)  # (B, 2, n, n)
        return self.key(torch.cat((f, places.to(f.dtype)), dim=1)).flatten(2)

    def forward(
        self,
        state: Tensor,
        keys: Tensor,
        reach: Tensor,
        looked: list[tuple[Tensor, Tensor]],
    ) -> Tensor:
        """z_{1,2}, ``(B, 2)``, whose window is centred where the attention points.

        Args:
            state: ``(B, 2N)``, what asks.
            keys: ``(B, K, n * n)``.
            reach: ``(B, 1)``, largest location of a window that stays inside: 1 - s.
            looked: location ``(B, 2)`` and scale ``(B,)`` of each earlier window.
        """
        query = self.query(state) + self.own[len(looked)]  # (B, K)
        scores = glimpse.precise(torch.bmm(query[:, None], keys)[:, 0])  # (B, n * n)
        scores = self.LIMIT * torch.tanh(scores / self.LIMIT)
        places = self.places.flatten(1)  # (2, n * n)
        for location, scale in looked:
            distance = ((places - location[:, :, None]) ** 2).sum(dim=1)  # (B, n * n)
            near = torch.exp(-distance / scale[:, None] ** 2)  # (B, n * n)
            scores = scores - self.inhibition * near
        weights = torch.softmax(scores, dim=1)  # (B, n * n)
        # A window as wide as the image cannot move: any finite z will do.
        reach = reach[..., None].clamp(min=1e-6)  # (B, 1, 1)
        z = torch.atanh((places / reach).clamp(-0.97, 0.97))  # inverse of `window`
        return (weights[:, None] * z).sum(dim=2)


class CropNet(nn.Module):
    """Fully convolutional, then the maximum over the crop: *what*, wherever it is.

    The paper asks for a fully convolutional classifier of crops with pooling. Pixels
    are folded 2 x 2 into channels first: the gradient to a crop of a single channel
    costs three times as much without.
    """

    def __init__(self, channels: int, features: int, width: int = 16):
        super().__init__()
        w = width
        self.net = nn.Sequential(
            nn.PixelUnshuffle(2),  # (B, 4C, L/2, L/2)
            *convolve(4 * channels, w, 3, 1),  # (B, w, L/2, L/2)
            *convolve(w, 2 * w, 3, 2),  # (B, 2w, L/4, L/4)
            *convolve(2 * w, 4 * w, 3, 1),  # (B, 4w, L/4, L/4)
        )
        self.out = nn.Linear(4 * w, features)

    def forward(self, o: Tensor) -> Tensor:
        # `amax` would share its gradient among equal maxima, at a fifth of a step's
        # cost. Equal ones are zeros here, behind a ReLU: it makes no difference.
        f = F.adaptive_max_pool2d(self.net(o), 1).flatten(1)  # (B, 4w)
        return F.relu(self.out(f))  # (B, F)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, the first strided, beside a strided 1x1."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ELU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.skip = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride=2, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.elu(self.body(x) + self.skip(x))


class ResidualNet(nn.Module):
    """The released code's encoder: to 64 x 64, six strided blocks, 1x1, to F."""

    def __init__(self, channels: int, features: int):
        super().__init__()
        widths = (channels, 32, 64, 128, 64, 32, 256)
        self.blocks = nn.Sequential(*(ResidualBlock(a, b) for a, b in pairwise(widths)))
        self.out = nn.Conv2d(widths[-1], features, 1)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-2:] != (64, 64):
            x = F.interpolate(x, (64, 64), mode="bilinear")  # (B, C, 64, 64)
        return self.out(self.blocks(x)).flatten(1)  # (B, F)


def perceptron(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.ELU(inplace=True), nn.Linear(hidden, outputs)
    )


def gaussian_kl(mu_q: Tensor, sigma_q: Tensor, mu_p: Tensor, sigma_p: Tensor) -> Tensor:
    """KL(N(mu_q, sigma_q^2) || N(mu_p, sigma_p^2)), nats, element by element."""
    return (
        torch.log(sigma_p / sigma_q)
        + (sigma_q**2 + (mu_q - mu_p) ** 2) / (2 * sigma_p**2)
        - 0.5
    )


# --- the model ------------------------------------------------------------------------


class VariationalSaccading(nn.Module):
    """Eq. 5 with the VRNN of eq. 10 (appendix 7.6)."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        C, Fe = config.channels, config.features
        small = config.encoder == "small"
        self.read_crop = (  # f_conv
            CropNet(C, Fe, config.crop_width) if small else ResidualNet(C, Fe)
        )
        if config.places == "learned":
            self._build_vrnn(config)
        seen = Fe + config.hidden if config.state_in_classifier else Fe
        self.classify = nn.Sequential(  # theta_y
            nn.Linear(seen, Fe),
            nn.BatchNorm1d(Fe),
            nn.ReLU(inplace=True),
            nn.Linear(Fe, config.classes),
        )
        # Set by the progress of training: state, so that it is saved with the weights.
        self.register_buffer("window_side", torch.tensor(float(config.scale[1])))

    def _build_vrnn(self, config: Config) -> None:
        C, N = config.channels, config.hidden
        self.read_proxy = ProxyNet(config)  # phi_c
        if config.posterior == "pointer":
            self.point = Pointer(
                self.read_proxy.side, N, config.glimpses, config.inhibition
            )
        self.read_place = nn.Sequential(nn.Linear(3, N), nn.ELU())  # phi_z
        self.prior = perceptron(N, N, 6)
        self.posterior = perceptron(2 * N, N, 6)
        self.decode = perceptron(2 * N, 2 * N, C * config.proxy**2)
        self.recur = nn.ModuleList([nn.LSTMCell(2 * N, N), nn.LSTMCell(N, N)])
        for head in (self.prior, self.posterior):
            nn.init.normal_(head[-1].weight, std=0.01)
            nn.init.zeros_(head[-1].bias)
        ratio = (config.sigma / (config.sigma_max or 1.0)) ** 2
        with torch.no_grad():
            odds = ratio / (1 - ratio) if config.sigma_max else ratio
            self.posterior[-1].bias[3:] = math.log(odds)

    # 1. The VRNN: proxy in, T places out (eq. 10, appendix 7.6).

    def saccade(self, c: Tensor, sample: bool) -> Places:
        """T places from the proxy ``(B, C, J, J)``; the mean if not ``sample``."""
        seen, where = self.read_proxy(c)  # (B, N), (B, 32, n, n)
        pointing = self.config.posterior == "pointer"
        keys = self.point.keys(where) if pointing else None  # (B, K, n * n)
        h = torch.zeros_like(seen)  # (B, N)
        memory = [(h, h) for _ in self.recur]
        looked, steps = [], []
        for _ in range(self.config.glimpses):
            mu_p, sigma_p = _gaussian(self.prior(h))  # (B, 3)
            state = torch.cat((seen, h), dim=1)  # (B, 2N)
            v = self.posterior(state)  # (B, 6)
            mu_q, sigma_q = _gaussian(v, self.config.sigma_max)  # (B, 3)
            if pointing:
                reach = 1 - self._scale(mu_q[:, :1])  # (B, 1)
                place = self.point(state, keys, reach, looked)  # (B, 2)
                mu_q = mu_q + F.pad(place, (1, 0))  # (B, 3)
            if self.config.fixed_variance is not None:
                sigma_q = torch.full_like(mu_q, self.config.fixed_variance**0.5)
            z = mu_q + sigma_q * torch.randn_like(mu_q) if sample else mu_q  # (B, 3)
            looked.append(self.window(z))
            place = self.read_place(z)  # (B, N)
            guess = self.decode(torch.cat((place, h), dim=1))  # (B, C*J*J)
            reconstruction = F.binary_cross_entropy_with_logits(
                guess, c.flatten(1), reduction="none"
            ).sum(dim=1)  # (B,)
            kl = self._kl(mu_q, sigma_q, mu_p, sigma_p, v)  # (B,)
            h, memory = self._recur(torch.cat((seen, place), dim=1), memory)
            steps.append((z, h, reconstruction, kl, sigma_q[:, 1:].mean(dim=1)))
        z, h, reconstruction, kl, sigma = (
            torch.stack(s, dim=1) for s in zip(*steps, strict=True)
        )
        location, scale = self.window(z)
        return Places(location, scale, h, reconstruction, kl, sigma)

    def _recur(self, x: Tensor, memory: list) -> tuple[Tensor, list]:
        new = []
        for cell, state in zip(self.recur, memory, strict=True):
            state = cell(x, state)
            new.append(state)
            x = state[0]
        return x, new

    def _kl(self, mu_q, sigma_q, mu_p, sigma_p, v) -> Tensor:
        if self.config.kl_reading == "code":
            sigma_q = F.softplus(v[:, 3:])
        kl = gaussian_kl(mu_q, sigma_q, mu_p, sigma_p)  # (B, 3)
        low, high = self.config.scale
        return (kl[:, 1:] if low == high else kl).sum(dim=1)  # unused z_0 costs nothing

    # 2. From z to a window (eq. 6).

    def window(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Location ``(B, T, 2)`` and scale ``(B, T)`` of z ``(B, T, 3)``."""
        scale = self._scale(z[..., 0])  # (B, T)
        if self.config.window == "code":
            return -z[..., 1:] * scale[..., None], scale
        return torch.tanh(z[..., 1:]) * (1 - scale[..., None]), scale

    def _scale(self, z_0: Tensor) -> Tensor:
        low, high = self.config.scale
        if low == high:
            return self.window_side.expand(z_0.shape)
        return low + (high - low) * torch.sigmoid(z_0)

    def places(self, x: Tensor, batch: dict, sample: bool) -> Places:
        """Learned places, or those of a control."""
        B, T = x.shape[0], self.config.glimpses
        if self.config.places == "learned":
            c = batch.get("proxy")
            if c is None:
                c = glimpse.downsample(x, self.config.proxy)  # (B, C, J, J)
            return self.saccade(c, sample)
        scale = self.window_side.expand(B, T)  # (B, T)
        reach = 1 - self.window_side
        if self.config.places == "random":
            u = torch.rand(B, T, 2, device=x.device) * 2 - 1
            return Places(u * reach, scale)
        if self.config.places == "oracle":
            if "centre" not in batch:
                raise ValueError("the oracle reads the batch's 'centre' (B, D, 2)")
            centre = batch["centre"]  # (B, D, 2)
            turn = torch.arange(T, device=x.device) % centre.shape[1]
            return Places(centre[:, turn].clamp(-reach, reach), scale)
        return Places(x.new_zeros(B, T, 2), scale)

    # 3. Crops to classes: p(y | o_1, ..., o_T).

    def look(self, x: Tensor, places: Places) -> tuple[Tensor, Tensor]:
        """Logits ``(B, classes)`` and crops ``(B, T, C, L, L)``."""
        o = self._cut(x, places.location, places.scale)  # (B, T, C, L, L)
        features = self.read_crop(o.flatten(0, 1))  # (B*T, F)
        features = features.unflatten(0, o.shape[:2])  # (B, T, F)
        if self.config.state_in_classifier:
            features = torch.cat((features, places.state), dim=2)  # (B, T, F+N)
        return self.classify(features.sum(dim=1)), o

    def _cut(self, x: Tensor, location: Tensor, scale: Tensor) -> Tensor:
        """The crops of the configured sampler."""
        cfg = self.config
        outside = "zeros" if cfg.window == "code" else "error"
        if cfg.sampler in KERNELS:
            kernel = KERNELS[cfg.sampler]
            return glimpse.crop_local(x, location, scale, cfg.size, outside, kernel)
        o = glimpse.crop(x, location, scale, cfg.size, outside)
        if cfg.sampler == "mask":
            return glimpse.mask_gradient(o, location, scale)
        return o.detach() if cfg.sampler == "detached" else o

    # 4. The objective (eq. 5).

    def loss(self, batch: dict) -> Loss:
        """Minus the bound, as named terms.

        Args:
            batch: ``image (B, C, H, W)`` in [0, 1], ``label (B,)``; ``progress`` in
                [0, 1] where windows narrow; optionally ``proxy (B, C, J, J)``.

        Raises:
            ValueError: an image of the wrong rank, channels or range.
        """
        x = glimpse.checked(batch["image"], self.config.channels)
        self._set_progress(batch.get("progress", 1.0))
        places = self.places(x, batch, sample=True)
        logits, _ = self.look(x, places)
        nll = F.cross_entropy(logits, batch["label"])  # -log p(y | o)
        right = (logits.argmax(dim=1) == batch["label"]).float().mean()
        metrics = {
            "train_accuracy": 100 * right,
            "window": places.scale.mean().detach(),
        }
        if self.config.places != "learned":
            return Loss({"class": nll}, metrics)
        metrics |= {"sigma": places.sigma.mean().detach()}
        return Loss(self._terms(nll, places), metrics)

    def _terms(self, nll: Tensor, places: Places) -> dict[str, Tensor]:
        cfg = self.config
        reconstruction = places.reconstruction.sum(dim=1).mean()  # nats, all T steps
        kl = places.kl.sum(dim=1).mean()  # nats, all T steps
        if cfg.objective == "sum":
            return {"class": nll, "reconstruction": reconstruction, "kl": kl}
        T = cfg.glimpses
        if cfg.objective == "weighted":
            return {
                "class": nll,
                "reconstruction": cfg.reconstruction_weight * reconstruction / T,
                "kl": cfg.kl_weight * kl / T,
            }
        vrnn = (reconstruction + cfg.product_kl * kl) / T
        return {"product": nll * vrnn / cfg.product_unit}

    def _set_progress(self, progress: float | Tensor) -> None:
        """Narrow the windows as training goes on."""
        cfg = self.config
        if cfg.narrow_to is not None:
            start, end = cfg.narrow_during
            progress = torch.as_tensor(progress, dtype=torch.float64)
            share = ((progress - start) / (end - start)).clamp(0, 1)
            self.window_side.copy_(
                cfg.scale[1] + share * (cfg.narrow_to - cfg.scale[1])
            )

    # 5. For a plain user.

    @torch.no_grad()
    def predict(
        self, images: Tensor, sample: bool = False, batch: dict | None = None
    ) -> Prediction:
        """Classify ``(B, C, H, W)`` images in [0, 1] and say where the model looked.

        Args:
            sample: draw z from the posterior; its mean otherwise, as in the paper.
            batch: what a control or another proxy needs (``centre``, ``proxy``).
        """
        x = glimpse.checked(images, self.config.channels)
        with evaluating(self):
            places = self.places(x, batch or {}, sample)
            logits, o = self.look(x, places)
        return Prediction(logits.softmax(dim=1), places.location, places.scale, o)


def _gaussian(v: Tensor, sigma_max: float | None = None) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation ``(B, 3)`` from ``(B, 6)``.

    The last three numbers are log-variances; with a bound, ``log(sigma^2)`` is
    ``2 log(sigma_max) + log sigmoid(v)``, which is the same far below the bound.
    """
    mu, log_variance = glimpse.precise(v).chunk(2, dim=1)
    if sigma_max:
        log_variance = 2 * math.log(sigma_max) + F.logsigmoid(log_variance)
    return mu, torch.exp(0.5 * log_variance.clamp(-10.0, 4.0))
