"""Networks that are told maps or places: targets, slopes, rows."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from test_partial_supervision import TINY, batch, sequences

from saccade_lib import sequences as designed
from saccade_lib.data import door
from saccade_lib.data.taught import UNKNOWN
from saccade_lib.data.taught_maps import TaughtMaps
from saccade_lib.models import told_places
from saccade_lib.models.distilled import Distilled
from saccade_lib.models.partial_supervision import Config, PartlySupervised, led
from saccade_lib.models.tnet import TNet, first
from saccade_lib.runs.experiment import as_kind, build, train
from saccade_lib.runs.near_optimal_glimpses import partial, pupils
from saccade_lib.runs.on_maps import OnMaps, softened

L, T = 4, 2  # of TINY


def network(kind, **more):
    torch.manual_seed(0)
    net = kind(Config(**TINY | more)).double()
    torch.nn.init.normal_(net.policy.head[-1].weight)
    return net.eval()


def told(soft, places):
    return batch(places) | {"soft": soft}


def test_a_map_with_one_place_is_the_place():
    places = torch.tensor([[0, 3], [2, 1], [UNKNOWN, UNKNOWN]])
    point = torch.nn.functional.one_hot(places.clamp(min=0), L).double()
    soft, plain = network(Distilled, taught=3.0), network(PartlySupervised, taught=3.0)
    torch.manual_seed(1)
    one = soft.loss(told(point, places))
    torch.manual_seed(1)
    other = plain.loss(batch(places))
    assert one.terms.keys() == other.terms.keys()
    for name, value in other.terms.items():
        torch.testing.assert_close(one.terms[name], value)


def test_soft_targets_are_the_mean_over_draws_of_the_next_place():
    """Against a sum over all places, each taught alone after the same history."""
    places = torch.tensor([[0, 3]])
    p = torch.tensor([[[0.1, 0.2, 0.3, 0.4], [0.0, 0.5, 0.25, 0.25]]]).double()
    net = network(Distilled)
    data = told(p, places)
    data = {name: v[:1] for name, v in data.items()}
    found = net.loss(data).terms["taught"]
    expected = 0.0
    for t in range(T):
        for place in range(L):
            asked = places.clone()
            asked[0, t] = place  # after the designer's own history
            log_p = net.run(data["image"], choose=led(asked)).log_prob[0, t]
            expected = expected - p[0, t, place] * log_p
    torch.testing.assert_close(found, expected)
    head = net.policy.head[-1].weight
    (slope,) = torch.autograd.grad(net.loss(data).terms["taught"], head)
    assert slope.abs().max() > 0
    assert len(sequences()) == L**T


def test_targets_fall_with_the_entropy_and_leave_out_what_was_seen():
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(3, 4, 9, generator=generator)
    places = torch.stack([torch.randperm(9, generator=generator)[:4] for _ in range(3)])
    p = softened(maps, places, 0.4)
    torch.testing.assert_close(p.sum(dim=2), torch.ones(3, 4))
    for m in range(3):
        for t in range(4):
            free = torch.ones(9, dtype=torch.bool)
            free[places[m, :t]] = False
            assert (p[m, t, ~free] == 0).all()
            one = designed.concentrated(maps[m, t, free], 0.4)
            torch.testing.assert_close(p[m, t, free], one, atol=1e-4, rtol=0)
    sharp = softened(maps, places, 1e-4)
    free = maps.clone()
    for t in range(1, 4):
        free[:, t:].scatter_(2, places[:, None, t - 1 : t].expand(-1, 4 - t, -1), 9.0)
    assert torch.equal(sharp.argmax(dim=2), free.argmin(dim=2))


@pytest.fixture
def soft_run(monkeypatch):
    pack = door._embedded_digits()
    model = replace(partial.DIGITS, glimpses=3)
    run = partial.ROWS["ps-nogs-digits"]["quick"]
    schedule = replace(run.schedule, steps=2, batch=8, validate_every=1)
    run = as_kind(OnMaps, run, model=model, schedule=schedule, known=10)
    images = run.part(pack, "train")
    some = images.id[run.annotated_rows(images)]
    draw = torch.Generator().manual_seed(0)
    maps = torch.rand(10, 5, run.grid.L, generator=draw)
    made = SimpleNamespace(
        maps=maps,
        places=maps.argsort(dim=2)[:, 0, :5],
        of=lambda id: some.tolist().index(id),
    )
    monkeypatch.setattr(OnMaps, "designed", lambda self: made)
    return run, pack, made, images, some


def test_a_batch_brings_the_map_of_each_image_and_nothing_for_others(soft_run):
    run, pack, made, images, some = soft_run
    stream = run.canvases(pack, "train", 0)
    p = softened(made.maps[:, :3], made.places[:, :3], run.share)
    found = stream.batch(torch.arange(400))
    plain = super(TaughtMaps, stream).batch(torch.arange(400))
    assert all(torch.equal(found[name], v) for name, v in plain.items())
    known = found["places"][:, 0] != UNKNOWN
    assert 0 < known.sum() < 400
    assert (found["soft"][~known] == 0).all()
    for row in known.nonzero()[:, 0].tolist():
        best = found["soft"][row].argmax(dim=1)
        match = [m for m in range(10) if torch.equal(found["soft"][row], p[m])]
        assert len(match) == 1 and best[0] == made.maps[match[0], 0].argmin()
        assert torch.equal(made.places[match[0], :3], found["places"][row])
    again = stream.batch(torch.tensor([399, 7]))
    assert torch.equal(again["soft"], found["soft"][[399, 7]])
    outcome = train(run, 0, progress=False, pack=pack)
    assert "taught" in outcome.fit.curves


def test_the_mirror_image_has_the_mirrored_map(soft_run):
    run, pack, made, images, some = soft_run
    plain = run.canvases(pack, "train", 0)
    mirrored = replace(plain, flip=True)
    one, other = (s.batch(torch.arange(400)) for s in (plain, mirrored))
    n, moved = run.grid.n, 0
    for row in (one["places"][:, 0] >= 0).nonzero()[:, 0].tolist():
        a, b = (x["soft"][row].view(3, n, n) for x in (one, other))
        if torch.equal(one["image"][row], other["image"][row]):
            assert torch.equal(a, b)
        else:
            moved += 1
            assert torch.equal(a.flip(2), b)
            assert b[0].argmax() == other["places"][row, 0]
    assert moved


def test_maps_of_other_images_are_refused(soft_run):
    run, pack, made, *_ = soft_run
    stream = run.canvases(pack, "train", 0)
    wrong = replace(stream, find_soft=lambda: (stream.soft[0], stream.soft[1].flip(0)))
    with pytest.raises(ValueError, match="other images"):
        wrong.batch(torch.arange(4))
    narrow = replace(
        stream, find_soft=lambda: (stream.soft[0][..., 1:], stream.soft[1])
    )
    with pytest.raises(ValueError, match="probabilities"):
        narrow.batch(torch.arange(4))
    with pytest.raises(ValueError, match="designed"):
        replace(run, share=1.0)


# ---- TNet and Variational Saccading


def canvases(row, count=20):
    run = pupils.ROWS[row]["quick"]
    stream = run.canvases(door._embedded_digits(), "train", 0)
    return run, stream.batch(torch.arange(count)) | {"progress": 1.0}


def test_tnet_reads_and_learns_the_told_cells_and_only_rewards_the_others():
    run, data = canvases("told-tnet")
    net = build(run, 0).train()
    seen = net.traverse(data["image"], batch=data)
    level, n = seen.levels[0], 2
    nearest = first(net._control(level, 132, data), 3).sort(dim=-1).values
    assert torch.equal(level.chosen[:n], nearest[:n])
    assert not torch.equal(level.chosen[n:], nearest[n:])
    found = net.loss(data)
    log_p = level.log_p[:n, 0].gather(1, nearest[:n, 0])
    torch.testing.assert_close(found.terms["told"], -log_p.sum() / (3 * 20))
    net.eval()
    free = net.traverse(data["image"], batch=data).levels[0]
    assert torch.equal(free.chosen[:, 0], first(free.log_p[:, 0], 3).sort(1).values)
    slope = torch.autograd.grad(found.terms["told"], net.locate.parameters())
    assert any(g.abs().max() > 0 for g in slope)


def test_nothing_told_is_the_plain_model():
    run, data = canvases("told-tnet", 8)
    run = replace(run, model=replace(run.model, told=0.0))
    one, other = build(run, 0).train(), TNet(run.model).train()
    other.load_state_dict(one.state_dict())
    terms = one.loss(data).terms
    assert terms.pop("told") == 0
    for name, value in other.loss(data).terms.items():
        torch.testing.assert_close(terms[name], value)


def test_the_posterior_is_pulled_to_the_told_place():
    run, data = canvases("told-saccading", 20)
    net = build(run, 0).train()
    torch.manual_seed(0)
    found = net.loss(data)
    assert net._said is None
    centre = data["centre"][:2, 0]
    z = net.pointing_at(centre, torch.zeros(2, 1))
    location, scale = net.window(torch.cat((torch.zeros(2, 1), z), dim=1))
    inside = centre.clamp(-0.97 * (1 - scale[:, None]), 0.97 * (1 - scale[:, None]))
    torch.testing.assert_close(location, inside)
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(40):
        optimiser.zero_grad()
        net.loss(data).terms["told"].backward()
        optimiser.step()
    net.eval()
    after = net.predict(data["image"]).location[:2, 0]
    assert (after - inside).norm(dim=1).max() < 0.15
    assert torch.isfinite(found.total)


@pytest.mark.parametrize(
    "model, wrong, said",
    [
        (told_places.TNetConfig, dict(told=1.5), "share of the images"),
        (told_places.TNetConfig, dict(places="random"), "learned places"),
        (told_places.TNetConfig, dict(locations=(2, 2)), "two levels"),
        (told_places.SaccadingConfig, dict(told_weight=-1), "not negative"),
        (told_places.SaccadingConfig, dict(places="oracle"), "learned places"),
    ],
)
def test_what_does_not_fit_is_refused(model, wrong, said):
    with pytest.raises(ValueError, match=said):
        model(10, **wrong)


def test_rows_differ_from_those_beside_them_in_what_is_told_alone():
    for images in ("digits", "birds"):
        one = pupils.ROWS[f"ps-soft-{images}"]["standard"]
        other = partial.ROWS[f"ps-nogs-{images}"]["standard"]
        assert (one.model, one.schedule, one.known) == (
            other.model,
            other.schedule,
            other.known,
        )
