"""The saliency sampler: identity, order, borders, gradients, and its peers."""

import math
import sys
from pathlib import Path

import pytest
import torch
from torch.func import hessian

from saccade_lib import cost, glimpse, records, toy_maps, zoom, zoom_peers
from saccade_lib.runs import find
from saccade_lib.runs.learning_to_zoom import settings

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import plain_zoom  # noqa: E402  (the dense convolution that `make bench` compares with)

N = 31
PADDED = ("replicate", "reflect")


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def maps(count=4, h=5, w=7, seed=0):
    return torch.rand(count, h, w, generator=draw(seed), dtype=torch.float64)


# ---------------------------------------------------------------- equations 2 and 3


def padded(S, by, padding):
    """Rows and columns around a map, one after another."""
    if padding == "none":
        return S, 0
    for axis in (0, 1):
        n = S.shape[axis]
        at = torch.arange(-by, n + by)
        if padding == "reflect":  # 2 1 0 | 0 1 2 | 2 1 0
            at = torch.tensor([k if k < n else 2 * n - 1 - k for k in at % (2 * n)])
        S = S.index_select(axis, at.clamp(0, n - 1))
    return S, by


@pytest.mark.parametrize("padding", zoom.PADDINGS)
def test_positions_are_the_weighted_means_of_the_equations(padding):
    S, sigma, (H, W) = maps(1)[0], 1.4, (4, 9)
    at = zoom.positions(S[None], (H, W), sigma, padding)[0]
    wide, by = padded(S, 20, padding)
    row, column = (torch.arange(n).double() - by for n in wide.shape)
    for i, j in ((0, 0), (3, 8), (1, 5)):
        y, x = (i + 0.5) * 5 / H - 0.5, (j + 0.5) * 7 / W - 0.5
        squared = (row[:, None] - y).square() + (column - x).square()
        pull = wide * torch.exp(-squared / (2 * sigma**2))
        u = float((pull * column).sum() / pull.sum())
        v = float((pull * row[:, None]).sum() / pull.sum())
        assert at[i, j].tolist() == pytest.approx(
            [(u + 0.5) * 2 / 7 - 1, (v + 0.5) * 2 / 5 - 1], abs=1e-9
        )


def test_matrices_equal_the_dense_convolution_of_the_public_code():
    S = toy_maps.rough(3, N, draw())
    dense = plain_zoom.grid(S, plain_zoom.kernel(N, 13).double())  # (3, 2, 31, 31)
    at = zoom.positions(S, (N, N), zoom.CODE_SIGMA, "replicate", reach=30)
    ours = (glimpse.to_pixels(at, N, N) - 0.5) / (N - 1)  # 0 and 1: centres of cells
    assert torch.allclose(ours.permute(0, 3, 1, 2), dense, atol=1e-6, rtol=0)


def test_their_gradients_are_equal_too():
    S = toy_maps.rough(1, N, draw()).requires_grad_()
    weight = plain_zoom.kernel(N, 13).double()
    at = zoom.positions(S, (N, N), zoom.CODE_SIGMA, "replicate", reach=30)
    aim = torch.rand(1, N, N, 2, generator=draw(1), dtype=torch.float64)
    (ours,) = torch.autograd.grad((at * aim).sum(), S)
    dense = plain_zoom.grid(S, weight).permute(0, 2, 3, 1) * 2 * (N - 1) / N
    (theirs,) = torch.autograd.grad((dense * aim).sum(), S)
    assert torch.allclose(ours, theirs, atol=1e-6 * float(theirs.abs().max()))


@pytest.mark.parametrize("padding", PADDED)
@pytest.mark.parametrize("sigma", [1.0, 3.0, zoom.CODE_SIGMA, N / 3, (2.0, 4.0)])
def test_an_even_map_gives_the_identity(padding, sigma):
    at = zoom.positions(torch.full((2, 20, N), 0.3), (48, 77), sigma, padding)
    assert torch.allclose(at[..., 0], glimpse.pixel_centres(77), atol=1e-5)
    assert torch.allclose(at[..., 1], glimpse.pixel_centres(48)[:, None], atol=1e-5)


