"""Variational Saccading is eq. 5, term by term; baselines are what they are called."""

import math
from dataclasses import replace

import pytest
import torch
from test_digits import embedded
from torch import distributions as dist
from torch.nn import functional as F

from saccade_lib import cost, glimpse
from saccade_lib.data.digits import Canvases
from saccade_lib.models import baselines
from saccade_lib.models.variational_saccading import (
    Config,
    Places,
    Pointer,
    VariationalSaccading,
    gaussian_kl,
)

SMALL = Config(
    classes=10, proxy=8, glimpses=3, size=8, scale=(0.5, 0.5), features=16, hidden=12
)
LEARNED = replace(SMALL, scale=(0.2, 0.8))
CODE = replace(LEARNED, posterior="dense", window="code")


def model_of(config=SMALL, **changes):
    torch.manual_seed(0)
    return VariationalSaccading(replace(config, **changes))


def batch_of(count=4, channels=1, height=20, width=20, seed=0):
    draw = torch.Generator().manual_seed(seed)
    image = torch.rand(count, channels, height, width, generator=draw)
    label = torch.randint(10, (count,), generator=draw)
    return {"image": image, "label": label}


def untied(model):
    """Heads far from their first values, so that no term vanishes by symmetry."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model.double().eval()


# -------------------------------------------------------------------------- objective


def watched(model):
    """A list that will hold where the pointer of each glimpse points."""
    pointed = []
    if model.config.posterior == "pointer":
        model.point.register_forward_hook(lambda part, given, z: pointed.append(z))
    return pointed


def by_hand(model, x, label, pointed):
    """The three sums of eq. 5 a batch, with torch's own distributions: nats, (B,)."""
    cfg = model.config
    c = F.interpolate(x, (cfg.proxy,) * 2, mode="bilinear", antialias=True)
    seen, _ = model.read_proxy(c)
    h = torch.zeros_like(seen)
    memory = [(h, h), (h, h)]
    log_p, kl, features = 0.0, 0.0, 0.0
    for t in range(cfg.glimpses):
        p, q = model.prior(h), model.posterior(torch.cat((seen, h), 1))
        prior = dist.Normal(p[:, :3], (p[:, 3:] / 2).exp())
        mean, variance = q[:, :3], q[:, 3:].exp()
        if cfg.sigma_max:
            variance = cfg.sigma_max**2 / (1 + 1 / variance)
        if pointed:
            mean = torch.cat((mean[:, :1], mean[:, 1:] + pointed[t]), 1)
        posterior = dist.Normal(mean, variance.sqrt())
        z = posterior.mean + posterior.stddev * torch.randn(len(x), 3, dtype=x.dtype)
        place = model.read_place(z)
        guess = model.decode(torch.cat((place, h), 1)).sigmoid()
        log_p = log_p + _log_bernoulli(c.flatten(1), guess)
        both = dist.kl_divergence(posterior, prior)
        kl = kl + (both[:, 1:] if cfg.scale[0] == cfg.scale[1] else both).sum(1)
        features = features + model.read_crop(_cut(x, z, cfg))
        memory[0] = model.recur[0](torch.cat((seen, place), 1), memory[0])
        memory[1] = model.recur[1](memory[0][0], memory[1])
        h = memory[1][0]
    logits = model.classify(features)
    return dist.Categorical(logits=logits).log_prob(label), log_p, kl


def _log_bernoulli(c, p):
    return (c * p.log() + (1 - c) * (1 - p).log()).sum(dim=1)


