"""Regions of files equal those of tensors; faults are refused; nothing is left over."""

import faulthandler
import gc
import multiprocessing
import os
import pickle
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import pyvips
import tifffile
import torch

from saccade_lib import glimpse, pyramid

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import loops  # noqa: E402

H, W = 700, 1100
# Divisible by no power of two, so that every level lacks some border pixels.
ODD = 1001, 1501


def noise(H=H, W=W, C=1, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (H, W, C), dtype=np.uint8)


def tensor(array):
    """``(1, C, H, W)`` in [0, 1]."""
    return torch.from_numpy(array).permute(2, 0, 1)[None].float() / 255


def ramp(H, W):
    """Channel 0 rises by one a column, channel 1 by one a row, over 256."""
    y, x = np.mgrid[:H, :W]
    return (np.stack((x // 8, y // 8, 0 * x), axis=2) % 256).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pyramids")


@pytest.fixture(scope="module")
def grey(folder):
    return pyramid.write(folder / "grey.tif", noise(), compression="deflate")


@pytest.fixture(scope="module")
def colour(folder):
    return pyramid.write(folder / "colour.tif", noise(C=3, seed=1), compression="none")


@pytest.fixture(scope="module")
def many(folder):
    paths = [folder / f"many-{i}.tif" for i in range(6)]
    for i, path in enumerate(paths):
        pyramid.write(path, noise(C=3, seed=i), compression="none")
    return paths


@pytest.fixture
def store(many):
    with pyramid.Pyramids(many, threads=3, open_files=2) as store:
        yield store


# ---------------------------------------------------------------- writing and levels


@pytest.mark.parametrize("compression", ["none", "deflate"])
@pytest.mark.parametrize("C", [1, 3])
def test_what_was_written_is_read(tmp_path, C, compression):
    pixels = noise(C=C)
    path = pyramid.write(tmp_path / "a.tif", pixels, compression=compression)
    image = pyramid.open(path)
    assert (image.channels, image.shape, image.tiled) == (C, (H, W), True)
    whole = image.region(0, 0, 0, W, H)
    assert whole.dtype == torch.uint8
    assert torch.equal(whole, torch.from_numpy(pixels).permute(2, 0, 1))
    part = image.region(0, 250, 300, 17, 9)  # across the corner of four tiles
    assert torch.equal(part, whole[:, 300:309, 250:267])


@pytest.mark.parametrize("compression", ["jpeg", "webp"])
def test_lossy_files_are_near_and_smaller(tmp_path, compression):
    smooth = ramp(H, W)
    path = pyramid.write(tmp_path / "a.tif", smooth, compression=compression)
    read = pyramid.open(path).region(0, 0, 0, W, H)
    off = (read.float() - torch.from_numpy(smooth).permute(2, 0, 1).float()).abs()
    assert off.mean() < 2 and path.stat().st_size < smooth.size / 10
    rough = pyramid.write(
        tmp_path / "b.tif", smooth, compression=compression, quality=20
    )
    assert rough.stat().st_size < path.stat().st_size


def test_all_sources_make_the_same_file(tmp_path):
    pixels = noise(C=3)
    pyvips.Image.new_from_array(pixels).pngsave(str(tmp_path / "a.png"))
    sources = {
        "array": pixels,
        "bytes": torch.from_numpy(pixels).permute(2, 0, 1),
        "floats": tensor(pixels)[0],
        "file": tmp_path / "a.png",
        "rows": (pixels[top : top + 90] for top in range(0, H, 90)),
        "tiles": (
            pixels[top : top + 256, left : left + 300]
            for top in range(0, H, 256)
            for left in range(0, W, 300)
        ),
    }
    for name, source in sources.items():
        path = tmp_path / f"{name}.tif"
        pyramid.write(path, source, size=(H, W), compression="none")
        read = pyramid.open(path).region(0, 0, 0, W, H).permute(1, 2, 0)
        assert np.array_equal(read.numpy(), pixels), name


def test_levels_halve_and_average(colour):
    image = pyramid.open(colour)
    assert [at.factor for at in image.levels] == [1, 2, 4, 8][: len(image.levels)]
    assert len(image.levels) >= 3
    full = image.region(0, 0, 0, W, H).float()
    half = image.region(1, 0, 0, W // 2, H // 2).float()
    mean = torch.nn.functional.avg_pool2d(full[None], 2)[0]
    assert (half - mean).abs().max() <= 1  # each mean is rounded


def test_pages_of_other_kinds_are_no_levels(tmp_path):
    """Pages that are no tiled copies at a whole fraction, as slides also carry."""
    two = pyvips.Image.new_from_array(noise(600, 600))
    two = two.join(two, "vertical").copy()
    two.set_type(pyvips.GValue.gint_type, "page-height", 600)
    two.tiffsave(str(tmp_path / "a.tif"), tile=True, tile_width=256, tile_height=256)
    image = pyramid.open(tmp_path / "a.tif")
    assert [at.factor for at in image.levels] == [1] and image.shape == (600, 600)


# ---------------------------------------------------------------- windows


@pytest.mark.parametrize("outside", ["error", "zeros"])
def test_windows_at_full_size_equal_those_of_the_tensor(colour, outside):
    torch.manual_seed(0)
    scale = torch.tensor([24 / W, 24 / W, 0.01, 0.03, 30 / W])
    location = (torch.rand(5, 2) * 2 - 1) * (1 - 0.05)
    location[1] = torch.tensor([1.0, -1.0]) * (1 - scale[1])  # a corner, exactly
    if outside == "zeros":
        location[0], location[2] = torch.tensor([-1.0, 1.0]), torch.tensor([1.01, 0])
    got = pyramid.open(colour).crop(location, scale, 24, outside)
    want = glimpse.crop(
        tensor(noise(C=3, seed=1)), location[None], scale[None], 24, outside
    )
    assert got.shape == (5, 3, 24, 24)
    torch.testing.assert_close(got, want[0], atol=2e-4, rtol=0)


@pytest.mark.parametrize("shape", [(H, W), ODD])
@pytest.mark.parametrize("wide", [30, 90, 200, 500])
def test_ramps_are_where_they_should_be_at_every_level(tmp_path, shape, wide):
    """A window of a slope shows the slope, whichever level it was read from."""
    h, w = shape
    y, x = np.mgrid[:h, :w]
    slope = np.stack((x * 255 / w, y * 255 / h, 0 * x), axis=2).round().astype(np.uint8)
    path = pyramid.write(tmp_path / "a.tif", slope, compression="none")
    scale = torch.tensor([[[wide / w, wide / h]]]).expand(1, 3, 2)  # square in pixels
    reach = 1 - scale[0]
    location = torch.stack((reach[0] * 0.3, reach[1], -reach[2])) * torch.tensor(
        [[1.0, -0.5], [1.0, 1.0], [1.0, -0.7]]
    )
    got = pyramid.open(path).crop(location, scale[0], 24)
    i = glimpse.pixel_centres(24)
    for t in range(3):
        across = (location[t, 0] + scale[0, t, 0] * i + 1) / 2
        down = (location[t, 1] + scale[0, t, 1] * i + 1) / 2
        # One grey value of rounding, and the border pixels that levels lack.
        slack = 1.5 / 255 + (0 if shape == (H, W) else 12 / w)
        assert (got[t, 0] - across).abs().max() < slack
        assert (got[t, 1] - down[:, None]).abs().max() < slack


def test_the_coarsest_sufficient_level_is_read(colour, monkeypatch):
    image, levels = pyramid.open(colour), []
    region = pyramid.Pyramid.region

    def spy(self, level, left, top, width, height):
        levels.append((level, width))
        return region(self, level, left, top, width, height)

    monkeypatch.setattr(pyramid.Pyramid, "region", spy)
    for wide in (16, 32, 63, 64, 65, 127, 128, 300):
        image.crop(torch.zeros(1, 2), torch.tensor([[wide / W, wide / H]]), 32)
    assert [k for k, _ in levels] == [0, 0, 0, 1, 1, 1, 2, 3]
    assert max(width for _, width in levels) <= 2 * 32 + 13  # a window and its margin


def test_coarse_windows_are_antialiased(tmp_path):
    """Stripes finer than a crop's pixels become grey; skipping pixels sees one."""
    stripes = np.tile(np.uint8([0, 255, 255, 0]), (512, 128))[..., None]
    path = pyramid.write(tmp_path / "a.tif", stripes, compression="none")
    place, scale = torch.zeros(1, 2), 128 / 512
    smooth = pyramid.open(path).crop(place, scale, 32)
    skipped = glimpse.crop(tensor(stripes), place[None], scale, 32)
    assert (smooth - 0.5).abs().max() < 0.01
    assert (skipped - 0.5).abs().min() > 0.4


def test_both_sides_of_the_benchmark_give_the_same_crops(store, tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(6)]
    for i, path in enumerate(paths):
        loops.save(tensor(noise(C=3, seed=i))[0], path)
    location = torch.rand(6, 3, 2, generator=torch.Generator().manual_seed(2)) - 0.5
    plain = loops.from_whole_files(paths, location, 0.02, 16)
    fast = store.crop(torch.arange(6), location, 0.02, 16)
    torch.testing.assert_close(fast, plain, atol=3e-4, rtol=0)


def test_gradients_are_those_of_the_tensor(store):
    index = torch.tensor([4, 0, 4])
    images = torch.cat([tensor(noise(C=3, seed=i)) for i in (4, 0, 4)])
    torch.manual_seed(0)
    location = (torch.rand(3, 2, 2) - 0.5).double()
    scale = torch.rand(3, 2).double() * 0.01 + 0.01
    weight = torch.randn(3, 2, 3, 16, 16)
    found = []
    for cut in (
        lambda p, s: glimpse.crop(images.double(), p, s, 16),
        lambda p, s: store.crop(index, p, s, 16),
        lambda p, s: glimpse.crop_local(
            store.reader(index), p, s, 16, shape=store.shape, each=store.map
        ),
    ):
        p, s = location.clone().requires_grad_(), scale.clone().requires_grad_()
        crops = cut(p, s)
        (crops * weight).sum().backward()
        found.append((crops.detach().double(), p.grad, s.grad))
    for other in found[1:]:
        for got, want in zip(other, found[0], strict=True):
            torch.testing.assert_close(got, want, atol=1e-3, rtol=1e-3)


def test_proxy_is_the_downsampled_image(colour, grey, tmp_path):
    for path, pixels in ((colour, noise(C=3, seed=1)), (grey, noise())):
        proxy = pyramid.open(path).proxy(32)
        want = glimpse.downsample(tensor(pixels), 32)[0]
        assert proxy.shape == want.shape
        assert (proxy - want).abs().mean() < 0.02 < want.std() + 0.02
    slope = ramp(800, 800)[:, :, :1]
    pyvips.Image.new_from_array(slope).pngsave(str(tmp_path / "a.png"))
    for file in (
        tmp_path / "a.png",
        pyramid.write(tmp_path / "a.tif", tmp_path / "a.png"),
    ):
        proxy, want = (
            pyramid.open(file).proxy(16),
            glimpse.downsample(tensor(slope), 16),
        )
        assert (proxy - want[0]).abs().max() < 0.02


# ---------------------------------------------------------------- many files


def test_batches_equal_single_crops_in_any_order(store, many):
    index = torch.tensor([5, 1, 3, 1, 0])
    location = torch.rand(5, 4, 2, generator=torch.Generator().manual_seed(1)) - 0.5
    scale = torch.tensor([0.02, 0.1, 0.3, 0.06]).expand(5, 4)  # several levels
    got = store.crop(index, location, scale, 24)
    assert got.shape == (5, 4, 3, 24, 24)
    for b, i in enumerate(index.tolist()):
        alone = pyramid.open(many[i]).crop(location[b], scale[b], 24)
        torch.testing.assert_close(got[b], alone, atol=1e-6, rtol=0)
    with pyramid.Pyramids([many[2]] * 3) as same:  # a path may stand there again
        crops = same.crop(torch.arange(3), torch.zeros(3, 1, 2), 0.1, 8)
        assert torch.equal(crops[0], crops[2])
    proxies = store.proxies(index, 16)
    assert torch.equal(proxies[1], proxies[3]) and proxies.shape == (5, 3, 16, 16)


def test_only_so_many_files_stay_open(many):
    def held():
        links = [f"/proc/self/fd/{n}" for n in os.listdir("/proc/self/fd")]
        real = [os.path.realpath(link) for link in links]
        return sum("many-" in path for path in real)

    with pyramid.Pyramids(many, open_files=2) as store:
        for _ in range(2):
            store.crop(torch.arange(6), torch.zeros(6, 1, 2), 0.05, 8)
            assert 1 <= held() <= 2
    assert held() == 0
    assert store.file(0).shape == (H, W)  # opens again


def test_many_threads_read_one_store(store):
    want = [noise(C=3, seed=i)[40:60, 30:70] for i in range(6)]
    wrong = []

    def work(seed):
        for i in np.random.default_rng(seed).integers(0, 6, 60).tolist():
            got = store.file(i).region(0, 30, 40, 40, 20).permute(1, 2, 0).numpy()
            if not np.array_equal(got, want[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong and not any(thread.is_alive() for thread in threads)


def test_reads_go_on_in_forked_and_spawned_processes(store, grey):
    index, location = torch.arange(6), torch.zeros(6, 1, 2)
    alone = pyramid.open(grey)
    want = store.crop(index, location, 0.05, 8), alone.region(0, 0, 0, 9, 9)
    child = os.fork()
    if not child:  # only exit codes come back: pytest must not go on in here
        try:
            faulthandler.dump_traceback_later(60, exit=True)
            torch.set_num_threads(1)  # as DataLoader does: OpenMP's own do not fork
            got = store.crop(index, location, 0.05, 8), alone.region(0, 0, 0, 9, 9)
            same = all(map(torch.equal, got, want))
            same &= torch.equal(store.proxies(index, 8), store.proxies(index, 8))
            os._exit(0 if same else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert torch.equal(store.crop(index, location, 0.05, 8), want[0])
    again = pickle.loads(pickle.dumps(store))  # as a spawned worker is sent it
    assert torch.equal(again.crop(index, location, 0.05, 8), want[0])
    assert multiprocessing.active_children() == []


def test_a_replaced_file_is_read_anew(tmp_path):
    path = tmp_path / "a.tif"
    for value in (10, 200):
        pyramid.write(path, np.full((64, 64), value, np.uint8), compression="none")
        assert (pyramid.open(path).region(0, 0, 0, 64, 64) == value).all()


def test_a_reader_needs_images_of_one_size(many, grey, tmp_path):
    small = pyramid.write(tmp_path / "small.tif", noise(64, 80, 3))
    with pyramid.Pyramids([many[0], small, grey]) as store:
        with pytest.raises(pyramid.PyramidError, match="small.tif has 80 x 64"):
            store.read(1, 0, 0, 4, 4)
        with pytest.raises(pyramid.PyramidError, match="grey.tif is grey"):
            store.crop(torch.tensor([0, 2]), torch.zeros(2, 1, 2), 0.1, 8)
        both = store.crop(torch.tensor([0, 1]), torch.zeros(2, 1, 2), 0.1, 8)
        alone = pyramid.open(small).crop(torch.zeros(1, 2), 0.1, 8)
        torch.testing.assert_close(both[1], alone)


# ---------------------------------------------------------------- faults


def test_a_file_cut_off_anywhere_gives_an_error_and_never_grey(tmp_path):
    path = pyramid.write(tmp_path / "a.tif", noise(C=3), compression="jpeg")
    content = path.read_bytes()
    cut = tmp_path / "cut.tif"
    places = [1, 7, 15, 16, 100, *range(999, len(content), len(content) // 40)]
    for end in [*places, len(content) - 8, len(content) - 1]:
        cut.write_bytes(content[:end])
        with pytest.raises(pyramid.PyramidError, match="cut.tif"):
            image = pyramid.open(cut)
            for k, at in enumerate(image.levels):
                image.region(k, 0, 0, at.width, at.height)
            assert len(image.levels) == len(pyramid.open(path).levels), "levels lost"


@pytest.mark.parametrize("compression", ["jpeg", "webp", "deflate"])
def test_a_tile_that_was_overwritten_is_an_error_where_it_is_read(
    tmp_path, compression
):
    """libvips alone gives such a tile as black, for deflate and webp."""
    pixels = noise(600, 600, 3)
    path = pyramid.write(tmp_path / "a.tif", pixels, compression=compression)
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        first = tiff.pages[0].dataoffsets[0]
    content[first : first + 60] = bytes(60)
    path.write_bytes(content)
    image = pyramid.open(path)
    with pytest.raises(pyramid.PyramidError, match=r"a\.tif .* 8 x 8 at \(0, 0\)"):
        image.region(0, 0, 0, 8, 8)
    assert image.region(0, 520, 520, 8, 8).shape == (3, 8, 8)  # the others are whole


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("text.tif", b"no picture " * 99, "not a known file format"),
        ("empty.tif", b"", "is empty"),
        ("ring.tif", b"II*\0\x08\0\0\0\0\0\x08\0\0\0", "cut off or damaged"),
        ("head.tif", b"II*\0", "cut off or damaged"),
        ("zeros.tif", b"II*\0\x08" + bytes(999), "cut off or damaged"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path, name, content, says):
    path = tmp_path / name
    path.write_bytes(content)
    for use in (pyramid.open, lambda p: pyramid.write(tmp_path / "new.tif", p)):
        with pytest.raises(pyramid.PyramidError, match=says) as error:
            use(path)
        assert name in str(error.value)
    assert os.listdir(tmp_path) == [name]


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file .*none.tif"):
        pyramid.open(tmp_path / "none.tif")
    with pytest.raises(FileNotFoundError, match="no folder"):
        pyramid.write(tmp_path / "none" / "a.tif", noise())
    with pytest.raises(pyramid.PyramidError, match="not a file"):
        pyramid.open(tmp_path)


def test_cut_off_pictures_of_other_formats_are_errors_too(tmp_path):
    image = pyvips.Image.new_from_array(noise(600, 600, 3))
    for end in ("png", "jpg"):
        path = tmp_path / f"a.{end}"
        image.write_to_file(str(path))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(pyramid.PyramidError, match=f"a.{end} cannot be read"):
            pyramid.open(path).region(0, 0, 550, 8, 8)
        with pytest.raises(pyramid.PyramidError, match=f"a.{end} cannot be read"):
            pyramid.open(path).proxy(8)
        with pytest.raises(pyramid.PyramidError, match=f"a.{end} cannot be read"):
            pyramid.write(tmp_path / "new.tif", path)
    assert sorted(os.listdir(tmp_path)) == ["a.jpg", "a.png"]


@pytest.mark.parametrize("end", ["png", "tif"])
def test_untiled_files_are_read_whole_or_refused(tmp_path, end):
    pixels = noise(300, 500, 3)
    path = tmp_path / f"a.{end}"
    pyvips.Image.new_from_array(pixels).write_to_file(str(path))
    image = pyramid.open(path)
    assert not image.tiled and len(image.levels) == 1
    part = image.region(0, 40, 200, 9, 5).permute(1, 2, 0).numpy()
    assert np.array_equal(part, pixels[200:205, 40:49])
    assert image.region(0, 0, 0, 9, 5).shape == (3, 5, 9)  # going back up is allowed
    small = pyramid.open(path, whole=10_000)
    with pytest.raises(pyramid.PyramidError, match=r"a\.\w+ is not tiled.*MiB"):
        small.region(0, 0, 0, 4, 4)
    assert small.proxy(16).shape == (3, 16, 16)  # needs no whole image


def test_depth_and_channels(tmp_path):
    deep = (noise(300, 300).astype(np.uint16) << 8) + 77
    image = pyvips.Image.new_from_array(deep).copy(interpretation="grey16")
    image.pngsave(str(tmp_path / "deep.png"))
    read = pyramid.open(tmp_path / "deep.png").region(0, 0, 0, 300, 300)
    assert np.array_equal(read[0].numpy(), noise(300, 300)[..., 0])  # the upper 8 bits
    flat = noise(300, 300, 3)
    alpha = np.concatenate((flat, np.full((300, 300, 1), 255, np.uint8)), axis=2)
    alpha[:10, :, 3] = 0
    image = pyvips.Image.new_from_array(alpha).copy(interpretation="srgb")
    image.pngsave(str(tmp_path / "alpha.png"))
    with pytest.raises(pyramid.PyramidError, match="alpha.png has an alpha channel"):
        pyramid.open(tmp_path / "alpha.png")
    new = pyramid.write(
        tmp_path / "new.tif", tmp_path / "alpha.png", compression="none"
    )
    read = pyramid.open(new).region(0, 0, 0, 300, 300).permute(1, 2, 0).numpy()
    assert not read[:10].any() and np.array_equal(read[10:], flat[10:])
    floats = pyvips.Image.new_from_array(noise(64, 64)).cast("float")
    floats.tiffsave(str(tmp_path / "float.tif"))
    with pytest.raises(pyramid.PyramidError, match="float.tif has 1 channels of type"):
        pyramid.open(tmp_path / "float.tif")


def test_regions_and_levels_that_are_not_there(colour):
    image = pyramid.open(colour)
    last = len(image.levels) - 1
    for level in (-1, last + 1):
        with pytest.raises(pyramid.PyramidError, match=f"levels 0 to {last}, not"):
            image.region(level, 0, 0, 1, 1)
    for box in ((-1, 0, 5, 5), (0, H - 4, 5, 5), (W, 0, 1, 1), (0, 0, 0, 5)):
        with pytest.raises(pyramid.PyramidError, match="colour.tif: the region of"):
            image.region(0, *box)
    with pytest.raises(pyramid.PyramidError, match="no proxy of 701"):
        image.proxy(H + 1)
    with pytest.raises(ValueError, match="a window reaches"):
        image.crop(torch.tensor([[0.9, 0.0]]), 0.2, 8)
    with pytest.raises(ValueError, match="a window reaches"):
        image.crop(torch.tensor([[0.9, 0.0]]), 0.5, 8)


@pytest.mark.parametrize(
    ("source", "options", "says"),
    [
        (noise(), {"compression": "zstd"}, "zstd.*cannot write"),
        (noise(), {"quality": 0}, "quality"),
        (noise().astype(np.float32), {}, "expected uint8"),
        (noise(C=2), {}, "expected uint8"),
        (torch.rand(3, 4), {}, r"\(C, H, W\)"),
        (torch.full((1, 4, 4), 2.0), {}, r"\[0, 1\]"),
        ([noise()], {}, "pass the size"),
        ([noise()], {"size": (H, W + 1)}, "pieces end after 0"),
        ([noise(), noise(H, 4)], {"size": (H, W)}, "do not fit"),
        ([noise()], {"size": (H + 1, W)}, "pieces end after 700 of 701"),
        ([noise(4, 4), noise(5, 4)], {"size": (4, 8)}, "tile of 5 rows"),
        ([noise(2, 8), noise(2, 8, 3)], {"size": (4, 8)}, "3 channels"),
        ([], {"size": (4, 8)}, "pieces end after 0"),
    ],
)
def test_what_cannot_be_written_leaves_nothing(tmp_path, source, options, says):
    with pytest.raises(ValueError, match=says):
        pyramid.write(tmp_path / "a.tif", source, **options)
    assert not os.listdir(tmp_path)


def test_an_error_in_making_pieces_comes_through(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"earlier")

    def pieces():
        yield noise(100, W)
        raise RuntimeError("the camera is gone")

    with pytest.raises(RuntimeError, match="the camera is gone"):
        pyramid.write(tmp_path / "a.tif", pieces(), size=(H, W))
    assert os.listdir(tmp_path) == ["a.tif"]
    assert (tmp_path / "a.tif").read_bytes() == b"earlier"


FULL = """
import os, resource, signal, sys
import numpy as np
from saccade_lib import pyramid
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
pixels = np.random.default_rng(0).integers(0, 256, (900, 900), dtype=np.uint8)
for source in (pixels, (pixels[top:top + 100] for top in range(0, 900, 100))):
    try:
        pyramid.write(sys.argv[1] + "/a.tif", source, size=(900, 900))
    except OSError as error:
        print(error)
"""


def test_a_full_disk_leaves_the_older_file(tmp_path):
    """The limit of a process's files stands for the disk: writes beyond it fail."""
    (tmp_path / "a.tif").write_bytes(b"earlier")
    done = subprocess.run(
        [sys.executable, "-c", FULL, tmp_path], capture_output=True, text=True
    )
    assert done.stdout.count("could not write") == 2, done.stderr
    assert "nothing was left behind" in done.stdout
    assert os.listdir(tmp_path) == ["a.tif"]
    assert (tmp_path / "a.tif").read_bytes() == b"earlier"


LARGE = """
import resource, sys
import numpy as np
import torch
from saccade_lib import pyramid
for side in (1024, 12288):
    row = (np.arange(side) % 251).astype(np.uint8)
    strips = (np.tile(row, (256, 1)) for _ in range(0, side, 256))
    path = pyramid.write(sys.argv[1], strips, size=(side, side))
    pyramid.open(path).crop(torch.rand(20, 2) - 0.5, 64 / side, 64)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def test_an_image_larger_than_the_memory_used(tmp_path):
    """144 MiB of pixels are written and read with little more memory than 1 MiB."""
    words = [sys.executable, "-c", LARGE, str(tmp_path / "a.tif")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    small, large = map(float, done.stdout.split())
    assert large - small < 90


# ---------------------------------------------------------------- prefetching


def threads():
    return sum(thread.name == "prefetch" for thread in threading.enumerate())


def test_batches_come_in_order_and_the_thread_ends():
    assert list(pyramid.prefetch(iter(range(50)), depth=3)) == list(range(50))
    assert list(pyramid.prefetch([])) == [] and threads() == 0


def test_no_more_than_depth_batches_are_made_ahead():
    made, gate = [], threading.Event()

    def source():
        for i in range(10):
            made.append(i)
            if i == 2:
                gate.set()
            yield i

    batches = pyramid.prefetch(source(), depth=3)
    assert next(batches) == 0
    assert gate.wait(10)  # made beside us, without being asked for
    time.sleep(0.05)
    assert made == [0, 1, 2]
    assert list(batches) == list(range(1, 10))


def test_an_error_is_handed_over_where_its_batch_was_due():
    def source():
        yield 1
        yield 2
        raise pyramid.PyramidError("b.tif is cut off")

    batches, got = pyramid.prefetch(source()), []
    with pytest.raises(pyramid.PyramidError, match="b.tif"):
        got.extend(iter(lambda: next(batches), None))
    with pytest.raises(pyramid.PyramidError, match="b.tif"):
        for batch in pyramid.prefetch(source()):
            got.append(batch)
    assert got[-2:] == [1, 2] and threads() == 0


def test_leaving_early_ends_thread_and_source():
    ended = []

    def source():
        try:
            while True:
                yield 0
        finally:
            ended.append(True)

    for k, _ in enumerate(pyramid.prefetch(source())):
        if k == 5:
            break
    gc.collect()
    assert threads() == 0 and ended == [True]
    batches = pyramid.prefetch(source())
    next(batches)
    batches.close()
    gc.collect()
    assert threads() == 0 and ended == [True, True]
    pyramid.prefetch(source())  # never asked: no thread was begun
    assert threads() == 0
    with pytest.raises(ValueError, match="depth"):
        pyramid.prefetch([], depth=0)


def test_limits_are_checked():
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 64  # the default store
    with pytest.raises(ValueError, match="at least 1"):
        pyramid.Pyramids([], threads=0)
