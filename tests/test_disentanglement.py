"""Scores of codes made by hand, for which the right answer follows from the definition."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch
from scipy import optimize, stats
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split

from lrnb.disentanglement import dci, factor_vae, mig, modularity, sap

SCORES = [mig, sap, dci, factor_vae, modularity]


def votes(factors, codes, seed=0):
    """The FactorVAE score with few enough votes for a test."""
    return factor_vae(factors, codes, train_votes=1000, eval_votes=2000, seed=seed)


def grid(*sizes, repeats=10):
    """Every combination of factor values equally often: factors exactly independent."""
    return np.array(list(itertools.product(*map(range, sizes))) * repeats)


def uniform(n, k, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, size=(n, k))


def rotated(factors):
    """Columns 0 and 1, 2 and 3, … mixed by 45°, so that two codes share two factors equally."""
    codes = np.empty_like(factors)
    codes[:, ::2] = (factors[:, ::2] + factors[:, 1::2]) / math.sqrt(2)
    codes[:, 1::2] = (factors[:, ::2] - factors[:, 1::2]) / math.sqrt(2)
    return codes


def with_dead(codes, n):
    return np.hstack([codes, np.zeros((len(codes), n))])


# Perfect codes


def test_codes_equal_to_discrete_factors():
    factors = grid(2, 3, 5)
    assert mig(factors, factors) == pytest.approx(1)
    assert modularity(factors, factors) == pytest.approx(1)
    assert votes(factors, factors) == 1
    score = dci(factors, factors)
    assert score.disentanglement > 0.98
    assert score.completeness > 0.98
    assert score.informativeness > 0.98


def test_codes_equal_to_continuous_factors():
    factors = uniform(2000, 4)
    assert mig(factors, factors) > 0.95
    assert sap(factors, factors) > 0.99
    assert modularity(factors, factors) > 0.98
    assert votes(factors, factors) > 0.99
    score = dci(factors, factors)
    assert min(score.disentanglement, score.completeness, score.informativeness) > 0.98


def test_sap_of_perfect_codes_is_one_less_the_best_useless_code():
    assert sap(grid(2, 2, 2), grid(2, 2, 2)) == pytest.approx(1 / 2)
    assert sap(grid(2, 2, 2) + 0.5, grid(2, 2, 2)) == pytest.approx(1)


# Codes in between


def test_sum_of_two_coins_tells_half_of_each():
    factors = grid(2, 2)
    codes = np.stack([factors[:, 0], factors.sum(axis=1)], axis=1)
    # The sum has ½ bit of each coin; coin 1: 1 - ½, coin 2: ½ - 0.
    assert mig(factors, codes) == pytest.approx(1 / 2)
    # The first code knows one coin, the second both alike.
    assert modularity(factors, codes) == pytest.approx(1 / 2)
    # The sum correlates with either coin at r² = ½.
    assert sap(factors / 3, codes) == pytest.approx(1 / 2)


def test_rotated_pairs():
    factors = uniform(20_000, 4)
    codes = rotated(factors)
    assert mig(factors, codes) < 0.02
    assert sap(factors, codes) < 0.02
    # Each code has two equal informations of four: 1 - 1/3.
    assert modularity(factors, codes) == pytest.approx(2 / 3, abs=0.03)
    # The least variance is a coin toss within the pair.
    assert votes(factors, codes) == pytest.approx(1 / 2, abs=0.05)


def test_dci_of_rotated_pairs():
    factors = uniform(2000, 4)
    score = dci(factors, rotated(factors))
    # Two equal importances of four: 1 - log 2 / log 4, over rows as over columns.
    assert score.disentanglement == pytest.approx(1 / 2, abs=0.1)
    assert score.completeness == pytest.approx(1 / 2, abs=0.1)
    assert score.informativeness > 0.8


def test_useless_codes_have_little_weight_in_dci():
    factors = uniform(1000, 3)
    score = dci(factors, np.hstack([factors, uniform(1000, 3, seed=1)]))
    assert score.disentanglement > 0.95
    assert score.completeness > 0.95


def test_noise():
    factors, codes = uniform(5000, 4), uniform(5000, 6, seed=1)
    assert mig(factors, codes) < 0.02
    assert sap(factors, codes) < 0.02
    assert modularity(factors, codes) < 0.3
    assert votes(factors, codes) == pytest.approx(1 / 4, abs=0.05)
    score = dci(factors[:1000], codes[:1000])
    assert score.disentanglement < 0.2
    assert score.completeness < 0.2
    assert 0 <= score.informativeness < 0.05


@pytest.mark.parametrize("rare", [0.5, 0.05])
def test_sap_is_not_misled_by_rare_classes(rare):
    rng = np.random.default_rng(0)
    factors = (rng.random((10_000, 1)) < rare).astype(int)
    noise = rng.normal(size=(10_000, 20)) * (rng.random((10_000, 20)) < 0.1)
    codes = np.hstack([rng.normal(size=(10_000, 1)) + 4 * factors, noise])
    # Noise that is mostly 0 makes a classifier name one class nearly always, be it the common one.
    # Two unit normals 4 apart, cut in the middle: Φ(2) of each class is right; noise guesses half.
    right = (1 + math.erf(2 / math.sqrt(2))) / 2
    assert sap(factors, codes) == pytest.approx(right - 1 / 2, abs=0.04)


def test_dci_informativeness_is_accuracy_on_unseen_samples():
    rng = np.random.default_rng(0)
    coins = rng.integers(2, size=(2000, 2))
    flipped = coins ^ (rng.random((2000, 2)) < 0.2)
    assert dci(coins, flipped).informativeness == pytest.approx(0.8, abs=0.05)
    # A noise code that is never the same twice can be learnt by heart, yet tells nothing.
    assert dci(coins, rng.normal(size=(2000, 2))).informativeness == pytest.approx(0.5, abs=0.06)


def test_factor_vae_of_half_informed_codes():
    factors = grid(4, 4, repeats=50)
    assert votes(factors, factors[:, :1]) == pytest.approx(1 / 2, abs=0.04)
    # Factor 1 fixed: always code 1. Factor 2 fixed: either code. So ½ · 1 + ½ · ½.
    codes = np.stack([factors[:, 0], np.random.default_rng(0).normal(size=len(factors))], axis=1)
    assert votes(factors, codes) == pytest.approx(3 / 4, abs=0.06)


# Dead and duplicated codes


def test_dead_codes_change_no_gap():
    factors = uniform(1000, 4)
    codes = factors + 0.5 * uniform(1000, 4, seed=1)
    assert mig(factors, with_dead(codes, 3)) == mig(factors, codes)
    assert sap(factors, with_dead(codes, 3)) == pytest.approx(sap(factors, codes))
    assert votes(factors, with_dead(codes, 3)) == votes(factors, codes)
    coins = grid(2, 2, 2)
    assert sap(coins, with_dead(coins, 3)) == pytest.approx(sap(coins, coins))


def test_dead_codes_count_as_0_in_modularity():
    factors = grid(2, 3, 5)
    assert modularity(factors, with_dead(factors, 3)) == pytest.approx(1 / 2)
    # A code that varies, but with no factor, is as dead as a constant.
    four = grid(3, 4, 5, 7, repeats=1)
    assert modularity(four[:, :3], four) == pytest.approx(3 / 4)


def test_dead_codes_in_dci_only_enter_the_base_of_completeness():
    factors = uniform(1500, 4)
    codes = rotated(factors)
    bare, padded = dci(factors, codes), dci(factors, with_dead(codes, 12))
    assert padded.disentanglement == pytest.approx(bare.disentanglement, abs=0.05)
    assert padded.informativeness == pytest.approx(bare.informativeness, abs=0.05)
    # Two equal importances of sixteen: 1 - log 2 / log 16.
    assert padded.completeness == pytest.approx(3 / 4, abs=0.05)


def test_factor_vae_leaves_out_codes_of_small_spread():
    factors = uniform(1000, 2)
    standard = (factors - factors.mean(axis=0)) / factors.std(axis=0)
    noise = uniform(1000, 2, seed=1)
    noise /= noise.std(axis=0)
    kept = votes(factors, np.hstack([0.051 * noise, 0.051 * standard]))
    assert kept == votes(factors, np.hstack([noise, standard])) > 0.95
    # The informative codes fall below the threshold, the noise does not.
    left_out = votes(factors, np.hstack([0.051 * noise, 0.049 * standard]))
    assert left_out == votes(factors, noise) < 0.6


def test_all_codes_dead():
    factors, codes = grid(2, 2), np.zeros((40, 2))
    assert mig(factors, codes) == 0
    assert sap(factors, codes) == 0
    assert votes(factors, codes) == 0
    assert modularity(factors, codes) == 0
    score = dci(factors, codes)
    assert (score.disentanglement, score.completeness) == (0, 0)


@pytest.mark.parametrize("seed", range(10))
def test_constant_codes_tell_nothing_however_common_the_classes_are(seed):
    # (a rounding error of 1e-16 would make a dead code a live one)
    rng = np.random.default_rng(seed)
    factors = rng.choice(4, size=(int(rng.integers(50, 500)), 2), p=[0.1, 0.2, 0.3, 0.4])
    assert modularity(factors, np.ones((len(factors), 3))) == 0


def test_duplicated_codes():
    factors = uniform(1500, 4)
    twice = np.hstack([factors, factors])
    assert mig(factors, twice) == pytest.approx(0)
    assert sap(factors, twice) == pytest.approx(0)
    assert sap(grid(2, 2), np.hstack([grid(2, 2)] * 2)) == pytest.approx(0)
    assert modularity(factors, twice) == pytest.approx(modularity(factors, factors))
    assert votes(factors, twice) == votes(factors, factors)
    score = dci(factors, twice)
    assert score.disentanglement > 0.98
    # The two copies share the importance: 1 - log 2 / log 8.
    assert score.completeness == pytest.approx(2 / 3, abs=0.06)


# Symmetries


def moderately_entangled(seed):
    rng = np.random.default_rng(seed)
    factors = np.hstack([rng.integers(3, size=(600, 1)), rng.normal(size=(600, 2))])
    codes = factors @ rng.normal(size=(3, 5)) + rng.normal(size=(600, 5))
    return factors, codes


@pytest.mark.parametrize("seed", range(3))
def test_order_of_codes_does_not_matter(seed):
    factors, codes = moderately_entangled(seed)
    shuffled = codes[:, np.random.default_rng(seed).permutation(5)]
    for score in (mig, sap, modularity, votes):
        assert score(factors, shuffled) == pytest.approx(score(factors, codes))
    before, after = dci(factors, codes), dci(factors, shuffled)
    assert after.disentanglement == pytest.approx(before.disentanglement, abs=0.02)
    assert after.completeness == pytest.approx(before.completeness, abs=0.02)
    assert after.informativeness == pytest.approx(before.informativeness, abs=0.02)


@pytest.mark.parametrize("score", [mig, sap, modularity, votes])
def test_scale_and_offset_of_codes_do_not_matter(score):
    factors, codes = moderately_entangled(0)
    moved = codes * [1, 2, 4, 8, 16] + [3, -5, 0, 1, 100]
    assert score(factors, moved) == pytest.approx(score(factors, codes), abs=1e-6)


@pytest.mark.parametrize("score", SCORES)
def test_torch_tensors_give_the_same_as_arrays(score):
    factors, codes = moderately_entangled(0)
    factors, codes = factors[:200].astype(np.float32), codes[:200].astype(np.float32)
    tensors = torch.tensor(factors), torch.tensor(codes, requires_grad=True)
    assert score(*tensors) == score(factors, codes)


def test_scores_are_plain_floats():
    factors, codes = moderately_entangled(0)
    assert all(type(score(factors, codes)) is float for score in (mig, sap, modularity, votes))
    parts = vars(dci(factors, codes, trees=2))
    assert list(parts) == ["disentanglement", "completeness", "informativeness"]
    assert all(type(part) is float for part in parts.values())


def test_seed_decides_the_draws():
    factors, codes = moderately_entangled(0)
    assert votes(factors, codes, seed=3) == votes(factors, codes, seed=3)
    assert votes(factors, codes, seed=3) != votes(factors, codes, seed=4)
    assert dci(factors, codes, trees=5, seed=3) == dci(factors, codes, trees=5, seed=3)
    assert dci(factors, codes, trees=5, seed=3) != dci(factors, codes, trees=5, seed=4)


# A second implementation, in loops


def loop_bins(column):
    low, high = min(column), max(column)
    edges = [low + (high - low) * i / 20 for i in range(1, 20)]
    return [sum(value >= edge for edge in edges) for value in column]


def loop_classes(column):
    integers = all(float(value).is_integer() for value in column)
    return list(column) if integers and len(set(column)) <= 20 else loop_bins(column)


def loop_information(a, b):
    n, total = len(a), 0.0
    for x in set(a):
        for y in set(b):
            both = sum(p == x and q == y for p, q in zip(a, b, strict=True)) / n
            if both > 0:
                total += both * math.log(both / (a.count(x) / n * (b.count(y) / n)))
    return total


@pytest.fixture(scope="module")
def by_loops():
    """Factors (3 classes, 30 integers, a normal), codes, informations [d][K], entropies [K]."""
    rng = np.random.default_rng(5)
    factors = np.stack(
        [rng.integers(3, size=250), rng.integers(30, size=250), rng.normal(size=250)], axis=1
    )
    codes = factors @ rng.normal(size=(3, 4)) + rng.normal(size=(250, 4))
    v = [loop_classes(column) for column in factors.T.tolist()]
    z = [loop_bins(column) for column in codes.T.tolist()]
    information = [[loop_information(factor, code) for factor in v] for code in z]
    return factors, codes, information, [loop_information(factor, factor) for factor in v]


def test_mig_against_loops(by_loops):
    factors, codes, information, entropy = by_loops
    expected = 0.0
    for k in range(3):
        best, second = sorted((row[k] for row in information), reverse=True)[:2]
        expected += (best - second) / entropy[k] / 3
    assert mig(factors, codes) == pytest.approx(expected, rel=1e-9)


def test_modularity_against_loops(by_loops):
    factors, codes, information, _ = by_loops
    expected = 0.0
    for row in information:
        best = max(row)
        template = [m if m == best else 0.0 for m in row]
        deviation = sum((m - t) ** 2 for m, t in zip(row, template, strict=True))
        expected += (1 - deviation / (best**2 * (len(row) - 1))) / len(information)
    assert modularity(factors, codes) == pytest.approx(expected, rel=1e-9)


def test_sap_of_continuous_factors_against_numpy():
    factors, codes = uniform(300, 3), uniform(300, 3) @ uniform(3, 5, seed=2)
    gaps = []
    for factor in factors.T:
        squared = sorted(np.corrcoef(factor, code)[0, 1] ** 2 for code in codes.T)
        gaps.append(squared[-1] - squared[-2])
    assert sap(factors, codes) == pytest.approx(np.mean(gaps), rel=1e-9)


def test_sap_of_discrete_factors_against_a_general_minimiser():
    # one against the rest: ½(w² + b²) + C·Σ_i c_i·max(0, 1 − y_i(w·x_i + b))², the class's weight c
    rng = np.random.default_rng(3)
    factors = rng.integers(3, size=(200, 2))
    codes = factors @ rng.normal(size=(2, 3)) + rng.normal(size=(200, 3))

    def accuracy(x, factor):
        margins = []
        for value in range(3):
            y = np.where(factor == value, 1.0, -1.0)
            weight = np.where(
                y > 0, len(x) / (3 * (y > 0).sum()), 1.0
            )  # balanced; the rest as it is

            def loss(wb, y=y, weight=weight):
                slack = np.maximum(0, 1 - y * (wb[0] * x + wb[1]))
                return 0.5 * wb @ wb + 0.01 * (weight * slack**2).sum()

            best = optimize.minimize(loss, np.zeros(2), tol=1e-12).x
            margins.append(best[0] * x + best[1])
        guess = np.argmax(margins, axis=0)
        return np.mean([(guess[factor == value] == value).mean() for value in range(3)])

    gaps = []
    for factor in factors.T:
        right = sorted(accuracy((x - x.mean()) / x.std(), factor) for x in codes.T)
        gaps.append(right[-1] - right[-2])
    assert sap(factors, codes) == pytest.approx(np.mean(gaps), abs=0.01)


def test_dci_against_a_walk_through_the_trees():
    rng = np.random.default_rng(4)
    factors = np.stack([rng.integers(3, size=300), rng.normal(size=300)], axis=1)
    codes = factors @ rng.normal(size=(2, 4)) + 0.5 * rng.normal(size=(300, 4))
    train, test = train_test_split(np.arange(300), test_size=1 / 3, random_state=7)
    table, right = np.zeros((4, 2)), []
    for k, booster in enumerate((GradientBoostingClassifier, GradientBoostingRegressor)):
        model = booster(n_estimators=10, max_depth=3, subsample=0.5, random_state=7)
        model.fit(codes[train], factors[train, k])
        for stage in model.estimators_.ravel():
            tree = stage.tree_
            weight = tree.weighted_n_node_samples / tree.weighted_n_node_samples[0]
            impurity = weight * tree.impurity
            for node in range(tree.node_count):
                left, other = tree.children_left[node], tree.children_right[node]
                if left >= 0:
                    fall = impurity[node] - impurity[left] - impurity[other]
                    table[tree.feature[node], k] += fall
        table[:, k] /= table[:, k].sum()
        guess, truth = model.predict(codes[test]), factors[test, k]
        right.append((guess == truth).mean() if k == 0 else r2_score(truth, guess))
    rows, columns = table.sum(1) / table.sum(), table.sum(0) / table.sum()
    score = dci(factors, codes, trees=10, seed=7)
    assert score.disentanglement == pytest.approx(rows @ (1 - stats.entropy(table.T, base=2)))
    assert score.completeness == pytest.approx(columns @ (1 - stats.entropy(table, base=4)))
    assert score.informativeness == pytest.approx(np.mean(right))


def test_dci_of_linear_factors_follows_their_squared_weights():
    # of v = Σ a_i z_i with independent z, code i explains the share a_i² of the variance
    rng = np.random.default_rng(6)
    codes = rng.normal(size=(3000, 4))
    weights = rng.normal(size=(4, 3)) ** 3
    share = weights**2 / (weights**2).sum(axis=0)
    score = dci(codes @ weights, codes)
    rows = share.sum(axis=1) / share.sum()
    expected = rows @ (1 - stats.entropy(share.T, base=3))
    assert score.disentanglement == pytest.approx(expected, abs=0.08)
    assert score.completeness == pytest.approx(np.mean(1 - stats.entropy(share, base=4)), abs=0.08)


def test_factor_vae_against_votes_cast_one_by_one():
    factors, codes = moderately_entangled(1)
    factors[:, 1:] = factors[:, 1:].round().clip(-2, 2)
    codes[:, 4] *= 0.01  # dead
    rng = np.random.default_rng(11)
    live = [i for i in range(5) if codes[:, i].std() >= 0.05]
    assert live == [0, 1, 2, 3]

    def cast(n):
        votes = []
        for _ in range(n):
            k = rng.integers(3)
            value = rng.choice(factors[:, k])
            batch = codes[rng.choice(np.flatnonzero(factors[:, k] == value), size=64)]
            relative = [np.var(batch[:, i]) / np.var(codes[:, i]) for i in live]
            votes.append((int(np.argmin(relative)), int(k)))
        return votes

    seen = Counter(cast(3000))
    majority = {i: max(range(3), key=lambda k, i=i: seen[i, k]) for i in range(4)}
    right = np.mean([majority[i] == k for i, k in cast(3000)])
    ours = factor_vae(factors, codes, train_votes=3000, eval_votes=3000)
    # two accuracies of 3000 votes each: three standard deviations of their difference
    assert ours == pytest.approx(right, abs=3 * math.sqrt(2 * right * (1 - right) / 3000) + 0.01)
    assert 0.4 < right < 0.95


@pytest.mark.parametrize("seed", range(3))
def test_mig_and_modularity_against_counts_in_histograms(seed):
    rng = np.random.default_rng(seed)
    factors = rng.integers(2, 6, size=(400, 3))
    codes = factors @ rng.normal(size=(3, 5)) + rng.normal(size=(400, 5))
    information, entropy = np.zeros((5, 3)), np.zeros(3)
    for k, factor in enumerate(factors.T):
        entropy[k] = stats.entropy(np.bincount(factor))
        for i, code in enumerate(codes.T):
            counts = np.histogram2d(code, factor, bins=[20, np.arange(1.5, 6)])[0]
            a, b, both = counts.sum(1), counts.sum(0), counts.ravel()
            information[i, k] = stats.entropy(a) + stats.entropy(b) - stats.entropy(both)
    ordered = np.sort(information, axis=0)
    assert mig(factors, codes) == pytest.approx(np.mean((ordered[-1] - ordered[-2]) / entropy))
    share = information**2 / (information**2).max(axis=1, keepdims=True)
    assert modularity(factors, codes) == pytest.approx(np.mean(1 - (share.sum(1) - 1) / 2))


# Bad input

GOOD = grid(2, 2)


def spoilt(value):
    bad = GOOD.astype(float)
    bad[3, 1] = value
    return bad


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize(
    ("factors", "codes", "message"),
    [
        (GOOD[:, 0], GOOD, r"factors .*two dimensions.*\(40,\)"),
        (GOOD, GOOD[:, :, None], r"codes .*two dimensions.*\(40, 2, 1\)"),
        (GOOD, GOOD[:-1], "factors and codes .*40 and 39"),
        (spoilt(math.nan), GOOD, "factors must be finite"),
        (GOOD, spoilt(math.inf), "codes must be finite"),
        (GOOD[:0], GOOD[:0], "factors must have at least one row"),
        (GOOD, GOOD[:, :0], "codes must have at least"),
        (GOOD[:, :0], GOOD, "factors must have at least"),
        (GOOD, np.full((40, 2), "red"), "codes must be an array of numbers"),
        ([[1, 2], [3]], GOOD, "factors must be an array of numbers"),
        (GOOD * [1, 0], GOOD, "factors: column 1 is constant"),
        (GOOD[:1], GOOD[:1], "factors: column 0 is constant"),
    ],
)
def test_bad_arrays(score, factors, codes, message):
    with pytest.raises(ValueError, match=message):
        score(factors, codes)


@pytest.mark.parametrize(
    ("score", "n_factors", "n_codes", "argument"),
    [
        (mig, 1, 1, "codes"),
        (sap, 1, 1, "codes"),
        (dci, 2, 1, "codes"),
        (dci, 1, 2, "factors"),
        (factor_vae, 1, 2, "factors"),
        (modularity, 1, 2, "factors"),
    ],
)
def test_too_few_columns(score, n_factors, n_codes, argument):
    with pytest.raises(ValueError, match=rf"{argument} must have at least 2 .*\(40, 1\)"):
        score(GOOD[:, :n_factors], GOOD[:, :n_codes])


@pytest.mark.parametrize(
    ("score", "argument", "value"),
    [
        (dci, "trees", 0),
        (dci, "trees", 1.5),
        (dci, "seed", -1),
        (factor_vae, "train_votes", 0),
        (factor_vae, "eval_votes", 0),
        (factor_vae, "batch_size", 1),
        (factor_vae, "batch_size", True),
        (factor_vae, "seed", None),
    ],
)
def test_bad_keywords(score, argument, value):
    with pytest.raises(ValueError, match=f"{argument} must be an integer from .* got {value}"):
        score(GOOD, GOOD, **{argument: value})


def test_too_few_samples():
    two = np.array([[0, 0], [1, 1]])
    with pytest.raises(ValueError, match="factors: column 0 has no value that two rows share"):
        factor_vae(two, two)
    with pytest.raises(ValueError, match="factors: column 0 is constant in the 1 training"):
        dci(two, two)
