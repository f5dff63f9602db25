"""The pixels of `gaze`: ellipses and lids whose every edge is a share of a pixel.

An edge at the signed distance d from a pixel's centre covers ``sigmoid(d / 0.5 pixel)``
of it. An iris that moves by a hundredth of a pixel changes the picture, as it does in a
camera; drawing by nearest pixels would lose the signal. Small parts are painted in
windows around them, the rest on the whole image.

Letters: B images, S x S pixels, k x k those of a window.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from saccade_lib.data.digits import uniforms

if TYPE_CHECKING:
    from saccade_lib.data.gaze import Scene

AT_ONCE = 16  # images: what is painted should stay in the processor's cache
NOISE = 2 / 255
WHITE, DARK = (0.93, 0.91, 0.89), (0.06, 0.05, 0.05)
IRIS, IRIS_AT = 0.6, 1.05  # radius, and distance from the eyeball's centre, cm
LIDS = 1.5  # half of their width, cm
STRIP = 2**20  # normal numbers that images take turns in reading


@dataclass
class Part:
    """Pixels that are painted in place.

    Attributes:
        image: ``(B, 3, k, k)``.
        x, y: pixel centres ``(B, 1, k)`` and ``(B, k, 1)``, in pixels of the image.
    """

    image: Tensor
    x: Tensor
    y: Tensor

    def ellipse(self, centre: Tensor, shape: Tensor) -> Tensor:
        """Cover ``(B, k, k)`` of ``|shape (p - centre)| < 1``.

        To first order in the distance over the radius, exact for a circle.

        Args:
            centre: ``(B, 2)``, pixels.
            shape: ``(B, 2, 2)``, one over pixels.
        """
        Q = (shape[:, :, :, None] * shape[:, :, None]).sum(dim=1)  # (B, 2, 2)
        det = Q[:, 0, 0] * Q[:, 1, 1] - Q[:, 0, 1].square()
        radius = det.rsqrt().sqrt()[:, None, None]
        xx, xy, yy = (
            q[:, None, None] * radius for q in (Q[:, 0, 0], 2 * Q[:, 0, 1], Q[:, 1, 1])
        )
        dx, dy = self.x - _column(centre, 0), self.y - _column(centre, 1)
        inside = dx * xy * dy  # (B, k, k)
        inside += dx.square() * xx - radius
        inside += dy.square() * yy
        return inside.neg_().sigmoid_()

    def paint(self, colour: Tensor, cover: Tensor) -> None:
        """Put a colour ``(B, 3)`` or ``(3,)`` where something covers ``(B, k, k)``."""
        self.image.lerp_(colour.view(-1, 3, 1, 1), cover[:, None])


def _column(v: Tensor, k: int) -> Tensor:
    return v[:, k, None, None]


def draw(scene: "Scene", side: int) -> Tensor:
    """Images ``(B, 3, S, S)`` of a scene, whole 255ths of [0, 1]."""
    parts = [_draw(some, side) for some in scene.split(AT_ONCE)]
    return torch.cat(parts)


def _draw(scene: "Scene", side: int) -> Tensor:
    at = Places(scene, side)
    image = _ground(scene, side)
    pixels = torch.arange(side, device=image.device) + 0.5
    x, y = pixels.expand(len(image), 1, side), pixels[:, None].expand(len(image), -1, 1)
    whole = Part(image, x, y)
    _fakes(scene, whole)
    _head(scene, at, whole)
    _features(scene, at, whole)
    for k in range(2):
        _eye(scene, at, whole, k)
    light = scene.setting["light"].float()
    shade = light[:, 2, None, None] + _column(light, 0) * (x * (2 / side) - 1)
    shade = shade + _column(light, 1) * (y * (2 / side) - 1)
    image *= shade[:, None]
    _add_noise(image, scene.setting["noise"][:, 0])
    return image.clamp_(0, 1).mul_(255).round_().div_(255)


class Places:
    """Where things of the head are in the image, in pixels."""

    def __init__(self, scene: "Scene", side: int):
        self.scene, self.side = scene, side
        self.focal = side / 2 / scene.tangent  # pixels at a distance of its own length

    def point(self, p: Tensor) -> Tensor:
        """``(B, 2)`` of points ``(B, 3)``."""
        return ((self.scene.project(p) + 1) * (self.side / 2)).float()

    def plane(self, p: Tensor, turn: Tensor | None = None) -> Tensor:
        """``(B, 2, 2)`` from pixels around the image of p to cm in the head's plane."""
        turn = self.scene.turn if turn is None else turn
        a, b, c, d = turn[:, :2, :2].flatten(1).unbind(1)
        inverse = torch.stack((d, -b, -c, a), dim=1) / (a * d - b * c)[:, None]
        scale = p[:, 2, None] / self.focal
        return (inverse * scale).unflatten(1, (2, 2)).float()

    def rolled(self, p: Tensor) -> Tensor:
        """As `plane` of something round: only the roll of the head turns it."""
        turn = self.scene.turn
        roll = torch.atan2(turn[:, 1, 0], turn[:, 1, 1])
        c, s = roll.cos(), roll.sin()
        return self.plane(p, torch.stack((c, -s, s, c), 1).unflatten(1, (2, 2)))

    def window(self, cm: float) -> int:
        """Pixels of a window that holds so many cm at the nearest."""
        return min(self.side, int(cm * self.focal / (self.scene.nearest - 4)) + 4)


