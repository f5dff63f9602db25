"""The enumerable beds, against loops over images, histories and decision trees."""

import math
from itertools import combinations, product

import pytest
import torch

from saccade_lib import toy_designs
from saccade_lib.design import entropy, uncertainty

PIXELS = [*product((0, 1), repeat=6)]  # in the order of the bed's images


@pytest.fixture(scope="module")
def bed():
    return toy_designs.gamma_bed()


def histories(longest, L=6):
    for t in range(longest + 1):
        for places in product(range(L), repeat=t):
            for patches in product((0, 1), repeat=t):
                yield tuple(zip(places, patches, strict=True))


def recount(bed, history):
    """p(theta, y | l) by going through the images one by one."""
    mass = [0.0] * len(bed.joint)
    for m, pixels in enumerate(PIXELS):
        if all(pixels[place] == patch for place, patch in history):
            for k in range(len(mass)):
                mass[k] += float(bed.joint[k, m])
    return mass


def nats(mass):
    total = sum(mass)
    return -sum(u / total * math.log(u / total) for u in mass if u > 0)


def test_images_are_all_images_in_their_order():
    images = toy_designs.binary_images()
    assert images.shape == (64, 1, 2, 3)
    assert [tuple(image.flatten().int().tolist()) for image in images] == PIXELS


def test_first_step_has_the_known_numbers(bed):
    """Measured with another program."""
    known = [1.076120, 1.080756, 1.075371, 1.074143, 1.074579, 1.065828]
    assert f"{float(entropy(bed.posterior())):.6f}" == "1.080954"
    assert [round(v, 6) for v in bed.epe_over_patches().tolist()] == known
    assert int(bed.choose(1)) == 5


def test_sequences_have_the_known_numbers(bed):
    known = {
        1: (1.065828, 1.065828, 1.074466),
        2: (1.010520, 0.992817, 1.055497),
        3: (0.952617, 0.896264, 1.024372),
    }
    for T, numbers in known.items():
        found = bed.follow(T, 1), bed.follow(T, T), bed.wander(T)
        assert tuple(round(float(v), 6) for v in found) == numbers


def test_equation_3_is_equation_5_and_an_independent_recount(bed):
    """Every history of up to two glimpses (also of one place), every next place."""
    checked = 0
    for history in histories(2):
        if len({*history}) > len({place for place, _ in history}):
            continue  # a place that shows two patches
        here = bed.given(history)
        by_patches, by_images = here.epe_over_patches(), here.epe_over_images()
        assert (by_patches - by_images).abs().max() < 1e-14
        for place in range(6):
            each = [recount(bed, (*history, (place, patch))) for patch in (0, 1)]
            total = sum(map(sum, each))
            epe = sum(sum(u) / total * nats(u) for u in each if sum(u) > 0)
            assert math.isclose(epe, float(by_patches[place]), abs_tol=1e-13)
            checked += 1
    assert checked == 6 * (1 + 12 + 12 + 6 * 5 * 4)


def test_information_is_never_lost_and_a_second_look_brings_none(bed):
    for history in histories(2):
        try:
            here = bed.given(history)
        except ValueError:
            continue
        gains = here.gains()
        assert (gains > -1e-15).all()
        for place, _ in history:
            assert abs(float(gains[place])) < 1e-15


def test_impossible_history_is_refused(bed):
    with pytest.raises(ValueError, match="no image shows"):
        bed.given([(2, 0), (2, 1)])


def test_greedy_is_what_its_tree_says(bed):
    """Expected entropy at the leaves, with the masses recounted."""
    for T, depth in ((2, 1), (3, 1), (3, 2), (3, 3)):
        leaves = [h for h, place in bed.tree(T, depth) if place is None]
        assert len(leaves) == 2**T
        masses = [recount(bed, history) for history in leaves]
        assert math.isclose(sum(map(sum, masses)), 1, abs_tol=1e-12)
        value = sum(sum(mass) * nats(mass) for mass in masses)
        assert math.isclose(value, float(bed.follow(T, depth)), abs_tol=1e-12)


