"""Faces that look at a screen, drawn from (seed, index): where does the iris point?

A stand-in for GazeCapture (`gaze_capture`), of which nothing may be passed on. A person
in front of a phone or a tablet looks at a dot; the front camera sees the face. The
dot's place on the screen is to be told, in centimetres.

Lengths are centimetres. The camera is the origin; x runs to the image's right, y down,
z from the device to the person; the screen lies in the plane z = 0 below the camera.
Eyeballs are spheres, an iris is a disc in front of its centre, turned to the dot but
for an angle *kappa* that belongs to the person and shows nowhere (`without_kappa` is
what it costs). Appearance belongs to the person, pose and dot to the image. People of
different splits never mix.

Numbers come from hashing (seed, split, index), pixels from `gaze_drawing`: the same
image in any batch, in any order.

Shapes: B images, S x S pixels.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from saccade_lib.data import gaze_drawing
from saccade_lib.data.digits import SPLITS, uniforms
from saccade_lib.session import one_of

STREAM = 520  # of random numbers, plus the split; people have the one after the splits
# As many people as GazeCapture has in each split.
PEOPLE = {"train": 1271, "validation": 50, "test": 150}
EYE = (3.15, -1.5, -1.0)  # the eye at the image's right in the head's frame
IRIS_AT = 1.05  # from the eyeball's centre to the iris
APERTURE = (3.0, 1.1)  # of the lids, width and mean height
FACE = (14.0, 18.0)  # width and height of what a face detector would find
KAPPA = 1.5  # degrees, standard deviation an axis
JITTER = 0.04  # of detections, over their side
NUMBERS = 140  # an image, more than are used


@dataclass(frozen=True)
class Screen:
    """A screen below its camera: sides, the gap above it, and how far aside it is."""

    width: float
    height: float
    top: float
    aside: float

    @property
    def edges(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom."""
        half = self.width / 2
        return (
            self.aside - half,
            self.top,
            self.aside + half,
            self.top + self.height,
        )


SCREENS = {
    "iphone": Screen(5.8, 10.4, top=0.9, aside=1.2),
    "ipad": Screen(14.8, 19.7, top=0.8, aside=0.0),
}


@dataclass(frozen=True)
class Camera:
    """How the person is seen.

    Attributes:
        view: degrees, across the image.
        near, far: of the head from the camera, by device.
        turn: largest yaw, pitch and roll of the head away from the screen's middle,
            degrees.
    """

    view: float
    distance: dict[str, tuple[float, float]]
    turn: tuple[float, float, float]

    @property
    def tangent(self) -> float:
        return math.tan(math.radians(self.view / 2))


CAMERAS = {
    # As a phone has it, for 800 pixels.
    "wide": Camera(60, {"iphone": (24, 38), "ipad": (36, 56)}, (20, 15, 15)),
    # For 256 pixels: the face fills the picture, or an iris would have no pixels.
    "close": Camera(40, {"iphone": (24, 32), "ipad": (36, 48)}, (10, 8, 10)),
}


@dataclass
class Scene:
    """What is to be drawn.

    Attributes:
        person: ``(B,)``, number within the split.
        target: the dot ``(B, 2)``.
        head: centre ``(B, 3)``; turn: ``(B, 3, 3)``, from its frame to the camera's.
        eyes: centres of the eyeballs ``(B, 2, 3)``, the one at the image's left first.
        axis: unit vectors ``(B, 2, 3)`` from there to the irises: the optical axes.
        look, setting: of the person and of the image, name to ``(B, n)``.
        tangent: of half the angle of view.
        nearest: of all heads that this camera sees, cm.
    """

    person: Tensor
    target: Tensor
    head: Tensor
    turn: Tensor
    eyes: Tensor
    axis: Tensor
    look: dict[str, Tensor]
    setting: dict[str, Tensor]
    tangent: float
    nearest: float

    def split(self, many: int) -> Iterator["Scene"]:
        """So many images at a time."""
        for start in range(0, len(self.person), many):
            part = slice(start, start + many)
            tensors = (
                {k: v[part] for k, v in of.items()}
                if isinstance(of, dict)
                else of[part]
                for of in list(vars(self).values())[:-2]
            )
            yield Scene(*tensors, self.tangent, self.nearest)

    def project(self, points: Tensor) -> Tensor:
        """Points ``(..., 3)`` in the image ``(..., 2)``, borders at +-1."""
        return points[..., :2] / points[..., 2:] / self.tangent

    def of_head(self, place) -> Tensor:
        """A place of the head's frame, ``(B, 3)`` or three numbers, in space."""
        place = torch.as_tensor(place).to(self.head)
        return self.head + (self.turn @ place.expand_as(self.head)[..., None])[..., 0]


