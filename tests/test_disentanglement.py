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

from lrnb.metrics.disentanglement import SCORES, dci, factor_vae, mig, modularity, sap, scores


def votes(factors, codes, seed=0):
    """The FactorVAE score with few enough votes for a test."""
    return factor_vae(factors, codes, train_votes=1000, eval_votes=2000, seed=seed)


def part(name):
    """One of the three scores of DCI, by itself."""
    return lambda factors, codes: getattr(dci(factors, codes), name)


DISENTANGLEMENT, COMPLETENESS, INFORMATIVENESS = map(
    part, ("disentanglement", "completeness", "informativeness")
)
ALL = (mig, sap, dci, factor_vae, modularity)
GAPS = (mig, sap, modularity, votes)


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


def entangled(seed):
    rng = np.random.default_rng(seed)
    factors = np.hstack([rng.integers(3, size=(600, 1)), rng.normal(size=(600, 2))])
    return factors, factors @ rng.normal(size=(3, 5)) + rng.normal(size=(600, 5))


COINS, LEVELS, UNIFORM, MANY = grid(2, 2), grid(2, 3, 5), uniform(2000, 4), uniform(20_000, 4)
FOUR, SQUARE = grid(3, 4, 5, 7, repeats=1), grid(4, 4, repeats=50)
SUM = np.stack([COINS[:, 0], COINS.sum(axis=1)], axis=1)
HALF = np.stack([SQUARE[:, 0], np.random.default_rng(0).normal(size=len(SQUARE))], axis=1)
NOISE = uniform(2000, 6, seed=1)