def test_without_padding_it_shrinks_to_the_centre():
    at = zoom.positions(torch.ones(1, N, N), (N, N), N / 3, "none")
    assert at.abs().max() < 0.5


def test_height_does_not_matter_and_precision_hardly():
    S = maps()
    at = zoom.positions(S, (6, 8), 1.5)
    assert torch.allclose(zoom.positions(1e-6 * S, (6, 8), 1.5), at)
    assert torch.allclose(
        zoom.positions(S.float(), (6, 8), 1.5).double(), at, atol=1e-6
    )
    half = zoom.positions(S.bfloat16(), (6, 8), 1.5)
    assert half.dtype == torch.float32


# ---------------------------------------------------------------- what must hold of T


@pytest.mark.parametrize("padding", zoom.PADDINGS)
def test_mirrored_and_transposed_maps_give_mirrored_and_transposed_grids(padding):
    S, size, sigma = maps(), (6, 8), 1.7
    at = zoom.positions(S, size, sigma, padding)
    for axis, sign in ((2, (-1, 1)), (1, (1, -1))):
        mirrored = zoom.positions(S.flip(axis), size, sigma, padding)
        assert torch.allclose(mirrored.flip(axis) * torch.tensor(sign), at)
    turned = zoom.positions(S.mT, size[::-1], sigma, padding)
    assert torch.allclose(turned.transpose(1, 2).flip(-1), at)


def test_a_peak_on_the_right_moves_the_grid_to_the_right_only():
    S = torch.ones(1, 5, 9)
    S[0, 2, 7] = 40
    moved = zoom.positions(S, (5, 9), 1.5)[0, 2, 5]
    still = torch.tensor([2 * 5.5 / 9 - 1, 0.0])
    assert moved[0] > still[0] + 0.05 and abs(moved[1]) < 1e-6


@pytest.mark.parametrize("sigma", [N / 3, zoom.CODE_SIGMA, 3.0])
def test_a_gaussian_never_folds(sigma):
    S = toy_maps.rough(32, N, draw())
    at = zoom.positions(S, (N, N), sigma, "replicate")
    assert (at[..., 0].diff(dim=2) > 0).all() and (at[..., 1].diff(dim=1) > 0).all()
    assert (zoom_peers.corner_determinants(at) > 0).all()


def test_reflection_keeps_the_border_and_replication_may_not():
    S = toy_maps.normalised(toy_maps.blob(N, torch.tensor([[12.0, 18]]), 3) + 0.02)
    kept, cropped = (
        zoom.positions(S, (400, 400), N / 3, padding)[0] for padding in PADDED[::-1]
    )
    rim = torch.cat((kept[0, :, 1], kept[-1, :, 1], kept[:, 0, 0], kept[:, -1, 0]))
    assert (1 - rim.abs()).abs().max() < 0.01 and kept.abs().max() <= 1
    assert cropped.abs().max() < 0.95


def test_slopes_are_those_of_positions():
    S, sigma = maps(1, 5, 7), (1.2, 2.0)
    row, column = torch.arange(5.0).double()[:, None], torch.arange(7.0).double()

    def potential(p):  # in cells
        d = ((column - p[0]) / sigma[0]).square() + ((row - p[1]) / sigma[1]).square()
        return (S[0].log() - d / 2).logsumexp(dim=(0, 1))

    found = zoom.jacobian(S, (5, 7), sigma, "none")[0, 1, 4]
    curve = hessian(potential)(torch.tensor([4.0, 1.0]).double())
    slopes = torch.eye(2).double() + torch.tensor(sigma)[:, None].double() ** 2 * curve
    cell = torch.tensor([2 / 7, 2 / 5]).double()  # sides of a cell in [-1, 1]
    assert torch.allclose(found, slopes * cell[:, None] / cell, atol=1e-10)
    assert zoom.density(found) == pytest.approx(1 / float(torch.linalg.det(slopes)))


def test_a_blob_is_magnified_as_the_formula_says():
    S = toy_maps.blob(101, torch.tensor([[50.0, 50.0]]), 3.0)
    slopes = zoom.jacobian(S, (101, 101), 5.0, "none")[0, 50, 50]
    assert 1 / slopes[0, 0] == pytest.approx(1 + 25 / 9, rel=1e-4)


