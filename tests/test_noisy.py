"""Noisy proxies are a function of the index, noisy as they say, and read as proxies."""

from dataclasses import replace

import pytest
import torch
from test_digits import embedded

from saccade_lib import glimpse
from saccade_lib.data import digits
from saccade_lib.data.noisy import NoisyProxies
from saccade_lib.models import baselines

INDEX = torch.arange(40)


def stream(noise=0.5, split="train", seed=0, proxy=12):
    kind = dict(side=60, clutter=4, seed=seed, proxy=proxy, noise=noise)
    return NoisyProxies(embedded(), "single", split, **kind)


def test_a_proxy_does_not_depend_on_its_batch():
    whole = stream().batch(INDEX)["proxy"]
    for part in (INDEX[5:9], INDEX.flip(0), INDEX[7:8]):
        assert torch.equal(stream().batch(part)["proxy"], whole[part])


@pytest.mark.parametrize("split", ["validation", "test"])
def test_held_out_noise_is_the_same_for_every_seed(split):
    one, other = (stream(split=split, seed=s).batch(INDEX)["proxy"] for s in (0, 7))
    assert torch.equal(one, other)


def test_seeds_and_splits_have_noise_of_their_own():
    proxies = [stream(seed=0), stream(seed=1), stream(split="test")]
    flat = [(s.batch(INDEX)["proxy"] - 0.5).flatten() for s in proxies]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        # 5,760 pixels: independent ones correlate by 0.013 at one standard error. The
        # rest is that digits stand in the middle more often than not.
        assert abs(float(torch.corrcoef(torch.stack((flat[a], flat[b])))[0, 1])) < 0.1


def test_the_image_and_its_truth_stay_as_they_are():
    plain = digits.Canvases(embedded(), "single", side=60, clutter=4).batch(INDEX)
    noisy = stream().batch(INDEX)
    assert noisy.keys() == plain.keys() | {"proxy"}
    for name, value in plain.items():
        assert torch.equal(noisy[name], value)


def test_without_noise_it_is_the_proxy():
    batch = stream(noise=0.0, proxy=20).batch(INDEX)
    clean = glimpse.downsample(batch["image"], 20)
    assert torch.equal(batch["proxy"], clean.clamp(0, 1))  # rounding may exceed 1


@pytest.mark.parametrize("noise", [0.1, 1.0])
def test_the_noise_is_normal_with_the_standard_deviation_that_was_asked_for(noise):
    index = torch.arange(400)
    batch = stream(noise=noise).batch(index)
    clean = glimpse.downsample(batch["image"], 12)
    black = batch["proxy"][clean == 0]  # clipped below at 0: half of a normal is left
    n = black.numel()
    assert n > 10_000 and float(black.min()) >= 0 and float(black.max()) <= 1
    for quantile in (0.6, 0.75, 0.82):
        at = noise * torch.special.ndtri(torch.tensor(quantile))
        share = float((black <= at).double().mean())
        assert abs(share - quantile) < 5 * (quantile * (1 - quantile) / n) ** 0.5


def test_negative_noise_is_refused():
    with pytest.raises(ValueError, match="standard deviation >= 0, got -1"):
        stream(noise=-1.0)


def test_a_classifier_of_the_proxy_reads_the_batch_s_own():
    torch.manual_seed(0)
    net = baselines.ProxyOnly(baselines.ProxyConfig(classes=10, proxy=12, width=4))
    batch = stream().batch(INDEX)
    blank = batch | {"image": torch.zeros_like(batch["image"])}
    assert torch.equal(net.loss(batch).total, net.loss(blank).total)
    given = net.predict(batch["image"], batch=batch).probabilities
    assert torch.equal(given, net.predict(blank["image"], batch=blank).probabilities)
    assert not torch.equal(given, net.predict(batch["image"]).probabilities)


def test_an_experiment_with_noise_hands_it_to_every_split():
    from saccade_lib.runs.variational_saccading.ablations import BASE

    run = replace(BASE, noise=0.25)
    for split in digits.SPLITS:
        canvases = run.canvases(embedded(), split, 3)
        assert isinstance(canvases, NoisyProxies)
        assert (canvases.noise, canvases.proxy, canvases.split) == (0.25, 12, split)