def _cut(x, z, cfg):
    low, high = cfg.scale
    s = low + (high - low) / (1 + (-z[:, :1]).exp())  # (B, 1)
    place = z[:, 1:].tanh() * (1 - s)
    theta = torch.zeros(len(x), 2, 3, dtype=x.dtype)
    theta[:, 0, 0] = theta[:, 1, 1] = s[:, 0]
    theta[:, :, 2] = place
    size = (len(x), x.shape[1], cfg.size, cfg.size)
    grid = F.affine_grid(theta, size, align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        LEARNED,
        replace(LEARNED, posterior="dense"),
        replace(SMALL, sigma=0.3, sigma_max=0.35),
    ],
    ids=["fixed s", "learned s", "dense", "bounded sigma"],
)
def test_the_sum_is_equation_5(config):
    model, batch = untied(model_of(config, objective="sum")), batch_of()
    x, pointed = batch["image"].double(), watched(model)
    torch.manual_seed(7)
    terms = model.loss(batch | {"image": x}).terms
    torch.manual_seed(7)
    log_y, log_c, kl = by_hand(model, x, batch["label"], pointed)
    bound = (log_y + log_c - kl).mean()
    assert terms.keys() == {"class", "reconstruction", "kl"}
    for name, wanted in (("class", -log_y), ("reconstruction", -log_c), ("kl", kl)):
        torch.testing.assert_close(terms[name], wanted.mean(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(sum(terms.values()), -bound, rtol=1e-9, atol=0)


@pytest.mark.parametrize("objective", ["weighted", "product"])
def test_the_other_objectives_are_made_of_the_same_sums(objective):
    model = untied(model_of(LEARNED, objective=objective))
    cfg, batch = model.config, batch_of()
    x, pointed = batch["image"].double(), watched(model)
    torch.manual_seed(7)
    loss = model.loss(batch | {"image": x})
    torch.manual_seed(7)
    log_y, log_c, kl = (v.mean() for v in by_hand(model, x, batch["label"], pointed))
    T = cfg.glimpses
    if objective == "weighted":
        wanted = -log_y - cfg.reconstruction_weight * log_c / T
        wanted = wanted + cfg.kl_weight * kl / T
    else:
        wanted = -log_y * (-log_c + cfg.product_kl * kl) / T / cfg.product_unit
    torch.testing.assert_close(loss.total, wanted, rtol=1e-9, atol=0)


def test_kl_is_torchs_and_that_of_sampling():
    torch.manual_seed(0)
    mu_q, mu_p = torch.randn(2, 5, 3, dtype=torch.float64)
    sigma_q, sigma_p = torch.rand(2, 5, 3, dtype=torch.float64) + 0.3
    q, p = dist.Normal(mu_q, sigma_q), dist.Normal(mu_p, sigma_p)
    kl = gaussian_kl(mu_q, sigma_q, mu_p, sigma_p)
    torch.testing.assert_close(kl, dist.kl_divergence(q, p))
    z = q.sample((100_000,))
    ratio = q.log_prob(z) - p.log_prob(z)
    error = ratio.std(dim=0) / math.sqrt(len(z))
    assert ((ratio.mean(dim=0) - kl).abs() < 4.5 * error).all()
    assert gaussian_kl(mu_q, sigma_q, mu_q, sigma_q).abs().max() < 1e-15


@pytest.mark.parametrize("config, free", [(SMALL, False), (LEARNED, True)])
def test_an_unused_scale_costs_no_kl(config, free):
    model = untied(model_of(config, objective="sum", glimpses=1))
    batch = batch_of()
    kl = model.loss(batch | {"image": batch["image"].double()}).terms["kl"]
    (slope,) = torch.autograd.grad(kl, model.posterior[-1].bias)
    assert (slope[[0, 3]] != 0).all() == free
    assert (slope[[1, 2, 4, 5]] != 0).all()


# --------------------------------------------------------------------------- gradients


@pytest.mark.parametrize(
    "config",
    [SMALL, LEARNED, CODE],
    ids=["fixed s", "learned s", "released code's window"],
)
def test_gradients_pass_from_crops_to_z(config):
    model = model_of(config).double()
    image = torch.rand(2, 1, 11, 14, dtype=torch.float64)
    z = torch.randn(2, 3, 3, dtype=torch.float64, requires_grad=True)

    def look(z):
        return glimpse.crop(image, *model.window(z), 4, outside="zeros")

    assert torch.autograd.gradcheck(look, z)


def test_the_losss_gradient_is_pathwise():
    """Through sampling, window, crop and classifier, against finite differences."""
    dense = replace(LEARNED, posterior="dense", objective="sum")
    model, batch = untied(model_of(dense)), batch_of()
    batch["image"] = batch["image"].double()
    bias = model.posterior[-1].bias

    def value():
        torch.manual_seed(3)
        return model.loss(batch).terms["class"]

    (slope,) = torch.autograd.grad(value(), bias)
    for k in range(6):
        ends = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                bias[k] += step
                ends.append(float(value()))
                bias[k] -= step
        assert float(slope[k]) == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-4)
        assert slope[k] != 0


# ----------------------------------------------------------------------------- windows


@pytest.mark.parametrize("config", [SMALL, LEARNED, replace(SMALL, scale=(1.0, 1.0))])
@pytest.mark.parametrize("huge", [1e2, 1e30, float("inf")])
def test_bounded_windows_never_leave_the_image(config, huge):
    model = model_of(config)
    signs = torch.tensor([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)])
    location, scale = model.window((signs * huge)[None])
    assert (location.abs() + scale[..., None]).max() <= 1 + 1e-6
    low, high = config.scale
    assert scale.min() >= low and scale.max() <= high + 1e-6
    glimpse.crop(torch.rand(1, 1, 30, 20), location, scale, 4)  # does not raise