class Deal:
    """Hands out columns of uniform numbers ``(B, n)``, each once."""

    def __init__(self, u: Tensor):
        self.u, self.next = u, 0

    def __call__(self, low: float, high: float, n: int = 1) -> Tensor:
        """``(B, n)`` between low and high."""
        self.next += n
        if self.next > self.u.shape[1]:
            raise IndexError(f"only {self.u.shape[1]} numbers are there")
        return low + (high - low) * self.u[:, self.next - n : self.next]


@dataclass(frozen=True)
class Faces:
    """An endless, random-access stream of people who look at a screen.

    Attributes:
        device: ``"iphone"`` or ``"ipad"``: sizes like theirs.
        split: ``"train"``, ``"validation"`` or ``"test"``; their people never mix.
        side: S, pixels.
        camera: of `CAMERAS`.
        kept: training repeats so many images, which are drawn once and kept in memory
            as bytes; 0 draws each anew.
        seed: of the images. Validation and test use 0 whatever the training seed; the
            people are always the same.
    """

    device: str = "iphone"
    split: str = "train"
    side: int = 256
    camera: str = "close"
    kept: int = 0
    seed: int = 0

    classes = 2  # numbers of an answer

    def __post_init__(self):
        one_of("device", self.device, tuple(SCREENS))
        one_of("split", self.split, SPLITS)
        one_of("camera", self.camera, tuple(CAMERAS))
        if self.side < 32 or self.kept < 0 or self.seed < 0:
            raise ValueError(
                "side is at least 32, kept and seed are not negative: got "
                f"{self.side}, {self.kept} and {self.seed}"
            )
        object.__setattr__(self, "_shelf", {})

    @property
    def edges(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of the screen."""
        return SCREENS[self.device].edges

    def batch(self, index: Tensor, device: str | torch.device = "cpu") -> dict:
        """The images of some indices, and what is known of them.

        Args:
            index: ``(B,)`` integers >= 0.

        Returns:
            ``image (B, 3, S, S)`` in whole 255ths, ``target (B, 2)`` in cm, ``person
            (B,)``; boxes in [-1, 1], left, top, right, bottom: of the lids' openings
            ``eyes (B, 2, 4)``, the one at the image's left first, and ``face (B, 4)``;
            and ``detected (B, 3, 3)``: middles and half sides of squares around both
            eyes and the face, as a detector might place them.
        """
        if self.kept and self.split == "train":
            index = index % self.kept
        scene = self.scene(index, device)
        found = {"image": self._image(index, scene), "target": scene.target}
        return found | {"person": scene.person} | self._places(scene, index)

    def scene(self, index: Tensor, device: str | torch.device = "cpu") -> Scene:
        """What the images of some indices show."""
        seed, split = (
            self.seed if self.split == "train" else 0,
            SPLITS.index(self.split),
        )
        deal = Deal(uniforms(seed, STREAM + split, index, NUMBERS, device))
        person = (deal(0, PEOPLE[self.split])[:, 0]).long()  # (B,)
        look = _look(uniforms(split, STREAM + len(SPLITS), person, NUMBERS, device))
        left, top, right, bottom = self.edges
        target = torch.cat((deal(left, right), deal(top, bottom)), dim=1)  # (B, 2)
        camera = CAMERAS[self.camera]
        z = deal(*camera.distance[self.device])
        reach = camera.tangent * z  # half of what is seen at that distance
        head = torch.cat((deal(-0.34, 0.34) * reach, deal(-0.34, 0.22) * reach, z), 1)
        middle = torch.tensor([(left + right) / 2, (top + bottom) / 2, 0]).to(head)
        yaw, pitch = angles(middle - head)
        away = [deal(-a, a)[:, 0].deg2rad() for a in camera.turn]
        turn = rotation(yaw + away[0], pitch + away[1], away[2])
        sides = head.new_tensor([[-1, 1, 1], [1, 1, 1]]) * head.new_tensor(EYE)
        eyes = head[:, None] + (turn[:, None] * sides[:, None]).sum(dim=-1)  # (B, 2, 3)
        dot = torch.cat((target, torch.zeros_like(z)), dim=1)[:, None]
        kappa = look["kappa"].deg2rad()[:, None]  # (B, 1, 2)
        yaw, pitch = angles(dot - eyes)
        axis = direction(yaw + kappa[..., 0], pitch + kappa[..., 1])
        setting = _setting(deal)
        tensors = person, target, head, turn, eyes, axis, look, setting
        return Scene(*tensors, camera.tangent, camera.distance[self.device][0])

    def _image(self, index: Tensor, scene: Scene) -> Tensor:
        if not (self.kept and self.split == "train"):
            return gaze_drawing.draw(scene, self.side)
        device = str(scene.head.device)
        if device not in self._shelf:
            size = self.kept, 3, self.side, self.side
            bytes_ = torch.empty(size, dtype=torch.uint8, device=device)
            self._shelf[device] = bytes_, torch.zeros(self.kept, dtype=torch.bool)
        images, there = self._shelf[device]
        if not there[index].all():
            lacking = index[~there[index]].unique()
            drawn = gaze_drawing.draw(self.scene(lacking, device), self.side)
            images[lacking] = (255 * drawn).round().byte()
            there[lacking] = True
        return images[index].float() / 255

    def _places(self, scene: Scene, index: Tensor) -> dict[str, Tensor]:
        """`batch`'s boxes and detections."""
        zoom = 1 / scene.tangent
        front = scene.eyes + IRIS_AT * scene.turn[:, None, :, 2] * -1
        middle = scene.project(front)  # (B, 2, 2)
        lids = zoom * middle.new_tensor(APERTURE) / 2 / front[..., 2:]
        eyes = torch.cat((middle - lids, middle + lids), dim=-1)  # (B, 2, 4)
        centre = scene.project(scene.of_head((0.0, 0.5, 0.0)))  # (B, 2)
        half = zoom * middle.new_tensor(FACE) / 2 / scene.head[:, 2:]
        face = torch.cat((centre - half, centre + half), dim=-1)  # (B, 4)
        squares = torch.cat((1.5 * lids[..., :1], 1.15 * half[:, None, :1]), dim=1)
        at = torch.cat((middle, centre[:, None]), dim=1)  # (B, 3, 2)
        split = SPLITS.index(self.split)
        seed = self.seed if self.split == "train" else 0
        deal = Deal(uniforms(seed, STREAM + 4 + split, index, 9, at.device))
        off = deal(-JITTER, JITTER, 9).view(-1, 3, 3)
        at = at + 2 * off[..., :2] * squares
        detected = torch.cat((at, squares * (1 + off[..., 2:])), dim=-1)
        found = {"eyes": eyes, "face": face, "detected": detected}
        return {name: value.float() for name, value in found.items()}


def direction(yaw: Tensor, pitch: Tensor) -> Tensor:
    """Unit vectors ``(..., 3)``: at 0 towards the camera; pitch is downwards."""
    across = pitch.cos()
    return torch.stack((-yaw.sin() * across, pitch.sin(), -yaw.cos() * across), dim=-1)


def angles(v: Tensor) -> tuple[Tensor, Tensor]:
    """Yaw and pitch of vectors ``(..., 3)``: the inverse of `direction`."""
    v = v / v.norm(dim=-1, keepdim=True)
    return torch.atan2(-v[..., 0], -v[..., 2]), v[..., 1].asin()


def rotation(yaw: Tensor, pitch: Tensor, roll: Tensor) -> Tensor:
    """Rotations ``(B, 3, 3)``: first the roll, then the pitch, then the yaw."""
    zero, one = torch.zeros_like(yaw), torch.ones_like(yaw)

    def matrix(*rows):
        return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))

    c, s = yaw.cos(), yaw.sin()
    turned = matrix(c, zero, s, zero, one, zero, -s, zero, c)
    c, s = pitch.cos(), pitch.sin()
    nodding = matrix(one, zero, zero, zero, c, -s, zero, s, c)
    c, s = roll.cos(), roll.sin()
    rolled = matrix(c, -s, zero, s, c, zero, zero, zero, one)
    return turned @ nodding @ rolled


