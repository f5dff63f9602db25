"""A small saccading classifier for a reader's own images (ours).

One network reads the proxy, a small copy of the image, and chooses T places at once; a
second one reads the windows there and classifies them; a third one, which shares
nothing with them, classifies the proxy. The answer weighs both opinions: their
log-probabilities are averaged, with a weight that is chosen on validation images. So
the classifier of the proxy, too, is a control that comes for free, and it cannot make
the windows seem useless by learning the training images by heart.

What differs is how places are learned:

    "reward"   places are cells of the proxy's map, drawn one after the other, each
               rewarded by log p(y | o_t): the score function, with a moving baseline;
    "slope"    the place is the mean of soft attention over the cells, with some noise,
               and learns from the slope of the bilinear crop (Variational Saccading);
    "spread"   nothing is learned: T windows evenly over the image;
    "random"   a control: cells drawn evenly.

In all but "spread" attention to cells near an earlier window falls (inhibition of
return), or two windows would show the same.

Letters: B images, C channels, J x J pixels of the proxy c, T glimpses, L x L pixels of
a crop o_t, F features, n x n cells, K = n^2, and N classes.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saccade_lib import estimators, glimpse
from saccade_lib.models.variational_saccading import CropNet, convolve
from saccade_lib.session import one_of
from saccade_lib.train import Loss, evaluating

WAYS = ("reward", "slope", "spread", "random")
LIMIT = 5.0  # of a score, nats
INHIBITION = 8.0  # nats


@dataclass(frozen=True)
class Config:
    """One classifier.

    Attributes:
        classes: N.
        channels: C.
        proxy: J, a multiple of 4.
        glimpses: T.
        size: L, even.
        scale: side of a window over side of the image.
        places: how places are found, see above.
        features: F.
        single: weight of the cross-entropies of single windows against that of all.
        policy: weight of the score function.
        entropy: weight of the choices' entropy, which keeps them open.
        sigma: noise of "slope" in training, in sides of a window.
    """

    classes: int
    channels: int = 3
    proxy: int = 32
    glimpses: int = 4
    size: int = 32
    scale: float = 0.2
    places: str = "reward"
    features: int = 64
    single: float = 0.5
    policy: float = 0.5
    entropy: float = 0.02
    sigma: float = 0.5

    def __post_init__(self):
        one_of("places", self.places, WAYS)
        if self.proxy % 4 or self.proxy < 8:
            raise ValueError(f"proxy must be a multiple of 4, from 8: got {self.proxy}")
        if self.size % 2 or self.size < 8:
            raise ValueError(f"size must be even and 8 or more: got {self.size}")
        if not 0 < self.scale <= 1 or self.glimpses < 1 or self.classes < 2:
            raise ValueError(
                "expected a scale in (0, 1], a glimpse or more and two classes or "
                f"more, got {self.scale}, {self.glimpses} and {self.classes}"
            )


@dataclass
class Prediction:
    """Class probabilities and the glimpses behind them.

    Attributes:
        probabilities: ``(B, N)``, after all glimpses.
        after: ``(B, 1 + T, N)``, after the proxy alone, and after each glimpse.
        windows: ``(B, N)``, of all windows alone.
        location: ``(B, T, 2)``.
        scale: ``(B, T)``.
        crops: ``(B, T, C, L, L)``.
    """

    probabilities: Tensor
    after: Tensor
    windows: Tensor
    location: Tensor
    scale: Tensor
    crops: Tensor


class ProxyNet(nn.Module):
    """The proxy ``(B, C, J, J)`` as a map ``(B, 32, n, n)``."""

    def __init__(self, channels: int):
        super().__init__()
        self.net = nn.Sequential(
            *convolve(channels, 16, 5, 2),  # (B, 16, J/2, J/2)
            *convolve(16, 32, 3, 2),  # (B, 32, n, n)
            *convolve(32, 32, 3, 1),
        )

    def forward(self, c: Tensor) -> Tensor:
        return self.net(c)


class Looking(nn.Module):
    """Proxy to places, windows to a class, and the proxy to a class."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        C, Fe = config.channels, config.features
        self.n = n = config.proxy // 4
        self.read_crop = CropNet(C, Fe)
        self.classify = nn.Linear(Fe, config.classes)
        side = (n + 1) // 2
        self.classify_proxy = nn.Sequential(
            ProxyNet(C),
            *convolve(32, 32, 3, 2),  # (B, 32, n/2, n/2)
            nn.Flatten(),
            nn.Dropout(0.25),
            nn.Linear(32 * side**2, config.classes),
        )
        if config.places in ("reward", "slope"):
            maps = config.glimpses if config.places == "slope" else 1
            self.read_proxy = ProxyNet(C)
            self.score = nn.Conv2d(32 + 2, maps, 1)
        # State, so that it is saved with the weights: the mean reward so far, and the
        # weight of the windows in the answer, which `settle` chooses.
        self.register_buffer("baseline", torch.tensor(-math.log(config.classes)))
        self.register_buffer("weight", torch.tensor(0.5))
        i = glimpse.pixel_centres(n)  # (n,)
        y, x = torch.meshgrid(i, i, indexing="ij")
        self.register_buffer("grid", torch.stack((x, y)), persistent=False)
        self.reach = 1 - config.scale
        cells = self.grid.flatten(1).T.clamp(-self.reach, self.reach)  # (K, 2)
        self.register_buffer("cells", cells.contiguous(), persistent=False)
        self.register_buffer("even", spread(config), persistent=False)

    # 1. From the proxy to places.

    def places(self, c: Tensor, sample: bool) -> tuple[Tensor, Tensor, Tensor]:
        """T places, from the proxy ``(B, C, J, J)``.

        Returns:
            location ``(B, T, 2)``; log p of the drawn cells and the entropy of each
            choice, ``(B, T)``, which are zeros where nothing is chosen.
        """
        cfg, B = self.config, c.shape[0]  # no `len`: it would fix a graph's batch
        if cfg.places == "spread":
            none = c.new_zeros(B, cfg.glimpses)
            return self.even.expand(B, -1, -1), none, none
        scores = self._scores(c)  # (B, 1 or T, K)
        gone, found = c.new_zeros(B, self.n**2), []
        for t in range(cfg.glimpses):
            log_p = (scores[:, t % scores.shape[1]] - gone).log_softmax(dim=1)  # (B, K)
            choose = self._attended if cfg.places == "slope" else self._drawn
            place, log_prob = choose(log_p, sample)
            away = ((self.cells - place[:, None].detach()) ** 2).sum(dim=2)  # (B, K)
            gone = gone + INHIBITION * torch.exp(-away / cfg.scale**2)
            found.append((place, log_prob, -(log_p.exp() * log_p).sum(dim=1)))
        location, log_prob, entropy = zip(*found, strict=True)
        return tuple(torch.stack(v, dim=1) for v in (location, log_prob, entropy))

    def _scores(self, c: Tensor) -> Tensor:
        """Attention to the cells before the softmax, ``(B, 1 or T, K)``."""
        if self.config.places == "random":
            return c.new_zeros(c.shape[0], 1, self.n**2)
        f = self.read_proxy(c)  # (B, 32, n, n)
        where = self.grid.expand(f.shape[0], -1, -1, -1)  # (B, 2, n, n)
        scores = self.score(torch.cat((f, where.to(f.dtype)), dim=1)).flatten(2)
        return LIMIT * torch.tanh(glimpse.precise(scores) / LIMIT)

    def _drawn(self, log_p: Tensor, sample: bool) -> tuple[Tensor, Tensor]:
        """A cell's centre ``(B, 2)`` and its log p ``(B,)``; in training the place is
        shaken within the cell, so that no window is seen twice.
        """
        if sample or self.config.places == "random":
            k = torch.multinomial(log_p.exp(), 1)  # (B, 1)
        else:
            k = log_p.argmax(dim=1, keepdim=True)
        place = self.cells[k[:, 0]]  # (B, 2)
        if self.training:
            place = place + (2 * torch.rand_like(place) - 1) / self.n
            place = place.clamp(-self.reach, self.reach)
        return place, log_p.gather(1, k)[:, 0]

    def _attended(self, log_p: Tensor, sample: bool) -> tuple[Tensor, Tensor]:
        """The mean place ``(B, 2)`` of attention ``(B, K)``, with noise in training."""
        place = log_p.exp() @ self.cells
        if sample:
            noise = self.config.sigma * self.config.scale
            place = place + noise * torch.randn_like(place)
        return place.clamp(-self.reach, self.reach), log_p.new_zeros(log_p.shape[0])

    # 2. From windows to classes.

    def read(self, o: Tensor) -> tuple[Tensor, Tensor]:
        """Logits after 1, ..., T glimpses, and of each alone, ``(B, T, N)``, from the
        crops ``(B, T, C, L, L)``: of the maxima of their features.
        """
        features = self.read_crop(o.flatten(0, 1)).unflatten(0, o.shape[:2])  # (B,T,F)
        most = [features[:, 0]]
        for t in range(1, o.shape[1]):
            most.append(torch.maximum(most[-1], features[:, t]))
        return self.classify(torch.stack(most, dim=1)), self.classify(features)

    def after(self, of_proxy: Tensor, upto: Tensor) -> Tensor:
        """Probabilities after 0, ..., T glimpses ``(B, 1 + T, N)``, from logits of the
        proxy ``(B, N)`` and of the windows ``(B, T, N)``.
        """
        first = of_proxy.log_softmax(dim=1)[:, None]  # (B, 1, N)
        mixed = torch.lerp(first, upto.log_softmax(dim=2), self.weight)
        return torch.cat((first, mixed), dim=1).softmax(dim=2)

    # 3. The objective.

    def loss(self, batch: dict) -> Loss:
        """Cross-entropies, and for "reward" the score function, as named terms.

        Args:
            batch: ``proxy (B, C, J, J)`` in [0, 1], ``label (B,)``, and ``crop``, a
                function of location ``(B, T, 2)``, scale ``(B, T)`` and L.
        """
        cfg, y = self.config, batch["label"]
        c = glimpse.checked(batch["proxy"], cfg.channels)
        location, log_prob, entropy = self.places(c, sample=True)
        upto, alone = self.read(self._cut(batch, location))
        log_p = alone.log_softmax(dim=2)[torch.arange(len(y)), :, y]  # (B, T)
        terms = {
            "class": F.cross_entropy(upto[:, -1], y),
            "single": -cfg.single * log_p.mean(),
            "proxy": F.cross_entropy(self.classify_proxy(c), y),
        }
        if cfg.places == "reward":
            reward = log_p.detach().clamp(min=-4)  # nats, (B, T)
            score = estimators.score(log_prob, reward, self.baseline.clone())
            terms["policy"] = cfg.policy * score / cfg.glimpses
            terms["entropy"] = -cfg.entropy * entropy.mean()
            self.baseline.lerp_(reward.mean(), 0.1)
        right = (upto[:, -1].argmax(dim=1) == y).float().mean()
        return Loss(terms, {"train_accuracy": 100 * right})

    def _cut(self, batch: dict, location: Tensor) -> Tensor:
        scale = location.new_full(location.shape[:2], self.config.scale)
        return batch["crop"](location, scale, self.config.size)

    # 4. For a plain user.

    @torch.no_grad()
    def predict(
        self, images: Tensor, sample: bool = False, batch: dict | None = None
    ) -> Prediction:
        """Classify proxies ``(B, C, J, J)`` whose batch has a ``crop`` to read windows
        with; the most probable cells unless ``sample``.
        """
        if not batch or "crop" not in batch:
            raise ValueError("the batch has no 'crop' with which to read its windows")
        c = glimpse.checked(images, self.config.channels)
        with evaluating(self):
            location, *_ = self.places(c, sample)
            o = self._cut(batch, location)
            upto, _ = self.read(o)
            after = self.after(self.classify_proxy(c), upto)
        windows = upto[:, -1].softmax(dim=1)
        scale = location.new_full(location.shape[:2], self.config.scale)
        return Prediction(after[:, -1], after, windows, location, scale, o)

    @torch.no_grad()
    def settle(self, batches) -> None:
        """Choose the weight of the windows in the answer, by likelihood on these
        batches: 0, 0.1, ... or 1.
        """
        total = torch.zeros(11)
        with evaluating(self):
            for batch in batches:
                c, y = batch["proxy"], batch["label"]
                upto, _ = self.read(self._cut(batch, self.places(c, False)[0]))
                of_proxy = self.classify_proxy(c)
                for k in range(11):
                    self.weight.fill_(k / 10)
                    p = self.after(of_proxy, upto[:, -1:])[:, -1]  # (B, N)
                    total[k] -= F.nll_loss(p.log(), y, reduction="sum").item()
        self.weight.fill_(float(total.argmax()) / 10)


def spread(config: Config) -> Tensor:
    """T places ``(1, T, 2)`` in rows, evenly over the image."""
    T, reach = config.glimpses, 1 - config.scale
    rows = math.ceil(math.sqrt(T))
    full, places = math.ceil(T / rows), []
    for r in range(rows):
        here = min(full, T - r * full)
        y = 0.0 if rows == 1 else -reach + 2 * reach * r / (rows - 1)
        for k in range(here):
            places.append(
                (0.0 if here == 1 else -reach + 2 * reach * k / (here - 1), y)
            )
    return torch.tensor([places[:T]])
