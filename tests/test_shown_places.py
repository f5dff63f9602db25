"""A saccading network that begins at the true places."""

from dataclasses import replace

import pytest
import torch
from scipy.optimize import linear_sum_assignment

from saccade_lib import glimpse
from saccade_lib.models.shown_places import ShownConfig, ShownPlaces, pull, salient
from saccade_lib.train import Schedule, fit

SMALL = dict(
    classes=3, channels=1, proxy=8, glimpses=3, size=8, scale=(0.4, 0.4), hidden=8
)
CENTRE = torch.tensor([[[0.5, -0.5], [-0.2, 0.9]], [[0.0, 0.1], [0.3, 0.3]]])


def batch(progress):
    """Two images with two things each, and the windows that were asked for."""
    torch.manual_seed(0)
    x = torch.rand(2, 1, 32, 32)
    asked = []

    def crop(location, scale, size):
        asked.append(location.detach())
        return glimpse.crop(x, location, scale, size)

    c = glimpse.downsample(x, 8)
    label = torch.tensor([0, 2])
    of = {"image": c, "proxy": c, "crop": crop, "label": label, "centre": CENTRE}
    return of | {"progress": progress}, asked


def test_windows_lie_at_the_things_in_turn_while_they_are_shown():
    model = ShownPlaces(ShownConfig(**SMALL, shown=0.4))
    of, asked = batch(0.39)
    model.loss(of)
    expected = CENTRE[:, [0, 1, 0]].clamp(-0.6, 0.6)
    assert torch.equal(asked[0], expected)
    of, asked = batch(0.4)
    model.loss(of)
    assert not torch.isclose(asked[0], expected).any()
    model.predict(of["image"], batch=of | {"progress": 0.0})  # has its own places
    assert not torch.isclose(asked[1], expected).any()
    del of["progress"]  # as where costs are measured
    model.loss(of)
    assert not torch.isclose(asked[2], expected).any()


@pytest.mark.parametrize("held", [False, True])
def test_first_the_reader_learns_and_then_the_places(held):
    alone = {"reconstruction_weight": 0.0, "kl_weight": 0.0}  # the slope of the crops
    model = ShownPlaces(ShownConfig(**SMALL, **alone, held=held))
    for progress, learns in ((0.0, True), (0.9, not held), (0.1, True)):
        model.zero_grad(set_to_none=True)
        model.loss(batch(progress)[0]).total.backward()
        slopes = [p.grad for p in model.read_crop.parameters()]
        assert all((slope is not None) == learns for slope in slopes)
        slopes = [p.grad for p in model.point.parameters() if p.grad is not None]
        assert (sum(float(s.abs().sum()) for s in slopes) > 0) == (progress > 0.4)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"shown": 1.0}, "share in"),
        ({"places": "random"}, "no places of its own"),
        ({"ratio": (1.0, 0.0)}, "two positive numbers"),
        ({"teacher": "nobody"}, "teacher"),
    ],
)
def test_what_cannot_be_shown_is_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        ShownConfig(**SMALL, **changes)


def test_told_places_are_pulled_while_things_are_shown_and_not_after():
    """The pull has a slope in the places' weights in shown steps; later it is zero."""
    model = ShownPlaces(ShownConfig(**SMALL | {"glimpses": 2}, told=2.0, shown=0.4))
    places = [*model.point.parameters(), *model.posterior.parameters()]
    early, late = (model.loss(batch(progress)[0]).terms for progress in (0.1, 0.9))
    slopes = torch.autograd.grad(early["pull"], places, allow_unused=True)
    assert sum(float(s.abs().sum()) for s in slopes if s is not None) > 0
    assert float(late["pull"]) == 0 and not late["pull"].requires_grad