def in_window(
    whole: Part, centre: Tensor, k: int, draw: Callable[[Part], None]
) -> None:
    """Paint in windows of k x k pixels as near to the centres ``(B, 2)`` as fits."""
    side = whole.image.shape[-1]
    corner = (centre - k / 2).round().long().clamp(0, side - k)  # (B, 2)
    # A slice an image: indexing with tensors takes many times as long.
    cuts = [
        image[:, y : y + k, x : x + k]
        for image, (x, y) in zip(whole.image, corner.tolist(), strict=True)
    ]
    steps = torch.arange(k, device=corner.device) + 0.5
    x, y = (corner[:, axis, None] + steps for axis in (0, 1))  # (B, k)
    part = Part(torch.stack(cuts), x[:, None], y[:, :, None])
    draw(part)
    for cut, painted in zip(cuts, part.image, strict=True):
        cut.copy_(painted)


def _ground(scene: "Scene", side: int) -> Tensor:
    """Smooth colours and waves, ``(B, 3, S, S)``."""
    s = {name: value.float() for name, value in scene.setting.items()}
    small = s["ground"].view(-1, 3, 5, 5)
    t = torch.linspace(-1, 1, side, device=small.device)
    near = 1 - (2 * (t[:, None] + 1) - torch.arange(5, device=t.device)).abs()
    across = near.clamp(min=0)  # (S, 5): bilinear weights
    image = across @ small @ across.mT
    waves = s["waves"][:, :, None]
    across, down = ((waves[:, i] * t + waves[:, 2 + i]).sin() for i in (0, 1))
    pattern = (s["contrast"] * across)[:, None] * down[:, :, None]
    return image.add_(pattern[:, None])


def _fakes(scene: "Scene", whole: Part) -> None:
    """A poster with a face, and eyes that look at nothing."""
    s = {name: value.float() for name, value in scene.setting.items()}
    side = whole.image.shape[-1]
    poster = (s["poster"][:, :2] + 1) * (side / 2)
    radius = s["poster"][:, 2] * side / 2
    k = int(0.16 * side) + 8
    skin = s["poster_skin"]
    there = s["poster_there"][:, :, None]

    def face(part: Part) -> None:
        part.paint(skin, there * part.ellipse(poster, _round(0.75 * radius, radius)))

    in_window(whole, poster, k, face)
    middles = (s["fakes"].view(-1, 5, 2) + 1) * (side / 2)
    on_poster = poster[:, None] + radius[:, None, None] * middles.new_tensor(
        [[-0.32, -0.15], [0.32, -0.15]]
    )
    middles[:, :2] = torch.where(there > 0, on_poster, middles[:, :2])
    looks = s["fakes_look"].view(-1, 5, 2)
    for n in range(5):
        size = s["fakes_size"][:, n] * side / 2
        there = (n < s["fakes_many"].floor())[:, :, None].float()
        _fake(whole, middles[:, n], size, looks[:, n], there)


