"""Saccader (Elsayed, Kornblith and Le 2019): which places of one map are summed.

A BagNet of its own reads the *whole* image at full resolution: 19 x 19 places, each of
which has seen 77 of 224 pixels a side, with class scores of its own. A cell then picks
T of these places one after the other; the mean of their scores is the prediction. So
the classification is of a few patches, but the cost is that of all: it hardly depends
on T. That is what TNet is measured against.

Built from the released code (TensorFlow 1) for its counts and its forward pass. The
paper trains in three phases, one after the other, each with a schedule of its own;
here they share one training (`Config.phases`). Weight decay is left out.

    1. representation: class scores of all places averaged, cross-entropy;
    2. location: the cell learns to visit places in the order of their scores for the
       likeliest class; nothing else is trained;
    3. all: cross-entropy of the T places, and the score function.

Letters: B images, C channels, h x w places, F features, T glimpses.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saccade_lib import cost, estimators, glimpse
from saccade_lib.models.bagnet import BLOCKS, STEM, VECTOR, Spec, scaled
from saccade_lib.train import Loss, evaluating

NEVER = 1e5  # taken off the score of a place that was visited
ORDERED = 12  # places that the second phase ranks


@dataclass(frozen=True)
class Config:
    """Saccader-77.

    Attributes:
        classes: number of classes.
        channels: C.
        glimpses: T.
        width: factor on all numbers of channels; 1 is the paper's.
        blocks: ``"full"`` or ``"small"``, as of `bagnet.Config`.
        phases: shares of training at which the second and the third phase begin.
    """

    classes: int
    channels: int = 3
    glimpses: int = 6
    width: float = 1.0
    blocks: str = "full"
    phases: tuple[float, float] = (0.6, 0.7)

    def __post_init__(self):
        second, third = self.phases
        if not 0 <= second <= third <= 1:
            raise ValueError(
                f"phases must be two shares of training in order, got {self.phases}"
            )


@dataclass
class Prediction:
    """Class probabilities and the places behind them.

    Attributes:
        probabilities: ``(B, classes)``.
        location: ``(B, T, 2)``, the middle of what each place has seen.
        scale: ``(B, T)``, side of that over side of the image.
    """

    probabilities: Tensor
    location: Tensor
    scale: Tensor


@dataclass
class Visits:
    """T places of each image.

    Attributes:
        place: their numbers, row by row, ``(B, T)``.
        scores: of all places at each step, ``(B, T, h w)``.
        classes: class scores of all places, ``(B, classes, h, w)``.
    """

    place: Tensor
    scores: Tensor
    classes: Tensor

    def chosen(self, glimpses: int | None = None) -> Tensor:
        """Mean class scores of the first so many places (all T), ``(B, classes)``."""
        flat = self.classes.flatten(2)  # (B, classes, h w)
        wanted = self.place[:, None, :glimpses].expand(-1, flat.shape[1], -1)
        return flat.gather(2, wanted).mean(dim=2)


class Block(nn.Module):
    """1x1, k x k, 1x1 with batch normalisation and without padding.

    Where the shortcut is a convolution, the released code normalises the other branch
    a second time and not the shortcut; so does this.
    """

    def __init__(self, inputs: int, outputs: int, spec: Spec):
        super().__init__()
        middle, k = outputs // 4, spec.kernel
        self.body = nn.Sequential(
            *normalised(nn.Conv2d(inputs, middle, 1, bias=False)),
            *normalised(nn.Conv2d(middle, middle, k, spec.stride, bias=False)),
            nn.Conv2d(middle, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        nn.init.zeros_(self.body[-1].weight)
        self.crop = (k - 1) // 2
        self.shortcut = self.again = None
        self.stride = spec.stride
        if spec.stride > 1 or inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, bias=False)
            self.again = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        if self.crop:
            x = F.pad(x, (-self.crop,) * 4)
        if self.shortcut is not None:
            # A strided 1x1 convolution, written out, as in `bagnet` and for its reason.
            x = self.shortcut(x[..., :: self.stride, :: self.stride])
            y = self.again(y)
        return F.relu(y + x, inplace=True)


def normalised(convolution: nn.Conv2d) -> list[nn.Module]:
    return [convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU(True)]


class Places(nn.Module):
    """BagNet-77, "low-dimensional": features and class scores of each place."""

    def __init__(self, config: Config):
        super().__init__()
        self.specs = [spec for group in BLOCKS[config.blocks] for spec in group]
        inputs = scaled(STEM, config.width)
        layers = normalised(nn.Conv2d(config.channels, inputs, 3, bias=False))
        for spec in self.specs:
            outputs = scaled(spec.channels, config.width)
            layers.append(Block(inputs, outputs, spec))
            inputs = outputs
        self.body = nn.Sequential(*layers)
        self.features, low = inputs, scaled(VECTOR, config.width)
        self.low = nn.Sequential(*normalised(nn.Conv2d(inputs, low, 1, bias=False)))
        self.classify = nn.Conv2d(low, config.classes, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Maps of 4 F features, of F, and of class scores."""
        wide = self.body(x)  # (B, 4F, h, w)
        low = self.low(wide)  # (B, F, h, w)
        return wide, low, self.classify(low)

    def chain(self) -> Iterator[tuple[int, int, int]]:
        """Kernel, stride and padding of the layers that widen what is seen."""
        yield 3, 1, 0
        for spec in self.specs:
            yield spec.kernel, spec.stride, 0


