"""Statistics: intervals cover as often as they say, pairs are pairs, correlations are Spearman's."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lrnb.intervals import (
    bootstrap_difference,
    correlation_over_kinds,
    correlation_rows,
    interval,
    over_seeds,
    paired,
)


def test_interval_covers_the_mean_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(5, 2, size=(4000, 3))
    hits = sum(low <= 5 <= high for _, low, high in map(interval, draws))
    assert hits / 4000 == pytest.approx(0.95, abs=0.015)
    with pytest.raises(ValueError, match="values"):
        interval([])


def test_over_seeds_keeps_conditions_apart():
    table = pd.DataFrame(
        {
            "dataset": ["a"] * 4, "kind": ["x", "x", "y", "y"], "seed": [0, 1, 0, 1],
            "eps": [1.0] * 4, "damage": [1.0, 3.0, 5.0, 5.0],
        }
    )  # fmt: skip
    out = over_seeds(table, "damage").set_index("kind")
    assert out["mean"].to_dict() == {"x": 2.0, "y": 5.0}
    assert out.loc["y", "low"] == out.loc["y", "high"] == 5
    assert out["seeds"].tolist() == [2, 2]
    with pytest.raises(ValueError, match="several rows"):
        over_seeds(pd.concat([table, table]), "damage")
    averaged = over_seeds(table.assign(eps=float("nan")), "damage")  # as checks over all ε have it
    assert averaged["mean"].tolist() == [2.0, 5.0]


def test_pairs_share_data_set_seed_and_row():
    rows = [
        # dataset, family, seed, eps, damage
        ("a", "vae", 0, 1.0, 10.0), ("a", "vae", 1, 1.0, 20.0), ("b", "vae", 0, 1.0, 40.0),
        ("a", "vae", 0, 2.0, 80.0), ("a", "ae", 1, 1.0, 21.0), ("a", "ae", 0, 1.0, 12.0),
        ("b", "ae", 0, 1.0, 43.0), ("a", "ae", 0, 2.0, 84.0),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["dataset", "family", "seed", "eps", "damage"])
    found = paired(table, "damage", baseline="vae")
    assert set(found["family"]) == {"ae"}
    assert found["difference"].tolist() == [1.0, 2.0, 3.0, 4.0]
    with pytest.raises(ValueError, match="baseline='dae'.*ae, vae"):
        paired(table, "damage", baseline="dae")
    with pytest.raises(ValueError, match="several rows of vae"):
        paired(pd.concat([table, table]), "damage", baseline="vae")


class TestBootstrap:
    def test_its_width_is_that_of_the_sampling_distribution(self):
        # many seeds, so that the percentiles are as wide as theory has it
        rng = np.random.default_rng(0)
        seeds, samples = 60, 40
        noise = rng.normal(size=(seeds, 1)) + rng.normal(size=(1, samples)) * 2
        mean, low, high = bootstrap_difference(5 + noise, np.zeros((seeds, samples)))
        assert mean == pytest.approx(5 + noise.mean())
        expected = 1.96 * math.sqrt(1 / seeds + 4 / samples)
        assert (high - low) / 2 == pytest.approx(expected, rel=0.25)

    def test_what_both_share_cancels(self):
        common = np.random.default_rng(0).normal(size=(3, 50)) * 100
        mean, low, high = bootstrap_difference(common + 1, common)
        assert (mean, low, high) == pytest.approx((1, 1, 1))

    def test_with_three_seeds_it_covers_too_rarely_as_its_docstring_says(self):
        rng = np.random.default_rng(0)
        covered = 0
        for _ in range(150):
            draws = rng.normal(size=(3, 1)) + np.zeros((3, 4))
            _, low, high = bootstrap_difference(draws, np.zeros((3, 4)))
            covered += low <= 0 <= high
        assert 0.6 < covered / 150 < 0.9

    def test_a_flat_array_is_refused(self):
        with pytest.raises(ValueError, match=r"first has shape \(3,\)"):
            bootstrap_difference(np.zeros(3), np.zeros(3))


class TestCorrelationRows:
    def table(self, *, seeds, noise, kinds=6):
        rng = np.random.default_rng(1)
        rows = [(s, x, x + rng.normal() * noise) for s in range(seeds) for x in range(kinds)]
        return pd.DataFrame(rows, columns=["seed", "x", "y"]).assign(g="a")

    def test_it_is_spearmans_within_each_seed_and_students_over_them(self):
        table = self.table(seeds=3, noise=4.0)
        table["x"] = table["x"] // 2  # ties
        (found,) = correlation_rows(table, "x", "y", by=["g"]).to_dict("records")
        each = [
            stats.spearmanr(part["x"], part["y"]).statistic for _, part in table.groupby("seed")
        ]
        assert found["rho"] == pytest.approx(np.mean(each))
        _, low, high = interval(each)
        assert (found["low"], found["high"]) == pytest.approx((max(low, -1), min(high, 1)))
        assert (found["seeds"], found["models"]) == (3, 6)

    def test_kinds_that_differ_by_chance_seldom_give_a_trend_where_seeds_differ_too(self):
        # (where seeds are much alike they often do: the interval is not over kinds)
        rng, wrong = np.random.default_rng(2), 0
        for _ in range(60):
            kinds = rng.normal(size=(11, 2))
            rows = [(s, *(k + 0.8 * rng.normal(size=2))) for s in range(3) for k in kinds]
            table = pd.DataFrame(rows, columns=["seed", "x", "y"]).assign(g="a")
            (found,) = correlation_rows(table, "x", "y", by=["g"]).to_dict("records")
            wrong += found["low"] > 0 or found["high"] < 0
        assert wrong <= 15

    def test_a_single_seed_has_no_interval(self):
        (found,) = correlation_rows(self.table(seeds=1, noise=0), "x", "y", by=["g"]).to_dict(
            "records"
        )
        assert found["rho"] == 1 and math.isnan(found["low"]) and math.isnan(found["high"])

    @pytest.mark.parametrize("y", [[1] * 5, [math.nan, math.nan, 0.0, 1.0, 2.0]])
    def test_nothing_can_be_said_of_a_constant_or_of_too_few(self, y):
        table = pd.DataFrame({"g": "a", "seed": 0, "x": range(5), "y": y})
        (found,) = correlation_rows(table, "x", "y", by=["g"]).to_dict("records")
        assert math.isnan(found["rho"]) and found["seeds"] == 0

    def test_models_that_have_no_number_are_left_out(self):
        y = [5, 4, math.nan, 3, 2, 1]
        table = pd.DataFrame({"g": "a", "seed": 0, "x": range(6), "y": y})
        assert correlation_rows(table, "x", "y", by=["g"])["rho"].item() == pytest.approx(-1)

    def test_groups_are_kept_apart(self):
        both = [self.table(seeds=2, noise=0).assign(g=g) for g in "ab"]
        both[1]["y"] *= -1
        found = correlation_rows(pd.concat(both), "x", "y", by=["g"]).set_index("g")
        assert found["rho"].to_dict() == {"a": 1.0, "b": -1.0}


class TestCorrelationOverKinds:
    def one(self, x, y, **columns):
        table = pd.DataFrame({"g": "a", "seed": 0, "family": range(len(x)), "x": x, "y": y})
        (found,) = correlation_over_kinds(table.assign(**columns), "x", "y", by=["g"]).to_dict(
            "records"
        )
        return found

    def test_the_interval_is_the_published_one(self):
        # the example of ci.spear in R's statpsych, by D. G. Bonett
        y = [21, 4, 9, 12, 35, 18, 10, 22, 24, 1, 6, 8, 13, 16, 19]
        x = [67, 28, 30, 28, 52, 40, 25, 37, 44, 10, 14, 20, 28, 40, 51]
        found = self.one(x, y)
        assert found["rho"] == pytest.approx(0.8699639, abs=1e-7)
        assert (found["low"], found["high"]) == pytest.approx((0.5840951, 0.9638297), abs=1e-6)

    @pytest.mark.parametrize("alike", [0.0, 0.5, 2.0])
    def test_kinds_that_differ_by_chance_seldom_give_a_trend_however_alike_seeds_are(self, alike):
        rng, wrong = np.random.default_rng(3), 0
        for _ in range(150):
            kinds = rng.normal(size=(11, 2))
            rows = [
                (f, s, *(k + alike * rng.normal(size=2)))
                for s in range(3)
                for f, k in enumerate(kinds)
            ]
            table = pd.DataFrame(rows, columns=["family", "seed", "x", "y"]).assign(g="a")
            (found,) = correlation_over_kinds(table, "x", "y", by=["g"]).to_dict("records")
            wrong += found["low"] > 0 or found["high"] < 0
        assert wrong <= 17  # 5% of 150 and more than three standard deviations

    def test_a_kind_counts_once_with_the_mean_of_its_seeds(self):
        # within each seed x and y go together but little; the means of the kinds rise together
        off = (3, -7, 5, -1, 9, -4)
        rows = [(f, s, f + (1, -1)[s] * off[f], f) for f in range(6) for s in (0, 1)]
        table = pd.DataFrame(rows, columns=["family", "seed", "x", "y"]).assign(
            g="a", adv_form=None
        )
        (found,) = correlation_over_kinds(table, "x", "y", by=["g"]).to_dict("records")
        assert found["rho"] == pytest.approx(1) and found["low"] > 0
        assert (found["seeds"], found["models"]) == (2, 6)
        assert abs(correlation_rows(table, "x", "y", by=["g"])["rho"].item()) < 0.5

    def test_four_kinds_in_perfect_order_prove_nothing(self):
        found = self.one(range(4), range(4))
        assert found["rho"] == found["high"] == 1 and found["low"] < 0

    @pytest.mark.parametrize("y", [[1] * 5, [math.nan, math.nan, 0.0, 1.0, 2.0]])
    def test_nothing_can_be_said_of_a_constant_or_of_too_few(self, y):
        found = self.one(range(5), y)
        assert all(math.isnan(found[name]) for name in ("rho", "low", "high"))
