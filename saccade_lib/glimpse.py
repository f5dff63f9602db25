"""Every way to cut a glimpse out of a tensor.

One convention for the whole book: a location is ``(x, y)`` in [-1, 1], x to the
right and y down, 0 the centre, pixel *borders* at +-1 (torch's
``align_corners=False``). A window of scale ``s`` covers ``s`` of the image's width
and ``s`` of its height, so it reaches from ``x - s`` to ``x + s``.

Shapes: B images, C channels, H x W pixels, T glimpses, L x L pixels a crop.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

# A window may touch the border; rounding must not push it over.
SLACK = 1e-4


def crop(
    image: Tensor,
    location: Tensor,
    scale: Tensor | float,
    size: int,
    outside: str = "error",
) -> Tensor:
    """Cut T windows out of each image with the affine spatial transformer.

    Variational Saccading, eq. 6: the sampling point of crop pixel ``(i, j)``, both in
    [-1, 1], is ``(s i + x, s j + y)``; the value there is bilinear (appendix 7.2).
    Gradients flow to ``location`` and ``scale``, never to ``image``: with an image
    that requires a gradient torch would scatter into all of its pixels, which on large
    images costs far more than the crops themselves (`make bench`).

    Args:
        image: ``(B, C, H, W)``, floats.
        location: ``(B, T, 2)``, ``(x, y)`` in [-1, 1].
        scale: a number or ``(B, T)``, side of the window over side of the image, in
            (0, 1]; or ``(B, T, 2)`` with one scale an axis.
        size: L, side of the crop in pixels.
        outside: ``"error"`` refuses a window that leaves the image, ``"zeros"`` reads
            zeros there.

    Returns:
        ``(B, T, C, L, L)``.

    Raises:
        ValueError: wrong rank, batch or range, or a window outside the image.
    """
    scale = _check(image, location, scale, size, outside)  # (B, T, 2)
    B, T, _ = location.shape
    i = pixel_centres(size, device=image.device, dtype=location.dtype)  # (L,)
    x = location[..., 0, None] + scale[..., 0, None] * i  # (B, T, L)
    y = location[..., 1, None] + scale[..., 1, None] * i  # (B, T, L)
    grid = torch.stack(
        (
            x[:, :, None, :].expand(B, T, size, size),
            y[:, :, :, None].expand(B, T, size, size),
        ),
        dim=-1,
    )  # (B, T, L, L, 2)
    # All T crops of an image are one tall crop, so a single call cuts them all.
    tall = F.grid_sample(
        image.detach(),
        grid.reshape(B, T * size, size, 2).to(image.dtype),
        mode="bilinear",
        padding_mode="zeros",
        align_corners=False,
    )  # (B, C, T*L, L)
    return tall.unflatten(2, (T, size)).transpose(1, 2)  # (B, T, C, L, L)


def retina(image: Tensor, location: Tensor, size: int, scales: int) -> Tensor:
    """Concentric square patches, each twice as wide as the last, all read at one size.

    Mnih et al. 2014, section 3.1. The smallest patch is ``size`` pixels wide, whatever
    the image's aspect; what lies outside the image is zero.

    Args:
        image: ``(B, C, H, W)``.
        location: ``(B, T, 2)`` in [-1, 1].
        size: L, side of each patch as read, and of the smallest one in image pixels.
        scales: number of patches.

    Returns:
        ``(B, T, scales * C, L, L)``, finest patch first.
    """
    if scales < 1:
        raise ValueError(f"scales must be at least 1, got {scales}")
    B, T, _ = location.shape
    H, W = image.shape[-2:]
    patches = []
    for k in range(scales):
        side = size * 2**k
        # Average 2^k x 2^k pixels into one before reading, so that no pixel is skipped.
        window = location.new_tensor([side / W, side / H]).expand(B, T, 2)
        fine = crop(image, location, window, side, "zeros")  # (B, T, C, side, side)
        patches.append(F.avg_pool2d(fine.flatten(0, 1), 2**k).unflatten(0, (B, T)))
    return torch.cat(patches, dim=2)  # (B, T, scales*C, L, L)


def grid_locations(n: int, scale: float, device=None) -> Tensor:
    """Centres of an n x n grid of windows that just covers the image.

    Neighbours overlap when ``n * scale > 1`` and leave gaps when it is below 1.

    Returns:
        ``(n * n, 2)``, row by row from the top left.
    """
    if n < 1 or not 0 < scale <= 1:
        raise ValueError(f"expected n >= 1 and scale in (0, 1], got {n} and {scale}")
    line = torch.linspace(-1 + scale, 1 - scale, n) if n > 1 else torch.zeros(1)
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack((x, y), dim=-1).reshape(n * n, 2).to(device)


def grid_cells(image: Tensor, n: int, scale: float, size: int) -> Tensor:
    """The n x n windows of `grid_locations`, as ``(B, n * n, C, size, size)``."""
    places = grid_locations(n, scale, image.device).expand(image.shape[0], n * n, 2)
    return crop(image, places, scale, size)


def downsample(image: Tensor, side: int) -> Tensor:
    """The whole image, antialiased, at ``side x side``: the proxy c of the papers.

    Args:
        image: ``(B, C, H, W)``.
        side: J, in pixels; not larger than the image.

    Returns:
        ``(B, C, side, side)``.
    """
    wrong = image.dim() != 4 or not image.is_floating_point()
    if wrong or min(image.shape[-2:]) < side:
        raise ValueError(
            f"expected float images (B, C, H, W) of at least {side} pixels a side, got "
            f"{image.dtype} of shape {tuple(image.shape)}"
        )
    # Whole-number averaging first: torch's antialiased filter is slow on huge images.
    factor = min(image.shape[-2:]) // (4 * side)
    if factor > 1:
        image = F.avg_pool2d(image, factor)
    return F.interpolate(image, (side, side), mode="bilinear", antialias=True)


def checked(images: Tensor, channels: int) -> Tensor:
    """The images as given, or a ValueError that says what is wrong with them."""
    if images.dim() != 4 or images.shape[1] != channels:
        raise ValueError(
            f"expected images (B, {channels}, H, W), got {tuple(images.shape)}"
        )
    if not images.numel():
        raise ValueError("the batch of images is empty")
    low, high = float(images.min()), float(images.max())
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"expected values in [0, 1], got {low:.4g} to {high:.4g}: divide 8-bit "
            "images by 255"
        )
    return images


def pixel_centres(n: int, device=None, dtype=torch.float32) -> Tensor:
    """Centres of n pixels on [-1, 1]: ``(2 i + 1) / n - 1``; shape ``(n,)``."""
    return (torch.arange(n, device=device, dtype=dtype) * 2 + 1) / n - 1


def to_location(pixels: Tensor, height: int, width: int) -> Tensor:
    """Pixel coordinates ``(..., 2)`` as (x, y), borders at 0 and width, to [-1, 1]."""
    return pixels * 2 / pixels.new_tensor([width, height]) - 1


def to_pixels(location: Tensor, height: int, width: int) -> Tensor:
    """The inverse of `to_location`."""
    return (location + 1) / 2 * location.new_tensor([width, height])


def boxes(location: Tensor, scale: Tensor | float, height: int, width: int) -> Tensor:
    """Corners ``(..., 4)`` of windows in pixels: left, top, right, bottom."""
    scale = torch.as_tensor(scale, dtype=location.dtype, device=location.device)
    if scale.dim() < location.dim():
        scale = scale[..., None]
    return torch.cat(
        (
            to_pixels(location - scale, height, width),
            to_pixels(location + scale, height, width),
        ),
        dim=-1,
    )


def _check(image, location, scale, size, outside) -> Tensor:
    if image.dim() != 4 or not image.is_floating_point():
        raise ValueError(
            "image must be a float tensor (B, C, H, W), got "
            f"{image.dtype} of shape {tuple(image.shape)}"
        )
    B = image.shape[0]
    if location.dim() != 3 or location.shape[0] != B or location.shape[2] != 2:
        raise ValueError(
            f"location must be (B, T, 2) with B = {B}, got {tuple(location.shape)}"
        )
    if not location.is_floating_point():
        raise ValueError(f"location must be floating point, got {location.dtype}")
    if size < 1:
        raise ValueError(f"size must be at least one pixel, got {size}")
    if outside not in ("error", "zeros"):
        raise ValueError(f"outside must be 'error' or 'zeros', got {outside!r}")
    scale = torch.as_tensor(scale, dtype=location.dtype, device=location.device)
    if scale.dim() < 3:
        scale = scale.expand(location.shape[:2])[..., None]
    scale = scale.expand(location.shape)  # (B, T, 2)
    if outside == "error":
        _check_inside(location.detach(), scale.detach())
    return scale


def _check_inside(location: Tensor, scale: Tensor) -> None:
    if not ((scale > 0) & (scale <= 1 + SLACK)).all():
        raise ValueError(
            "scale is the window's side over the image's side and must lie in (0, 1]; "
            f"got values from {scale.min():.4g} to {scale.max():.4g}"
        )
    reach = (location.abs() + scale).amax()
    if not reach <= 1 + SLACK:
        raise ValueError(
            f"a window reaches to {reach:.4g}, but the image ends at 1: keep |x| and "
            "|y| within 1 - s, or pass outside='zeros'"
        )
