"""How well single codes align with single factors of variation; of all scores larger is better.

They take factors [N, K] and codes [N, d], arrays or tensors, of finite values. A factor must vary;
it is discrete if it has at most 20 distinct values, all integers; any other is continuous, and cut
into 20 bins of equal width where a score needs classes. A code that does not vary is dead.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import special
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
from sklearn.metrics import balanced_accuracy_score, mutual_info_score
from sklearn.metrics.cluster import contingency_matrix
from sklearn.model_selection import train_test_split
from sklearn.svm import LinearSVC

from lrnb._validation import check_integer

Array = npt.ArrayLike | torch.Tensor
Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

# the keys of `scores`
SCORES = (
    "mig", "sap", "disentanglement", "completeness", "informativeness", "factor_vae", "modularity",
)  # fmt: skip


def scores(factors: torch.Tensor, codes: torch.Tensor) -> dict[str, float]:
    """Every score of `SCORES`, SAP and DCI of the first ten factors; NaN if undefined for K = 1."""
    found = dict.fromkeys(SCORES, math.nan)
    first = factors[:, :10]  # to learn to predict 40 attributes takes longer than all the rest
    found |= {"mig": mig(factors, codes), "sap": sap(first, codes)}
    if factors.shape[1] > 1:
        found |= vars(dci(first, codes))
        found["factor_vae"] = factor_vae(factors, codes)
        found["modularity"] = modularity(factors, codes)
    return found


def mig(factors: Array, codes: Array) -> float:
    """Mutual information gap (Chen et al. 2018), in [0, 1]; d ≥ 2.

    Mean over factors of the gap between the two codes with most information about it, in units of
    its entropy. The 20 bins leave a bias of order 1/N, equal for all codes.

    >>> a, b = np.divmod(np.arange(400) % 4, 2)     # two independent coins
    >>> round(mig(np.stack([a, b], 1), np.stack([a, a + b], 1)), 6)  # the sum tells half of each
    0.5
    """
    v, z = _check(factors, codes, least=(1, 2))
    second, best = np.sort(_mutual_information(v, z), axis=0)[-2:]
    entropy = np.array([mutual_info_score(column, column) for column in _classes(v).T])
    return float(np.mean((best - second) / entropy))


def sap(factors: Array, codes: Array) -> float:
    """Separated attribute predictability (Kumar et al. 2018), in [0, 1]; d ≥ 2.

    Mean over factors of the gap between the two codes that predict it best: by squared correlation
    if it is continuous, else by balanced accuracy of a linear support vector machine (C = 0.01) on
    the samples it was fitted to, which with C classes is at least 1/C, and 0 of a dead code.
    """
    v, z = _check(factors, codes, least=(1, 2))
    # the machine's penalty depends on scale and offset; a code's usefulness does not
    z = _standardized(z)
    score = np.zeros((z.shape[1], v.shape[1]))
    for k, factor in enumerate(v.T):
        if _is_discrete(factor):
            for i in np.flatnonzero(z.any(axis=0)):
                machine = LinearSVC(C=0.01, class_weight="balanced", dual=False)
                guess = machine.fit(z[:, [i]], factor).predict(z[:, [i]])
                score[i, k] = balanced_accuracy_score(factor, guess)
        else:
            score[:, k] = (z.T @ _standardized(factor[:, None])[:, 0] / len(z)) ** 2
    second, best = np.sort(score, axis=0)[-2:]
    return float(np.mean(best - second))


@dataclass(frozen=True)
class DCI:
    """The three scores of `dci`, each in [0, 1]."""

    disentanglement: float
    completeness: float
    informativeness: float


def dci(factors: Array, codes: Array, *, trees: int = 50, seed: int = 0) -> DCI:
    """Disentanglement, completeness, informativeness (Eastwood & Williams 2018); K, d ≥ 2.

    R[i, j] is the importance of code i in predicting factor j by gradient-boosted trees, each grown
    on half of the training samples. Disentanglement is 1 − entropy (base K) of the rows of R,
    weighted by their sums; completeness likewise of the columns (base d, so unused codes raise it);
    informativeness the mean accuracy, or R² ≥ 0 of continuous factors, on a third held out.
    """
    v, z = _check(factors, codes, least=(2, 2))
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
    return DCI(_concentration(importance), _concentration(importance.T), float(accuracy.mean()))


def factor_vae(
    factors: Array, codes: Array, *, train_votes: int = 10000, eval_votes: int = 5000, seed: int = 0
) -> float:
    """The FactorVAE score (Kim & Mnih 2018), in [0, 1], chance near 1/K; K ≥ 2.

    A vote: draw a factor, a row and 64 rows that share its value (or bin), with replacement, and
    name the code of smallest variance in them relative to its variance overall. The score is the
    accuracy with which a majority vote guesses the factor from the code on new votes. Values that
    occur once are not drawn; a factor without others is an error. Codes with a standard deviation
    below 0.05 are left out; 0 if that leaves none.
    """
    v, z = _check(factors, codes, least=(2, 1))
    check_integer("train_votes", train_votes, 1)
    check_integer("eval_votes", eval_votes, 1)
    check_integer("seed", seed, 0)
    labels = _classes(v)
    groups = [[np.flatnonzero(c == value) for value in range(c.max() + 1)] for c in labels.T]
    drawable = [np.flatnonzero(np.bincount(c)[c] > 1) for c in labels.T]
    if empty := [k for k, rows in enumerate(drawable) if len(rows) == 0]:
        raise ValueError(
            f"factors must repeat a value, got none that two rows of column {empty[0]} share"
        )
    deviation = z.std(axis=0)
    live = deviation >= 0.05
    if not live.any():
        return 0.0
    z = z[:, live] / deviation[live]
    rng = np.random.default_rng(seed)

    def count_votes(n: int) -> Labels:
        counts = np.zeros((z.shape[1], v.shape[1]), dtype=np.int64)
        for k in rng.integers(v.shape[1], size=n):
            row = drawable[k][rng.integers(len(drawable[k]))]
            alike = groups[k][labels[row, k]]
            batch = z[alike[rng.integers(len(alike), size=64)]]
            counts[batch.var(axis=0).argmin(), k] += 1
        return counts

    guess = count_votes(train_votes).argmax(axis=1)
    votes = count_votes(eval_votes)
    return float(votes[np.arange(len(guess)), guess].sum() / eval_votes)


def modularity(factors: Array, codes: Array) -> float:
    """Modularity (Ridgeway & Mozer 2018), in [0, 1]; K ≥ 2.

    The mean over codes of 1 − (Σ_k m_k² − max_k m_k²) / ((K − 1) max_k m_k²), m_k the code's mutual
    information with factor k (in 20 bins, whose bias is what noise scores); 0 for a code without.
    """
    v, z = _check(factors, codes, least=(2, 1))
    squared = _mutual_information(v, z) ** 2
    largest = squared.max(axis=1)
    rest, most = squared.sum(axis=1) - largest, largest * (v.shape[1] - 1)
    return float(np.mean(1 - np.divide(rest, most, out=np.ones_like(rest), where=largest > 0)))


def _mutual_information(factors: Floats, codes: Floats) -> Floats:
    """Mutual information [d, K] in nats, of binned codes and classes of factors."""
    labels, bins = _classes(factors), _bins(codes)
    tables = [[contingency_matrix(factor, code) for factor in labels.T] for code in bins.T]
    return np.array([[mutual_info_score(None, None, contingency=t) for t in row] for row in tables])


def _concentration(importance: Floats) -> float:
    """Mean over rows of 1 − entropy in base of the row's length, weighted by the rows' sums."""
    weight = importance.sum(axis=1)
    used = weight > 0
    shares = importance[used] / weight[used, None]
    entropy = special.entr(shares).sum(axis=1) / np.log(importance.shape[1])
    entropy = entropy.clip(0, 1)  # (equal shares can round to a little more than 1)
    return float(np.sum(weight[used] * (1 - entropy)) / importance.sum()) if used.any() else 0.0


def _is_discrete(factor: Floats) -> bool:
    return bool(np.all(factor == np.round(factor)) and len(np.unique(factor)) <= 20)


def _classes(factors: Floats) -> Labels:
    """Class indices from 0 up, [N, K]: a discrete factor's values, a continuous one's bins."""
    columns = [column if _is_discrete(column) else _bins(column) for column in factors.T]
    return np.stack([np.unique(c, return_inverse=True)[1] for c in columns], axis=1)


def _bins(values: Floats) -> Labels:
    """Index of each value among 20 equal bins between its column's minimum and maximum."""
    low, width = values.min(axis=0), np.ptp(values, axis=0)
    bins: Labels = ((values - low) / np.where(width > 0, width, 1.0) * 20).astype(np.int64)
    return bins.clip(max=19)  # (the maximum itself)


