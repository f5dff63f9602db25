"""RAM and DRAM: the loop, its two policies, and the traps of public codes."""

import itertools
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import plain_ram  # the plain way that `make bench` compares with

from saccade_lib import glimpse
from saccade_lib.models import recurrent_attention as ra
from saccade_lib.models.recurrent_attention import Config, RecurrentAttention

SMALL = Config(3, glimpses=3, size=4, width=16, features=8, weight=1.0)
CORES = [
    SMALL,
    replace(SMALL, core="gru", policy="grid", grid=3),
    replace(SMALL, core="lstm", read="conv", context=8),
]


def made(config: Config, seed: int = 0) -> RecurrentAttention:
    torch.manual_seed(seed)
    return RecurrentAttention(config)


def batch(B=5, C=1, H=12, W=12, classes=3) -> dict:
    return {"image": torch.rand(B, C, H, W), "label": torch.arange(B) % classes}


def slopes(model, term) -> dict[str, float]:
    """The largest slope of a term in each part of the model."""
    names, weights = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(term, weights, allow_unused=True, retain_graph=True)
    largest: dict[str, float] = {}
    for name, slope in zip(names, found, strict=True):
        part = name.split(".")[0]
        size = 0.0 if slope is None else float(slope.abs().max())
        largest[part] = max(size, largest.get(part, 0.0))
    return largest


# ------------------------------------------------------------------ shapes and sizes


@pytest.mark.parametrize("config", CORES, ids=lambda c: c.core)
@pytest.mark.parametrize("B, C, H, W", [(1, 1, 12, 12), (3, 3, 10, 31), (2, 1, 40, 9)])
@pytest.mark.parametrize("T, runs", [(1, 1), (3, 1), (3, 4)])
def test_any_image_any_number_of_glimpses_and_runs(config, B, C, H, W, T, runs):
    model = made(replace(config, channels=C, glimpses=T, scales=2, runs=runs))
    x = batch(B, C, H, W)
    model.loss(x).total.backward()
    trace = model.run(x["image"], runs)
    D = T if config.context else T - 1
    assert trace.location.shape == (B * runs, T, 2)
    assert (trace.location.abs() <= 1).all()
    assert trace.patches.shape == (B * runs, T, 2 * C, 4, 4)
    assert (0 if trace.log_prob is None else trace.log_prob.shape[1]) == D
    seen = model.predict(x["image"], runs=runs)
    assert seen.probabilities.shape == (B, 3) and seen.location.shape == (B, T, 2)
    assert torch.allclose(seen.probabilities.sum(dim=1), torch.ones(B))


def test_the_benchmark_compares_like_with_like():
    """Patches cut one by one are those of the retina at the same whole pixels."""
    x, location = torch.rand(6, 1, 14, 20), torch.rand(6, 2) * 2 - 1
    pixels = (0.5 * (location + 1) * torch.tensor([20, 14])).floor()
    at = glimpse.to_location(pixels, 14, 20)[:, None]
    plain = plain_ram.patches(x, location, 4)
    assert torch.allclose(plain, glimpse.retina(x, at, 4, 1)[:, 0], atol=1e-5)


@pytest.mark.parametrize("runs", [1, 3])
def test_a_patch_is_the_retina_at_its_place(runs):
    model, x = made(replace(SMALL, scales=2)), batch(4)["image"]
    trace = model.run(x, runs)
    for n in range(4 * runs):
        b = n // runs
        wanted = glimpse.retina(x[b : b + 1], trace.location[n : n + 1], 4, 2)[0]
        assert torch.equal(trace.patches[n], wanted)


def test_a_decision_depends_on_nothing_that_comes_later():
    model, x = made(replace(SMALL, glimpses=4)), batch(2)["image"]
    torch.manual_seed(3)
    long = model.run(x)
    short = made(replace(SMALL, glimpses=2))
    short.load_state_dict(model.state_dict())
    torch.manual_seed(3)
    assert torch.equal(short.run(x).location, long.location[:, :2])


# -------------------------------------------------------------------- the two policies


def test_the_density_is_that_of_the_place_before_it_is_clamped():
    policy = ra.Gaussian(replace(SMALL, sigma=0.5, margin=0.25))
    mu = torch.tensor([[0.7, -0.6]], requires_grad=True)
    action = torch.tensor([[1.4, -0.9]])
    assert torch.equal(policy.place(action), torch.tensor([[0.75, -0.75]]))
    normal = torch.distributions.Normal(mu, 0.5)
    log_prob = policy.log_prob(mu, action)
    assert torch.allclose(log_prob, normal.log_prob(action).sum(dim=1))
    (slope,) = torch.autograd.grad(log_prob.sum(), mu)
    assert torch.allclose(slope, (action - mu) / 0.25)  # not that of the clamped place