def test_the_released_codes_window_may_leave_the_image():
    model = model_of(CODE, scale=(0.5, 0.5))
    location, scale = model.window(torch.tensor([[[0.0, 4.0, -2.0]]]))
    assert location.tolist() == [[[-2.0, 1.0]]] and scale.tolist() == [[0.5]]


def test_windows_keep_their_places_in_half_precision():
    model = model_of(LEARNED)
    with torch.autocast("cpu", torch.bfloat16):
        places = model.saccade(torch.rand(4, 1, 8, 8), sample=True)
    for value in (places.location, places.scale, places.kl, places.sigma):
        assert value.dtype == torch.float32


def test_windows_narrow_on_schedule():
    model = model_of(narrow_to=0.2, narrow_during=(0.25, 0.75)).train()
    sides = []
    for progress in (0.0, 0.25, 0.5, 0.75, 1.0):
        found = model.loss(batch_of() | {"progress": progress})
        assert found.metrics["window"] == model.window_side
        sides.append(float(model.window_side))
    assert sides == pytest.approx([0.5, 0.5, 0.35, 0.2, 0.2])
    assert model.predict(batch_of()["image"]).scale.unique().tolist() == sides[-1:]
    other = model_of(narrow_to=0.2)
    other.load_state_dict(model.state_dict())
    assert other.predict(batch_of()["image"]).scale.unique().tolist() == sides[-1:]


def two_blobs(inhibition, strong=100.0, weak=4.0):
    """Where a pointer of two glimpses looks whose keys say: here, or else there."""
    point = Pointer(side=8, hidden=4, glimpses=2, inhibition=inhibition)
    keys = torch.zeros(1, 16, 8, 8)
    keys[:, 0] = -weak
    keys[:, 0, 2, 1], keys[:, 0, 5, 6] = strong, weak
    with torch.no_grad():
        point.own.zero_()
        point.own[:, 0] = 1.0
        point.query.weight.zero_()
        point.query.bias.zero_()
    state, reach = torch.zeros(1, 8), torch.full((1, 1), 0.8)
    looked = []
    for _ in range(2):
        with torch.no_grad():
            z = point(state, keys.flatten(2), reach, looked)
        looked.append((torch.tanh(z) * 0.8, torch.tensor([0.2])))
    return torch.cat([place for place, _ in looked])


def test_a_second_glimpse_does_not_return():
    here, there = torch.tensor([-0.625, -0.375]), torch.tensor([0.625, 0.375])
    first, second = two_blobs(inhibition=8.0)
    assert (first - here).norm() < (first - there).norm()
    assert (second - there).norm() < (second - here).norm()
    first, second = two_blobs(inhibition=0.0)
    torch.testing.assert_close(first, second)


def test_the_pointer_s_odds_are_bounded():
    """However strong the keys, no cell is beyond the reach of a gradient."""
    there = two_blobs(inhibition=0.0, strong=1e6, weak=0.0)[0]
    torch.testing.assert_close(there, two_blobs(inhibition=0.0, strong=1e3, weak=0)[0])
    # One cell at the limit against 63 of score 0, which balance around the centre.
    share = math.exp(Pointer.LIMIT) / (math.exp(Pointer.LIMIT) + 63)
    z = share * math.atanh(0.625 / 0.8)
    assert float(-there[0]) == pytest.approx(0.8 * math.tanh(z), abs=0.03)
    assert share < 0.75