def _standardized(values: Floats) -> Floats:
    """Columns of mean 0 and standard deviation 1; constant columns become 0."""
    deviation = np.where(np.ptp(values, axis=0) > 0, values.std(axis=0), np.inf)
    standardized: Floats = (values - values.mean(axis=0)) / deviation
    return standardized


def _check(factors: Array, codes: Array, *, least: tuple[int, int]) -> list[Floats]:
    """Both as arrays of at least so many columns; every factor varies."""
    found = []
    for name, values, columns in zip(("factors", "codes"), (factors, codes), least, strict=True):
        given = values.detach().cpu().double() if isinstance(values, torch.Tensor) else values
        try:
            matrix = np.asarray(given, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} must be an array of numbers: {error}") from error
        if matrix.ndim != 2 or len(matrix) == 0 or matrix.shape[1] < columns:
            wanted = f"[N ≥ 1, columns ≥ {columns}]"
            raise ValueError(f"{name} must have shape {wanted} for this score, got {matrix.shape}")
        if bad := np.sum(~np.isfinite(matrix)):
            raise ValueError(f"{name} must be finite, got {bad} NaN or infinite")
        found.append(matrix)
    v, z = found
    if len(v) != len(z):
        raise ValueError(f"codes must have as many rows as factors, {len(v)}, got {len(z)}")
    if len(constant := np.flatnonzero(np.ptp(v, axis=0) == 0)):
        raise ValueError(f"factors must vary, got a constant column {constant[0]}")
    return found
