"""Spatial transformer networks (Jaderberg et al. 2015) for digits of 28 x 28 pixels.

A localisation network looks at the image U and gives theta; T_theta(G) is the grid on
which U is read, bilinearly; a classifier sees only what was read. All learn from the
classifier's loss. The grid and the reading are those of `readers.Affine` and
`readers.ThinPlate`; this file holds the networks around them, and the controls: no
transformer, and a grid that is told how far the digit was turned.

The networks have the shapes of a public reproduction: convolutions of 9 x 9 and 7 x 7,
or two dense layers; before theta two convolutions of 5 x 5, or three dense layers. The
convolutions are half as wide as there, for a CPU.

Letters: B images, C channels, H x W pixels.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from saccade_lib.data import rotated
from saccade_lib.models import readers, zoom
from saccade_lib.session import one_of

SIDE = 28
NETWORKS = ("cnn", "fcn")
TRANSFORMS = ("none", "affine", "thin-plate", "told")


@dataclass(frozen=True)
class Config:
    """A classifier, and how it reads its image.

    Attributes:
        network: ``"cnn"`` or ``"fcn"``, of the classifier and of the localisation.
        transform: T: ``"affine"``, ``"thin-plate"``; ``"none"`` reads the image as it
            is; ``"told"`` turns it back by the batch's ``angle``.
        width: channels of the CNN's two convolutions; the FCN's layers have
            sixteen times as many units.
        points: control points a side of the thin plate.
        classes, channels: of the data.
    """

    network: str = "cnn"
    transform: str = "none"
    width: int = 16
    points: int = 4
    classes: int = 10
    channels: int = 1

    def __post_init__(self):
        one_of("network", self.network, NETWORKS)
        one_of("transform", self.transform, TRANSFORMS)


class SpatialTransformer(zoom.Zoomed):
    """The classifier behind its reader, both from one configuration."""

    def __init__(self, config: Config):
        classifier = {"cnn": cnn, "fcn": fcn}[config.network]
        super().__init__(classifier(config), make_reader(config))
        self.named = config

    @property
    def config(self) -> Config:
        return self.named

    def looked(self, batch: dict) -> tuple[readers.Reading, Tensor]:
        """What is read; nothing is blurred in training."""
        seen = self.read(batch["image"], batch)
        return seen, seen.image


def cnn(config: Config) -> nn.Module:
    """28 -> 20 -> 10 -> 4 -> 2 pixels a side, then one dense layer."""
    w = config.width
    return nn.Sequential(
        nn.Conv2d(config.channels, w, 9),
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),
        nn.Conv2d(w, w, 7),
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(w * 2**2, config.classes),
    )


def fcn(config: Config) -> nn.Module:
    """Two dense hidden layers."""
    units = 16 * config.width
    return nn.Sequential(
        nn.Flatten(),
        dense(config.channels * SIDE**2, units, units),
        nn.Linear(units, config.classes),
    )


def make_reader(config: Config) -> readers.Reader:
    """The reader of a configuration; with ``prefilter=1`` it reads points of U."""
    how = readers.Config(size=(SIDE, SIDE), look=SIDE, prefilter=1)
    if config.transform == "none":
        return readers.Uniform(how)
    if config.transform == "told":
        return Upright(how)
    # The readers bring a regression of their own; the paper's takes its place.
    trunk, features = nn.Identity(), config.channels
    if config.transform == "affine":
        reader = readers.Affine(trunk, features, how)
    else:
        reader = readers.ThinPlate(trunk, features, how, config.points)
    reader.last = localisation(config, reader.last[-1].out_features)
    return reader


def localisation(config: Config, numbers: int) -> nn.Module:
    """f_loc, from U ``(B, C, 28, 28)`` to theta beside the identity, zero at first."""
    C = config.channels
    if config.network == "fcn":
        look = (nn.Flatten(), dense(C * SIDE**2, 32, 32, 32))
        return nn.Sequential(*look, readers.zeroed(nn.Linear(32, numbers)))
    look = (
        nn.Conv2d(C, 16, 5),
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),
        nn.Conv2d(16, 16, 5),
        nn.ReLU(inplace=True),
        nn.Flatten(),  # of 8 x 8
        dense(16 * 8**2, 32),
    )
    return nn.Sequential(*look, readers.zeroed(nn.Linear(32, numbers)))


def dense(*widths: int) -> nn.Module:
    """Dense layers of the given widths, each with its ReLU."""
    pairs = zip(widths, widths[1:], strict=False)
    layers = [m for a, b in pairs for m in (nn.Linear(a, b), nn.ReLU(inplace=True))]
    return nn.Sequential(*layers)


class Upright(readers.Reader):
    """A grid that is told how far the digit was turned: the most there is to win.

    The batch must hold ``angle (B,)``, degrees.
    """

    def places(self, small: Tensor, batch: dict) -> tuple[None, Tensor]:
        if "angle" not in batch:
            raise ValueError(
                'a "told" grid is told by batch["angle"], which is not among '
                f"{sorted(batch)}: pass a batch of `rotated.Rotated`"
            )
        return None, rotated.places(self.config.size, batch["angle"])