def slope_of(sampler):
    """Logits and crops at fixed places, and the slope of the logits there."""
    model = untied(model_of(LEARNED, sampler=sampler))
    image = batch_of(2)["image"].double()
    draw = torch.Generator().manual_seed(1)
    location = (torch.rand(2, 3, 2, generator=draw).double() - 0.5).requires_grad_()
    scale = torch.full((2, 3), 0.4, dtype=torch.float64, requires_grad=True)
    logits, o = model.look(image, Places(location, scale))
    total = logits.square().sum() + 0 * location.sum() + 0 * scale.sum()
    return logits, o, torch.autograd.grad(total, (location, scale))


def test_samplers_differ_in_the_slope_they_send_back():
    logits, o, (by_place, by_scale) = slope_of("bilinear")
    for sampler in ("local", "mask", "detached"):
        torch.testing.assert_close(slope_of(sampler)[1], o)
        torch.testing.assert_close(slope_of(sampler)[0], logits)
    local = slope_of("local")[2]
    torch.testing.assert_close(local, (by_place, by_scale))
    assert all(part.eq(0).all() for part in slope_of("detached")[2])
    masked, by_mask = slope_of("mask")[2]
    assert by_mask.eq(1).all() and not torch.allclose(masked, by_place, rtol=0.1)
    for sampler, kernel in (("wide-2", 2), ("wide-4", 4)):
        image = batch_of(2)["image"].double()
        draw = torch.Generator().manual_seed(1)
        at = torch.rand(2, 3, 2, generator=draw).double() - 0.5
        wanted = glimpse.crop_local(image, at, 0.4, 8, kernel=kernel)
        torch.testing.assert_close(slope_of(sampler)[1], wanted)


# ---------------------------------------------------------------------------- controls


def test_random_places_lie_inside_and_see_nothing():
    model = model_of(places="random", glimpses=50)
    places = model.places(torch.zeros(40, 1, 20, 20), {}, sample=True)
    assert (places.location.abs() + 0.5).max() <= 1
    spread = places.location.flatten(0, 1)
    assert spread.mean(dim=0).abs().max() < 0.03
    torch.testing.assert_close(
        spread.std(0), torch.full((2,), 0.5 / 3**0.5), atol=0.02, rtol=0
    )
    assert not hasattr(model, "posterior")


def test_the_centre_is_the_centre():
    seen = model_of(places="centre").predict(batch_of()["image"])
    assert seen.location.eq(0).all() and seen.location.shape == (4, 3, 2)


def test_the_oracle_looks_at_the_digits_in_turn():
    batch = Canvases(embedded(), "sum").batch(torch.arange(60))
    model = model_of(places="oracle", classes=19, glimpses=3, scale=(0.28, 0.28))
    seen = model.predict(batch["image"], batch=batch)
    for t in range(3):
        torch.testing.assert_close(seen.location[:, t], batch["centre"][:, t % 2])
    wide = model_of(places="oracle", scale=(0.6, 0.6))
    clamped = wide.predict(batch["image"], batch=batch).location
    assert clamped.abs().max() <= 0.4 + 1e-6


@pytest.mark.parametrize("places", ["random", "centre", "oracle"])
def test_controls_have_one_term(places):
    batch = Canvases(embedded(), "single").batch(torch.arange(4))
    found = model_of(places=places).loss(batch)
    assert found.terms.keys() == {"class"} and found.total > 0


# -------------------------------------------------------------- prediction and classes


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("sample", [True, False])
def test_predicting_changes_nothing(training, sample):
    model = model_of(narrow_to=0.3).train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images = batch_of(5)["image"]
    seen = model.predict(images, sample)
    assert model.training is training
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert seen.probabilities.shape == (5, 10) and seen.crops.shape == (5, 3, 1, 8, 8)
    assert seen.location.shape == (5, 3, 2) and seen.scale.shape == (5, 3)
    torch.testing.assert_close(seen.probabilities.sum(1), torch.ones(5))
    again = model.predict(images, sample)
    assert torch.equal(again.location, seen.location) is not sample
    if not sample:  # what is seen in a batch is what is seen alone
        alone = model.predict(images[2:3])
        torch.testing.assert_close(alone.location[0], seen.location[2])
        torch.testing.assert_close(alone.probabilities[0], seen.probabilities[2])


