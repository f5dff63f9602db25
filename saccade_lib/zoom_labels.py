"""Points, boxes, label maps and heat maps through a bent grid, both ways.

`zoom.positions` says where an output pixel reads the image. From output to image it is
a formula; from image to output it has to be inverted. With a Gaussian kernel it is the
gradient of a strictly convex function, so that it is injective and Newton's method
finds the one place (chapters 50 and 51). All places are (x, y) in [-1, 1], borders at
+-1, of the output or of the image.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from saccade_lib import glimpse, zoom
from saccade_lib.zoom import Sigma

ALONG = 8  # parts into which each side of a box is cut
ROUNDS = 100  # of Newton's method
CLOSE = 1e-10  # in [-1, 1]: found
CHUNK = 4096  # points that are inverted at a time


def to_image(
    saliency: Tensor, points: Tensor, sigma: Sigma, padding: str = "reflect"
) -> Tensor:
    """Where the output reads the image at points ``(B, P, 2)`` of the output."""
    at, _ = zoom.at_points(saliency, points, sigma, padding)
    return at.to(points.dtype)


@torch.no_grad()
def to_output(
    saliency: Tensor, points: Tensor, sigma: Sigma, padding: str = "reflect"
) -> Tensor:
    """Where points ``(B, P, 2)`` of the image land in the output: `to_image` inverted.

    Damped Newton steps in float64: a step is taken where it brings what is read closer
    to the point, and halved where it does not.

    Returns:
        ``(B, P, 2)``. Beyond +-1 for what the output does not show; not a number where
        no place, however far outside, reads the point.
    """
    aims = points.double()
    S = saliency.double()
    parts = aims.split(max(1, CHUNK // max(1, len(aims))), dim=1)
    found = [_inverted(S, aim, sigma, padding) for aim in parts]
    return torch.cat(found, dim=1).to(points.dtype)


def boxes_to_image(
    saliency: Tensor, boxes: Tensor, sigma: Sigma, padding: str = "reflect"
) -> Tensor:
    """Boxes of the output as boxes of the image.

    Straight sides are bent on the way. The box returned is the smallest that holds the
    bent outline, followed at `ALONG` places a side; so nothing is cut off, and a box
    that goes there and back has grown. To lose nothing, map its corners as points.

    Args:
        boxes: ``(B, N, 4)``: left, top, right, bottom in [-1, 1].

    Returns:
        ``(B, N, 4)``.
    """
    return _around(to_image(saliency, _outline(boxes), sigma, padding), boxes)


def boxes_to_output(
    saliency: Tensor, boxes: Tensor, sigma: Sigma, padding: str = "reflect"
) -> Tensor:
    """Boxes of the image as boxes of the output; otherwise as `boxes_to_image`."""
    return _around(to_output(saliency, _outline(boxes), sigma, padding), boxes)


def warp_labels(labels: Tensor, at: Tensor) -> Tensor:
    """Whole numbers ``(B, H_image, W_image)`` read at ``(B, H, W, 2)``, unmixed.

    Each output pixel takes the label of the image's pixel that it falls into.
    """
    if labels.dim() != 3 or labels.is_floating_point() or len(labels) != len(at):
        raise ValueError(
            f"labels must be whole numbers (B, H, W) with B = {len(at)}, got "
            f"{labels.dtype} of shape {tuple(labels.shape)}"
        )
    H, W = labels.shape[1:]
    pixels = glimpse.to_pixels(at.detach(), H, W).floor().long()  # (B, h, w, 2)
    column, row = pixels[..., 0].clamp(0, W - 1), pixels[..., 1].clamp(0, H - 1)
    b = torch.arange(len(labels), device=labels.device)[:, None, None]
    return labels[b, row, column]


def unwarp(
    heat: Tensor,
    saliency: Tensor,
    size: tuple[int, int],
    sigma: Sigma,
    padding: str = "reflect",
) -> tuple[Tensor, Tensor]:
    """What the output says, put back in its place in the image.

    Args:
        heat: ``(B, C, H, W)`` over the output, for example a class activation map.
        size: (H, W) of the result, which covers the whole image.

    Returns:
        ``(B, C, *size)``, and whether the output shows that place, ``(B, *size)``;
        where it does not, the values are those at the output's border.
    """
    x = glimpse.pixel_centres(size[1], heat.device, torch.float64)
    y = glimpse.pixel_centres(size[0], heat.device, torch.float64)[:, None]
    places = torch.stack((x.expand(*size), y.expand(*size)), dim=-1).flatten(0, 1)
    found = to_output(saliency, places.expand(len(heat), -1, 2), sigma, padding)
    found = found.unflatten(1, size)  # (B, H, W, 2)
    shown = (found.abs() <= 1 + 1e-6).all(dim=-1)
    back = F.grid_sample(
        heat,
        found.nan_to_num(0.0).to(heat.dtype),
        padding_mode="border",
        align_corners=False,
    )
    return back, shown


def _inverted(S: Tensor, aim: Tensor, sigma: Sigma, padding: str) -> Tensor:
    """Newton's method from the points themselves, ``(B, P, 2)``."""
    p, step = aim.clone(), torch.ones_like(aim[..., 0])
    at, slopes = zoom.at_points(S, p, sigma, padding)
    for _ in range(ROUNDS):
        away = (aim - at).norm(dim=-1)  # (B, P)
        if (away < CLOSE).all():
            break
        move = _solved(slopes, aim - at)
        tried = p + step[..., None] * move
        at_tried, slopes_tried = zoom.at_points(S, tried, sigma, padding)
        better = (aim - at_tried).norm(dim=-1) < away * (1 - 1e-4 * step)
        p = torch.where(better[..., None], tried, p)
        at = torch.where(better[..., None], at_tried, at)
        slopes = torch.where(better[..., None, None], slopes_tried, slopes)
        step = torch.where(better, (2 * step).clamp(max=1), step / 2)
    found = (aim - at).norm(dim=-1) < 100 * CLOSE
    return torch.where(found[..., None], p, torch.nan)