class Saccader(nn.Module):
    """The three parts: places, attention over them, and the cell that visits them."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.places = Places(config)
        wide, low = self.places.features, scaled(VECTOR, config.width)
        layers, inputs = [], wide
        for outputs in (wide // 2, wide // 4):
            layers += normalised(nn.Conv2d(inputs, outputs, 1, bias=False))
            layers += normalised(
                nn.Conv2d(outputs, outputs, 3, padding=2, dilation=2, bias=False)
            )
            inputs = outputs
        self.attend = nn.Sequential(*layers)
        self.mix = nn.Conv2d(inputs + low, low, 1)
        self.weigh = nn.Conv2d(low, 1, 1, bias=False)  # all weights of the cell

    def visit(
        self, x: Tensor, glimpses: int, sample: bool = False, taught: bool = False
    ) -> Visits:
        """T places of images ``(B, C, H, W)`` in [-1, 1], none of them twice.

        Args:
            sample: draw the places; the best one at each step otherwise.
            taught: visit them in the order of their scores for the likeliest class,
                and keep what is learned of *where* from the network that says *what*.
        """
        wide, low, classes = self.places(x)
        if taught:
            wide, low, classes = wide.detach(), low.detach(), classes.detach()
        mixed = self.mix(torch.cat((self.attend(wide), low), dim=1))
        mixed = glimpse.precise(mixed)  # (B, F, h, w); 1e5 has no neighbours in 16 bits
        h, w = mixed.shape[-2:]
        if not 1 <= glimpses <= h * w:
            raise ValueError(f"{glimpses} of {h} x {w} places cannot be visited")
        visited = mixed.new_zeros(len(x), h * w)
        teacher = ranked(classes, glimpses) if taught else None
        places, scores = [], []
        for t in range(glimpses):
            score = self._scores(mixed, visited)  # (B, h w)
            keys = score.detach()
            if sample:
                keys = keys - torch.empty_like(keys).exponential_().log()
            place = keys.argmax(dim=1) if teacher is None else teacher[:, t]  # (B,)
            visited = visited.scatter(1, place[:, None], 1.0)
            places.append(place)
            scores.append(score)
        return Visits(torch.stack(places, 1), torch.stack(scores, 1), classes)

    def _scores(self, mixed: Tensor, visited: Tensor) -> Tensor:
        """The cell: weights over places, then over features, then places again.

        Written as products and sums, which eq. 11 of TNet does not count.
        """
        flat = mixed.flatten(2)  # (B, F, h w)
        root = mixed.shape[1] ** 0.5
        over_places = self.weigh(mixed).flatten(1) / root - NEVER * visited
        context = (flat * over_places.softmax(dim=1)[:, None]).sum(dim=2)  # (B, F)
        score = (flat * context.softmax(dim=1)[:, :, None]).sum(dim=1)  # (B, h w)
        return score - NEVER * visited

    def loss(self, batch: dict) -> Loss:
        """Named terms, those of other phases at zero.

        Args:
            batch: ``image (B, C, H, W)`` in [0, 1], ``label (B,)``; ``progress`` of
                training in [0, 1), without which it is the last phase.
        """
        x = 2 * glimpse.checked(batch["image"], self.config.channels) - 1
        label, done = batch["label"], batch.get("progress", 1.0)
        second, third = self.config.phases
        terms = dict.fromkeys(("class", "order", "places"), x.new_zeros(()))
        if done < second:
            scores = glimpse.precise(self.places(x)[2].mean(dim=(2, 3)))  # (B, classes)
            terms["class"] = F.cross_entropy(scores, label)
            return Loss(terms, right(scores, label))
        if done < third:
            seen = self.visit(x, ORDERED, taught=True)
            each = seen.scores.flatten(0, 1)  # (B T, h w)
            terms["order"] = F.cross_entropy(each, seen.place.flatten())
            return Loss(terms, right(seen.chosen(self.config.glimpses), label))
        seen = self.visit(x, self.config.glimpses, sample=True)
        scores = glimpse.precise(seen.chosen())
        log_p = seen.scores.log_softmax(dim=2).gather(2, seen.place[..., None])[..., 0]
        reward = (scores.argmax(dim=1) == label).float()[:, None]  # (B, 1)
        terms["class"] = F.cross_entropy(scores, label)
        # The released baseline is the mean reward of the batch.
        terms["places"] = estimators.score(log_p, reward, reward.mean())
        terms["places"] = terms["places"] / log_p.shape[1]
        return Loss(terms, right(scores, label))

    @torch.no_grad()
    def predict(
        self,
        images: Tensor,
        sample: bool = False,
        batch: dict | None = None,
        glimpses: int | None = None,
    ) -> Prediction:
        """Classify ``(B, C, H, W)`` images in [0, 1] and say which places counted.

        Args:
            sample: draw places; the best one at each step otherwise.
            glimpses: T; that of the configuration by default.
        """
        x = 2 * glimpse.checked(images, self.config.channels) - 1
        with evaluating(self):
            seen = self.visit(x, glimpses or self.config.glimpses, sample)
        location, scale = self.windows(seen, images.shape[-1])
        return Prediction(seen.chosen().softmax(dim=1), location, scale)

    def windows(self, seen: Visits, side: int) -> tuple[Tensor, Tensor]:
        """Location ``(B, T, 2)`` and scale ``(B, T)`` of what the places have seen."""
        last = cost.receptive_fields(self.places.chain(), side)[-1]
        w = seen.classes.shape[-1]
        at = torch.stack((seen.place % w, seen.place // w), dim=-1)  # (B, T, 2)
        location = glimpse.to_location(at * last.step + last.first, side, side)
        return location, location.new_full(location.shape[:2], last.field / side)


def ranked(classes: Tensor, count: int) -> Tensor:
    """Places ``(B, count)`` with the highest scores for the likeliest class.

    Args:
        classes: ``(B, classes, h, w)``; the likeliest is that of the mean over places.
    """
    flat = classes.flatten(2)  # (B, classes, h w)
    likely = flat.mean(dim=2).argmax(dim=1)  # (B,)
    of_likely = flat[torch.arange(len(flat), device=flat.device), likely]  # (B, h w)
    return of_likely.topk(count, dim=1).indices


def right(scores: Tensor, label: Tensor) -> dict[str, Tensor]:
    """Per cent of images classified right, as a metric."""
    return {"train_accuracy": 100 * (scores.argmax(dim=1) == label).float().mean()}