def test_the_classifier_sees_crops_only():
    model, images = model_of(scale=(0.3, 0.3)).eval(), torch.rand(4, 1, 40, 40)
    proxy = torch.rand(4, 1, 8, 8)
    first = model.predict(images, batch={"proxy": proxy})
    other = torch.rand(4, 1, 40, 40)
    for k, corners in enumerate(glimpse.boxes(first.location, first.scale, 40, 40)):
        for left, top, right, bottom in corners.tolist():  # and a pixel around
            rows = slice(max(0, int(top) - 1), int(bottom) + 2)
            columns = slice(max(0, int(left) - 1), int(right) + 2)
            other[k, :, rows, columns] = images[k, :, rows, columns]
    assert (other != images).float().mean() > 0.1
    second = model.predict(other, batch={"proxy": proxy})
    assert torch.equal(second.probabilities, first.probabilities)
    unlike = model.predict(1 - images, batch={"proxy": proxy})
    assert not torch.equal(unlike.probabilities, first.probabilities)


@pytest.mark.parametrize("state_in_classifier", [False, True])
def test_the_recurrent_state_reaches_the_classifier_only_if_asked_to(
    state_in_classifier,
):
    model = model_of(state_in_classifier=state_in_classifier).eval()
    x, location = torch.rand(2, 1, 20, 20), torch.zeros(2, 3, 2)
    one, two = (
        model.look(x, Places(location, torch.full((2, 3), 0.5), torch.rand(2, 3, 12)))
        for _ in range(2)
    )
    assert torch.equal(one[0], two[0]) is not state_in_classifier


# ---------------------------------------------------------------------------- switches


SWITCHES = [
    {"objective": "sum"},
    {"objective": "product"},
    {"kl_reading": "code"},
    {"posterior": "dense"},
    {"posterior": "dense", "window": "code"},
    {"posterior": "dense", "window": "code", "scale": (0.1, 0.9)},
    {"sigma_max": 0.6},
    {"state_in_classifier": True},
    {"fixed_variance": 0.6},
    {"scale": (0.2, 0.8)},
    {"narrow_to": 0.2},
    {"inhibition": 0.0},
    {"glimpses": 1},
    {"size": 24},
    {"proxy": 13},
    {"encoder": "residual"},
    {"channels": 3},
]


@pytest.mark.parametrize("change", SWITCHES, ids=str)
def test_every_switch_trains(change):
    model = model_of(**change).train()
    channels = change.get("channels", 1)
    batch = batch_of(2, channels, height=33, width=47) | {"progress": 0.4}
    loss = model.loss(batch)
    loss.total.backward()
    assert loss.total.isfinite()
    assert loss.metrics["train_accuracy"] in (0, 50, 100)
    for name, parameter in model.named_parameters():
        if name.startswith("recur") and model.config.glimpses == 1:
            assert parameter.grad is None  # nothing comes after the only step
        else:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("changes", [{}, {"sigma": 0.25, "sigma_max": 0.35}])
def test_training_starts_with_the_sigma_asked_for(changes):
    model = model_of(**changes)
    sigma = float(model.loss(batch_of(8)).metrics["sigma"].detach())
    assert sigma == pytest.approx(model.config.sigma, rel=0.05)


def test_a_bound_of_sigma_holds():
    model = model_of(sigma=0.25, sigma_max=0.35)
    with torch.no_grad():
        model.posterior[-1].bias[3:] = 50.0
    assert model.loss(batch_of(8)).metrics["sigma"] <= 0.35 + 1e-6