# ---------------------------------------------------------------- gradients


def softmaxed(logits):
    return logits.flatten(1).softmax(dim=1).view_as(logits)


@pytest.mark.parametrize("padding", zoom.PADDINGS)
def test_gradients_agree_with_finite_differences(padding):
    logits = torch.randn(1, 4, 5, generator=draw(), dtype=torch.float64)
    image = torch.rand(1, 2, 9, 11, generator=draw(1), dtype=torch.float64)

    def places(logits):
        return zoom.positions(softmaxed(logits), (3, 4), 1.3, padding)

    def pixels(logits):
        return zoom.warp(image, places(logits))

    logits.requires_grad_()
    assert torch.autograd.gradcheck(places, logits, atol=1e-7)
    assert torch.autograd.gradcheck(pixels, logits, eps=1e-7, atol=1e-4)


@pytest.mark.parametrize("sigma", [0.6, 1.0, zoom.CODE_SIGMA, N / 3])
@pytest.mark.parametrize("padding", zoom.PADDINGS)
def test_one_cell_with_all_saliency_leaves_every_number_finite(sigma, padding):
    S = torch.zeros(2, N, N)
    S[0, 0, 0] = S[1, 20, 30] = 1
    at = zoom.positions(S.requires_grad_(), (40, 40), sigma, padding)
    at.square().sum().backward()
    assert at.isfinite().all() and S.grad.isfinite().all()


def test_costs_are_counted_without_numbers_and_autocast_takes_no_digits():
    S = torch.ones(2, 5, 7, device="meta")
    made = cost.multiplications(lambda: zoom.positions(S, (4, 6), 1.0))
    rows, across = 4 * 5 * 7, 4 * 7 * 6
    assert made == 2 * (2 * rows + 3 * across)
    S = toy_maps.rough(1, N, draw()).float()
    exact = zoom.positions(S, (9, 9), 3.0)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(zoom.positions(S, (9, 9), 3.0), exact)


def test_matrices_made_without_gradients_serve_training():
    zoom.matrices.cache_clear()
    S = torch.rand(1, 5, 6, generator=draw())
    with torch.inference_mode():
        zoom.positions(S, (4, 4), 1.1)
    zoom.positions(S.clone().requires_grad_(), (4, 4), 1.1).sum().backward()


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "change, says",
    [
        ({"saliency": torch.ones(5, 7)}, "must be (B, h, w)"),
        ({"saliency": torch.ones(1, 5, 7).long()}, "floating point"),
        ({"saliency": -torch.ones(1, 5, 7)}, "softmax"),
        ({"saliency": torch.full((1, 5, 7), math.nan)}, "finite"),
        ({"saliency": torch.full((1, 5, 7), math.inf)}, "finite"),
        ({"saliency": torch.stack((torch.ones(5, 7), torch.zeros(5, 7)))}, "zero"),
        ({"size": (0, 4)}, "at least one pixel"),
        ({"sigma": 0.0}, "positive"),
        ({"sigma": (1.0, math.nan)}, "positive"),
        ({"padding": "zeros"}, "none, replicate, reflect"),
        ({"reach": 0}, "half a cell"),
    ],
)
def test_bad_input_is_refused_with_a_reason(change, says):
    given = {"saliency": torch.ones(1, 5, 7), "size": (4, 4), "sigma": 1.0} | change
    with pytest.raises(ValueError) as error:
        zoom.positions(**given)
    assert says in str(error.value)


def test_warp_reads_places_and_refuses_what_does_not_fit():
    x = glimpse.pixel_centres(40).expand(30, 40)
    y = glimpse.pixel_centres(30)[:, None].expand(30, 40)
    image = torch.stack((x, y))[None]
    at = 0.9 * zoom.positions(torch.rand(1, 5, 7, generator=draw()), (8, 9), 2.0)
    for prefilter in (1, 2):
        read = zoom.warp(image, at, prefilter)
        assert torch.allclose(read.permute(0, 2, 3, 1), at, atol=1e-5)
    outside = zoom.warp(image, at + 5)
    assert torch.allclose(outside[0, 0], torch.full((8, 9), 39 / 40))
    for wrong in (
        (image[0], at, 1),
        (image, at[0], 1),
        (image, at, 0),
        (image, at, 31),
    ):
        with pytest.raises(ValueError):
            zoom.warp(*wrong)


