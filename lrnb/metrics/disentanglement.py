"""How well single codes align with single factors of variation.

Every score takes ``factors`` [N, K], which generated the samples, and ``codes`` [N, d], as NumPy
arrays or torch tensors, and returns floats, larger is better. A factor is discrete if it has at
most 20 distinct values, all integers; any other is continuous, and cut into 20 bins of equal width
where a score needs classes. A code that does not vary is dead. Every score raises ValueError for
arrays of another shape, for values that are not finite and for a constant factor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
from sklearn.metrics import balanced_accuracy_score, mutual_info_score
from sklearn.model_selection import train_test_split
from sklearn.svm import LinearSVC

from lrnb._validation import check_integer

ArrayLike = npt.ArrayLike | torch.Tensor
Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

# the keys of `scores`
SCORES = (
    "mig", "sap", "disentanglement", "completeness", "informativeness", "factor_vae", "modularity",
)  # fmt: skip
_BINS = 20
_MAX_CLASSES = 20
_DEAD_DEVIATION = 0.05
# SAP and DCI learn to predict each factor: for 40 attributes that takes longer than all the rest
_LEARNED = 10


def scores(factors: torch.Tensor, codes: torch.Tensor) -> dict[str, float]:
    """Every score of `SCORES`; NaN where K = 1 leaves one undefined.

    SAP and DCI take the first ten factors.
    """
    found = dict.fromkeys(SCORES, math.nan)
    first = factors[:, :_LEARNED]
    found |= {"mig": mig(factors, codes), "sap": sap(first, codes)}
    if factors.shape[1] > 1:
        found |= vars(dci(first, codes))
        found["factor_vae"] = factor_vae(factors, codes)
        found["modularity"] = modularity(factors, codes)
    return found


def mig(factors: ArrayLike, codes: ArrayLike) -> float:
    """Mutual information gap (Chen et al. 2018), in [0, 1]; d ≥ 2.

    Mean over factors of the gap between the two codes with most information about it, in units of
    the factor's entropy. Codes are cut into 20 bins, which leaves a bias of order 1/N, equal for
    all codes. A dead code changes nothing.

    >>> a, b = np.divmod(np.arange(400) % 4, 2)     # two independent coins
    >>> round(mig(np.stack([a, b], 1), np.stack([a, a + b], 1)), 6)  # the sum tells half of each
    0.5
    """
    v, z = _check(factors, codes, min_codes=2)
    labels = _classes(v)
    information = _mutual_information(labels, _bins(z))
    entropy = np.array([mutual_info_score(column, column) for column in labels.T])
    return float(np.mean(_top_gap(information) / entropy))


def sap(factors: ArrayLike, codes: ArrayLike) -> float:
    """Separated attribute predictability (Kumar et al. 2018), in [0, 1]; d ≥ 2.

    Mean over factors of the gap between the two codes that predict it best, each on its own: by
    squared correlation for a continuous factor; for a discrete one by balanced accuracy of a linear
    support vector machine (C = 0.01, balanced) on the standardized code, on the samples it was
    fitted to. With C classes a useless code still scores 1/C, so a discrete factor adds at most
    1 − 1/C. A dead code scores 0.
    """
    v, z = _check(factors, codes, min_codes=2)
    live = np.ptp(z, axis=0) > 0
    # the machine's penalty depends on scale and offset; a code's usefulness does not
    z = _standardized(z)
    score = np.zeros((z.shape[1], v.shape[1]))
    for k, factor in enumerate(v.T):
        if _is_discrete(factor):
            for i in np.flatnonzero(live):
                machine = LinearSVC(C=0.01, class_weight="balanced", dual=False)
                guess = machine.fit(z[:, [i]], factor).predict(z[:, [i]])
                score[i, k] = balanced_accuracy_score(factor, guess)
        else:
            score[:, k] = (z.T @ _standardized(factor[:, None])[:, 0] / len(z)) ** 2
    return float(np.mean(_top_gap(score)))


@dataclass(frozen=True)
class DCI:
    """The three scores of `dci`, each in [0, 1]."""

    disentanglement: float
    completeness: float
    informativeness: float


def dci(factors: ArrayLike, codes: ArrayLike, *, trees: int = 50, seed: int = 0) -> DCI:
    """Disentanglement, completeness, informativeness (Eastwood & Williams 2018); K, d ≥ 2.

    R[i, j] is the importance of code i in predicting factor j by gradient-boosted trees of depth 3,
    each grown on half of the training samples. Disentanglement is 1 − entropy (base K) of the rows
    of R, weighted by their sums; completeness likewise of the columns (base d, so unused codes
    raise it); informativeness the mean accuracy (R² ≥ 0 for continuous factors) on a third of the
    samples that is held out. The first two are 0 if no code has any importance.

    Args:
        factors, codes: as in all scores; a factor must vary in the training samples too.
        trees: boosting rounds per factor; seed: of the split and the trees.
    """
    v, z = _check(factors, codes, min_factors=2, min_codes=2)
    check_integer("trees", trees, 1)
    check_integer("seed", seed, 0)
    v_train, v_test, z_train, z_test = train_test_split(v, z, test_size=1 / 3, random_state=seed)
    importance, accuracy = np.zeros((z.shape[1], v.shape[1])), np.zeros(v.shape[1])
    for k, factor in enumerate(v.T):
        if np.ptp(v_train[:, k]) == 0:
            raise ValueError(
                f"factors must vary in the {len(v_train)} training samples, got a constant "
                f"column {k}; give more samples of its rare values"
            )
        booster = GradientBoostingClassifier if _is_discrete(factor) else GradientBoostingRegressor
        model = booster(n_estimators=trees, max_depth=3, subsample=0.5, random_state=seed)
        model.fit(z_train, v_train[:, k])
        importance[:, k] = model.feature_importances_
        accuracy[k] = max(0.0, model.score(z_test, v_test[:, k]))
    both = _concentration(importance), _concentration(importance.T)
    return DCI(*both, informativeness=float(accuracy.mean()))


def factor_vae(
    factors: ArrayLike,
    codes: ArrayLike,
    *,
    train_votes: int = 10_000,
    eval_votes: int = 5_000,
    batch_size: int = 64,
    seed: int = 0,
) -> float:
    """The FactorVAE score (Kim & Mnih 2018), in [0, 1], chance near 1/K; K ≥ 2.

    A vote: draw a factor, a value of it and a batch of samples that share the value, and name the
    code with the smallest variance in the batch relative to its variance overall. The score is the
    accuracy with which a majority vote guesses the factor from the code on new votes. Batches are
    drawn from the rows given, with replacement; the value is that of a random row, a bin for a
    continuous factor; values that occur once are not drawn. Codes with a standard deviation below
    0.05 are left out; 0 if that leaves none.

    Args:
        factors, codes: as in all scores; a factor without a repeated value is an error.
        train_votes, eval_votes: votes that build the majority vote, and that score it.
        batch_size: samples in a batch, ≥ 2; seed: of all draws.
    """
    v, z = _check(factors, codes, min_factors=2)
    for name, given, minimum in (
        ("train_votes", train_votes, 1), ("eval_votes", eval_votes, 1),
        ("batch_size", batch_size, 2), ("seed", seed, 0),
    ):  # fmt: skip
        check_integer(name, given, minimum)
    labels = _classes(v)
    order = [np.argsort(c, kind="stable") for c in labels.T]
    groups = [
        np.split(o, np.cumsum(np.bincount(c))[:-1]) for o, c in zip(order, labels.T, strict=True)
    ]
    drawable = [np.flatnonzero(np.bincount(c)[c] > 1) for c in labels.T]
    for k, rows in enumerate(drawable):
        if len(rows) == 0:
            raise ValueError(
                f"factors must repeat a value, got none that two rows of column {k} share"
            )
    deviation = z.std(axis=0)
    live = deviation >= _DEAD_DEVIATION
    if not live.any():
        return 0.0
    z = z[:, live] / deviation[live]
    rng = np.random.default_rng(seed)

    def count_votes(n: int) -> Labels:
        counts = np.zeros((z.shape[1], v.shape[1]), dtype=np.int64)
        for k in rng.integers(v.shape[1], size=n):
            row = drawable[k][rng.integers(len(drawable[k]))]
            alike = groups[k][labels[row, k]]
            batch = z[alike[rng.integers(len(alike), size=batch_size)]]
            counts[batch.var(axis=0).argmin(), k] += 1
        return counts

    guess = count_votes(train_votes).argmax(axis=1)
    votes = count_votes(eval_votes)
    return float(votes[np.arange(len(guess)), guess].sum() / eval_votes)


def modularity(factors: ArrayLike, codes: ArrayLike) -> float:
    """Modularity (Ridgeway & Mozer 2018), in [0, 1]; K ≥ 2.

    With m[i, k] the mutual information of code i and factor k in 20 bins, the mean over codes of
    1 − (Σ_k m[i, k]² − max_k m[i, k]²) / ((K − 1) · max_k m[i, k]²); 0 for a code without any. What
    a code of pure noise scores comes from the bias of the binned mutual information.
    """
    v, z = _check(factors, codes, min_factors=2)
    squared = _mutual_information(_classes(v), _bins(z)) ** 2
    largest = squared.max(axis=1)
    live = largest > 0
    rest = squared[live].sum(axis=1) - largest[live]
    per_code = np.zeros(len(squared))
    per_code[live] = 1 - rest / (largest[live] * (v.shape[1] - 1))
    return float(per_code.mean())


def _mutual_information(labels: Labels, bins: Labels) -> Floats:
    """Mutual information in nats [d, K] of binned codes [N, d] and factor classes [N, K]."""

    # (scikit-learn would count as well, but sorts first, which takes five times as long)
    def count(factor: Labels, code: Labels) -> Labels:
        table = np.bincount(factor * _BINS + code, minlength=(factor.max() + 1) * _BINS)
        table = table.reshape(-1, _BINS)
        return table[:, table.any(axis=0)]

    counts = [[count(factor, code) for factor in labels.T] for code in bins.T]
    return np.array([[mutual_info_score(None, None, contingency=c) for c in row] for row in counts])


def _top_gap(scores: Floats) -> Floats:
    """Largest minus second largest of each column: [d, K] → [K]."""
    gap: Floats = np.diff(np.sort(scores, axis=0)[-2:], axis=0)[0]
    return gap


def _concentration(importance: Floats) -> float:
    """Mean over rows of 1 − entropy in base of the row's length, weighted by the rows' sums."""
    total = importance.sum()
    if total == 0:
        return 0.0
    weight = importance.sum(axis=1)
    p = importance[weight > 0] / weight[weight > 0, None]
    entropy = -np.sum(p * np.log(np.where(p > 0, p, 1.0)), axis=1) / np.log(importance.shape[1])
    return float(np.sum(weight[weight > 0] * (1 - entropy)) / total)


def _is_discrete(factor: Floats) -> bool:
    return bool(np.all(factor == np.round(factor)) and len(np.unique(factor)) <= _MAX_CLASSES)


def _classes(factors: Floats) -> Labels:
    """Class indices from 0 up, [N, K]: a discrete factor's values, a continuous one's bins."""
    columns = [column if _is_discrete(column) else _bins(column) for column in factors.T]
    return np.stack([np.unique(c, return_inverse=True)[1] for c in columns], axis=1)


def _bins(values: Floats) -> Labels:
    """Index of each value among 20 equal bins between its column's minimum and maximum."""
    low, width = values.min(axis=0), np.ptp(values, axis=0)
    position = (values - low) / np.where(width > 0, width, 1.0)
    bins: Labels = np.minimum((position * _BINS).astype(np.int64), _BINS - 1)
    return bins


