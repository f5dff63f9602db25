"""Two rows seed by seed: their interval keeps what it promises, and says what it is."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from toy_book import found_book, record_all

from saccade_lib import records
from saccade_lib.records import Paired

gaps = st.lists(
    st.integers(-1_000, 1_000).map(lambda k: k / 10), min_size=2, max_size=6
).map(lambda values: dict(enumerate(values)))


@given(gaps)
def test_decided_is_what_the_t_test_says(by_seed):
    found, values = Paired(by_seed), list(by_seed.values())
    if len(set(values)) == 1:
        assert found.half == 0 and found.decided == (values[0] != 0)
        return
    p = stats.ttest_1samp(values, 0).pvalue
    if abs(p - 0.05) > 1e-9:
        assert found.decided == (p < 0.05)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert math.isclose(found.mean - found.half, low, abs_tol=1e-9)
    assert math.isclose(found.mean + found.half, high, abs_tol=1e-9)


@given(gaps)
def test_the_other_way_round_is_the_same_with_another_sign(by_seed):
    found, back = Paired(by_seed), Paired({k: -v for k, v in by_seed.items()})
    assert found.mean == -back.mean and found.half == back.half
    assert (found.decided, found.one_sign) == (back.decided, back.one_sign)


def test_where_nothing_is_one_in_twenty_is_called_decided():
    """And of twice the standard error, with three seeds, 18 in a hundred."""
    draws = np.random.default_rng(0).normal(size=(4_000, 3))
    found = [Paired(dict(enumerate(three))) for three in draws]
    wrong = np.mean([one.decided for one in found])
    assert abs(wrong - 0.05) < 4 * math.sqrt(0.05 * 0.95 / 4_000)
    mean, error = draws.mean(1), draws.std(1, ddof=1) / math.sqrt(3)
    loose = np.mean(np.abs(mean) > 2 * error)
    assert abs(loose - 2 * stats.t.sf(2, 2)) < 0.03 and loose > 0.15


def test_one_seed_decides_nothing_and_none_has_no_mean():
    one = Paired({0: 12.0})
    assert one.half is None and not one.decided and one.one_sign
    assert str(one) == "+12.0, one seed" and one.verdict == "open"
    none = Paired({})
    assert str(none) == "not recorded" and not none.decided and not none.one_sign
    with pytest.raises(ValueError, match="no recorded seed in common"):
        none.mean  # noqa: B018


def test_text_says_which():
    assert str(Paired({0: 3.0, 1: 5.0, 2: 4.0})) == "+4.0 ± 2.5, decided"
    assert str(Paired({0: -3.0, 1: 5.0, 2: 4.0})).endswith(", open")
    assert Paired({0: -1200.0, 1: -1300.0}).text(0) == "-1,250 ± 635"


def test_rows_meet_at_the_seeds_that_both_have(tmp_path, monkeypatch):
    found_book(tmp_path, monkeypatch)
    record_all(
        {"seed": 0, "accuracy": 90.0},
        {"seed": 1, "accuracy": 92.0},
        {"seed": 2, "accuracy": 99.0},
        {"seed": 3, "profile": "quick"},
        {"row": "other", "seed": 1, "accuracy": 91.5},
        {"row": "other", "seed": 0, "accuracy": 90.5},
    )
    (metric,) = {m for r in records.collect() for m in r["metrics"] if "accuracy" in m}
    found = records.paired("tnet", "toy", "other", metric)
    assert found.by_seed == {0: -0.5, 1: 0.5}
    assert records.paired("tnet", "toy", "absent", metric).by_seed == {}
    with pytest.raises(ValueError, match="unknown profile"):
        records.paired("tnet", "toy", "other", metric, "huge")