# ---------------------------------------------------------------- peers


def test_marginal_quantiles_are_exact_for_a_product():
    S = torch.rand(1, 5, 1, generator=draw()) * torch.rand(1, 1, 7, generator=draw(1))
    S = (S / S.sum()).double()
    share = zoom_peers.landed(zoom_peers.marginal(S, (500, 700)), (5, 7))
    assert torch.allclose(share, S, atol=2e-3)


def test_knothe_rosenblatt_has_the_density_and_never_turns_back():
    S = toy_maps.normalised(maps(3))
    at = zoom_peers.knothe_rosenblatt(S, (600, 600))
    assert torch.allclose(zoom_peers.landed(at, (5, 7)), S, atol=3e-3)
    assert (at[..., 0].diff(dim=2) > 0).all() and (at[..., 1].diff(dim=1) > 0).all()


def test_sinkhorn_sets_both_sums_right():
    S = toy_maps.normalised(maps(2))
    b = zoom_peers.balanced(S, 1.5, "reflect", rounds=300)
    K = [zoom.matrices(n, n, 1.5, "reflect")[0] for n in (5, 7)]
    a = 1 / 35 / (K[0] @ b @ K[1].mT)
    assert torch.allclose(b * (K[0].mT @ a @ K[1]), S, atol=1e-6)
    with pytest.raises(ValueError, match="rounds"):
        zoom_peers.balanced(S, 1.5, rounds=0)


@pytest.mark.parametrize("padding", zoom.PADDINGS)
def test_any_kernel_is_the_same_formula(padding):
    S = maps(2)

    def gaussian(dx, dy):
        return torch.exp(-(dx.square() + dy.square()) / (2 * 1.5**2))

    dense = zoom_peers.by_kernel(S, gaussian, padding, reach=20)
    assert torch.allclose(dense, zoom.positions(S, (5, 7), 1.5, padding), atol=1e-9)


def test_corners_tell_a_fold():
    y, x = torch.meshgrid(torch.arange(3.0), torch.arange(4.0), indexing="ij")
    at = torch.stack((x, y), dim=-1)[None]
    assert (zoom_peers.corner_determinants(at) == 1).all()
    at[0, 1, 1, 0] = 2.5  # beyond its right neighbour
    assert (zoom_peers.corner_determinants(at) < 0).any()


def test_landed_counts_every_pixel_once():
    at = torch.tensor([[[[-0.5, -0.5], [0.5, -0.5], [3.0, 3.0], [-0.1, 0.1]]]])
    share = zoom_peers.landed(at, (2, 2))
    assert share.tolist() == [[[0.25, 0.25], [0.25, 0.25]]]
    assert zoom_peers.variation(share, torch.eye(2)[None] / 2) == 0.5


@pytest.mark.parametrize(
    "family", [toy_maps.soft_noise, toy_maps.blobs, toy_maps.rough]
)
def test_toy_maps_are_distributions_and_the_same_for_every_draw(family):
    S = family(6, N, draw(3))
    assert S.shape == (6, N, N) and (S > 0).all()
    assert torch.allclose(S.sum(dim=(1, 2)), torch.ones(6).double())
    assert torch.equal(S, family(6, N, draw(3)))


# ---------------------------------------------------------------- recorded


def test_the_settings_that_are_measured_are_the_printed_ones():
    run = find("learning-to-zoom", "settings--paper--0").experiment
    found = run.run(0, "cpu", None).metrics
    cells = records.published("learning-to-zoom")
    cells = [c for c in cells if c.record_row == "settings"]
    assert len(cells) == 16
    for cell in cells:
        assert cell.verdict(found[cell.record_metric]["value"]) == "reproduced"
        assert found[cell.record_metric]["unit"] == cell.unit
    half = zoom.CODE_SIGMA * math.sqrt(2 * math.log(2))  # half the width at half height
    assert 2 * half == pytest.approx(13)
    assert settings.width(4.0) == pytest.approx(4.0, abs=1e-6)
    assert settings.width(4.0) != pytest.approx(4.1, abs=0.05)