def _standardized(values: Floats) -> Floats:
    """Columns of mean 0 and standard deviation 1; constant columns become 0."""
    varies = np.ptp(values, axis=0) > 0
    deviation = np.where(varies, values.std(axis=0), 1.0)
    return np.where(varies, (values - values.mean(axis=0)) / deviation, 0.0)


def _check(
    factors: ArrayLike, codes: ArrayLike, *, min_factors: int = 1, min_codes: int = 1
) -> tuple[Floats, Floats]:
    v, z = _as_matrix("factors", factors, min_factors), _as_matrix("codes", codes, min_codes)
    if len(v) != len(z):
        raise ValueError(f"codes must have as many rows as factors, {len(v)}, got {len(z)}")
    constant = np.flatnonzero(np.ptp(v, axis=0) == 0)
    if len(constant):
        raise ValueError(f"factors must vary, got a constant column {constant[0]}")
    return v, z


def _as_matrix(name: str, values: ArrayLike, min_columns: int) -> Floats:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().double().numpy()
    try:
        matrix = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be an array of numbers: {error}") from error
    if matrix.ndim != 2 or len(matrix) == 0 or matrix.shape[1] < min_columns:
        wanted = f"[N ≥ 1, columns ≥ {min_columns}]"
        raise ValueError(f"{name} must have shape {wanted} for this score, got {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError(
            f"{name} must be finite, got {(~np.isfinite(matrix)).sum()} NaN or infinite"
        )
    return matrix
