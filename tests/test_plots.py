"""The pictures say what they claim: boxes where glimpses are, colours all can read."""

import base64
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from PIL import Image

from saccade_lib import explorer as explorer_module
from saccade_lib import glimpse, plots


@pytest.fixture(scope="module", autouse=True)
def off_screen():
    backend = plt.get_backend()
    plt.switch_backend("agg")
    yield
    plt.switch_backend(backend)


def rendered(figure) -> np.ndarray:
    """(H, W, 4) bytes as a saved PNG has them."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return np.array(Image.open(file).convert("RGBA"))


def example(B=2, T=3, C=1, H=40, W=60, seed=0):
    g = torch.Generator().manual_seed(seed)
    scales = 0.2 + 0.3 * torch.rand(B, T, generator=g)
    locations = (torch.rand(B, T, 2, generator=g) * 2 - 1) * (1 - scales[..., None])
    return torch.rand(B, C, H, W, generator=g), locations, scales


# ---- Colours

# Full colour blindness on linear RGB (Machado, Oliveira and Fernandes 2009).
BLINDNESS = {
    "none": np.eye(3),
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def linear(colour):
    c = np.array(to_rgb(colour))
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def luminance(rgb):
    return float(np.clip(rgb, 0, 1) @ [0.2126, 0.7152, 0.0722])


def contrast(first, second):
    low, high = sorted((luminance(linear(first)), luminance(linear(second))))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("kind", BLINDNESS)
@pytest.mark.parametrize("T, step", [(8, 1.5), (4, 6)])  # 1 is just noticeable
def test_time_grows_lighter_for_every_eye(kind, T, step):
    colours = plots.time_colours(T)
    seen = [luminance(np.array(BLINDNESS[kind]) @ linear(c)) for c in colours]
    lightness = 116 * np.cbrt(seen) - 16  # CIE L*
    assert np.diff(lightness).min() > step


@pytest.mark.parametrize("colour", plots.TIME + plots.SERIES)
def test_colours_stand_out_on_white(colour):
    assert contrast(colour, "white") >= 3


def test_time_colours_span_the_ramp():
    assert tuple(plots.time_colours(8)) == plots.TIME
    assert plots.time_colours(1) == [plots.TIME[0]]
    three = plots.time_colours(3)
    assert (three[0], three[-1]) == (plots.TIME[0], plots.TIME[-1])
    assert len(set(plots.time_colours(20))) == 20


@pytest.mark.parametrize("T", [1, 4, 12])
def test_numbers_can_be_read_on_their_tags(T):
    image, locations, scales = example(B=1, T=T)
    for ax in plots.fixation_strip(image[0], locations[0], scales[0]).axes:
        for text in ax.texts:
            tag = text.get_bbox_patch().get_facecolor()
            assert contrast(text.get_color(), tag) >= 4.5


# ---- Boxes


def borders(different: np.ndarray) -> np.ndarray:
    """First and last row and column, in device pixels, where two renderings differ."""
    rows, columns = np.where(different.any(1))[0], np.where(different.any(0))[0]
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


@pytest.mark.parametrize(
    "x, y, scale, window",  # window: left, top, right, bottom in pixels of 40 x 80
    [
        (0.0, 0.0, 0.25, (30, 15, 50, 25)),
        (-0.75, 0.75, 0.25, (0, 30, 20, 40)),
        (0.5, -0.5, 0.5, (40, 0, 80, 20)),
        (0.0, 0.0, 1.0, (0, 0, 80, 40)),
    ],
)
def test_a_box_lies_on_the_pixels_that_its_crop_reads(x, y, scale, window):
    left, top, right, bottom = window
    image = torch.zeros(1, 40, 80)
    fig, ax = plt.subplots(figsize=(6, 3), dpi=100)
    ax.set_position((0.1, 0.1, 0.8, 0.8))
    plots.show_image(ax, image)
    for spine in ax.spines.values():
        spine.set_visible(False)
    dark = rendered(fig)
    image[:, top:bottom, left:right] = 1
    ax.images[0].set_data(image[0].numpy())
    painted = borders((rendered(fig) != dark).any(-1))
    ax.images[0].set_data(np.zeros((40, 80)))
    plots.draw_boxes(ax, image.shape, torch.tensor([[x, y]]), scale)
    for text in ax.texts:
        text.set_visible(False)
    for patch in ax.patches:
        patch.set(path_effects=[], linewidth=72 / fig.dpi, clip_on=False)  # one pixel
    box = borders((rendered(fig) != dark).any(-1))
    plt.close(fig)
    # The line is centred on the border, so it may stand out by one pixel each way.
    assert np.abs(box - painted).max() <= 1
    window_image = image.unsqueeze(0)
    crop = glimpse.crop(window_image, torch.tensor([[[x, y]]]), scale, 4)
    assert crop.min() > 0.49  # the same window read by the library holds the paint


def test_a_grid_joins_the_places_that_are_read():
    _, ax = plt.subplots()
    at = torch.stack(
        torch.meshgrid(*[torch.tensor([-1.0, 0, 1])] * 2, indexing="xy"), -1
    )
    plots.draw_grid(ax, (1, 40, 60), at[:2])  # two rows of three places
    lines = [line.get_xydata().tolist() for line in ax.lines]
    assert [[0, 0], [30, 0], [60, 0]] in lines and [[30, 0], [30, 20]] in lines
    assert len(lines) == 2 + 3
    plt.close("all")


@pytest.mark.parametrize("shade", [0.0, 1.0])
def test_a_box_is_visible_on_black_and_on_white(shade):
    image = torch.full((1, 50, 50), shade)
    fig = plots.fixation_strip(image, torch.zeros(1, 2), 0.5)
    pixels = rendered(fig)[..., :3].reshape(-1, 3) / 255
    near = np.abs(pixels - to_rgb(plots.TIME[0])).max(-1) < 0.02
    assert near.sum() > 500  # the coloured line itself
    ax = fig.axes[0]
    ax.patches[0].set_path_effects([])
    bare = rendered(fig)[..., :3].reshape(-1, 3) / 255
    halo = (pixels == 1).all(-1).sum() - (bare == 1).all(-1).sum()
    assert (halo > 500) == (shade == 0)  # the white line around it, where it is needed


def test_numbers_and_frames_repeat_the_boxes():
    image, locations, scales = example(B=1, T=4)
    fig = plots.fixation_strip(image[0], locations[0], scales[0], title="a title")
    first, *crops = fig.axes
    assert first.get_title() == "a title"
    assert [text.get_text() for text in first.texts] == ["1", "2", "3", "4"]
    assert [ax.texts[0].get_text() for ax in crops] == ["1", "2", "3", "4"]
    for box, ax in zip(first.patches, crops, strict=True):
        assert box.get_edgecolor() == ax.spines["left"].get_edgecolor()


def test_numbers_keep_apart_where_windows_coincide():
    fig = plots.fixation_strip(torch.zeros(1, 50, 50), torch.zeros(4, 2), 0.4)
    places = {text.get_position() for text in fig.axes[0].texts}
    assert len(places) == 4


# ---- Strips


@pytest.mark.parametrize("C", [1, 3])
def test_missing_crops_are_cut_by_glimpse(C):
    image, locations, scales = example(B=1, T=3, C=C)
    fig = plots.fixation_strip(image[0], locations[0], scales[0], size=8)
    expected = glimpse.crop(image, locations, scales, 8)[0]
    for ax, crop in zip(fig.axes[1:], expected, strict=True):
        shown = torch.as_tensor(np.array(ax.images[0].get_array()))
        shown = shown[None] if C == 1 else shown.permute(2, 0, 1)
        torch.testing.assert_close(shown, crop)


def test_windows_may_leave_the_image():
    """Recurrent attention looks beyond the border; numbers stay on the image."""
    fig = plots.fixation_strip(torch.zeros(1, 20, 20), torch.tensor([[1.0, -1.0]]), 0.5)
    x, y = fig.axes[0].texts[0].get_position()
    assert 0 <= x <= 20 and 0 <= y <= 20


def test_gallery_shows_image_proxy_and_crops_of_each():
    images, locations, scales = example(B=5, T=4)
    proxies = glimpse.downsample(images, 8)
    titles = list("abcde")
    fig = plots.fixation_strips(
        images, locations, scales, titles=titles, proxies=proxies, columns=3
    )
    assert len(fig.axes) == 5 * (1 + 1 + 4)
    assert [ax.get_title() for ax in fig.axes if ax.get_title()] == titles
    for ax in fig.axes:  # nothing falls off the page
        box = ax.get_position()
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= 1 and box.y1 <= 1


def test_gallery_takes_one_scale_for_all():
    images, locations, _ = example(B=2, T=1)
    fig = plots.fixation_strips(images, locations * 0.5, 0.5)
    widths = {ax.patches[0].get_width() for ax in fig.axes if ax.patches}
    assert widths == {30.0}


def test_pictures_stand_side_by_side_at_their_own_sizes():
    small, large = torch.rand(1, 12, 12), torch.rand(3, 30, 60)
    fig = plots.pictures([small, large], ["proxy", "image"])
    assert [ax.get_title() for ax in fig.axes] == ["proxy", "image"]
    shapes = [ax.images[0].get_array().shape[:2] for ax in fig.axes]
    assert shapes == [(12, 12), (30, 60)]
    with pytest.raises(ValueError, match="2 images, but 1 titles"):
        plots.pictures([small, large], ["proxy"])


def test_figures_are_opaque_white_small_and_let_go_in_any_style(tmp_path):
    images, locations, scales = example(B=4, T=4, H=100, W=100)
    images = (images > 0.9).float()
    with plt.style.context("dark_background"):
        figures = [
            plots.fixation_strip(images[0], locations[0], scales[0]),
            plots.fixation_strips(images, locations, scales),
            plots.learning_curves({"a": [([0, 1], [0, 1])]}, "x", "y"),
            plots.bars_with_spread(["a"], [[1.0]]),
            plots.loss_terms({"step": [0, 1], "kl": [2, 1]}),
        ]
        for k, fig in enumerate(figures):
            fig.savefig(tmp_path / f"{k}.png")
    assert plt.get_fignums() == []
    for k in range(len(figures)):
        path = tmp_path / f"{k}.png"
        pixels = np.array(Image.open(path).convert("RGBA"))
        assert (pixels[..., 3] == 255).all()
        assert (pixels[0, 0] == 255).all()
        assert pixels.shape[1] <= 900
        assert path.stat().st_size < 150_000


def test_use_style_reaches_ordinary_figures():
    with plt.rc_context():
        plots.use_style()
        fig, ax = plt.subplots()
        assert fig.dpi == 150
        assert not ax.spines["top"].get_visible()
        plt.close(fig)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"image": torch.zeros(1, 1, 9, 9)}, r"\(C, H, W\).*images\[0\]"),
        ({"image": torch.zeros(2, 9, 9)}, "1 or 3 channels"),
        ({"image": torch.full((1, 9, 9), 255.0)}, "divide bytes by 255"),
        ({"image": torch.full((1, 9, 9), torch.nan)}, r"\[0, 1\]"),
        ({"locations": torch.zeros(2)}, r"\(T, 2\)"),
        ({"locations": torch.zeros(0, 2)}, r"\(T, 2\)"),
        ({"locations": torch.full((2, 2), torch.nan)}, "finite"),
        ({"scales": torch.tensor([0.5, 1.5])}, r"\(0, 1\]"),
        ({"scales": torch.tensor([0.5, 0.0])}, r"\(0, 1\]"),
        ({"scales": torch.ones(3)}, "scales must be 2 numbers"),
        ({"crops": torch.zeros(3, 1, 4, 4)}, r"\(2, C, L, L\)"),
        ({"proxy": torch.zeros(9, 9)}, "proxy"),
    ],
)
def test_bad_glimpses_are_named(change, message):
    good = {
        "image": torch.zeros(1, 9, 9),
        "locations": torch.zeros(2, 2),
        "scales": torch.full((2,), 0.5),
    }
    with pytest.raises(ValueError, match=message):
        plots.fixation_strip(**(good | change))
    assert plt.get_fignums() == []


def test_gallery_refuses_unequal_lengths():
    images, locations, scales = example(B=2)
    with pytest.raises(ValueError, match="titles for 1"):
        plots.fixation_strips(images, locations, scales, titles=["one"])
    with pytest.raises(ValueError, match="scales for 3"):
        plots.fixation_strips(images, locations, torch.ones(3))


# ---- Curves and bars


def test_learning_curves_draw_mean_and_range_of_the_seeds():
    seeds = [([0, 10, 20], [0, 2, 4]), ([0, 10, 20], [2, 4, 9])]
    ax = plots.learning_curves({"a": seeds}, "step", "accuracy", chance=1.0).axes[0]
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [1, 3, 6.5])
    band = ax.collections[0].get_paths()[0].vertices
    assert {(20, 4), (20, 9)} <= set(map(tuple, band))
    assert [t.get_text() for t in ax.get_legend().texts] == ["a (2 seeds)", "chance"]


def test_learning_curves_interpolate_only_where_all_seeds_are():
    seeds = [([0, 10, 20], [0, 10, 20]), ([5, 15, 30], [7, 17, 32])]
    ax = plots.learning_curves({"a": seeds}, "x", "y").axes[0]
    np.testing.assert_allclose(ax.lines[0].get_xdata(), [5, 10, 15, 20])
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [6, 11, 16, 21])


def test_learning_curves_show_what_is_printed_as_marks_and_whole_numbers_as_such():
    printed = {"paper": ([4, 6], [1.0, 2.0])}
    fig = plots.learning_curves({"a": [([4, 6], [3, 4])]}, "x", "y", printed=printed)
    ax = fig.axes[0]
    assert ax.lines[-1].get_linestyle() == "None" and ax.lines[-1].get_marker() == "D"
    np.testing.assert_allclose(ax.lines[-1].get_ydata(), [1, 2])
    assert [t.get_text() for t in ax.get_legend().texts] == ["a (1 seed)", "paper"]
    assert all(tick == round(tick) for tick in ax.get_xticks())
    ax = plots.learning_curves({"a": [([0.4, 0.6], [3, 4])]}, "x", "y").axes[0]
    assert any(tick != round(tick) for tick in ax.get_xticks())


def test_learning_curves_leave_out_what_was_not_measured():
    ax = plots.learning_curves({"a": [([0, 1, 2], [1.0, None, 3.0])]}, "x", "y").axes[0]
    np.testing.assert_allclose(ax.lines[0].get_xdata(), [0, 2])


@pytest.mark.parametrize(
    "seeds, message",
    [
        ([], "a seed without"),
        ([([0, 1], [None, None])], "without a single finite point"),
        ([([0, 1], [1])], "x has shape"),
        ([([0, 1], [1, 1]), ([2, 3], [1, 1])], "no range"),
    ],
)
def test_curves_that_cannot_be_drawn_are_named(seeds, message):
    with pytest.raises(ValueError, match=f"'the row'.*{message}"):
        plots.learning_curves({"the row": seeds}, "x", "y")


def test_bars_show_every_seed_the_paper_and_what_is_missing():
    values = [[94.0, 96.0], [40.0], []]
    fig = plots.bars_with_spread(
        ["learned", "random", "none"], values, [95.42, None, 50.0], controls=["random"]
    )
    ax = fig.axes[0]
    assert [bar.get_width() for bar in ax.patches] == [95, 40, 0]
    dots = [ln.get_xdata().tolist() for ln in ax.lines if ln.get_marker() == "o"]
    assert dots == values
    strokes = [float(ln.get_xdata()[0]) for ln in ax.lines if ln.get_marker() == "|"]
    assert strokes == [95.42, 50.0]
    assert [t.get_text() for t in ax.texts] == ["95.0", "40.0", "no record yet"]
    assert ax.patches[0].get_facecolor() != ax.patches[1].get_facecolor()


def test_bars_refuse_rows_that_do_not_match():
    with pytest.raises(ValueError, match="2 labels, 1 rows"):
        plots.bars_with_spread(["a", "b"], [[1.0]])


def test_histograms_share_a_scale_and_refuse_unlike_panels():
    fig = plots.histograms({"before": [60, 40, 0], "after": [34, 33, 33]}, "count")
    left, right = fig.axes
    assert [bar.get_height() for bar in right.patches] == [34, 33, 33]
    assert left.get_ylim() == right.get_ylim() and right.get_xlabel() == "count"
    with pytest.raises(ValueError, match="one share a class"):
        plots.histograms({"before": [1, 2], "after": [1, 2, 3]}, "count")


def test_loss_terms_draw_a_panel_each():
    curves = {"step": [0, 1, 2], "seconds": [0, 3, 6], "kl": [3, 2, 1]}
    curves["task"] = [None, 1, 0]
    fig = plots.loss_terms(curves)
    assert [ax.get_title(loc="left") for ax in fig.axes] == ["kl", "task"]
    np.testing.assert_allclose(fig.axes[1].lines[0].get_xdata(), [1, 2])
    assert len(plots.loss_terms(curves, ["kl"]).axes) == 1
    with pytest.raises(ValueError, match="absent"):
        plots.loss_terms(curves, ["absent"])


# ---- Explorer


class Page(HTMLParser):
    """Start tags with their attributes and the tags they stand in."""

    def __init__(self, html):
        super().__init__()
        self.open, self.seen = [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes), list(self.open)))
        if tag not in ("input", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def find(self, tag):
        return [(attributes, inside) for t, attributes, inside in self.seen if t == tag]


def test_a_trade_off_joins_means_and_names_its_points():
    figure = plots.trade_off(
        {"a": [(1, [50, 60], "0"), (2, [70.0], "1")], "b": [(8, [65], "")]},
        "cost",
        "accuracy",
    )
    (ax,) = figure.axes
    lines = {c.get_label(): c.lines[0].get_xydata().tolist() for c in ax.containers}
    assert lines == {"a": [[1, 55], [2, 70]], "b": [[8, 65]]}
    assert {t.get_text() for t in ax.texts} >= {"0", "1"}
    with pytest.raises(ValueError, match="'c' has no point"):
        plots.trade_off({"c": [(1, [], "")]}, "", "")


@pytest.mark.parametrize("C", [1, 3])
def test_explorer_carries_the_image(C):
    image = torch.rand(C, 20, 30, generator=torch.Generator().manual_seed(0))
    page = Page(plots.explorer(image, (0.1, -0.2), 0.3, 16)._repr_html_())
    address = page.find("div")[0][0]["data-image"]
    kind, data = address.split(",")
    assert kind == "data:image/png;base64"
    stored = np.array(Image.open(io.BytesIO(base64.b64decode(data)))) / 255
    shown = image.permute(1, 2, 0).numpy().reshape(stored.shape)
    np.testing.assert_allclose(stored, shown, atol=0.5 / 255 + 1e-6)


def test_explorer_can_be_used_without_a_mouse_and_told_without_a_script():
    html = plots.explorer(torch.zeros(1, 9, 9), (0.1, -0.2), 0.3, 16)._repr_html_()
    page = Page(html)
    assert page.open == []
    sliders = {a["name"]: a for a, inside in page.find("input") if "label" in inside}
    assert {name: a["value"] for name, a in sliders.items()} == {
        "x": "0.1",
        "y": "-0.2",
        "s": "0.3",
    }
    assert all(a["type"] == "range" for a in sliders.values())
    assert page.find("output")[0][0]["aria-live"] == "polite"
    assert page.find("noscript")
    assert all(a["role"] == "img" and a["aria-label"] for a, _ in page.find("canvas"))


def test_several_explorers_share_a_page_and_no_network():
    html = plots.explorer(torch.zeros(1, 9, 9))._repr_html_()
    assert not re.search(r"""\sid=|\ssrc=|https?:|url\(|@import|\$""", html)
    assert explorer_module.Explorer(html)._repr_html_() == html
    assert len(repr(plots.explorer(torch.zeros(1, 9, 9)))) < 80


def test_explorer_box_has_a_colour_of_time():
    html = plots.explorer(torch.zeros(1, 9, 9))._repr_html_()
    assert re.search(r"--window: (#\w{6})", html)[1] in plots.TIME


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"image": torch.zeros(9, 9)}, r"\(C, H, W\)"),
        ({"image": torch.zeros(1, 2000, 9)}, "1024"),
        ({"image": torch.full((1, 9, 9), 2.0)}, "divide bytes"),
        ({"start": (0.9, 0.0)}, "reaches to"),
        ({"scale": 0.01}, "at least 0.05"),
        ({"scale": 1.5}, r"\(0, 1\]"),
        ({"size": 0}, "size"),
    ],
)
def test_explorer_refuses_what_it_cannot_show(arguments, message):
    with pytest.raises(ValueError, match=message):
        plots.explorer(**({"image": torch.zeros(1, 9, 9)} | arguments))


needs_node = pytest.mark.skipif(
    shutil.which("node") is None,
    reason="node is not installed: the browser's crop is not compared with torch's",
)


def in_javascript(expression: str, data) -> list:
    """Evaluate an expression of ``data`` beside the explorer's own functions."""
    html = plots.explorer(torch.zeros(1, 9, 9))._repr_html_()
    functions = re.search(r"function cutCrop.*?(?=\n  function mount)", html, re.S)[0]
    script = (
        f"{functions}\nconst data = JSON.parse(require('fs').readFileSync(0));\n"
        f"process.stdout.write(JSON.stringify({expression}));"
    )
    answer = subprocess.run(
        ["node", "-e", script], input=json.dumps(data), capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


@needs_node
@pytest.mark.parametrize(
    "C, H, W, size", [(1, 28, 28, 24), (3, 17, 40, 9), (1, 5, 3, 1)]
)
def test_the_browser_cuts_what_torch_cuts(C, H, W, size):
    g = torch.Generator().manual_seed(H)
    image = torch.rand(1, C, H, W, generator=g, dtype=torch.float64)
    scale = 0.05 + 0.95 * torch.rand(1, 20, generator=g, dtype=torch.float64)
    place = torch.rand(1, 20, 2, generator=g, dtype=torch.float64) * 2 - 1
    place = place * (1 - scale[..., None])
    scale[0, :3] = torch.tensor([1.0, 0.1, 0.1])  # everything, and two far corners
    place[0, :3] = torch.tensor([[0.0, 0.0], [0.9, 0.9], [-0.9, 0.9]])
    expected = glimpse.crop(image, place, scale, size)[0]  # (T, C, L, L)
    pixels = image[0].permute(1, 2, 0).flatten().tolist()
    windows = torch.cat((place[0], scale[0, :, None]), -1).tolist()
    cut = in_javascript(
        "data.windows.map(([x, y, s]) => Array.from("
        f"cutCrop(data.pixels, {H}, {W}, {C}, x, y, s, {size})))",
        {"pixels": pixels, "windows": windows},
    )
    cut = torch.tensor(cut, dtype=torch.float64).reshape(20, size, size, C)
    torch.testing.assert_close(cut.permute(0, 3, 1, 2), expected, atol=1e-5, rtol=0)


@needs_node
def test_the_browser_keeps_the_window_inside():
    """At every setting of the sliders, by the rule that `glimpse.crop` enforces."""
    scales = [round(0.05 + k / 100, 2) for k in range(96)]
    places = [round(-1 + k / 50, 2) for k in range(101)]
    kept = in_javascript(
        "data.scales.map(s => data.places.map(x => keepInside(x, s)))",
        {"scales": scales, "places": places},
    )
    kept, s = np.array(kept), np.array(scales)[:, None]
    assert (np.abs(kept) + s).max() <= 1 + glimpse.SLACK
    free = np.abs(places) <= 1 - s + 1e-9  # what is inside stays where it is
    np.testing.assert_allclose(kept[free], np.broadcast_to(places, kept.shape)[free])
