"""Intervals cover as often as they say, pairs are pairs, correlations are Spearman's."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lrnb.metrics.statistics import (
    correlation_over_kinds,
    correlation_over_seeds,
    interval,
    over_seeds,
    paired,
)


def frame(columns, rows, **constant):
    return pd.DataFrame(rows, columns=columns.split()).assign(**constant)


def one(correlate, table):
    (found,) = correlate(table, "x", "y", by=["g"]).to_dict("records")
    return found


def test_interval_covers_the_mean_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(5, 2, size=(4000, 3))
    hits = sum(low <= 5 <= high for _, low, high in map(interval, draws))
    assert hits / 4000 == pytest.approx(0.95, abs=0.015)
    for draw in draws[:3]:
        expected = stats.t.interval(0.95, 2, draw.mean(), stats.sem(draw))
        assert interval(draw)[1:] == pytest.approx(expected)
    with pytest.raises(ValueError, match="values must hold at least one number"):
        interval([])


def test_over_seeds_keeps_conditions_apart():
    rows = [("x", 0, 1.0), ("x", 1, 3.0), ("y", 0, 5.0), ("y", 1, 5.0)]
    table = frame("kind seed damage", rows, dataset="a", eps=1.0)
    found = over_seeds(table, "damage").set_index("kind")
    assert found["mean"].to_dict() == {"x": 2.0, "y": 5.0}
    assert found.loc["y", "low"] == found.loc["y", "high"] == 5
    assert found["seeds"].tolist() == [2, 2]
    averaged = over_seeds(table.assign(eps=math.nan), "damage")  # as checks over all ε have it
    assert averaged["mean"].tolist() == [2.0, 5.0]
    with pytest.raises(ValueError, match="table must have one row for each of .*, got several"):
        over_seeds(pd.concat([table, table]), "damage")


def test_pairs_share_data_set_seed_and_row():
    rows = [
        ("a", "vae", 0, 1.0, 10.0), ("a", "vae", 1, 1.0, 20.0), ("b", "vae", 0, 1.0, 40.0),
        ("a", "vae", 0, 2.0, 80.0), ("a", "ae", 1, 1.0, 21.0), ("a", "ae", 0, 1.0, 12.0),
        ("b", "ae", 0, 1.0, 43.0), ("a", "ae", 0, 2.0, 84.0),
    ]  # fmt: skip
    table = frame("dataset family seed eps damage", rows)
    found = paired(table, "damage", baseline="vae")
    assert set(found["family"]) == {"ae"}
    assert found["difference"].tolist() == [1.0, 2.0, 3.0, 4.0]
    with pytest.raises(LookupError, match="baseline must be one of ae, vae, got 'dae'"):
        paired(table, "damage", baseline="dae")
    with pytest.raises(ValueError, match="table must have one row of vae"):
        paired(pd.concat([table, table]), "damage", baseline="vae")


@pytest.mark.parametrize("correlate", [correlation_over_seeds, correlation_over_kinds])
@pytest.mark.parametrize(
    ("y", "rho"),
    [
        ([1] * 5, math.nan),
        ([math.nan, math.nan, 0.0, 1.0, 2.0], math.nan),
        ([5, 4, math.nan, 3, 2, 1], -1),  # a model without a number is left out
    ],
)
def test_correlations_of_constants_of_too_few_and_with_gaps(correlate, y, rho):
    table = pd.DataFrame({"g": "a", "seed": 0, "family": range(len(y)), "x": range(len(y)), "y": y})
    found = one(correlate, table)
    assert found["rho"] == pytest.approx(rho, nan_ok=True)
    if math.isnan(rho):
        assert math.isnan(found["low"]) and math.isnan(found["high"])


def test_correlation_over_seeds_is_spearmans_in_each_and_students_over_them():
    rng = np.random.default_rng(1)
    rows = [(s, x // 2, x + 4 * rng.normal()) for s in range(3) for x in range(6)]  # with ties
    table = frame("seed x y", rows, g="a")
    found = one(correlation_over_seeds, table)
    each = [stats.spearmanr(part["x"], part["y"]).statistic for _, part in table.groupby("seed")]
    assert found["rho"] == pytest.approx(np.mean(each))
    _, low, high = interval(each)
    assert (found["low"], found["high"]) == pytest.approx((max(low, -1), min(high, 1)))
    assert (found["seeds"], found["models"]) == (3, 6)
    alone = one(correlation_over_seeds, table[table["seed"] == 0])
    assert alone["rho"] == pytest.approx(each[0]) and math.isnan(alone["low"])
    both = pd.concat([table, table.assign(g="b", y=-table["y"])])
    groups = correlation_over_seeds(both, "x", "y", by=["g"])["rho"]
    assert groups.tolist() == pytest.approx([found["rho"], -found["rho"]])


@pytest.mark.parametrize(
    ("correlate", "alike", "runs", "most"),
    [
        # where seeds are much alike, the interval over seeds often does: it is not over kinds
        (correlation_over_seeds, 0.8, 60, 15),
        # 5% of 150 and more than three standard deviations
        *((correlation_over_kinds, alike, 150, 17) for alike in (0.0, 0.5, 2.0)),
    ],
)
def test_kinds_that_differ_by_chance_seldom_give_a_trend(correlate, alike, runs, most):
    rng, wrong = np.random.default_rng(3), 0
    for _ in range(runs):
        kinds = rng.normal(size=(11, 2))
        rows = [
            (f, s, *(k + alike * rng.normal(size=2))) for s in range(3) for f, k in enumerate(kinds)
        ]
        found = one(correlate, frame("family seed x y", rows, g="a"))
        wrong += found["low"] > 0 or found["high"] < 0
    assert wrong <= most


class TestCorrelationOverKinds:
    def test_the_interval_is_the_published_one(self):
        # the example of ci.spear in R's statpsych, by D. G. Bonett
        y = [21, 4, 9, 12, 35, 18, 10, 22, 24, 1, 6, 8, 13, 16, 19]
        x = [67, 28, 30, 28, 52, 40, 25, 37, 44, 10, 14, 20, 28, 40, 51]
        table = pd.DataFrame({"g": "a", "seed": 0, "family": range(15), "x": x, "y": y})
        found = one(correlation_over_kinds, table)
        assert found["rho"] == pytest.approx(0.8699639, abs=1e-7)
        assert (found["low"], found["high"]) == pytest.approx((0.5840951, 0.9638297), abs=1e-6)

    def test_a_kind_counts_once_with_the_mean_of_its_seeds(self):
        # within each seed x and y go together but little; the means of the kinds rise together
        off = (3, -7, 5, -1, 9, -4)
        rows = [(f, s, f + (1, -1)[s] * off[f], f) for f in range(6) for s in (0, 1)]
        table = frame("family seed x y", rows, g="a", adv_form=None)
        found = one(correlation_over_kinds, table)
        assert found["rho"] == pytest.approx(1) and found["low"] > 0
        assert (found["seeds"], found["models"]) == (2, 6)
        assert abs(one(correlation_over_seeds, table)["rho"]) < 0.5

    def test_four_kinds_in_perfect_order_prove_nothing(self):
        rows = [(k, k, k) for k in range(4)]
        found = one(correlation_over_kinds, frame("family x y", rows, g="a", seed=0))
        assert found["rho"] == found["high"] == 1 and found["low"] < 0