def test_the_clamped_density_would_be_biased():
    """E[f d log pi]: right with the action's density, wrong with the place's."""
    policy = ra.Gaussian(replace(SMALL, sigma=0.5))
    mu = torch.full((400_000, 2), 0.8, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(0)
    action = policy.sample(mu)
    reward = policy.place(action)[:, 0]  # E[clamp(l)], a known function of mu
    found = []
    for at in (action, policy.place(action)):
        log_prob = policy.log_prob(mu, at)
        (slope,) = torch.autograd.grad((reward * log_prob).sum(), mu)
        found.append(slope[:, 0])
    inside = torch.distributions.Normal(0.0, 1.0).cdf
    exact = inside(torch.tensor((1 - 0.8) / 0.5)) - inside(torch.tensor(-1.8 / 0.5))
    for slope, holds in zip(found, (True, False), strict=True):
        error = float((slope.mean() - exact).abs() / (slope.std() / len(slope) ** 0.5))
        assert (error < 4) == holds


@pytest.mark.parametrize("policy", ["gaussian", "grid"])
def test_samples_have_the_frequencies_that_log_prob_says(policy):
    torch.manual_seed(0)
    policy = ra.POLICIES[policy](replace(SMALL, grid=2, sigma=0.3))
    ahead = policy(torch.randn(1, 16) * 20).expand(40_000, -1)
    action = policy.sample(ahead)
    if isinstance(policy, ra.Grid):
        frequency = torch.bincount(action, minlength=4) / len(action)
        assert torch.allclose(frequency, ahead[0].exp(), atol=0.01)
        best = policy.log_prob(ahead[:1], policy.best(ahead[:1]))
        assert best == ahead[0].max()
    else:
        assert torch.allclose(action.mean(dim=0), ahead[0], atol=0.01)
        assert torch.allclose(action.std(dim=0), torch.full((2,), 0.3), atol=0.01)
    assert not action.requires_grad


@pytest.mark.parametrize("margin", [0.0, 0.25])
def test_cells_run_row_by_row_and_corner_windows_end_at_the_border(margin):
    grid = ra.Grid(replace(SMALL, grid=3, margin=margin))
    edge = 1 - margin if margin else 1 - 1 / 3
    x, y = grid.place(torch.tensor([0, 2, 6, 8])).T
    wanted = torch.tensor([-edge, edge, -edge, edge])
    assert torch.allclose(x, wanted)
    assert torch.allclose(y, torch.tensor([-edge, -edge, edge, edge]))


# ------------------------------------------------------------------------- gradients


def trajectories(model, x):
    """Each sequence of cells of one image, forced: its trace and its reward."""
    n = model.config.grid**2
    D = model.config.glimpses
    for cells in itertools.product(range(n), repeat=D):
        ahead = iter(cells)
        model.policy.sample = lambda log_p, ahead=ahead: torch.tensor([next(ahead)])
        yield model.run(x["image"])


def of_policy(model, loss):
    weights = [*model.policy.parameters(), *model.context.parameters()]
    weights += [*model.core.where.parameters()]
    return torch.autograd.grad(loss, weights, retain_graph=True)


def test_the_score_function_is_the_slope_of_the_expected_reward():
    """All 16 trajectories of two decisions among four cells, in double precision."""
    config = replace(SMALL, glimpses=2, core="lstm", context=8, policy="grid", grid=2)
    model = made(replace(config, baseline="none")).double()
    torch.nn.init.normal_(model.policy.head[-1].weight)  # not an even policy
    x = batch(1)
    x["image"] = x["image"].double()
    rewarded = torch.rand(16) < 0.5
    expected, parts = 0.0, []
    for trace, right in zip(trajectories(model, x), rewarded, strict=True):
        chance = trace.log_prob.sum().exp()
        expected = expected + chance * float(right)
        term = model._of_places(trace, torch.zeros(1, 1), right.view(1, 1))["places"]
        parts.append([-chance.detach() * g for g in of_policy(model, term)])
    estimated = [sum(part) for part in zip(*parts, strict=True)]
    for exact, found in zip(of_policy(model, expected), estimated, strict=True):
        assert torch.allclose(exact, found, rtol=1e-9, atol=1e-12)
    assert max(float(g.abs().max()) for g in estimated) > 1e-4


@pytest.mark.parametrize("config", CORES, ids=lambda c: c.core)
def test_each_term_teaches_its_own_parts(config):
    model = made(config)
    if config.policy == "gaussian":
        model.policy.head[-1].weight.data.normal_()
    terms = model.loss(batch(8)).terms
    of_class = slopes(model, terms["class"])
    assert of_class["policy"] == of_class["value"] == 0
    assert min(of_class["read"], of_class["core"], of_class["classify"]) > 0
    of_places = slopes(model, terms["places"])
    assert of_places["policy"] > 0
    assert of_places["read"] == of_places["classify"] == of_places["value"] == 0
    of_baseline = slopes(model, terms["baseline"])
    assert of_baseline.pop("value") > 0
    assert not any(of_baseline.values())
    if config.context:
        # The classifier cannot go round the glimpses; the placing layer learns.
        assert of_class["context"] == 0 and of_places["context"] > 0
    else:
        assert of_places["core"] == 0


def test_the_mean_of_a_gaussian_learns_from_its_reward():
    """Stopping the gradient of both mean and sample would leave the policy as it is."""
    model = made(replace(SMALL, glimpses=2, baseline="none"))
    trace = model.run(batch(6)["image"])
    mu = model.policy(trace.placing[:, 0])  # (6, 2)
    away = (trace.action[:, 0] - mu) / SMALL.sigma**2  # d log pi / d mu
    squash = 1 - (mu / model.policy.reach) ** 2  # of the mean's tanh
    right = torch.ones(6, 1, dtype=torch.bool)
    term = model._of_places(trace, torch.zeros(6, 1), right)["places"]
    (slope,) = torch.autograd.grad(term, model.policy.head[-1].bias)
    assert torch.allclose(slope, -(away * squash).mean(dim=0), rtol=1e-4)
    assert slope.abs().min() > 0.01


def test_the_score_is_summed_over_steps_and_averaged_over_runs():
    model = made(replace(SMALL, baseline="none", glimpses=4))
    trace = model.run(batch(4)["image"])  # as many decisions + 1 as images
    right = torch.tensor([[True], [False], [True], [False]])
    term = model._of_places(trace, torch.zeros(4, 1), right)["places"]
    wanted = -(trace.log_prob[0].sum() + trace.log_prob[2].sum()) / 4
    assert torch.allclose(term, wanted)


def test_a_sequence_earns_until_its_first_error():
    config = replace(SMALL, targets=2, glimpses=4, baseline="none")
    model = made(config)
    right = torch.tensor([[True, True], [True, False], [False, True]])
    zero = torch.zeros(3, 3, requires_grad=True)
    trace = ra.Trace(None, None, zero, None, None, None)
    term = model._of_places(trace, torch.zeros(3, 2), right)["places"]
    (slope,) = torch.autograd.grad(term, zero)
    # Decisions before glimpses 2, 3 and 4; the first serves both targets.
    returns = torch.tensor([[2.0, 1, 1], [1, 0, 0], [0, 0, 0]])
    assert torch.allclose(-3 * slope, returns)


def test_leave_one_out_holds_a_run_against_the_others_of_its_image():
    model = made(replace(SMALL, runs=3, baseline="leave-one-out", glimpses=2))
    zero = torch.zeros(6, 1, requires_grad=True)
    trace = ra.Trace(None, None, zero, None, None, None)
    right = torch.tensor([1, 0, 0, 1, 1, 0]).bool()[:, None]  # image 0, then image 1
    term = model._of_places(trace, torch.zeros(6, 1), right)["places"]
    (slope,) = torch.autograd.grad(term, zero)
    wanted = torch.tensor([1, -0.5, -0.5, 0.5, 0.5, -1])
    assert torch.allclose(-6 * slope[:, 0], wanted)


def test_a_learned_baseline_sees_the_state_before_the_draw():
    model = made(SMALL)
    model.policy.head[-1].weight.data.normal_()
    x = batch(2)["image"]
    first = model._first
    place = first(x, 1)
    model._first = lambda x, runs: place
    a, b = model.run(x), model.run(x)  # other draws
    assert not torch.equal(a.action[:, 0], b.action[:, 0])
    assert torch.equal(a.placing[:, 0], b.placing[:, 0])
    assert not a.placing.requires_grad


def test_rewards_of_the_bound_are_log_likelihoods():
    model = made(replace(SMALL, reward="likelihood", baseline="none", glimpses=2))
    zero = torch.zeros(2, 1, requires_grad=True)
    trace = ra.Trace(None, None, zero, None, None, None)
    log_p = torch.tensor([[-0.5], [-3.0]])
    term = model._of_places(trace, log_p, log_p > -1)["places"]
    (slope,) = torch.autograd.grad(term, zero)
    assert torch.allclose(-2 * slope, log_p)


# ------------------------------------------------------------------------- prediction


def test_runs_are_averaged_as_probabilities():
    model = made(SMALL)
    model.classify.weight.data.mul_(30)  # so that runs differ
    x = batch(4)["image"]
    torch.manual_seed(1)
    together = model.predict(x, sample=True, runs=8).probabilities
    torch.manual_seed(1)
    with torch.no_grad():
        trace = model.eval().run(x, 8)
        p = model.classify(trace.state)[:, 0].softmax(dim=1)
    assert torch.allclose(together, p.unflatten(0, (4, 8)).mean(dim=1))
    geometric = p.log().unflatten(0, (4, 8)).mean(dim=1).softmax(dim=1)
    assert not torch.allclose(together, geometric, atol=1e-3)


def test_a_prediction_leaves_the_model_as_it_was():
    model = made(CORES[2]).train()
    x = batch(3)["image"]
    one, other = model.predict(x), model.predict(x)
    assert torch.equal(one.probabilities, other.probabilities)  # no place is drawn
    assert model.training
    assert one.scale[0, 0] == pytest.approx(4 / 12)


@pytest.mark.parametrize("places", ["random", "centre", "oracle"])
def test_controls_look_where_they_say(places):
    model = made(replace(SMALL, places=places, glimpses=4, margin=0.1, targets=2))
    centre = torch.tensor([[[0.5, 0.1], [-0.2, 0.95]]])
    x = batch(1) | {"centre": centre, "digits": torch.tensor([[1, 2]])}
    loss = model.loss(x)
    assert set(loss.terms) == {"class"}
    seen = model.predict(x["image"], batch=x).location[0]
    if places == "centre":
        assert not seen.any()
    elif places == "oracle":  # from left to right, two glimpses each
        left, right = [-0.2, 0.9], [0.5, 0.1]
        assert torch.allclose(seen, torch.tensor([left, left, right, right]))
    else:
        assert seen.abs().max() <= 0.9 and len(seen.unique()) == 8
    assert model.targets(x).tolist() == [[2, 1]]


# -------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(core="tree"), "core must be one of rnn, gru, lstm, got 'tree'"),
        (dict(policy="beam"), "policy must be one of gaussian, grid"),
        (dict(baseline="leave-one-out"), "needs runs of at least 2"),
        (dict(targets=2), "3 glimpses do not divide by 2 targets"),
        (dict(context=8), "second layer of 'lstm'"),
        (dict(margin=1.0), r"margin must be in \[0, 1\), got 1.0"),
        (dict(sigma=0.0), "sigma must be above 0"),
    ],
)
def test_a_wrong_configuration_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **change)


@pytest.mark.parametrize(
    "image, message",
    [
        (torch.rand(2, 12, 12), r"expected images \(B, 1, H, W\)"),
        (torch.rand(2, 3, 12, 12), r"expected images \(B, 1, H, W\)"),
        (torch.rand(2, 1, 12, 12) * 255, "divide 8-bit images by 255"),
        (torch.rand(0, 1, 12, 12), "the batch of images is empty"),
    ],
)
def test_a_wrong_image_is_named(image, message):
    for call in (made(SMALL).predict, lambda x: made(SMALL).loss({"image": x})):
        with pytest.raises(ValueError, match=message):
            call(image)


def test_the_oracle_says_what_it_lacks():
    with pytest.raises(ValueError, match="reads the batch's 'centre'"):
        made(replace(SMALL, places="oracle")).predict(batch()["image"])


def test_a_gaussian_density_has_its_constant():
    policy = ra.Gaussian(replace(SMALL, sigma=0.1))
    zero = torch.zeros(1, 2)
    assert float(policy.log_prob(zero, zero)) == pytest.approx(
        -math.log(2 * math.pi * 0.01)
    )