def _fake(whole: Part, at: Tensor, size: Tensor, look: Tensor, there: Tensor) -> None:
    white, dark = at.new_tensor(WHITE), at.new_tensor(DARK)

    def eye(part: Part) -> None:
        opening = there * part.ellipse(at, _round(size, 0.45 * size))
        iris = part.ellipse(at + look * size[:, None] * 0.4, _round(0.42 * size))
        part.paint(white, opening)
        part.paint(dark, opening * iris)

    in_window(whole, at, int(0.06 * whole.image.shape[-1]) + 8, eye)


def _round(a: Tensor, b: Tensor | None = None) -> Tensor:
    """Shapes ``(B, 2, 2)`` of upright ellipses with radii ``(B,)`` in pixels."""
    return torch.diag_embed(1 / torch.stack((a, a if b is None else b), dim=-1))


def _head(scene: "Scene", at: Places, whole: Part) -> None:
    """Shoulders, neck, hair and face."""
    look = {name: value.float() for name, value in scene.look.items()}
    skin = look["skin"]
    parts = (  # where in the head's frame, radii in cm, colour
        ((0.0, 19.0, 4.0), (15.0, 8.5), look["shirt"]),
        ((0.0, 9.0, 2.5), (3.9, 7.0), 0.8 * skin),
        ((0.0, -1.0, 1.0), (7.4, 10.4), look["hair"]),
        ((0.0, 1.0, -1.5), (6.5, 9.0), skin),
    )
    for k, (place, radii, colour) in enumerate(parts):
        point = torch.tensor(place).to(scene.head).repeat(len(skin), 1)
        if k == 3:
            point[:, 1] += scene.look["fringe"][:, 0]
        p = scene.of_head(point)
        size = torch.tensor(radii).to(skin) * look["width"]  # (B, 2)
        shape = at.rolled(p) / size[:, :, None]
        whole.paint(colour, whole.ellipse(at.point(p), shape))


def _features(scene: "Scene", at: Places, whole: Part) -> None:
    """The nose's shadow and its tip, and the mouth."""
    look = {name: value.float() for name, value in scene.look.items()}
    skin = look["skin"]
    lips = torch.stack((0.85 * skin[:, 0], 0.55 * skin[:, 1], 0.55 * skin[:, 2]), 1)
    parts = (
        ((0.25, 0.6, -2.6), (0.55, 2.3), 0.88 * skin),
        ((0.0, 2.3, -3.6), (1.3, 0.75), 0.78 * skin),
        ((0.0, 5.2, -2.0), (2.4, 0.55), look["lips"] * lips),
    )
    for place, radii, colour in parts:
        p = scene.of_head(place)
        shape = at.plane(p) / torch.tensor(radii).to(skin)[:, None]

        def ellipse(part: Part, p=p, shape=shape, colour=colour) -> None:
            part.paint(colour, part.ellipse(at.point(p), shape))

        in_window(whole, at.point(p), at.window(2.3 * max(radii)), ellipse)


def _eye(scene: "Scene", at: Places, whole: Part, k: int) -> None:
    """One eye with its brow and lids, and glasses where they are worn."""
    look = {name: value.float() for name, value in scene.look.items()}
    forward = -scene.turn[:, :, 2]
    p = scene.eyes[:, k] + IRIS_AT * forward
    centre, plane = at.point(p), at.plane(p)
    down = (scene.axis[:, k] * scene.turn[:, :, 1]).sum(dim=1, keepdim=True)
    up, low = (0.6 * look["opening"] - 0.5 * down, 0.4 * look["opening"] + 0.2 * down)
    lids = torch.cat((up.clamp(min=0.1), low.clamp(min=0.1)), dim=1).float()  # (B, 2)
    brow = at.point(p + 1.7 * -scene.turn[:, :, 1])
    radii = look["skin"].new_tensor([[1.8], [0.3]])
    glasses = look["glasses"][:, :, None]

    def eye(part: Part) -> None:
        part.paint(look["hair"], part.ellipse(brow, plane / radii))
        open_ = _between_lids(part, centre, plane, lids)
        lash = _between_lids(part, centre, plane, lids + lids.new_tensor([0.12, 0.03]))
        part.paint(0.4 * look["skin"], lash)
        ball = Part(_white(part.image), part.x, part.y)
        _iris(scene, at, ball, k)
        part.image.lerp_(ball.image, open_[:, None])
        rim = [
            part.ellipse(centre, plane / (radii.new_tensor([[2.5], [1.9]]) - w))
            for w in (0.0, 0.22)
        ]
        part.paint(radii.new_tensor(DARK), glasses * (rim[0] - rim[1]).clamp(min=0))

    in_window(whole, centre, at.window(5.4), eye)