def _solved(slopes: Tensor, right: Tensor) -> Tensor:
    """2 x 2 systems, written out: their number is large."""
    (a, b), (c, d) = (row.unbind(-1) for row in slopes.unbind(-2))
    x, y = right.unbind(-1)
    det = (a * d - b * c).clamp(min=1e-12)  # positive but for rounding
    return torch.stack((d * x - b * y, a * y - c * x), dim=-1) / det[..., None]


def _outline(boxes: Tensor) -> Tensor:
    """Points on the sides of boxes ``(B, N, 4)``: ``(B, N * 4 ALONG, 2)``."""
    if boxes.dim() != 3 or boxes.shape[-1] != 4 or not boxes.is_floating_point():
        raise ValueError(
            "boxes must be floats (B, N, 4): left, top, right, bottom in [-1, 1]; got "
            f"{boxes.dtype} of shape {tuple(boxes.shape)}"
        )
    if (boxes[..., 2:] < boxes[..., :2]).any():
        raise ValueError("a box ends before it begins: left, top, right, bottom")
    t = torch.arange(ALONG, device=boxes.device, dtype=boxes.dtype) / ALONG
    one, zero = torch.ones_like(t), torch.zeros_like(t)
    x = torch.cat((t, one, 1 - t, zero))  # once around
    y = torch.cat((zero, t, one, 1 - t))
    corner, side = boxes[..., None, :2], boxes[..., None, 2:] - boxes[..., None, :2]
    return (corner + side * torch.stack((x, y), dim=-1)).flatten(1, 2)


def _around(points: Tensor, boxes: Tensor) -> Tensor:
    points = points.unflatten(1, (boxes.shape[1], -1))  # (B, N, P, 2)
    return torch.cat((points.amin(dim=2), points.amax(dim=2)), dim=-1)
