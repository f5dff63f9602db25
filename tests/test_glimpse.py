"""Glimpses read the pixels that their coordinates name, and so do their gradients."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from saccade_lib import glimpse
from saccade_lib.glimpse import crop, crop_local

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import loops  # noqa: E402  (the plain ways that `make bench` compares with)


def ramp(height, width, batch=1):
    """Every pixel holds its own location: channel 0 is x, channel 1 is y."""
    x = glimpse.pixel_centres(width).expand(height, width)
    y = glimpse.pixel_centres(height)[:, None].expand(height, width)
    return torch.stack((x, y)).expand(batch, 2, height, width)


def windows(batch, glimpses, margin=0.0, seed=0):
    """Random windows that stay ``margin`` away from the border."""
    draw = torch.Generator().manual_seed(seed)
    scale = 0.05 + 0.75 * torch.rand(batch, glimpses, generator=draw)
    u = 2 * torch.rand(batch, glimpses, 2, generator=draw) - 1
    return u * (1 - margin - scale)[..., None], scale


def expected(location, scale, size):
    """What a crop of a ramp must hold: s i + x and s j + y (eq. 6)."""
    i = (torch.arange(size) + 0.5) * 2 / size - 1
    x = location[..., 0, None] + scale[..., None] * i  # (B, T, L)
    y = location[..., 1, None] + scale[..., None] * i  # (B, T, L)
    L = size
    x, y = x[:, :, None].expand(-1, -1, L, L), y[..., None].expand(-1, -1, L, L)
    return torch.stack((x, y), dim=2)  # (B, T, 2, L, L)


# ------------------------------------------------------------------------------- crop


@pytest.mark.parametrize("height, width", [(40, 40), (64, 30), (25, 90)])
@pytest.mark.parametrize("batch, glimpses", [(5, 3), (1, 4), (3, 1), (1, 1)])
def test_a_ramp_is_read_back(height, width, batch, glimpses):
    location, scale = windows(batch, glimpses, margin=1 / min(height, width))
    read = crop(ramp(height, width, batch), location, scale, 8)
    torch.testing.assert_close(read, expected(location, scale, 8), rtol=0, atol=1e-5)


@pytest.mark.parametrize("height, width", [(32, 32), (48, 32)])
def test_the_corners_belong_to_the_image(height, width):
    at = torch.tensor([[-1.0, -1], [1, -1], [-1, 1], [1, 1], [0, 0]])[None]
    scale = torch.full((1, 5), 0.25)
    read = crop(ramp(height, width), at * 0.75, scale, 4)
    wanted = expected(at * 0.75, scale, 4)
    torch.testing.assert_close(read, wanted, rtol=0, atol=1e-5)
    assert read[0, 1, 0].mean() > 0.7 > -0.7 > read[0, 1, 1].mean()  # right and up


def test_the_whole_image_is_a_window_too():
    image = torch.rand(2, 3, 16, 16)
    read = crop(image, torch.zeros(2, 1, 2), 1.0, 16)
    torch.testing.assert_close(read[:, 0], image)


@pytest.mark.parametrize("height, width, size", [(20, 20, 6), (18, 31, 6), (18, 31, 5)])
def test_aligned_windows_are_slices(height, width, size):
    image = torch.rand(3, 2, height, width)
    left, top = torch.tensor([0, 3, width - size]), torch.tensor([height - size, 4, 0])
    middle = torch.stack((left, top), dim=1) + size / 2  # (3, 2), pixels
    location = glimpse.to_location(middle, height, width)[:, None]
    scale = torch.tensor([size / width, size / height]).expand(3, 1, 2)
    read = crop(image, location, scale, size)
    for k in range(3):
        a, b = top[k], left[k]
        wanted = image[k, :, a : a + size, b : b + size]
        torch.testing.assert_close(read[k, 0], wanted, rtol=0, atol=1e-5)


def test_equals_torchs_affine_transformer():
    image = torch.rand(4, 3, 20, 28)
    location, scale = windows(4, 3)
    read = crop(image, location, scale, 7)
    for t in range(3):
        theta = torch.zeros(4, 2, 3)
        theta[:, 0, 0] = theta[:, 1, 1] = scale[:, t]
        theta[:, :, 2] = location[:, t]
        grid = F.affine_grid(theta, (4, 3, 7, 7), align_corners=False)
        wanted = F.grid_sample(image, grid, align_corners=False)
        torch.testing.assert_close(read[:, t], wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("axes", [1, 2])
def test_gradients_in_x_y_and_s_are_those_of_finite_differences(axes):
    torch.manual_seed(0)
    image = torch.rand(2, 2, 9, 12, dtype=torch.float64)
    location, scale = (v.double() for v in windows(2, 3, seed=1))
    scale = scale if axes == 1 else scale[..., None] * torch.tensor([1.0, 0.6])
    location.requires_grad_(), scale.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda place, s: crop(image, place, s, 5), (location, scale)
    )


@pytest.mark.parametrize("plain", [loops.crops, loops.attached])
def test_the_plain_ways_cut_the_same_crops(plain):
    image, (location, _) = torch.rand(3, 2, 30, 20), windows(3, 4, margin=0.3)
    wanted = plain(image, location.clamp(-0.6, 0.6), 0.4, 6)
    read = crop(image, location.clamp(-0.6, 0.6), 0.4, 6)
    torch.testing.assert_close(read, wanted, rtol=0, atol=1e-5)


def test_gradients_on_a_ramp_are_known():
    location, scale = windows(1, 1, margin=0.1)
    location.requires_grad_(), scale.requires_grad_()
    read = crop(ramp(40, 30), location, scale, 6)[0, 0]  # (2, 6, 6)
    (by_x,) = torch.autograd.grad(read[0].sum(), location, retain_graph=True)
    torch.testing.assert_close(by_x[0, 0], torch.tensor([36.0, 0.0]), rtol=1e-4, atol=0)
    (by_s,) = torch.autograd.grad(read[1, 5].sum(), scale)  # d(s j + y)/ds = j
    torch.testing.assert_close(by_s, torch.full((1, 1), 6 * 5 / 6), rtol=1e-4, atol=0)


def test_no_gradient_reaches_the_image():
    image = torch.rand(1, 1, 8, 8, requires_grad=True)
    location = torch.zeros(1, 1, 2, requires_grad=True)
    crop(image, location, 0.5, 4).square().sum().backward()
    assert image.grad is None and location.grad is not None
    assert not crop(image, location.detach(), 0.5, 4).requires_grad


def test_images_of_a_batch_do_not_mix():
    image, (location, scale) = torch.rand(4, 1, 20, 20), windows(4, 3)
    whole = crop(image, location, scale, 6)
    for k in range(4):
        one = crop(image[k, None], location[k, None], scale[k, None], 6)
        assert torch.equal(one[0], whole[k])


def test_outside_is_zero_where_that_is_asked_for():
    image = torch.ones(1, 1, 10, 10)
    far = torch.tensor([[[3.0, 0.0], [1.0, 0.0]]])
    read = crop(image, far, 0.4, 4, outside="zeros")[0, :, 0]
    assert read[0].eq(0).all()
    torch.testing.assert_close(read[1], torch.tensor([1.0, 1, 0, 0]).expand(4, 4))


PLACE = torch.zeros(2, 3, 2)
WRONG = {
    "rank": (torch.rand(2, 8, 8), PLACE, 0.5, r"\(B, C, H, W\).*\(2, 8, 8\)"),
    "dtype": (torch.ones(2, 1, 8, 8).byte(), PLACE, 0.5, "float tensor.*uint8"),
    "batch": (torch.rand(3, 1, 8, 8), PLACE, 0.5, r"B = 3, got \(2, 3, 2\)"),
    "place": (torch.rand(2, 1, 8, 8), PLACE[:, 0], 0.5, r"\(B, T, 2\).*got \(2, 2\)"),
    "axes": (torch.rand(2, 1, 8, 8), torch.zeros(2, 3, 3), 0.5, r"got \(2, 3, 3\)"),
    "no scale": (torch.rand(2, 1, 8, 8), PLACE, 0.0, r"\(0, 1\].*from 0 to 0"),
    "scale": (torch.rand(2, 1, 8, 8), PLACE, 1.5, r"\(0, 1\].*from 1\.5 to 1\.5"),
    "nan scale": (torch.rand(2, 1, 8, 8), PLACE, float("nan"), "got values from nan"),
    "nan place": (torch.rand(2, 1, 8, 8), PLACE / 0, 0.5, "reaches to nan"),
    "x": (torch.rand(2, 1, 8, 8), PLACE + 0.6, 0.5, r"reaches to 1\.1.*within 1 - s"),
    "-y": (torch.rand(2, 1, 8, 8), PLACE - 2, 0.5, r"reaches to 2\.5"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named(case):
    image, location, scale, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        crop(image, location, scale, 4)


def test_wrong_size_and_wrong_border_are_named():
    with pytest.raises(ValueError, match="size must be at least one pixel, got 0"):
        crop(torch.rand(2, 1, 8, 8), PLACE, 0.5, 0)
    with pytest.raises(ValueError, match="'error' or 'zeros', got 'wrap'"):
        crop(torch.rand(2, 1, 8, 8), PLACE, 0.5, 4, outside="wrap")


# ------------------------------------------------------------------------- crop_local


def at_the_border(batch, glimpses, dtype=torch.float64):
    """Random windows, half of them pushed against a border or into a corner."""
    location, scale = windows(batch, glimpses)
    pushed = torch.rand(location.shape, generator=torch.Generator().manual_seed(1))
    reach = (1 - scale)[..., None] * location.sign()
    location = torch.where(pushed < 0.5, reach, location)
    return location.to(dtype).requires_grad_(), scale.to(dtype).requires_grad_()


def reader(image, asked):
    """A `Reader` of a tensor that notes what it is asked for."""

    def read(index, left, top, width, height):
        assert left >= 0 and width >= 1 and left + width <= image.shape[3]
        assert top >= 0 and height >= 1 and top + height <= image.shape[2]
        asked.append((index, left, top, width, height))
        return image[index, :, top : top + height, left : left + width]

    return read


@pytest.mark.parametrize("height, width", [(40, 40), (37, 90), (9, 12)])
@pytest.mark.parametrize("batch, glimpses", [(5, 3), (1, 4), (3, 1), (1, 1)])
@pytest.mark.parametrize("of", ["tensor", "reader", "threads"])
def test_a_local_crop_is_the_crop_with_its_gradient(height, width, batch, glimpses, of):
    torch.manual_seed(0)
    image = torch.rand(batch, 2, height, width, dtype=torch.float64)
    location, scale = at_the_border(batch, glimpses)
    whole = crop(image, location, scale, 8)
    if of == "tensor":
        local = crop_local(image, location, scale, 8)
    elif of == "reader":
        read = reader(image, [])
        local = crop_local(read, location, scale, 8, shape=(height, width))
    else:
        read = reader(image, [])
        with ThreadPoolExecutor(2) as pool:
            local = crop_local(
                read, location, scale, 8, shape=(height, width), each=pool.map
            )
    torch.testing.assert_close(local, whole, rtol=0, atol=1e-12)
    weights = torch.randn_like(whole)
    wanted = torch.autograd.grad((weights * whole).sum(), (location, scale))
    found = torch.autograd.grad((weights * local).sum(), (location, scale))
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-10)


def test_a_local_crop_reads_no_more_than_window_and_margin():
    asked = []
    location = torch.tensor([[[0.5, -0.5], [-0.75, 0.75]]])
    scale = torch.tensor([[0.125, 0.25]])
    image = torch.rand(1, 1, 80, 160)
    # First window: columns 110 to 130, sampled every 2 from half-way between 110 and
    # 111; rows 15 to 25, on the centres, where the slope to the right needs one more.
    crop_local(reader(image, asked), location, scale, 10, shape=(80, 160))
    assert asked[0] == (0, 110, 15, 20, 11)
    # Second: columns 0 to 40, rows 60 to 80, samples 1.5 pixels inside the border.
    assert asked[1] == (0, 1, 60, 38, 20)
    asked.clear()
    crop_local(reader(image, asked), location, scale, 10, kernel=3, shape=(80, 160))
    assert asked[0] == (0, 108, 13, 24, 15)  # two pixels more on every side
    assert asked[1] == (0, 0, 58, 41, 22)  # but none outside the image


def test_what_is_read_does_not_grow_with_the_image():
    """A window of 64 pixels in an image that no memory would hold."""
    for side in (1_000, 65_536, 4_000_000):
        asked = []

        def read(index, left, top, width, height, asked=asked):
            asked.append(width * height)
            return torch.ones(3, height, width)

        place = torch.tensor([[[0.31, -0.77]]], requires_grad=True)
        local = crop_local(read, place, 64 / side, 16, shape=(side, side))
        torch.testing.assert_close(local, torch.ones(1, 1, 3, 16, 16))
        assert asked[0] <= 66**2


@pytest.mark.parametrize("kernel", [1, 2, 4])
@pytest.mark.parametrize("axes", [1, 2])
def test_gradients_of_every_kernel_are_those_of_finite_differences(kernel, axes):
    torch.manual_seed(0)
    image = torch.rand(2, 2, 11, 14, dtype=torch.float64)
    location, scale = (v.double() for v in windows(2, 3, seed=1))
    scale = scale if axes == 1 else scale[..., None] * torch.tensor([1.0, 0.6])
    location.requires_grad_(), scale.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda place, s: crop_local(image, place, s, 5, kernel=kernel),
        (location, scale),
    )


@pytest.mark.parametrize("kernel", [1, 2, 4])
def test_a_wide_kernel_is_a_blur_before_sampling(kernel):
    """At pixel centres the crop is the image filtered with a tent, zeros around it."""
    image = torch.rand(1, 1, 16, 16, dtype=torch.float64)
    at = torch.zeros(1, 1, 2, dtype=torch.float64)
    read = crop_local(image, at, 1.0, 16, kernel=kernel)
    side = (kernel - torch.arange(1 - kernel, kernel).abs()) / kernel**2  # (2k - 1,)
    blur = (side[:, None] * side).double()[None, None]
    wanted = F.conv2d(image, blur, padding=kernel - 1)
    torch.testing.assert_close(read[0], wanted)


@pytest.mark.parametrize("kernel", [1, 2, 3])
def test_weights_sum_to_one_and_slopes_to_zero(kernel):
    u = torch.tensor([0.0, 0.25, 0.5, 3.0], dtype=torch.float64, requires_grad=True)
    m = torch.arange(-8, 12, dtype=torch.float64)
    total = glimpse.tent(u[:, None] - m, kernel).sum(dim=1)
    torch.testing.assert_close(total, torch.ones_like(u))
    (slope,) = torch.autograd.grad(total.sum(), u)
    torch.testing.assert_close(slope, torch.zeros_like(u))


@pytest.mark.parametrize("cut", [crop, crop_local])
def test_at_a_pixel_centre_the_slope_is_the_one_from_the_right(cut):
    image = torch.tensor([0.2, 0.9, 0.5, 0.6], dtype=torch.float64).expand(1, 1, 4, 4)
    place = torch.tensor([[[-0.25, 0.25]]], dtype=torch.float64, requires_grad=True)
    read = cut(image, place, 0.5, 1)  # one sample on pixel column 1 of 0, ..., 3
    (slope,) = torch.autograd.grad(read.sum(), place)
    assert read.item() == pytest.approx(0.9)
    assert slope[0, 0].tolist() == pytest.approx([(0.5 - 0.9) * 4 / 2, 0.0])


@pytest.mark.parametrize("kernel", [1, 4])
def test_outside_is_zero_for_local_crops_too(kernel):
    image = torch.ones(1, 1, 10, 10)
    far = torch.tensor([[[3.0, 0.0], [1.0, 0.0], [-40.0, 40.0]]])
    read = crop_local(image, far, 0.4, 4, outside="zeros", kernel=kernel)[0, :, 0]
    assert read[0].eq(0).all() and read[2].eq(0).all()
    if kernel == 1:
        wanted = crop(image, far, 0.4, 4, outside="zeros")[0, :, 0]
        torch.testing.assert_close(read, wanted)


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_a_local_crop_is_named(case):
    image, location, scale, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        crop_local(image, location, scale, 4)


def test_a_reader_that_misbehaves_is_named():
    def short(index, left, top, width, height):
        return torch.zeros(1, height, width - 1)

    with pytest.raises(ValueError, match=r"asked for \(C, 5, 5\) and gave \(1, 5, 4\)"):
        crop_local(short, PLACE, 0.5, 4, shape=(8, 8))
    with pytest.raises(ValueError, match="pass shape"):
        crop_local(short, PLACE, 0.5, 4)
    for kernel in (0, 1.5):
        with pytest.raises(ValueError, match=f"whole number from 1 up, got {kernel}"):
            crop_local(torch.rand(2, 1, 8, 8), PLACE, 0.5, 4, kernel=kernel)

    def broken(*region):
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        crop_local(broken, PLACE, 0.5, 4, shape=(8, 8))


# ---------------------------------------------------------------------- mask_gradient


def masked(location, size=8, threshold=0.1):
    """Crops and incoming gradients at random, and what the mask makes of them."""
    torch.manual_seed(0)
    crops = torch.rand(*location.shape[:2], 3, size, size, dtype=torch.float64)
    incoming = torch.randn_like(crops)
    location = location.double().requires_grad_()
    scale = torch.full(location.shape[:2], 0.3).double().requires_grad_()
    out = glimpse.mask_gradient(crops, location, scale, threshold)
    grads = torch.autograd.grad((incoming * out).sum(), (location, scale))
    return crops, incoming, out, grads


def test_a_mask_leaves_values_alone_and_the_scale_a_constant():
    location, _ = windows(3, 4)
    crops, _, out, (_, by_s) = masked(location)
    assert torch.equal(out, crops)
    assert torch.equal(by_s, torch.ones_like(by_s))


def test_a_masks_gradient_is_that_of_the_crop_times_the_mask():
    """Eq. 8-9, with the mask written out pixel by pixel, and autograd for the slope."""
    location, _ = windows(2, 3)
    L, threshold = 8, 0.2
    crops, incoming, _, (found, _) = masked(location, L, threshold)
    for b in range(2):
        for t in range(3):
            place = location[b, t].double().requires_grad_()
            total = 0.0
            edges = [
                (max(-1, p - 1 + threshold), min(1, p + 1 - threshold))
                for p in place.tolist()
            ]
            for j in range(L):
                for i in range(L):
                    u, v = (
                        low + (high - low) * (k + 0.5) / L
                        for k, (low, high) in zip((i, j), edges, strict=True)
                    )
                    M = (1 - (u - place[0]).abs()) * (1 - (v - place[1]).abs())
                    both = crops[b, t, :, j, i] * incoming[b, t, :, j, i]
                    total = total + M * both.sum() * (threshold < M)
            (wanted,) = torch.autograd.grad(total, place)
            torch.testing.assert_close(found[b, t], wanted)


def test_a_masks_gradient_points_where_the_crop_is_bright():
    """More light wanted, light on the right: go right; the exact gradient need not."""
    crops = torch.zeros(1, 1, 1, 8, 8)
    crops[..., 5:] = 1.0
    location = torch.zeros(1, 1, 2, requires_grad=True)
    out = glimpse.mask_gradient(crops, location, torch.full((1, 1), 0.3))
    (found,) = torch.autograd.grad(out.sum(), location)
    assert found[0, 0, 0] > 1 and abs(found[0, 0, 1]) < 1e-5


def test_a_mask_outside_the_image_has_no_gradient():
    location = torch.tensor([[[3.0, 0.0]]])
    _, _, _, (found, _) = masked(location)
    assert torch.equal(found, torch.zeros_like(found))


# ----------------------------------------------------------------- retina and grid


def test_a_retina_is_slices_averaged():
    height, width, size = 20, 30, 4
    image = torch.rand(3, 2, height, width)
    centres = torch.tensor([[[15, 10], [7, 5]], [[0, 0], [29, 19]], [[30, 2], [8, 20]]])
    read = glimpse.retina(
        image, glimpse.to_location(centres.float(), height, width), size, 3
    )
    assert read.shape == (3, 2, 3 * 2, size, size)
    padded = F.pad(image, (8, 8, 8, 8))  # zeros around: half of the widest patch
    for b in range(3):
        for t in range(2):
            x, y = (centres[b, t] + 8).tolist()
            for k, half in enumerate((2, 4, 8)):
                patch = padded[b, :, y - half : y + half, x - half : x + half]
                wanted = F.avg_pool2d(patch, 2**k)
                got = read[b, t, 2 * k : 2 * k + 2]
                torch.testing.assert_close(got, wanted, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="scales must be at least 1, got 0"):
        glimpse.retina(image, torch.zeros(3, 1, 2), 4, 0)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_cells_of_a_grid_are_the_image_cut_up(n):
    image = torch.rand(2, 3, 6 * n, 4 * n)
    cells = glimpse.grid_cells(image, n, 1 / n, 12)  # each cell at another size
    assert cells.shape == (2, n * n, 3, 12, 12)
    for k in range(n * n):
        row, column = divmod(k, n)
        part = image[:, :, 6 * row : 6 * row + 6, 4 * column : 4 * column + 4]
        inner = F.interpolate(part, (12, 12), mode="bilinear")[..., 2:-2, 2:-2]
        torch.testing.assert_close(cells[:, k, :, 2:-2, 2:-2], inner)


@pytest.mark.parametrize("n, scale", [(2, 0.5), (3, 0.4), (12, 224 / 2528)])
def test_a_grid_covers_the_image(n, scale):
    side = 2528
    corners = glimpse.boxes(glimpse.grid_locations(n, scale), scale, side, side)
    line = corners[:n]  # the first row: left, top, right, bottom
    assert line[0, 0] == pytest.approx(0, abs=1e-2)
    assert line[-1, 2] == pytest.approx(side, abs=1e-2)
    assert (line[1:, 0] <= line[:-1, 2] + 1e-2).all()  # no gap
    torch.testing.assert_close(corners[::n, [1, 3]], line[:, [0, 2]])


@pytest.mark.parametrize("n, scale", [(0, 0.5), (2, 0.0), (2, 1.1)])
def test_a_grid_that_cannot_be_is_refused(n, scale):
    with pytest.raises(ValueError, match=r"n >= 1 and scale in \(0, 1\]"):
        glimpse.grid_locations(n, scale)


# ------------------------------------------------------------------------ coordinates


def test_pixels_and_locations_are_inverse():
    known = torch.tensor([[0.0, 0.0], [90.0, 40.0], [45.0, 10.0]])
    located = glimpse.to_location(known, 40, 90)
    assert located.tolist() == [[-1, -1], [1, 1], [0, -0.5]]
    draw = torch.rand(7, 5, 2, generator=torch.Generator().manual_seed(0)) * 4 - 2
    back = glimpse.to_location(glimpse.to_pixels(draw, 33, 77), 33, 77)
    torch.testing.assert_close(back, draw)


def test_boxes_frame_what_a_crop_reads():
    location, scale = torch.tensor([[[0.5, -0.5]]]), 0.25
    box = glimpse.boxes(location, scale, 40, 80)
    assert box.tolist() == [[[50, 5, 70, 15]]]
    each = glimpse.boxes(location, torch.tensor([[0.25]]), 40, 80)
    axes = glimpse.boxes(location, torch.tensor([[[0.25, 0.25]]]), 40, 80)
    assert torch.equal(each, box) and torch.equal(axes, box)
    image = torch.rand(1, 1, 40, 80)
    left, top, right, bottom = (int(v) for v in box[0, 0])
    read = crop(image, location, scale, 10)[0, 0]
    wanted = F.avg_pool2d(image[0, :, top:bottom, left:right], (1, 2))
    torch.testing.assert_close(read, wanted)


# ---------------------------------------------------------------------------- proxies


@pytest.mark.parametrize("height, width, side", [(32, 32, 32), (60, 100, 12)])
def test_a_proxy_of_a_small_image_is_torchs(height, width, side):
    image = torch.rand(2, 3, height, width)
    wanted = F.interpolate(image, (side, side), mode="bilinear", antialias=True)
    assert torch.equal(glimpse.downsample(image, side), wanted)


@pytest.mark.parametrize("height, width", [(1024, 1024), (1100, 523), (505, 300)])
def test_a_proxy_of_a_large_image_keeps_places_and_brightness(height, width):
    proxy = glimpse.downsample(ramp(height, width), 16)[0]
    inner = slice(1, -1)  # the antialiasing filter is cut off at the border
    wanted = ramp(16, 16)[0]
    # A quarter of a proxy pixel is what averaging by whole numbers may cost.
    assert (proxy - wanted)[:, inner, inner].abs().max() < 0.25 * 2 / 16
    flat = glimpse.downsample(torch.full((1, 1, height, width), 0.3), 16)
    torch.testing.assert_close(flat, torch.full((1, 1, 16, 16), 0.3))


def test_a_proxy_is_no_larger_than_its_image():
    with pytest.raises(ValueError, match=r"at least 16 pixels.*\(1, 1, 40, 15\)"):
        glimpse.downsample(torch.rand(1, 1, 40, 15), 16)
    with pytest.raises(ValueError, match=r"\(B, C, H, W\)"):
        glimpse.downsample(torch.rand(1, 40, 40), 16)


IMAGES = {
    "rank": (torch.rand(1, 8, 8), r"\(B, 1, H, W\), got \(1, 8, 8\)"),
    "channels": (torch.rand(2, 3, 8, 8), r"\(B, 1, H, W\), got \(2, 3, 8, 8\)"),
    "bytes": (torch.full((1, 1, 4, 4), 255.0), r"0, 1\], got 255 to 255: divide 8-bit"),
    "negative": (torch.full((1, 1, 4, 4), -0.5), r"\[0, 1\], got -0\.5"),
    "nan": (torch.full((1, 1, 4, 4), float("nan")), r"\[0, 1\], got nan"),
}


@pytest.mark.parametrize("case", IMAGES)
def test_images_that_are_none_are_refused(case):
    images, message = IMAGES[case]
    with pytest.raises(ValueError, match=message):
        glimpse.checked(images, 1)


def test_good_images_pass_as_they_are():
    image = torch.rand(2, 3, 8, 9)
    assert glimpse.checked(image, 3) is image


def test_white_is_still_white_where_resampling_rounds():
    """As in enlarged canvases, some of whose small copies reached 1.0000001."""
    white = torch.ones(1, 1, 100, 100)
    large = F.interpolate(white, (2528, 2528), mode="bilinear")
    for side in range(20, 60):
        glimpse.checked(glimpse.downsample(large, side), 1)
    assert glimpse.checked(white + 2**-20, 1).max() > 1
    with pytest.raises(ValueError, match=r"got 1\.00002 to 1\.00002"):
        glimpse.checked(white + 2e-5, 1)