@pytest.mark.parametrize(
    ("score", "factors", "codes", "expected", "within"),
    [
        # codes equal to the factors
        (mig, LEVELS, LEVELS, 1, 1e-6),
        (modularity, LEVELS, LEVELS, 1, 1e-6),
        (votes, LEVELS, LEVELS, 1, 0),
        *((score, LEVELS, LEVELS, 1, 0.02) for score in (DISENTANGLEMENT, COMPLETENESS)),
        (INFORMATIVENESS, LEVELS, LEVELS, 1, 0.02),
        (mig, UNIFORM, UNIFORM, 1, 0.05),
        (sap, UNIFORM, UNIFORM, 1, 0.01),
        (modularity, UNIFORM, UNIFORM, 1, 0.02),
        (votes, UNIFORM, UNIFORM, 1, 0.01),
        *((score, UNIFORM, UNIFORM, 1, 0.02) for score in (DISENTANGLEMENT, COMPLETENESS)),
        (INFORMATIVENESS, UNIFORM, UNIFORM, 1, 0.02),
        # discrete: less the best useless code; continuous: less nothing
        (sap, grid(2, 2, 2), grid(2, 2, 2), 1 / 2, 1e-6),
        (sap, grid(2, 2, 2) + 0.5, grid(2, 2, 2), 1, 1e-6),
        # the sum has ½ bit of each coin; it knows both alike; it correlates with either at r² = ½
        (mig, COINS, SUM, 1 / 2, 1e-6),
        (modularity, COINS, SUM, 1 / 2, 1e-6),
        (sap, COINS / 3, SUM, 1 / 2, 1e-6),
        # rotated pairs: two equal parts of four, a coin toss within the pair
        (mig, MANY, rotated(MANY), 0, 0.02),
        (sap, MANY, rotated(MANY), 0, 0.02),
        (modularity, MANY, rotated(MANY), 2 / 3, 0.03),
        (votes, MANY, rotated(MANY), 1 / 2, 0.05),
        (DISENTANGLEMENT, UNIFORM, rotated(UNIFORM), 1 / 2, 0.1),  # 1 - log 2 / log 4
        (COMPLETENESS, UNIFORM, rotated(UNIFORM), 1 / 2, 0.1),
        (COMPLETENESS, UNIFORM, with_dead(rotated(UNIFORM), 12), 3 / 4, 0.05),  # base 16
        (DISENTANGLEMENT, UNIFORM, with_dead(rotated(UNIFORM), 12), 1 / 2, 0.1),
        (INFORMATIVENESS, UNIFORM, rotated(UNIFORM), 0.9, 0.1),
        # noise
        (mig, UNIFORM, NOISE, 0, 0.02),
        (sap, UNIFORM, NOISE, 0, 0.02),
        (modularity, UNIFORM, NOISE, 0.15, 0.15),
        (votes, UNIFORM, NOISE, 1 / 4, 0.05),
        (DISENTANGLEMENT, UNIFORM, NOISE, 0.1, 0.1),
        (COMPLETENESS, UNIFORM, NOISE, 0.1, 0.1),
        (INFORMATIVENESS, UNIFORM, NOISE, 0, 0.05),
        (DISENTANGLEMENT, UNIFORM, np.hstack([UNIFORM, NOISE]), 1, 0.05),
        (COMPLETENESS, UNIFORM, np.hstack([UNIFORM, NOISE]), 1, 0.05),
        # one code of two; then factor 1 always by code 1, factor 2 by either
        (votes, SQUARE, SQUARE[:, :1], 1 / 2, 0.04),
        (votes, SQUARE, HALF, 3 / 4, 0.06),
        # dead codes: 0 in modularity, as is a code that varies with no factor; alone, 0 everywhere
        (modularity, LEVELS, with_dead(LEVELS, 3), 1 / 2, 1e-6),
        (modularity, FOUR[:, :3], FOUR, 3 / 4, 1e-6),
        *((score, COINS, np.zeros((40, 2)), 0, 0) for score in GAPS),
        *((score, COINS, np.zeros((40, 2)), 0, 0) for score in (DISENTANGLEMENT, COMPLETENESS)),
        # every code twice: no gap; the copies share the importance, 1 - log 2 / log 8
        (mig, UNIFORM, np.hstack([UNIFORM] * 2), 0, 1e-6),
        (sap, UNIFORM, np.hstack([UNIFORM] * 2), 0, 1e-6),
        (sap, COINS, np.hstack([COINS] * 2), 0, 1e-6),
        (modularity, UNIFORM, np.hstack([UNIFORM] * 2), modularity(UNIFORM, UNIFORM), 1e-9),
        (votes, UNIFORM, np.hstack([UNIFORM] * 2), votes(UNIFORM, UNIFORM), 0),
        (DISENTANGLEMENT, UNIFORM, np.hstack([UNIFORM] * 2), 1, 0.02),
        (COMPLETENESS, UNIFORM, np.hstack([UNIFORM] * 2), 2 / 3, 0.06),
    ],
)
def test_known_values(score, factors, codes, expected, within):
    assert score(factors, codes) == pytest.approx(expected, abs=within)


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
    # A noise code that is never the same twice can be learned by heart, yet tells nothing.
    assert dci(coins, rng.normal(size=(2000, 2))).informativeness == pytest.approx(0.5, abs=0.06)


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


@pytest.mark.parametrize("seed", range(10))
def test_constant_codes_tell_nothing_however_common_the_classes_are(seed):
    # (a rounding error of 1e-16 would make a dead code a live one)
    rng = np.random.default_rng(seed)
    factors = rng.choice(4, size=(int(rng.integers(50, 500)), 2), p=[0.1, 0.2, 0.3, 0.4])
    assert modularity(factors, np.ones((len(factors), 3))) == 0


# Symmetries


@pytest.mark.parametrize("seed", range(3))
def test_order_scale_offset_and_dead_codes_do_not_matter(seed):
    factors, codes = entangled(seed)
    shuffled = codes[:, np.random.default_rng(seed).permutation(5)]
    moved = codes * [1, 2, 4, 8, 16] + [3, -5, 0, 1, 100]
    for score in GAPS:
        known = score(factors, codes)
        assert score(factors, shuffled) == pytest.approx(known)
        assert score(factors, moved) == pytest.approx(known, abs=1e-6)
        if score is not modularity:
            assert score(factors, with_dead(codes, 3)) == pytest.approx(known)
    before, after = vars(dci(factors, codes)), vars(dci(factors, shuffled))
    assert after == pytest.approx(before, abs=0.02)