def test_optimal_is_the_best_of_all_decision_trees_of_two_glimpses(bed):
    values = []
    for first, after_0, after_1 in product(range(6), repeat=3):
        value = 0.0
        for patch, then in ((0, after_0), (1, after_1)):
            for second in (0, 1):
                mass = recount(bed, ((first, patch), (then, second)))
                value += sum(mass) * nats(mass) if sum(mass) else 0
        values.append(value)
    assert math.isclose(min(values), float(bed.follow(2, 2)), abs_tol=1e-12)


def test_rules_are_in_their_order():
    beds = toy_designs.gamma_bed(range(8))
    for T in (1, 2, 3):
        greedy, best = beds.follow(T, 1), beds.follow(T, T)
        fixed = torch.stack([beds.fixed(c) for c in combinations(range(6), T)]).amin(0)
        assert (best <= torch.minimum(greedy, fixed) + 1e-12).all()
        assert (beds.wander(T) >= best).all() and (T > 1 or (greedy == best).all())


def test_many_beds_are_those_of_their_seeds():
    for make in (toy_designs.gamma_bed, toy_designs.naive_bed):
        many = make([3, 0, 7])
        assert many.joint.shape == (3, 3, 64)
        for i, seed in enumerate((3, 0, 7)):
            one = make(seed)
            assert torch.equal(many.joint[i], one.joint)
            assert torch.isclose(many.follow(3, 1)[i], one.follow(3, 1))
            assert torch.isclose(one.joint.sum(), torch.ones(()).double())


def test_fixed_places_are_all_outcomes_of_their_looks(bed):
    chosen = (4, 1)
    masses = [recount(bed, ((4, a), (1, b))) for a in (0, 1) for b in (0, 1)]
    after = bed.after(chosen).joint.sum(dim=-1)  # (O, K)
    assert torch.allclose(after, torch.tensor(masses, dtype=torch.float64))
    assert torch.isclose(bed.fixed(chosen), uncertainty(after).sum())


def test_naive_bed_is_independent_given_the_label():
    joint = toy_designs.naive_bed(2).joint.view(3, *(2,) * 6)
    given = joint / joint.sum(dim=tuple(range(1, 7)), keepdim=True)
    a, b = (given.sum(dim=[d for d in range(1, 7) if d != axis]) for axis in (1, 4))
    both = given.sum(dim=(2, 3, 5, 6))
    assert torch.allclose(both, a[:, :, None] * b[:, None])


def test_synergy_by_hand():
    """Two fair coins and their parity: nothing alone, ln 2 after the other."""
    coins = toy_designs.parity_bed(2, 0, 0.0)
    for sets in (True, False):
        found = toy_designs.largest_synergy(coins, sets)
        assert math.isclose(found, math.log(2), abs_tol=1e-12)
    naive = toy_designs.naive_bed(1)
    assert toy_designs.largest_synergy(naive, sets=True) < 1e-12
    assert toy_designs.largest_synergy(naive, sets=False) > 0.01


@pytest.mark.parametrize(("parts", "hints"), [(2, 1), (2, 2), (3, 3)])
def test_parity_costs_greedy_all_that_the_hints_leave(parts, hints):
    e = 0.05
    bed = toy_designs.parity_bed(parts, hints, e)
    assert torch.isclose(bed.joint.sum(), torch.ones(()).double())
    left = 0.0  # entropy of a fair coin after `hints` readings of it
    for right in range(hints + 1):
        p = [(0.5 + s * e) ** right * (0.5 - s * e) ** (hints - right) for s in (1, -1)]
        left += math.comb(hints, right) * sum(p) / 2 * nats(p)
    T = max(parts, hints)
    assert math.isclose(float(bed.follow(hints, 1)), left, abs_tol=1e-12)
    assert math.isclose(float(bed.follow(T, T)), 0, abs_tol=1e-12)
    with pytest.raises(ValueError, match="expected parts"):
        toy_designs.parity_bed(2, 1, 0.6)
