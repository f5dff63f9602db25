"""Costs are counted as one would count them by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from saccade_lib import cost
from saccade_lib.models.baselines import ResNet18

F32 = 4  # bytes


def test_parameters_are_those_that_train():
    net = nn.Sequential(nn.Conv2d(3, 8, 5), nn.BatchNorm2d(8), nn.Linear(8, 2))
    assert cost.parameters(net) == (8 * 3 * 25 + 8) + 2 * 8 + (8 * 2 + 2)
    net[0].weight.requires_grad_(False)
    assert cost.parameters(net) == 8 + 2 * 8 + (8 * 2 + 2)


@pytest.mark.parametrize(
    "layer, shape, by_hand",
    [
        (nn.Conv2d(3, 8, 3, padding=1), (2, 3, 10, 12), 2 * 8 * 3 * 9 * 10 * 12),
        (nn.Conv2d(3, 8, 5, stride=2), (1, 3, 11, 11), 8 * 3 * 25 * 4 * 4),
        (nn.Conv2d(8, 8, 3, groups=4), (1, 8, 6, 6), 8 * 2 * 9 * 4 * 4),
        (nn.Linear(5, 7), (2, 5), 2 * 5 * 7),
        (nn.LSTMCell(5, 6), (2, 5), 2 * 4 * 6 * (5 + 6)),
        (nn.ReLU(), (2, 5), 0),
    ],
    ids=["same", "strided", "grouped", "linear", "lstm cell", "relu"],
)
def test_multiplications_are_those_of_the_formula(layer, shape, by_hand):
    image = torch.rand(shape)
    assert cost.multiplications(lambda: layer(image)) == by_hand


def test_multiplications_of_parts_add_up():
    a, b = torch.rand(3, 4), torch.rand(4, 5)
    assert cost.multiplications(lambda: (a @ b) @ b.T) == 3 * 4 * 5 * 2


@pytest.mark.parametrize("batch", [1, 7])
def test_saved_activations_of_a_net_counted_by_hand(batch):
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    x = torch.rand(batch, 4)
    # x for the first weight; relu's output for relu and, once, for the second weight;
    # the last output for its square.
    by_hand = F32 * batch * (4 + 3 + 2)
    assert cost.saved_activations(lambda: net(x).square().sum(), net) == by_hand


def test_saved_activations_count_a_storage_once_and_weights_never():
    weight = nn.Parameter(torch.rand(50, 50))
    holder = nn.ParameterList([weight])
    x = torch.rand(50, 50)
    halves = x[:25], x[25:]  # two views of one storage
    saved = cost.saved_activations(
        lambda: (halves[0] @ weight).sum() + (halves[1] @ weight).sum(), holder
    )
    assert saved == F32 * 50 * 50
    assert cost.saved_activations(lambda: weight.square().sum(), holder) == 0
    with torch.no_grad():
        assert cost.saved_activations(lambda: (x @ weight).sum(), holder) == 0


def test_saved_activations_keep_short_lived_storages_apart():
    weight = nn.Parameter(torch.rand(8))
    holder = nn.ParameterList([weight])

    def run():  # each graph dies before the next is made: addresses come again
        for _ in range(5):
            (weight * torch.rand(1000, 8)).sum()

    assert cost.saved_activations(run, holder) == 5 * F32 * 1000 * 8


@pytest.mark.parametrize("side, mib", [(100, 4.6), (224, 21.3)])
def test_what_resnet18_keeps_for_the_backward_pass(side, mib):
    net = ResNet18().train()
    image = torch.rand(2, 3, side, side)
    kept = cost.saved_activations(lambda: F.relu(net(image)).sum(), net) / 2
    assert kept / cost.MIB == pytest.approx(mib, abs=0.3)


def test_resnet18_makes_its_known_number_of_multiplications():
    with torch.device("meta"):  # shapes are enough to count
        net, image = ResNet18().eval(), torch.rand(1, 3, 224, 224)
    counted = cost.multiplications(lambda: net(image))
    assert counted == 1_814_073_344
    assert cost.parameters(net) == 11_689_512


def test_a_cpu_has_no_peak_and_is_not_asked_for_one():
    def never():
        raise AssertionError

    assert cost.peak_device_memory(never, torch.device("cpu")) is None


def test_seconds_is_the_median_after_a_warm_up(monkeypatch):
    clock = iter([0, 3, 10, 11, 20, 29])  # three calls: 3, 1 and 9 seconds
    monkeypatch.setattr(cost.time, "perf_counter", lambda: next(clock))
    calls = []
    found = cost.seconds(lambda: calls.append(1), torch.device("cpu"), repeats=3)
    assert found == 3 and len(calls) == 4