def _white(image: Tensor) -> Tensor:
    return image.new_tensor(WHITE)[:, None, None].expand_as(image).clone()


def _between_lids(part: Part, centre: Tensor, plane: Tensor, lids: Tensor) -> Tensor:
    """Cover ``(B, k, k)`` of the opening: two parabolas, ``lids (B, 2)`` cm high."""
    dx, dy = part.x - _column(centre, 0), part.y - _column(centre, 1)
    a, b = (  # cm along the opening and down
        plane[:, i, 0, None, None] * dx + plane[:, i, 1, None, None] * dy
        for i in (0, 1)
    )
    pixel = torch.linalg.vector_norm(plane[:, 1], dim=1)[:, None, None]  # cm
    curve = 1 - (a / LIDS).square()
    steep = (2 / LIDS**2) * a
    inside = None
    for k, sign in ((0, 1), (1, -1)):
        high = lids[:, k, None, None]
        d = (high * curve + sign * b) * (1 + (high * steep).square()).rsqrt()
        inside = d if inside is None else torch.minimum(inside, d)
    return (inside / (0.5 * pixel)).sigmoid()


def _iris(scene: "Scene", at: Places, ball: Part, k: int) -> None:
    """Iris, pupil and the glint of the light on a white eyeball."""
    look = {name: value.float() for name, value in scene.look.items()}
    eye, axis = scene.eyes[:, k], scene.axis[:, k]
    p = eye + IRIS_AT * axis
    view = p / p.norm(dim=1, keepdim=True)
    facing = (view * axis).sum(dim=1, keepdim=True)  # near -1
    aside = (axis - facing * view)[:, :2]
    aside = aside / aside.norm(dim=1, keepdim=True).clamp(min=1e-9)
    # A tilted disc is narrower along its tilt.
    narrow = (1 / facing.abs() - 1)[:, :, None] * aside[:, :, None] * aside[:, None]
    unit = torch.eye(2).to(p) + narrow
    scale = p[:, 2, None, None] / at.focal  # cm a pixel
    centre = at.point(p)
    pupil = scene.look["pupil"][:, :, None]
    for radius, colour in (
        (IRIS, 0.45 * look["iris"]),
        (IRIS - 0.09, look["iris"]),
        (pupil, look["iris"].new_tensor(DARK)),
    ):
        ball.paint(colour, ball.ellipse(centre, (unit * scale / radius).float()))
    light = eye - 1.12 * eye / eye.norm(dim=1, keepdim=True)
    light = light + light.new_tensor([0.12, -0.14, 0.0])
    glint = ball.ellipse(at.point(light), (torch.eye(2).to(p) * scale / 0.1).float())
    ball.paint(glint.new_tensor([1.0, 1.0, 1.0]), glint)


def _add_noise(image: Tensor, where: Tensor) -> None:
    """Each image reads its own stretch of one strip of normal numbers."""
    strip = _strip(str(image.device))
    for one, start in zip(image, (where * STRIP).long().tolist(), strict=True):
        at, left = start, one.view(-1)
        while len(left):
            many = min(len(left), STRIP - at)
            left[:many] += strip[at : at + many]
            at, left = 0, left[many:]


@cache
def _strip(device: str) -> Tensor:
    u = uniforms(0, 519, torch.arange(STRIP // 1024), 1024).clamp(min=2.0**-54)
    return (NOISE * torch.special.ndtri(u)).float().flatten().to(device)
