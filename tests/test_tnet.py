"""TNet: exact counts, the geometry of its cells, its traversal and its objective."""

import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from saccade_lib import cost, glimpse, pyramid
from saccade_lib.models import bagnet, tnet, tnet_parts


def tiny(**more) -> tnet.Config:
    """Seconds on one core: base 45, two by two or five by five cells of 132 pixels."""
    given = {"classes": 4, "channels": 1, "width": 1 / 16} | more
    return tnet.mini(**given)


def built(seed=0, **more) -> tnet.TNet:
    torch.manual_seed(seed)
    return tnet.TNet(tiny(**more)).eval()


def images(count=2, side=132, channels=1, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(count, channels, side, side, generator=draw)


# ---- Counts that the paper prints, and those behind them


@pytest.fixture(scope="module")
def imagenet():
    with torch.device("meta"):  # shapes alone: what is counted, not computed
        return tnet.TNet(tnet.IMAGENET).eval()


def shape_of(side):
    return torch.empty(1, 3, side, side, device="meta")


def test_parameters_of_the_imagenet_model(imagenet):
    assert cost.parameters(imagenet.extract) == 20_033_664
    assert cost.parameters(imagenet.locate) == 788_485
    assert cost.parameters(imagenet.position) == 524_800
    assert cost.parameters(imagenet.classify) == 513_000
    assert cost.parameters(imagenet) == 21_859_949


@pytest.mark.parametrize(
    "locations, multiplications",
    [((), 1_804_366_016), ((0,), 1_824_065_216), ((1,), 3_627_919_232)],
)
def test_multiplications_of_the_imagenet_model(imagenet, locations, multiplications):
    image = shape_of(224)
    counted = cost.multiplications(lambda: imagenet.predict(image, locations=locations))
    assert counted == multiplications


def test_multiplications_grow_by_the_same_with_each_location(imagenet):
    image = shape_of(224)
    each = 1_803_329_728 + 524_288  # feature extraction, position
    three = cost.multiplications(lambda: imagenet.predict(image))
    assert three == 1_824_065_216 + 3 * each == 7_235_627_264


def test_counts_of_the_whole_image_baseline():
    with torch.device("meta"):
        model = bagnet.BagNet77(bagnet.Config(classes=1000))
    image = shape_of(224)
    assert cost.parameters(model) == 20_546_664
    assert cost.multiplications(lambda: model.predict(image)) == 18_423_134_976


@pytest.mark.parametrize("width, parameters", [(1 / 8, 307_007), (1 / 16, 77_735)])
def test_counts_of_the_small_designs(width, parameters):
    model = tnet.TNet(tnet.mini(classes=10, width=width))
    assert cost.parameters(model) == parameters


def test_a_width_that_splits_a_channel_is_refused():
    with pytest.raises(ValueError, match="width 0.3 makes 64 channels 19.2"):
        tnet.TNet(tiny(width=0.3))


# ---- Cells


def test_cells_of_the_imagenet_model():
    grid = tnet_parts.grid_over(224, 5, 77 / 224)
    assert grid == (77, 37, -1)
    assert grid.origins(5) == [-1, 36, 73, 110, 147]


@pytest.mark.parametrize(
    "side, n, cell, expected",
    [
        (448, 3, 0.5, (224, 112, 0)),
        (132, 5, 77 / 224, (45, 22, -1)),
        (100, 1, 0.5, (50, 0, 25)),  # one cell stands in the middle
        (100, 2, 0.25, (25, 75, 0)),  # with a gap
        (96, 1, 1.0, (96, 0, 0)),
    ],
)
def test_cells_of_other_grids(side, n, cell, expected):
    assert tnet_parts.grid_over(side, n, cell) == expected


def test_one_cell_covers_what_the_paper_prints():
    patch, stride, first = tnet_parts.grid_over(224, 5, 77 / 224)
    padded = 224 - first
    assert round(100 * patch**2 / padded**2, 4) == 11.7116


def test_cells_lie_inside_or_in_the_added_row():
    for side, n, part in itertools.product((60, 97, 132), (2, 3, 5), (0.35, 0.5, 0.8)):
        grid = tnet_parts.grid_over(side, n, part)
        origins = grid.origins(n)
        added = n - 2  # at most, of which half stands before the first pixel
        assert -(added + 1) // 2 <= origins[0] <= 0
        assert side <= origins[-1] + grid.patch <= side + added // 2


def test_children_have_the_coordinates_of_the_paper():
    model = built(grid=2, cell=0.5, base=45, locations=(4, 4))
    seen = model.traverse(images(1, 180))
    assert [level.cells.shape[1] for level in seen.levels] == [1, 4, 16]
    assert seen.levels[1].cells[0].tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    third = sorted(map(tuple, seen.levels[2].cells[0].tolist()))
    assert third == list(itertools.product(range(4), repeat=2))
    where = seen.levels[2].corner / 45  # columns and rows, where 2 x 2 do not overlap
    assert torch.equal(where.flip(-1), seen.levels[2].cells.float())


def test_location_and_scale_are_the_books():
    model = built(locations=(25,))
    seen = model.traverse(images(1))
    at = glimpse.boxes(seen.location, seen.scale, 132, 132)[0]  # (25, 4)
    assert at[0].tolist() == pytest.approx([-1, -1, 44, 44], abs=1e-3)
    assert at[24].tolist() == pytest.approx([87, 87, 132, 132], abs=1e-3)


# ---- Squares


def test_squares_are_slices_and_grey_outside():
    image = images(2, 20, 3)
    corner = torch.tensor([[[3, 5], [-1, -1], [14, 0]], [[0, 0], [1, 2], [-8, 14]]])
    cut = glimpse.squares(image, corner, 7, fill=0.5)
    assert torch.equal(cut[0, 0], image[0, :, 5:12, 3:10])
    assert torch.equal(cut[1, 1], image[1, :, 2:9, 1:8])
    grey = F.pad(image, (1, 1, 1, 1), value=0.5)
    assert torch.equal(cut[0, 1], grey[0, :, :7, :7])
    assert torch.equal(cut[0, 2], grey[0, :, 1:8, 15:22])
    assert (cut[1, 2, :, :, :7] == 0.5).all()


def test_squares_shrink_as_torch_does():
    image = images(2, 24)
    small = glimpse.squares(image, torch.zeros(2, 1, 2, dtype=torch.long), 24, 9)
    plain = F.interpolate(image, (9, 9), mode="bilinear", antialias=False)
    assert torch.equal(small[:, 0], plain)


def test_squares_refuse_what_is_no_whole_pixel():
    with pytest.raises(ValueError, match="whole numbers"):
        glimpse.squares(images(), torch.zeros(2, 1, 2), 8)
    with pytest.raises(ValueError, match="at least 1"):
        glimpse.squares(images(), torch.zeros(2, 1, 2, dtype=torch.long), 0)


# ---- Positions


def test_position_of_the_whole_image_is_zeros_and_ones():
    code = tnet_parts.positions(torch.zeros(1, 2), 0, 512)[0]
    thirds = code[:510].view(3, 2, 85)
    assert (thirds[:, 0] == 0).all() and (thirds[:, 1] == 1).all()
    assert (code[510:] == 0).all()


def test_position_orders_row_column_level():
    code = tnet_parts.positions(torch.tensor([[2.0, 3.0]]), 1, 320)[0]
    assert len(code) == 320
    parts = code[:318].view(3, 2, 53)
    for part, value in zip(parts, (2, 3, 1), strict=True):
        assert part[0, 0] == pytest.approx(math.sin(value))
        assert part[1, -1] == pytest.approx(math.cos(value / 100), abs=1e-6)


# ---- Probabilities


@pytest.mark.parametrize(
    "K, most, least", [(25, 0.1036, 0.0148), (9, 0.2653, 0.0415), (4, 0.514, 0.095)]
)
def test_scores_of_unit_length_bound_the_probabilities(K, most, least):
    top = torch.full((K,), -1.0)
    top[0] = K - 1.0  # the direction that favours one cell most
    p = tnet_parts.log_probabilities(top, True, 1.0).exp()
    assert p.max() == pytest.approx(most, abs=6e-5)
    p = tnet_parts.log_probabilities(-top, True, 1.0).exp()
    assert p.min() == pytest.approx(least, abs=6e-4)


def test_scores_of_length_zero_are_even():
    p = tnet_parts.log_probabilities(torch.zeros(25), True, 1.0).exp()
    torch.testing.assert_close(p, torch.full((25,), 0.04))


def test_of_equal_cells_the_first_are_chosen():
    keys = torch.zeros(3, 25)
    assert tnet.first(keys, 4).tolist() == [[0, 1, 2, 3]] * 3
    keys[1, 20] = 1
    assert tnet.first(keys, 3)[1].tolist() == [20, 0, 1]


def test_sampling_is_without_replacement_and_follows_p():
    model = built(grid=2, cell=0.5, locations=(2,), temperature=0.3)
    image = images(1, 90).expand(200, -1, -1, -1)
    torch.manual_seed(0)
    with torch.no_grad():
        level = model.traverse(image, sample=True).levels[0]
    assert (level.chosen[..., 0] < level.chosen[..., 1]).all()
    p = level.log_p[0, 0].double().exp()
    wanted = torch.zeros(4, dtype=torch.float64)
    for a, b in itertools.permutations(range(4), 2):
        wanted[[a, b]] += p[a] * p[b] / (1 - p[a])
    found = F.one_hot(level.chosen, 4).sum(dim=(0, 1, 2)) / 200
    error = (wanted * (1 - wanted) / 200).sqrt()
    assert ((found - wanted).abs() < 4 * error).all()


# ---- The traversal


def plain_vectors(model, image, locations):
    """The paper's recursion, node by node, for one image, in its own words."""
    cfg, found = model.config, []
    nodes = [(0, 0, image.shape[-1], (0, 0))]  # column, row, side, coordinates
    for number in range(len(locations) + 1):
        below = []
        for left, top, side, (row, column) in nodes:
            padded = F.pad(2 * image - 1, (1, 1, 1, 1))
            part = padded[:, :, top + 1 : top + 1 + side, left + 1 : left + 1 + side]
            if side != cfg.base:
                part = F.interpolate(part, (cfg.base, cfg.base), mode="bilinear")
            maps, vector = model.extract(part)
            at = torch.tensor([[row, column]])
            where = tnet_parts.positions(at, number, model.position.length)
            found.append(model.position(vector, where)[0])
            if number == len(locations):
                continue
            grid = tnet_parts.grid_over(side, cfg.grid, cfg.cell)
            rows = tnet.picked(cfg, maps.shape[-1])
            scores = model.locate(maps[:, :, rows[:, None], rows], vector)[0]
            best = scores.topk(locations[number]).indices.sort().values
            for cell in best.tolist():
                r, c = divmod(cell, cfg.grid)
                x, y = (grid.first + i * grid.stride for i in (c, r))
                coordinates = cfg.grid * row + r, cfg.grid * column + c
                below.append((left + x, top + y, grid.patch, coordinates))
        nodes = below
    return torch.stack(found)


@pytest.mark.parametrize(
    "more, side, locations",
    [
        ({}, 132, (3,)),
        ({"grid": 2, "cell": 0.5}, 180, (2, 1)),
        ({"grid": 3, "cell": 0.5}, 200, (3, 2)),
        ({"grid": 1, "cell": 0.8}, 100, (1, 1)),
    ],
)
def test_traversal_equals_a_plain_recursion(more, side, locations):
    model, x = built(locations=locations, **more), images(3, side)
    with torch.no_grad():
        vectors = model.traverse(x).vectors
        for b in range(3):
            plain = plain_vectors(model, x[b : b + 1], locations)
            torch.testing.assert_close(vectors[b], plain, rtol=1e-4, atol=1e-5)


def test_one_by_one_is_the_same():
    model, x = built(locations=(4,)), images(3)
    together, apart = (model.predict(x, one_by_one=one) for one in (False, True))
    torch.testing.assert_close(together.probabilities, apart.probabilities)
    assert torch.equal(together.location, apart.location)


def test_any_prefix_of_the_levels_predicts():
    model, x = built(grid=2, cell=0.5, locations=(2, 2)), images(2, 180)
    shapes = [
        model.predict(x, locations=k).location.shape[1]
        for k in ((), (0,), (2,), (2, 0), (2, 2), (0, 2))
    ]
    assert shapes == [0, 0, 2, 2, 6, 0]
    whole = [model.predict(x, locations=k).probabilities for k in ((), (0,), (0, 2))]
    assert torch.equal(whole[0], whole[1]) and torch.equal(whole[0], whole[2])


def test_the_mean_forgets_the_order():
    model, x = built(), images(2)
    with torch.no_grad():
        vectors = model.traverse(x).vectors
    turned = vectors[:, torch.randperm(vectors.shape[1])]
    torch.testing.assert_close(vectors.mean(dim=1), turned.mean(dim=1))


def test_crops_are_what_the_places_say():
    model, x = built(), images(2)
    seen = model.predict(x)
    again = glimpse.crop(x, seen.location, seen.scale, 45, outside="zeros")
    inside = seen.location.abs().amax(dim=2) + seen.scale <= 1
    torch.testing.assert_close(seen.crops[inside], again[inside], rtol=0, atol=1e-4)


# ---- What is refused


def test_more_locations_than_cells():
    with pytest.raises(ValueError, match="5 x 5 cells: 26 of them cannot be chosen"):
        tiny(locations=(26,))
    with pytest.raises(ValueError, match="26 of them"):
        built().predict(images(), locations=(26,))


def test_levels_deeper_than_the_image():
    with pytest.raises(ValueError, match="level 3 would read squares of 15 pixels"):
        built().predict(images(), locations=(1, 1))
    with pytest.raises(ValueError, match="level 1 would read squares of 40 pixels"):
        built().predict(images(side=40))


def test_images_that_are_not_square():
    with pytest.raises(ValueError, match="square images, got 132 x 140"):
        built().predict(torch.rand(1, 1, 132, 140))


def test_a_map_too_small_for_the_grid():
    with pytest.raises(ValueError, match="a map of 5 x 5 has no rows"):
        built(grid=7, cell=0.35).predict(images())


@pytest.mark.parametrize(
    "more", [{"choice": "best"}, {"backbone": "vgg"}, {"lambda_c": 2}, {"grid": 0}]
)
def test_a_wrong_configuration(more):
    with pytest.raises(ValueError):
        tiny(**more)


# ---- The objective


def batch(count=6, side=132, seed=0):
    label = torch.arange(count) % 4
    return {"image": images(count, side, seed=seed), "label": label}


def test_the_location_module_alone_learns_from_rewards():
    model = built().train()
    loss = model.loss(batch())
    places = loss.terms["places"] + loss.terms["places_each"]
    wrt = dict(model.named_parameters())
    slopes = torch.autograd.grad(places, list(wrt.values()), allow_unused=True)
    reached = {
        name for name, slope in zip(wrt, slopes, strict=True) if slope is not None
    }
    assert reached == {name for name in wrt if name.startswith("locate.")}


def test_without_detaching_it_does_not():
    model = built(detach=False).train()
    (slope,) = torch.autograd.grad(
        model.loss(batch()).terms["places"], [model.extract.stem.weight]
    )
    assert slope.abs().sum() > 0


@pytest.mark.parametrize("log_prob", ["sum", "ordered"])
@pytest.mark.parametrize("regularised", [1, 2, 3])
def test_loss_is_eq_2(log_prob, regularised):
    """Against the equation written out for each image."""
    more = {"log_prob": log_prob, "regularised": regularised, "lambda_c": 0.2}
    model = built(grid=2, cell=0.5, locations=(2, 1), **more)
    data = batch(side=180)
    with torch.no_grad():
        terms = model.loss(data).terms
        seen = model.traverse(data["image"])
        wanted = dict.fromkeys(terms, 0.0)
        for i, y in enumerate(data["label"]):
            f, log_l = seen.vectors[i], seen.log_prob[i]  # (5, F), (4,)
            m = (1, 3, 5)[regularised - 1]
            whole = model.classify(f.mean(dim=0)).log_softmax(dim=0)
            each = model.classify(f[:m]).log_softmax(dim=1)
            right = float(whole.argmax() == y) - 0.5
            rights = (each[1:].argmax(dim=1) == y).float() - 0.5
            wanted["class"] -= 0.2 * whole[y] / 6
            wanted["each"] -= 0.8 * each[:, y].mean() / 6
            wanted["places"] -= 0.1 * 0.3 * right * log_l.sum() / 6
            if m > 1:
                single = (rights * log_l[: m - 1]).mean()
                wanted["places_each"] -= 0.1 * 0.7 * single / 6
    for name, value in terms.items():
        assert float(value) == pytest.approx(float(wanted[name]), rel=1e-4, abs=1e-6)


def test_weights_of_one_leave_eq_1():
    terms = built(lambda_c=1.0, lambda_r=1.0).loss(batch()).terms
    assert terms["each"] == 0 and terms["places_each"] == 0


def test_baseline_moves_after_it_was_used_and_only_in_training():
    model = built()
    model.loss(batch())
    assert model.baseline == 0.5
    model.train()
    torch.manual_seed(0)
    model.loss(batch())
    with torch.no_grad():
        seen = model.traverse(batch()["image"])
        whole = model._log_p(seen.vectors.mean(dim=1)).argmax(dim=1)
        each = model._log_p(seen.vectors[:, 1:]).argmax(dim=2)
    label = batch()["label"]
    right = (whole == label).float().mean()
    rights = (each == label[:, None]).float().mean()
    wanted = 0.9 * 0.5 + 0.1 * (0.3 * right + 0.7 * rights)
    assert model.baseline == pytest.approx(float(wanted))


def test_likelihood_is_a_reward_too():
    model = built(reward="likelihood").train()
    assert model.baseline == pytest.approx(-math.log(4))
    loss = model.loss(batch())
    loss.total.backward()
    assert torch.isfinite(loss.total)


@pytest.mark.parametrize("places", ["random", "centre", "oracle"])
def test_controls_train_the_same_classifier(places):
    model = built(places=places).train()
    data = batch() | {"centre": torch.zeros(6, 1, 2)}
    loss = model.loss(data)
    assert set(loss.terms) == {"class", "each"}
    loss.total.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_controls_look_where_they_should():
    x = images(2)
    seen = built(places="centre", locations=(1,)).predict(x)
    assert seen.location.abs().max() < 0.02
    corners = torch.tensor([[-0.9, -0.9], [0.9, 0.9]]).expand(2, 2, 2)
    oracle = built(places="oracle", locations=(2,))
    seen = oracle.predict(x, batch={"centre": corners})
    assert torch.equal(seen.location.sign(), corners.sign())
    with pytest.raises(ValueError, match="'centre'"):
        oracle.predict(x)
    torch.manual_seed(0)
    cells = built(places="random", locations=(3,)).traverse(images(200)).levels[0]
    assert len(cells.chosen.unique()) == 25


def test_it_learns_four_shades_of_grey():
    torch.manual_seed(0)
    model = built(dropout=0.0).train()
    step = torch.optim.Adam(model.parameters(), 3e-3)
    label = torch.arange(4)
    x = (label / 4)[:, None, None, None].expand(4, 1, 132, 132).clone()
    totals = []
    for _ in range(12):
        loss = model.loss({"image": x, "label": label})
        totals.append(loss.total.item())
        step.zero_grad()
        loss.total.backward()
        step.step()
    assert totals[-1] < 0.8 * totals[0]


# ---- From files


def files(folder, side=300, count=3):
    draw = torch.Generator().manual_seed(0)
    shape = (count, 1, side, side)
    image = torch.randint(0, 256, shape, generator=draw, dtype=torch.uint8)
    paths = [folder / f"{i}.tif" for i in range(count)]
    for path, one in zip(paths, image, strict=True):
        pyramid.write(path, one, compression="deflate")
    return paths, image.float() / 255


def test_files_are_traversed_like_tensors(tmp_path):
    paths, image = files(tmp_path)
    model = built(grid=3, cell=0.4, locations=(2, 2), base=45)
    index = torch.tensor([2, 0])
    with pyramid.Pyramids(paths, threads=1) as store:
        read = model.predict(store.regions(index))
    seen = model.predict(image[index])
    assert torch.equal(read.location, seen.location)
    torch.testing.assert_close(read.crops, seen.crops, rtol=0, atol=1e-5)
    torch.testing.assert_close(read.probabilities, seen.probabilities)


def test_no_read_is_larger_than_a_band():
    image, areas = images(1, 1000), []

    def read(b, left, top, width, height):
        areas.append(width * height)
        return image[b, :, top : top + height, left : left + width]

    whole = glimpse.Regions(read, tuple(image.shape))
    at = torch.tensor([[[0, 0], [-3, 990]]])
    small = glimpse.squares(whole, at, 1000, 45, fill=0.5)
    wanted = glimpse.squares(image, at, 1000, 45, fill=0.5)
    # torch reckons where it samples in single precision.
    torch.testing.assert_close(small, wanted, rtol=0, atol=1e-4)
    assert max(areas) <= (glimpse.BAND + 2) * 1000
    with pytest.raises(ValueError, match="not antialiased"):
        glimpse.squares(whole, at, 1000, 45, antialias=True)


def test_files_of_other_channels_are_refused():
    whole = glimpse.Regions(lambda *box: None, (1, 3, 132, 132))
    with pytest.raises(ValueError, match="expected 1 channels, got 3"):
        built().predict(whole)