def test_a_told_network_learns_to_look_at_the_things():
    torch.manual_seed(0)
    told = SMALL | {"glimpses": 2, "sigma": 0.1}
    model = ShownPlaces(ShownConfig(**told, told=10.0, shown=0.9))
    step = torch.optim.Adam(model.parameters(), 1e-2)

    def far():
        of, asked = batch(1.0)
        model.predict(of["image"], batch=of)  # by itself
        return float(pull(asked[0], CENTRE.clamp(-0.6, 0.6)))

    before = far()
    for _ in range(150):
        step.zero_grad()
        model.loss(batch(0.1)[0]).total.backward()
        step.step()
    assert far() < before / 4


def test_reader_and_looker_have_rates_of_their_own():
    """A first step of Adam is as long as the rate of its group, where it is told."""
    told = ShownConfig(**SMALL | {"glimpses": 2}, told=1.0, ratio=(1.0, 0.1))
    model = ShownPlaces(told)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    few = dict(warmup=0.0, decay=0.0, weight_decay=0.0, clip=1e6)
    few = Schedule(steps=1, batch=2, rate=1e-2, **few)
    fit(model, lambda step: batch(0.0)[0], lambda _: {"accuracy": 0.0}, few, seed=0)
    moved = set()
    for name, p in model.named_parameters():
        part, far = name.split(".")[0], float((p.detach() - before[name]).abs().max())
        rate = 1e-2 if part in ("read_crop", "classify") else 1e-3
        assert far < 1.01 * rate, name
        if far > 0.99 * rate:
            moved.add(part)
    assert {"read_crop", "classify", "read_proxy", "posterior", "recur"} <= moved


def spots(*at, grey=0.5, side=64):
    """One grey picture with odd squares, their top, left and grey in ``at``."""
    x = torch.full((1, 1, side, side), grey)
    for top, left, of in at:
        x[:, :, top : top + 8, left : left + 8] = of
    return x


def test_salient_places_are_the_odd_ones_the_oddest_first():
    x = spots((8, 40, 1.0), (40, 8, 0.2))
    x = torch.cat((x, spots((40, 40, 0.1), (4, 20, 0.0))))
    found = salient(glimpse.downsample(x, 16), 2)  # (2, 2, 2)
    left_top = torch.tensor([[[40, 8], [8, 40]], [[20, 4], [40, 40]]])
    expected = (left_top + 4) * 2 / 64 - 1  # centres of the squares
    assert float((found - expected).abs().max()) <= 1 / 16 + glimpse.SLACK


def test_a_rule_may_be_the_teacher_and_needs_no_places():
    ruled = ShownConfig(**SMALL | {"glimpses": 2}, told=1.0, teacher="rule")
    of, asked = batch(0.0)
    of["image"] = glimpse.downsample(spots((8, 40, 1.0), (40, 8, 0.2)), 8)
    of["image"] = of["proxy"] = of["image"].expand(2, -1, -1, -1)
    del of["centre"]
    terms = ShownPlaces(ruled).loss(of).terms
    assert torch.equal(asked[0], salient(of["image"], 2).clamp(-0.6, 0.6))
    assert terms["pull"].item() > 0
    with pytest.raises(KeyError, match="centre"):
        ShownPlaces(replace(ruled, teacher="truth")).loss(of)


def test_the_pull_is_the_least_over_all_ways_to_pair_places_with_things():
    location, centre = torch.rand(5, 2, 2), torch.rand(5, 3, 2)
    far = torch.cdist(location, centre).square()  # (B, T, D)
    rows, columns = zip(*(linear_sum_assignment(one) for one in far), strict=True)
    least = [
        float(one[r, c].mean()) for one, r, c in zip(far, rows, columns, strict=True)
    ]
    assert float(pull(location, centre)) == pytest.approx(sum(least) / 5, abs=1e-6)
    assert float(pull(centre, centre.flip(1))) == pytest.approx(0, abs=1e-6)
    with pytest.raises(
        ValueError, match="3 places have no things of their own among 2"
    ):
        pull(centre, location)