def without_kappa(scene: Scene) -> Tensor:
    """Where on the screen's plane the optical axes meet it, ``(B, 2)``: what is told
    by somebody who sees both irises exactly, but does not know the person's kappa."""
    along = -scene.eyes[..., 2:] / scene.axis[..., 2:]
    return (scene.eyes + along * scene.axis)[..., :2].mean(dim=1)


def error(told: Tensor, target: Tensor) -> Tensor:
    """Distances ``(B,)`` in cm."""
    return (told - target).norm(dim=-1)


def _look(u: Tensor) -> dict[str, Tensor]:
    """A person's appearance, and kappa in degrees."""
    deal = Deal(u)
    tone, hair, iris = deal(0, 1), deal(0, 1), deal(0, 1)
    dark, fair = u.new_tensor([0.33, 0.21, 0.15]), u.new_tensor([0.96, 0.78, 0.67])
    black, blond = u.new_tensor([0.07, 0.06, 0.06]), u.new_tensor([0.72, 0.56, 0.34])
    brown, blue = u.new_tensor([0.25, 0.14, 0.07]), u.new_tensor([0.34, 0.49, 0.60])
    return {
        "kappa": KAPPA * torch.special.ndtri(deal(1e-6, 1 - 1e-6, 2)),
        "skin": dark + tone * (fair - dark),
        "hair": black + hair.square() * (blond - black),
        "iris": brown + iris * (blue - brown),
        "pupil": deal(0.2, 0.35),
        "opening": deal(0.9, 1.3),
        "width": deal(0.94, 1.06),  # of the head
        "fringe": deal(-0.6, 0.8),
        "shirt": deal(0.1, 0.9, 3),
        "lips": deal(0.75, 0.95),
        "glasses": (deal(0, 1) < 0.3).to(u),
    }


def _setting(deal: Deal) -> dict[str, Tensor]:
    """Light, background, and irises without meaning."""
    return {
        "light": torch.cat((deal(-0.25, 0.25, 2), deal(0.75, 1.1)), dim=1),
        "ground": deal(0.1, 0.9, 75),
        "waves": torch.cat((deal(4, 40, 2), deal(0, 2 * math.pi, 2)), dim=1),
        "contrast": deal(0.0, 0.1),
        "poster": torch.cat((deal(-0.9, 0.9, 2), deal(0.1, 0.16)), dim=1),
        "poster_skin": deal(0.3, 0.9, 3),
        "poster_there": (deal(0, 1) < 0.5).to(deal.u),
        "fakes": deal(-0.95, 0.95, 10),  # middles of five
        "fakes_look": deal(-1, 1, 10),
        "fakes_size": deal(0.03, 0.06, 5),
        "fakes_many": deal(2, 6),
        "noise": deal(0, 1),
    }
