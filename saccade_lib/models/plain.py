"""Networks that read a whole small image at once: what RAM was first compared with.

Mnih et al. 2014 give them a line each: two fully connected layers of 64 or of 256; and
8 filters of 10 x 10 at a stride of 5 with a fully connected layer of 256 behind them.

Letters: B images, C channels, H x W pixels.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from saccade_lib.models.baselines import Classifier
from saccade_lib.session import one_of

FILTERS, FILTER, STRIDE = 8, 10, 5


@dataclass(frozen=True)
class Config:
    """A plain network for images of one size.

    Attributes:
        classes: number of classes.
        side: of the images, pixels.
        channels: C.
        first: ``"dense"`` or ``"conv"``.
        hidden: width of the fully connected layers: two, or one behind filters.
    """

    classes: int
    side: int
    channels: int = 1
    first: str = "dense"
    hidden: int = 256

    def __post_init__(self):
        one_of("first", self.first, ("dense", "conv"))
        if self.first == "conv" and self.side < FILTER:
            raise ValueError(
                f"filters of {FILTER} x {FILTER} do not fit images of {self.side}"
            )


class Plain(Classifier):
    """Scores ``(B, classes)`` of images ``(B, C, H, W)``."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        side, inputs = config.side, config.channels * config.side**2
        if config.first == "conv":
            n = (side - FILTER) // STRIDE + 1
            first = [nn.Conv2d(config.channels, FILTERS, FILTER, STRIDE), nn.ReLU()]
            first += [nn.Flatten(), nn.Linear(FILTERS * n * n, config.hidden)]
        else:
            first = [nn.Flatten(), nn.Linear(inputs, config.hidden), nn.ReLU()]
            first += [nn.Linear(config.hidden, config.hidden)]
        out = nn.Linear(config.hidden, config.classes)
        self.layers = nn.Sequential(*first, nn.ReLU(), out)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)

    def checked(self, images: Tensor) -> Tensor:
        """Raises ValueError for images of another size."""
        images = super().checked(images)
        if images.shape[2:] != (self.config.side,) * 2:
            raise ValueError(
                f"this network reads images of {self.config.side} x "
                f"{self.config.side}, got {tuple(images.shape)}"
            )
        return images