@pytest.mark.parametrize("score", ALL)
def test_torch_tensors_give_the_same_as_arrays_in_plain_floats(score):
    factors, codes = (values[:200].astype(np.float32) for values in entangled(0))
    found = score(factors, codes)
    assert score(torch.tensor(factors), torch.tensor(codes, requires_grad=True)) == found
    assert all(type(value) is float for value in getattr(found, "__dict__", {0: found}).values())


@pytest.mark.parametrize("score", [votes, lambda v, z, seed: dci(v, z, trees=5, seed=seed)])
def test_seed_decides_the_draws(score):
    factors, codes = entangled(0)
    assert score(factors, codes, seed=3) == score(factors, codes, seed=3)
    assert score(factors, codes, seed=3) != score(factors, codes, seed=4)


def test_scores_are_all_of_them_and_missing_where_undefined():
    factors, codes = (torch.tensor(values[:200]) for values in entangled(0))
    found = scores(factors, codes)
    assert tuple(found) == SCORES
    each = {f.__name__: f(factors, codes) for f in (mig, sap, factor_vae, modularity)}
    assert found == each | vars(dci(factors, codes))
    alone = scores(factors[:, :1], codes)
    assert {name for name, score in alone.items() if not math.isnan(score)} == {"mig", "sap"}


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
    """Factors (3 classes, 30 integers, a normal), codes, information [d][K], entropies [K]."""
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
    factors, codes = entangled(1)
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


# Bad input


def spoiled(value):
    bad = COINS.astype(float)
    bad[3, 1] = value
    return bad


SHAPE = r"must have shape \[N ≥ 1, columns ≥ \d\]"


@pytest.mark.parametrize("score", ALL)
@pytest.mark.parametrize(
    ("factors", "codes", "message"),
    [
        (COINS[:, 0], COINS, rf"factors {SHAPE}.*\(40,\)"),
        (COINS, COINS[:, :, None], rf"codes {SHAPE}.*\(40, 2, 1\)"),
        (COINS[:0], COINS[:0], f"factors {SHAPE}"),
        (COINS, COINS[:, :0], f"codes {SHAPE}"),
        (COINS[:, :0], COINS, f"factors {SHAPE}"),
        (COINS, COINS[:-1], "codes must have as many rows as factors, 40, got 39"),
        (spoiled(math.nan), COINS, "factors must be finite, got 1"),
        (COINS, spoiled(math.inf), "codes must be finite"),
        (COINS, np.full((40, 2), "red"), "codes must be an array of numbers"),
        ([[1, 2], [3]], COINS, "factors must be an array of numbers"),
        (COINS * [1, 0], COINS, "factors must vary, got a constant column 1"),
        (COINS[:1], COINS[:1], "factors must vary, got a constant column 0"),
    ],
)
def test_bad_arrays(score, factors, codes, message):
    with pytest.raises(ValueError, match=message):
        score(factors, codes)


@pytest.mark.parametrize(
    ("score", "argument"),
    [
        (mig, "codes"), (sap, "codes"), (dci, "codes"), (dci, "factors"), (factor_vae, "factors"),
        (modularity, "factors"),
    ],
)  # fmt: skip
def test_too_few_columns(score, argument):
    arrays = {"factors": COINS, "codes": COINS} | {argument: COINS[:, :1]}
    with pytest.raises(ValueError, match=rf"{argument} must have shape .*≥ 2.*got \(40, 1\)"):
        score(**arrays)


@pytest.mark.parametrize(
    ("score", "argument", "value"),
    [
        (dci, "trees", 0), (dci, "trees", 1.5), (dci, "seed", -1), (factor_vae, "train_votes", 0),
        (factor_vae, "eval_votes", 0), (factor_vae, "eval_votes", True), (factor_vae, "seed", None),
    ],
)  # fmt: skip
def test_bad_keywords(score, argument, value):
    with pytest.raises(ValueError, match=rf"{argument} must be an integer ≥ \d, got {value}"):
        score(COINS, COINS, **{argument: value})


def test_too_few_samples():
    two = np.array([[0, 0], [1, 1]])
    with pytest.raises(ValueError, match="factors must repeat a value, got none .* column 0"):
        factor_vae(two, two)
    with pytest.raises(ValueError, match="factors must vary in the 1 training samples"):
        dci(two, two)
