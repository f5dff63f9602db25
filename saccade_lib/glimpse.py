"""Every way to cut a glimpse out of a tensor.

One convention for the whole book: a location is ``(x, y)`` in [-1, 1], x to the
right and y down, 0 the centre, pixel *borders* at +-1 (torch's
``align_corners=False``). A window of scale ``s`` covers ``s`` of the image's width
and ``s`` of its height, so it reaches from ``x - s`` to ``x + s``.

Shapes: B images, C channels, H x W pixels, T glimpses, L x L pixels a crop.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

# A window may touch the border; rounding must not push it over.
SLACK = 1e-4
# Shrinking and enlarging round: white may come out as 1.0000001.
ROUNDING = 1e-5

# ``read(index, left, top, width, height) -> (C, height, width)``: a part of one image,
# in whole pixels, never over the border.
Reader = Callable[[int, int, int, int, int], Tensor]


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


def crop_local(
    source: Tensor | Reader,
    location: Tensor,
    scale: Tensor | float,
    size: int,
    outside: str = "error",
    kernel: int = 1,
    shape: tuple[int, int] | None = None,
    each: Callable = map,
) -> Tensor:
    """The same windows as `crop`, reading only the pixels that they need.

    A localised spatial transformer (Variational Saccading, appendix 7.5) whose gradient
    is exact. Count pixels so that pixel ``m`` is centred at ``m``. Crop column ``i``
    in [-1, 1] then stands at ``u_i = ((s i + x + 1) W - 1) / 2``, row ``j`` at ``v_j``
    likewise, and with the tent ``k(d) = max(0, 1 - |d| / kernel) / kernel``

        o_ji    = sum_n sum_m  I_nm  k(v_j - n)  k(u_i - m)            (eq. 7)
        do/dx   = sum_n sum_m  I_nm  k(v_j - n)  k'(u_i - m)  W/2
        do/dy   = sum_n sum_m  I_nm  k'(v_j - n) k(u_i - m)   H/2
        do/ds   = i do/dx + j do/dy

    The tent vanishes outside ``kernel`` pixels, so value and gradient are sums over the
    window and that margin, whatever the size of the image. Its slope k' jumps at pixel
    centres; there it is taken from the right, as torch's `grid_sample` does.

    Args:
        source: images ``(B, C, H, W)``, or a `Reader`, for example of a file.
        location, scale, size, outside: as in `crop`.
        kernel: half-width of the tent in pixels, a whole number. 1 is bilinear and
            equals `crop` to rounding; with k > 1 each sample is a weighted mean of
            2 k x 2 k pixels, and the gradient reaches k pixels.
        shape: (H, W) of the images where ``source`` is a reader.
        each: calls the reader for each window: `map`, or the ``map`` of an executor.

    Returns:
        ``(B, T, C, L, L)``, with a gradient to ``location`` and ``scale``.

    Raises:
        ValueError: as `crop`; or a reader without ``shape``, or its region misshapen.
    """
    if isinstance(source, Tensor):
        _check_image(source)
        B, shape = len(source), source.shape[-2:]
        read = _part_of(source)
    else:
        B, read = len(location), source
        if shape is None:
            raise ValueError("a reader cannot say how large its images are: pass shape")
    if kernel < 1 or kernel != int(kernel):
        raise ValueError(f"kernel must be a whole number from 1 up, got {kernel}")
    scale = _check_windows(B, location, scale, size, outside)  # (B, T, 2)
    across, columns = _weights(location, scale, 0, size, shape[1], kernel)
    down, rows = _weights(location, scale, 1, size, shape[0], kernel)
    region = _regions(read, columns, rows, each)  # (B, T, C, h, w)
    across, down = (a[:, :, None].to(region.dtype) for a in (across, down))
    with torch.autocast(region.device.type, enabled=False):  # weights need their digits
        return down @ region @ across.mT  # (B, T, C, L, L)


@dataclass(frozen=True)
class Regions:
    """A batch of images that are read in parts, such as files.

    Attributes:
        read: gives the parts.
        shape: (B, C, H, W), as of the tensor that they would be.
        each: calls the reader's user for each square: `map`, or an executor's.
    """

    read: Reader
    shape: tuple[int, int, int, int]
    each: Callable = map

    device = torch.device("cpu")


def squares(
    image: Tensor | Regions,
    corner: Tensor,
    side: int,
    size: int | None = None,
    fill: float = 0.0,
    antialias: bool = False,
) -> Tensor:
    """Cut squares of whole pixels out of each image, and shrink them to one size.

    Nothing is interpolated where ``size`` is ``side``; else the shrinking is bilinear,
    and not antialiased unless asked for. All squares of a batch are cut in one call.

    Args:
        image: ``(B, C, H, W)``, floats; or `Regions`, of which no more than a few rows
            are held at a time.
        corner: ``(B, n, 2)``, whole numbers: pixel column and row of the square's
            first pixel. It may lie outside.
        side: pixels a side, of the image.
        size: L, pixels a side of what is returned; ``side`` by default.
        fill: value of pixels outside the image.

    Returns:
        ``(B, n, C, L, L)``, without a gradient.

    Raises:
        ValueError: wrong rank, batch or kind of number, or a size below 1.
    """
    size = side if size is None else size
    if isinstance(image, Tensor):
        _check_image(image)
    B, _, H, W = image.shape
    whole = not (corner.is_floating_point() or corner.is_complex())
    if corner.dim() != 3 or len(corner) != B or corner.shape[2] != 2 or not whole:
        raise ValueError(
            f"corner must be whole numbers (B, n, 2) with B = {B}, got {corner.dtype} "
            f"of shape {tuple(corner.shape)}"
        )
    if min(side, size) < 1:
        raise ValueError(f"side and size must be at least 1, got {side} and {size}")
    if isinstance(image, Regions):
        if antialias and size != side:
            raise ValueError("images that are read in parts are not antialiased")
        return _squares_of_regions(image, corner, side, size, fill)
    i = torch.arange(side, device=corner.device)
    x = corner[..., 0, None] + i  # (B, n, L)
    y = corner[..., 1, None] + i  # (B, n, L)
    b = torch.arange(B, device=corner.device)[:, None, None, None]
    at = y.clamp(0, H - 1)[..., None], x.clamp(0, W - 1)[:, :, None]
    cut = image.detach().permute(0, 2, 3, 1)[b, *at]  # (B, n, L, L, C)
    inside = ((y >= 0) & (y < H))[..., None] & ((x >= 0) & (x < W))[:, :, None]
    cut = torch.where(inside[..., None], cut, fill).permute(0, 1, 4, 2, 3)
    if size == side:
        return cut  # (B, n, C, L, L)
    small = F.interpolate(
        cut.flatten(0, 1), (size, size), mode="bilinear", antialias=antialias
    )
    return small.unflatten(0, (B, -1))  # (B, n, C, L, L)


BAND = 256  # rows of an image that are held at a time


def _squares_of_regions(source, corner, side, size, fill) -> Tensor:
    """`squares`, band by band."""
    B, n = corner.shape[:2]
    shape, at = source.shape[1:], corner.flatten(0, 1).tolist()

    def one(k: int) -> Tensor:
        left, top = at[k]
        bands = []
        rows = max(1, BAND * size // side)  # of the result
        for start in range(0, size, rows):
            upper, lower, weight = _between(side, size, start, start + rows)
            first, last = int(upper[0]), int(lower[-1])
            box = left, top + first, side, last - first + 1
            band = _filled(source.read, k // n, box, shape, fill)  # (C, h, side)
            a, b = band[:, upper - first], band[:, lower - first]
            bands.append(_across(torch.lerp(a, b, weight[:, None]), size))
        return torch.cat(bands, dim=1)  # (C, L, L)

    return torch.stack(list(source.each(one, range(B * n)))).unflatten(0, (B, n))


def _across(rows: Tensor, size: int) -> Tensor:
    """Rows ``(C, h, w)`` shrunk along their length."""
    left, right, weight = _between(rows.shape[-1], size, 0, size)
    return torch.lerp(rows[..., left], rows[..., right], weight)


def _between(side: int, size: int, start: int, end: int) -> tuple[Tensor, ...]:
    """Pixels below and above, and the upper one's weight, of some of ``size`` samples.

    As torch's bilinear interpolation has it: samples lie on a grid of ``side / size``
    pixels and never before the first pixel.
    """
    i = torch.arange(start, min(end, size), dtype=torch.float64)
    at = ((i + 0.5) * (side / size) - 0.5).clamp(min=0)
    below = at.floor().long().clamp(max=side - 1)
    return below, (below + 1).clamp(max=side - 1), (at - below).float()


def _filled(read: Reader, b: int, box, shape, fill: float) -> Tensor:
    """Left, top, width, height of an image; what lies outside is ``fill``."""
    left, top, width, height = box
    C, H, W = shape
    x0, x1 = max(left, 0), min(left + width, W)
    y0, y1 = max(top, 0), min(top + height, H)
    found = torch.full((C, height, width), fill)
    if x0 < x1 and y0 < y1:
        part = read(b, x0, y0, x1 - x0, y1 - y0)
        found[:, y0 - top : y1 - top, x0 - left : x1 - left] = part
    return found


def _part_of(image: Tensor) -> Reader:
    return lambda b, x, y, w, h: image[b, :, y : y + h, x : x + w]


def tent(distance: Tensor, kernel: int = 1) -> Tensor:
    """``max(0, 1 - |d| / k) / k``; over all whole pixels it sums to one.

    The slope at its kinks is the one from the right, so that the slopes sum to zero
    there too. (Differentiating ``max`` and ``abs`` where they bend gives no slope at
    all, or both.)
    """
    side = torch.where(distance < 0, -1.0, 1.0).to(distance)
    inside = (distance >= -kernel) & (distance < kernel)
    return torch.where(inside, 1 - side * distance / kernel, 0.0) / kernel


def mask_gradient(
    crops: Tensor, location: Tensor, scale: Tensor, threshold: float = 0.1
) -> Tensor:
    """Crops loaded by value, with the gradient of the paper's localised transformer.

    Variational Saccading, eq. 8-9 and figure 7. A mask over the whole image,
    ``M = m(u - x) m(v - y)`` with ``m(d) = max(0, 1 - |d|)`` in [-1, 1] units, is cut
    down to the box where ``M > threshold`` and stretched over the crop; the gradient is
    that of ``crop * M`` with the crop held fixed,

        do/dx = crop * sign(u - x) m(v - y) [M > threshold],

    and likewise in y. What the released code returns for s is the constant 1, whatever
    the loss; so does this. None of it is the gradient of reading the image elsewhere.
    The mask is evaluated at the crop's pixels, to which the paper's low-resolution mask
    is enlarged.

    Args:
        crops: ``(B, T, C, L, L)``, from anywhere; no gradient reaches them.
        location: ``(B, T, 2)``.
        scale: ``(B, T)``.

    Returns:
        The crops, with a gradient to ``location`` and ``scale``.
    """
    return _MaskGradient.apply(crops.detach(), location, scale, threshold)


def mask(location: Tensor, size: int, threshold: float = 0.1) -> tuple[Tensor, ...]:
    """The mask of `mask_gradient` over a crop: ``M = m_x * m_y``.

    Returns:
        ``m_x, sign_x`` of shape ``(B, T, 1, L)``, ``m_y, sign_y`` of ``(B, T, L, 1)``;
        the sign is that of u - x, and 1 where they are equal.
    """
    reach = 1 - threshold  # where M along an axis through its peak falls to threshold
    low, high = (location - reach).clamp(min=-1), (location + reach).clamp(max=1)
    i = pixel_centres(size, device=location.device, dtype=location.dtype)  # (L,)
    middle, half = (low + high) / 2, (high - low) / 2  # (B, T, 2)
    away = (middle - location)[..., None] + half[..., None] * i  # (B, T, 2, L): u - x
    m = (1 - away.abs()).clamp(min=0)
    sign = torch.where(away < 0, -1.0, 1.0).to(m)
    (m_x, m_y), (sign_x, sign_y) = m.unbind(2), sign.unbind(2)  # (B, T, L) each
    return m_x[..., None, :], sign_x[..., None, :], m_y[..., None], sign_y[..., None]


class _MaskGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, crops, location, scale, threshold):
        ctx.save_for_backward(crops, location, scale)
        ctx.threshold = threshold
        return crops.view_as(crops)

    @staticmethod
    def backward(ctx, gradient):
        crops, location, scale = ctx.saved_tensors
        size = crops.shape[-1]
        m_x, sign_x, m_y, sign_y = mask(location, size, ctx.threshold)
        kept = (gradient * crops).sum(dim=2) * (m_x * m_y > ctx.threshold)
        by_x = (kept * sign_x * m_y).sum(dim=(2, 3))  # (B, T)
        by_y = (kept * m_x * sign_y).sum(dim=(2, 3))  # (B, T)
        return None, torch.stack((by_x, by_y), dim=-1), torch.ones_like(scale), None


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
    return Retina(image, size, scales)(location)


class Retina:
    """`retina` of one batch of images, for a model that looks more than once.

    Each number read is the exact mean of the image, taken as constant on each pixel,
    over a square of 1, 2, 4, ... pixels, wherever it lies. It takes four numbers of the
    image's integral ``S(x, y)``, the sum of all to the left and above: within a pixel S
    is bilinear, so that reading between pixel borders is exact too. The cost of a patch
    does not grow with its width. Gradients flow to ``location``, never to ``image``.
    """

    def __init__(self, image: Tensor, size: int, scales: int):
        _check_image(image)
        if scales < 1:
            raise ValueError(f"scales must be at least 1, got {scales}")
        if size < 1:
            raise ValueError(f"size must be at least one pixel, got {size}")
        self.size, self.scales = size, scales
        self.shape, self.dtype = image.shape[-2:], image.dtype
        # In double precision: differences of large sums must keep their digits.
        total = image.detach().double().cumsum(dim=2).cumsum(dim=3)
        self.integral = F.pad(total, (1, 0, 1, 0))  # (B, C, H + 1, W + 1)

    def __call__(self, location: Tensor) -> Tensor:
        """Patches ``(B, T, scales * C, L, L)`` at ``(B, T, 2)``."""
        B, L, k = len(self.integral), self.size, self.scales
        if location.dim() != 3 or location.shape[0] != B or location.shape[2] != 2:
            raise ValueError(
                f"location must be (B, T, 2) with B = {B}, got {tuple(location.shape)}"
            )
        T = location.shape[1]
        corner = torch.arange(L + 1, device=location.device) - L / 2  # (L + 1,), pixels
        widths = [corner * 2**j for j in range(k)]
        offset = torch.stack(widths).double()  # (k, L + 1)
        x, y = (
            location[..., axis, None, None].double() + offset * (2 / n)
            for axis, n in ((0, self.shape[1]), (1, self.shape[0]))
        )  # (B, T, k, L + 1) each
        full = (B, T, k, L + 1, L + 1)
        grid = torch.stack(
            (x[..., None, :].expand(full), y[..., None].expand(full)), dim=-1
        )
        # Borders of pixels stand at +-1, as `align_corners` has it for S; outside the
        # image S goes on as at the border, since nothing is added there.
        at = F.grid_sample(
            self.integral,
            grid.reshape(B, T * k * (L + 1), L + 1, 2),
            padding_mode="border",
            align_corners=True,
        )  # (B, C, T * k * (L + 1), L + 1)
        at = at.unflatten(2, (T, k, L + 1))  # (B, C, T, k, L + 1, L + 1)
        mean = at.diff(dim=4).diff(dim=5)  # (B, C, T, k, L, L)
        area = 4.0 ** torch.arange(k, device=mean.device)
        mean = (mean / area[:, None, None]).to(self.dtype)
        return mean.permute(0, 2, 3, 1, 4, 5).flatten(2, 3)  # (B, T, k*C, L, L)


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


def checked(images: Tensor | Regions, channels: int) -> Tensor | Regions:
    """The images as given, or a ValueError that says what is wrong with them."""
    if isinstance(images, Regions):
        if images.shape[1] != channels:
            raise ValueError(f"expected {channels} channels, got {images.shape[1]}")
        return images
    if images.dim() != 4 or images.shape[1] != channels:
        raise ValueError(
            f"expected images (B, {channels}, H, W), got {tuple(images.shape)}"
        )
    if not images.numel():
        raise ValueError("the batch of images is empty")
    if not may_look(images):
        return images
    low, high = float(images.min()), float(images.max())
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):
        raise ValueError(
            f"expected values in [0, 1], got {low:.6g} to {high:.6g}: divide 8-bit "
            "images by 255"
        )
    return images


def may_look(tensor: Tensor) -> bool:
    """Whether values may be checked: not while a CUDA graph is being captured, when
    there are none yet (the steps that warm it up have been checked), and not on the
    device ``meta``, where costs are counted and nothing is computed."""
    capturing = tensor.is_cuda and torch.cuda.is_current_stream_capturing()
    return not (tensor.is_meta or capturing)


def precise(v: Tensor) -> Tensor:
    """bfloat16 as float32, all else as it is: a place needs more than eight bits."""
    return v.float() if v.dtype == torch.bfloat16 else v


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


def _weights(location, scale, axis, size, length, kernel):
    """Weights of one axis, ``(B, T, L, w)``, and the pixels that they weigh.

    Returns:
        The weights of pixels first, ..., first + w - 1, and first and last, ``(B, T)``.
    """
    i = pixel_centres(size, device=location.device, dtype=location.dtype)  # (L,)
    centre = ((location[..., axis] + 1) * length - 1) / 2  # (B, T), in pixels
    u = centre[..., None] + (scale[..., axis] * length / 2)[..., None] * i  # (B, T, L)
    low, high = u.detach().amin(dim=-1).floor(), u.detach().amax(dim=-1).floor()
    first = (low - kernel + 1).clamp(0, length - 1)  # (B, T)
    last = (high + kernel).clamp(0, length - 1)
    most = int((last - first).max()) + 1  # w
    m = first[..., None] + torch.arange(most, device=u.device)  # (B, T, w)
    weights = tent(u[..., None] - m[..., None, :], kernel)  # (B, T, L, w)
    return weights * (m <= last[..., None])[..., None, :], (first.long(), last.long())


def _regions(read: Reader, columns, rows, each) -> Tensor:
    """What a reader gives for each window, filled up with zeros to one size."""
    (left, right), (top, bottom) = columns, rows  # (B, T) each
    widths, heights = right - left + 1, bottom - top + 1
    B, T = left.shape
    index = torch.arange(B).repeat_interleave(T)
    asked = [v.flatten().tolist() for v in (index, left, top, widths, heights)]
    filled = None
    for k, region in enumerate(each(read, *asked)):
        w, h = asked[3][k], asked[4][k]
        if region.dim() != 3 or region.shape[1:] != (h, w):
            raise ValueError(
                f"the reader was asked for (C, {h}, {w}) and gave {tuple(region.shape)}"
            )
        if filled is None:
            most = region.shape[0], int(heights.max()), int(widths.max())
            filled = region.new_zeros(B * T, *most)
        filled[k, :, :h, :w] = region.detach()
    return filled.unflatten(0, (B, T)).to(left.device)  # (B, T, C, h, w)


def _check(image, location, scale, size, outside) -> Tensor:
    _check_image(image)
    return _check_windows(len(image), location, scale, size, outside)


def _check_image(image) -> None:
    if image.dim() != 4 or not image.is_floating_point():
        raise ValueError(
            "image must be a float tensor (B, C, H, W), got "
            f"{image.dtype} of shape {tuple(image.shape)}"
        )


def _check_windows(B, location, scale, size, outside) -> Tensor:
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
    if outside == "error" and may_look(location):
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