@pytest.mark.parametrize(
    "config", [replace(SMALL, proxy=32), replace(LEARNED, proxy=32)]
)
def test_a_pointer_sets_the_window_on_what_it_attends_to(config):
    point = model_of(config).point
    n = point.places.shape[-1]
    reach = torch.tensor([[0.6]])
    with torch.no_grad():
        point.query.weight.zero_()
        point.query.bias.zero_()
        point.own.zero_()[:, 0] = 1.0
    for row, column in ((n // 2, n // 2), (n // 2, n // 2 - 2), (n // 2 + 1, n // 2)):
        keys = torch.zeros(1, 16, n * n)
        keys[0, 0] = -100.0
        keys[0, 0, row * n + column] = 100.0
        z = point(torch.zeros(1, 24), keys, reach, looked=[])
        cell = torch.tensor([[column, row]]) * 2 + 1.0
        # The other cells keep exp(-2 LIMIT) each: a thousandth of a side.
        torch.testing.assert_close(
            torch.tanh(z) * reach, cell / n - 1, atol=5e-3, rtol=0
        )


def test_a_fixed_variance_is_the_posteriors():
    model = model_of(fixed_variance=0.6)
    assert float(model.loss(batch_of()).metrics["sigma"]) == pytest.approx(0.6**0.5)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"objective": "mean"}, "objective must be one of sum, weighted.*'mean'"),
        ({"window": "free"}, "window must be one of bounded, code, got 'free'"),
        ({"places": "corner"}, "places must be one of learned, random.*'corner'"),
        ({"encoder": "large"}, "encoder must be one of small, residual, got 'large'"),
        ({"kl_reading": "x"}, "kl_reading must be one of gaussian, code, got 'x'"),
        ({"posterior": "x"}, "posterior must be one of pointer, dense, got 'x'"),
        ({"sampler": "x"}, "sampler must be one of bilinear, detached, mask, local"),
        ({"window": "code"}, "window 'code' has no inverse .*use 'dense'"),
        ({"sigma_max": 0.5}, r"sigma 0\.5 is not below 0\.5"),
        ({"size": 7}, "size must be even, got 7"),
        ({"scale": (0.5, 0.2)}, r"scale must be 0 < smallest .*\(0\.5, 0\.2\)"),
        ({"scale": (0.0, 0.5)}, "scale must be"),
        ({"narrow_to": 0.1, "scale": (0.2, 0.5)}, "narrow_to needs a fixed scale"),
        ({"places": "centre", "state_in_classifier": True}, "no recurrent state"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **wrong)


@pytest.mark.parametrize("call", ["loss", "predict"])
@pytest.mark.parametrize(
    "image, message",
    [
        (torch.rand(2, 3, 20, 20), r"\(B, 1, H, W\), got \(2, 3, 20, 20\)"),
        (torch.rand(1, 20, 20), r"got \(1, 20, 20\)"),
        (torch.rand(2, 1, 20, 20) * 255, r"\[0, 1\].*divide 8-bit images by 255"),
        (torch.rand(2, 1, 7, 20), "at least 8 pixels a side"),
    ],
    ids=["channels", "rank", "range", "side"],
)
def test_wrong_images_are_refused(call, image, message):
    model, label = model_of().eval(), torch.zeros(2, dtype=torch.long)
    with pytest.raises(ValueError, match=message):
        if call == "loss":
            model.loss({"image": image, "label": label})
        else:
            model.predict(image)


# --------------------------------------------------------------------------- baselines


@pytest.mark.parametrize("training", [True, False])
def test_resnet18_is_torchvisions(training):
    from saccade_lib._compat import torchvision

    torch.manual_seed(0)
    theirs = torchvision.models.resnet18(num_classes=10).train(training)
    ours = baselines.ResNet18(64, 10).train(training)
    ours.load_state_dict(theirs.state_dict())
    image = torch.rand(2, 3, 64, 48)
    torch.testing.assert_close(ours(image), theirs(image), rtol=1e-4, atol=1e-5)
    for name, value in theirs.state_dict().items():  # running statistics, too
        torch.testing.assert_close(ours.state_dict()[name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("classes", [19, 55])
def test_the_full_image_baseline_has_the_papers_parameters(classes):
    with torch.device("meta"):
        model = baselines.FullImage(baselines.Config(classes))
    assert cost.parameters(model) == 11_374_656 + 257 * classes


BASELINES = [
    baselines.Config(10, width=4, hidden=8),
    baselines.Config(10, channels=3, width=4, hidden=8, resize=40),
    baselines.ProxyConfig(10, proxy=8, width=4, features=8),
    baselines.ProxyConfig(10, channels=3, proxy=13, width=4, features=8),
]


@pytest.mark.parametrize("config", BASELINES, ids=str)
def test_baselines_train_and_predict(config):
    kind = baselines.FullImage if hasattr(config, "resize") else baselines.ProxyOnly
    torch.manual_seed(0)
    model = kind(config).train()
    batch = batch_of(4, config.channels, height=33, width=47)
    loss = model.loss(batch)
    loss.total.backward()
    assert loss.terms.keys() == {"class"} and loss.total.isfinite()
    assert all(p.grad is not None for p in model.parameters())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    probabilities = model.predict(batch["image"]).probabilities
    torch.testing.assert_close(probabilities.sum(1), torch.ones(4))
    assert model.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    with pytest.raises(ValueError, match=r"expected images \(B"):
        model.predict(batch["image"][0])
