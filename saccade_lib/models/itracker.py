"""iTracker, which is given what a sampler must find: the eyes and the face.

Krafka et al. (2016), as their public code has it: two eye crops go through one tower of
convolutions, a face crop through another, and a coarse grid of 0 and 1 says where in
the frame the face is. Faces and eyes come from a detector; here from the batch.

Letters: B images, C channels, L x L pixels a crop.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from saccade_lib import glimpse, zoom_reading
from saccade_lib.models.gaze import Prediction, distance, halvings
from saccade_lib.session import one_of
from saccade_lib.train import Loss, evaluating

GRID = 25  # cells a side of the face grid


@dataclass(frozen=True)
class Config:
    """Four inputs and an answer in cm.

    Attributes:
        edges: left, top, right, bottom of the screen, cm.
        size: L, 224 in the paper.
        tower: ``"paper"``, or ``"small"`` for small crops.
        width: channels of a tower's first convolution; 96 in the paper.
        channels: C.
        classes: numbers of an answer, two.
    """

    edges: tuple[float, float, float, float]
    size: int = 64
    tower: str = "small"
    width: int = 12
    channels: int = 3
    classes: int = 2

    def __post_init__(self):
        one_of("tower", self.tower, ("paper", "small"))


class ITracker(nn.Module):
    """The place on the screen, from an image and detections.

    Answers are the network's two numbers, in cm from the screen's middle; the paper's
    are from the camera.
    """

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        make = tower if config.tower == "paper" else small_tower
        self.eye, features = make(config)
        self.face, _ = make(config)
        self.eyes = dense(2 * features, 128)
        self.face_dense = nn.Sequential(dense(features, 128), dense(128, 64))
        self.grid = nn.Sequential(dense(GRID**2, 256), dense(256, 128))
        self.joint = nn.Sequential(
            dense(128 + 64 + 128, 128), nn.Linear(128, config.classes)
        )
        left, top, right, bottom = config.edges
        middle = torch.tensor([(left + right) / 2, (top + bottom) / 2])
        self.register_buffer("middle", middle, persistent=False)

    def answer(self, batch: dict) -> Tensor:
        """Places ``(B, 2)``, cm.

        Args:
            batch: ``image (B, C, H, W)``; ``detected (B, 3, 3)``, middle and half side
                of squares around the eyes and the face, in [-1, 1].

        Raises:
            ValueError: a batch without detections.
        """
        if "detected" not in batch:
            raise ValueError(
                'iTracker needs detections, batch["detected"], which is not among '
                f"{sorted(batch)}"
            )
        left, right, face = 2 * self.crops(batch).transpose(0, 1) - 1  # (B, C, L, L)
        eyes = torch.cat((self.eye(left), self.eye(right)), dim=1)
        seen = (
            self.eyes(eyes),
            self.face_dense(self.face(face)),
            self.grid(face_grid(batch["detected"][:, 2])),
        )
        return self.middle + self.joint(torch.cat(seen, dim=1)).float()

    def crops(self, batch: dict) -> Tensor:
        """Both eyes and the face, ``(B, 3, C, L, L)``; beyond the image its border."""
        L, (x, y, half) = self.config.size, batch["detected"].float().unbind(2)
        at = glimpse.pixel_centres(L, x.device)
        x = x[..., None] + half[..., None] * at  # (B, 3, L)
        y = y[..., None] + half[..., None] * at
        cut = []
        for k in range(3):
            grid = x[:, k, None].expand(-1, L, L), y[:, k, :, None].expand(-1, L, L)
            cut.append(zoom_reading.warp(batch["image"], torch.stack(grid, dim=-1)))
        return torch.stack(cut, dim=1)

    def loss(self, batch: dict) -> Loss:
        """Mean distance on the screen (squared, in the paper)."""
        return Loss({"distance": distance(self.answer(batch), batch["target"])})

    @torch.no_grad()
    def predict(
        self, images: Tensor, sample: bool = False, batch: dict | None = None
    ) -> Prediction:
        """Nothing is sampled; the batch holds the detections."""
        with evaluating(self):
            return Prediction(self.answer((batch or {}) | {"image": images}), None)


def face_grid(square: Tensor) -> Tensor:
    """``(B, 625)``: 1 in the cells whose middles lie in a square ``(B, 3)``."""
    at = glimpse.pixel_centres(GRID, square.device)
    inside = [(at - square[:, k, None]).abs() <= square[:, 2, None] for k in (0, 1)]
    return (inside[1][:, :, None] & inside[0][:, None]).flatten(1).float()


def dense(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs), nn.ReLU(inplace=True))


def tower(config: Config) -> tuple[nn.Sequential, int]:
    """The public code's: convolutions, and the number of features at the end."""
    w = config.width
    normed = {"size": 5, "alpha": 1e-4, "beta": 0.75, "k": 1.0}
    net = nn.Sequential(
        *(nn.Conv2d(config.channels, w, 11, 4), nn.ReLU(), nn.MaxPool2d(3, 2)),
        nn.LocalResponseNorm(**normed),
        *(nn.Conv2d(w, 8 * w // 3, 5, 1, 2, groups=2), nn.ReLU()),
        *(nn.MaxPool2d(3, 2), nn.LocalResponseNorm(**normed)),
        *(nn.Conv2d(8 * w // 3, 4 * w, 3, 1, 1), nn.ReLU()),
        *(nn.Conv2d(4 * w, 2 * w // 3, 1), nn.ReLU(), nn.Flatten()),
    )
    side = (config.size - 11) // 4 + 1
    for _ in range(2):
        side = (side - 3) // 2 + 1
    return net, 2 * w // 3 * side**2


def small_tower(config: Config) -> tuple[nn.Sequential, int]:
    """Four convolutions, each with a halving."""
    parts = halvings(config.channels, config.width)
    features = 2 * config.width * (config.size // 16) ** 2
    return nn.Sequential(*parts, nn.Flatten()), features
