"""How well single codes line up with single factors of variation.

Every score takes ``factors`` of shape [N, K], what generated the samples, and ``codes`` of shape
[N, d], what the encoder made of them, as NumPy arrays or torch tensors, and returns plain floats.
Larger is better. What all scores share:

- A factor is **discrete** if its values are integers and at most 20 distinct ones occur; any other
  factor is **continuous**. Discrete factors are used as they are, continuous ones are cut into 20
  bins of equal width wherever a score needs classes.
- A **constant factor** has no score and is an error.
- A **dead code** is one that does not vary. How each score treats it is said in its docstring.

>>> import numpy as np
>>> factors = np.array([[a, b] for a in range(4) for b in range(4)] * 10)
>>> mig(factors, codes=factors)
1.0
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from sklearn.ensemble import (  # type: ignore[import-untyped, unused-ignore]
    GradientBoostingClassifier,
    GradientBoostingRegressor,
)
from sklearn.metrics import (  # type: ignore[import-untyped, unused-ignore]
    balanced_accuracy_score,
    mutual_info_score,
)
from sklearn.model_selection import (  # type: ignore[import-untyped, unused-ignore]
    train_test_split,
)
from sklearn.svm import LinearSVC  # type: ignore[import-untyped, unused-ignore]

__all__ = ["DCI", "dci", "factor_vae", "mig", "modularity", "sap"]

ArrayLike = npt.ArrayLike | torch.Tensor
Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

BINS = 20
MAX_CLASSES = 20
DEAD_STD = 0.05


def mig(factors: ArrayLike, codes: ArrayLike) -> float:
    """Mutual information gap (Chen et al. 2018, "Isolating Sources of Disentanglement in
    Variational Autoencoders").

    For each factor, the gap between the two codes that tell most about it, in units of the
    factor's entropy; averaged over factors. Codes are cut into 20 bins of equal width. A constant
    code has no information and changes nothing.

    Args:
        factors: [N, K], K ≥ 1.
        codes: [N, d], d ≥ 2.

    Returns:
        A score in [0, 1]: 1 if one code determines each factor and no other code tells anything
        about it. Binning leaves a bias of order 1/N, equal for all codes.

    Raises:
        ValueError: if an array is not of the stated shape, not finite, or a factor is constant.

    >>> import numpy as np
    >>> a, b = np.divmod(np.arange(400) % 4, 2)   # two independent coins
    >>> factors = np.stack([a, b], axis=1)
    >>> round(mig(factors, np.stack([a, a + b], axis=1)), 6)   # the sum tells half of each
    0.5
    """
    v, z = _check(factors, codes, min_codes=2)
    labels = _classes(v)
    information = _mutual_information(labels, _bins(z))
    entropy = np.array([mutual_info_score(column, column) for column in labels.T])
    return float(np.mean(_top_gap(information) / entropy))


def sap(factors: ArrayLike, codes: ArrayLike) -> float:
    """Separated attribute predictability (Kumar et al. 2018, "Variational Inference of
    Disentangled Latent Concepts from Unlabeled Observations").

    For each factor, the gap between the two codes that predict it best, each on its own; averaged
    over factors. A code predicts a continuous factor as well as the squared correlation between
    the two, and a discrete one as well as the balanced accuracy of a linear support vector machine
    (C = 0.01, balanced class weights) on the standardised code. With one or two numbers per class
    to fit, it is scored on the samples it was fitted to. A constant code scores 0.

    Args:
        factors: [N, K], K ≥ 1.
        codes: [N, d], d ≥ 2.

    Returns:
        A score in [0, 1]. Continuous factors can reach 1. A useless code still guesses one of C
        classes right with probability 1/C, so a discrete factor adds at most 1 - 1/C; with C > 2
        less, as a linear classifier on one code hardly ever chooses the classes in the middle.

    Raises:
        ValueError: if an array is not of the stated shape, not finite, or a factor is constant.

    >>> import numpy as np
    >>> a, b = np.divmod(np.arange(400) % 4, 2)
    >>> coins = np.stack([a, b], axis=1)
    >>> round(sap(coins, codes=coins), 6)         # discrete: 1 against a guess of 1/2
    0.5
    >>> round(sap(coins / 3, codes=coins), 6)     # continuous: 1 against 0
    1.0
    """
    v, z = _check(factors, codes, min_codes=2)
    live = np.ptp(z, axis=0) > 0
    # The machine's penalty depends on scale and offset; a code's usefulness does not.
    z = _standardised(z)
    scores = np.zeros((z.shape[1], v.shape[1]))
    for k, factor in enumerate(v.T):
        if _is_discrete(factor):
            for i in np.flatnonzero(live):
                scores[i, k] = _svm_accuracy(z[:, i], factor)
        else:
            correlation = z.T @ _standardised(factor[:, None])[:, 0] / len(z)
            scores[:, k] = correlation**2
    return float(np.mean(_top_gap(scores)))


@dataclass(frozen=True)
class DCI:
    """The three scores of :func:`dci`, each in [0, 1]."""

    disentanglement: float
    completeness: float
    informativeness: float


def dci(factors: ArrayLike, codes: ArrayLike, *, trees: int = 50, seed: int = 0) -> DCI:
    """Disentanglement, completeness and informativeness (Eastwood & Williams 2018, "A Framework
    for the Quantitative Evaluation of Disentangled Representations").

    Gradient-boosted trees predict each factor from all codes; R[i, j] is the importance of code i
    in the prediction of factor j. Trees have depth 3, and each is grown on half of the training
    samples. A random third of the samples is held out to test.

    - disentanglement: 1 - entropy (base K) of each code's row of R, weighted by the row's sum;
    - completeness: 1 - entropy (base d) of each factor's column, weighted likewise;
    - informativeness: mean over factors of the held-out accuracy (discrete) or R², not below 0
      (continuous).

    A dead code has no importance. It leaves disentanglement and informativeness as they are, but
    counts in the base d: the more codes are left unused, the more complete the others.

    Args:
        factors: [N, K], K ≥ 2.
        codes: [N, d], d ≥ 2.
        trees: boosting rounds per factor. Time grows with N · d · trees, and with the number of
            classes of a discrete factor: some 1 s for two classes, N = 10,000, d = 32.
        seed: of the split and the trees.

    Returns:
        The three scores. If no code has any importance, disentanglement and completeness are 0.

    Raises:
        ValueError: if an array is not of the stated shape, not finite, a factor is constant (also
            if only in the training samples), or ``trees`` or ``seed`` is out of range.

    >>> import numpy as np
    >>> coins = np.random.default_rng(0).integers(2, size=(300, 2))
    >>> score = dci(coins, codes=coins, trees=20)
    >>> round(score.disentanglement, 2), round(score.completeness, 2), score.informativeness
    (1.0, 1.0, 1.0)
    """
    v, z = _check(factors, codes, min_factors=2, min_codes=2)
    _check_integer("trees", trees, minimum=1)
    _check_integer("seed", seed, minimum=0)
    v_train, v_test, z_train, z_test = train_test_split(v, z, test_size=1 / 3, random_state=seed)
    importance = np.zeros((z.shape[1], v.shape[1]))
    accuracy = np.zeros(v.shape[1])
    for k, factor in enumerate(v.T):
        if np.ptp(v_train[:, k]) == 0:
            raise ValueError(
                f"factors: column {k} is constant in the {len(v_train)} training samples; "
                "give more samples of its rare values"
            )
        booster = GradientBoostingClassifier if _is_discrete(factor) else GradientBoostingRegressor
        model = booster(n_estimators=trees, max_depth=3, subsample=0.5, random_state=seed)
        model.fit(z_train, v_train[:, k])
        importance[:, k] = model.feature_importances_
        accuracy[k] = max(0.0, model.score(z_test, v_test[:, k]))
    return DCI(
        disentanglement=_concentration(importance),
        completeness=_concentration(importance.T),
        informativeness=float(accuracy.mean()),
    )


def factor_vae(
    factors: ArrayLike,
    codes: ArrayLike,
    *,
    train_votes: int = 10_000,
    eval_votes: int = 5_000,
    batch_size: int = 64,
    seed: int = 0,
) -> float:
    """The FactorVAE score (Kim & Mnih 2018, "Disentangling by Factorising").

    A vote: choose a factor and a value of it, draw a batch of samples that share the value, and
    name the code whose variance in the batch, relative to its variance over all samples, is least.
    A majority vote then guesses the factor from the code. The score is the accuracy of the guess
    on fresh votes.

    The paper draws batches from a generator. Here they are drawn, with replacement, from the rows
    given; the shared value is that of a random row. A continuous factor is held within one of its
    20 bins. Values that occur in one row only have no variance and are not drawn.

    Args:
        factors: [N, K], K ≥ 2.
        codes: [N, d], d ≥ 1. Codes with standard deviation below 0.05 are dead and left out.
        train_votes: votes that build the majority vote.
        eval_votes: votes that score it.
        batch_size: samples in a batch, at least 2.
        seed: of all draws.

    Returns:
        A score in [0, 1]; chance is near 1/K. 0 if all codes are dead.

    Raises:
        ValueError: if an array is not of the stated shape, not finite, a factor is constant or
            repeats no value, or a keyword is out of range.

    >>> import numpy as np
    >>> coins = np.random.default_rng(0).integers(2, size=(300, 2))
    >>> factor_vae(coins, codes=coins, train_votes=100, eval_votes=100)
    1.0
    """
    v, z = _check(factors, codes, min_factors=2)
    _check_integer("train_votes", train_votes, minimum=1)
    _check_integer("eval_votes", eval_votes, minimum=1)
    _check_integer("batch_size", batch_size, minimum=2)
    _check_integer("seed", seed, minimum=0)
    labels = _classes(v)
    groups = [_rows_by_class(c) for c in labels.T]
    drawable = [np.flatnonzero(np.bincount(c)[c] > 1) for c in labels.T]
    for k, rows in enumerate(drawable):
        if len(rows) == 0:
            raise ValueError(f"factors: column {k} has no value that two rows share")

    std = z.std(axis=0)
    live = std >= DEAD_STD
    if not live.any():
        return 0.0
    z = z[:, live] / std[live]
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
    """Modularity (Ridgeway & Mozer 2018, "Learning Deep Disentangled Embeddings with the
    F-Statistic Loss").

    With m[i, k] the mutual information of code i and factor k in 20 bins, a code scores
    1 - (Σ_k m[i, k]² - max_k m[i, k]²) / ((K - 1) · max_k m[i, k]²); averaged over codes.

    Args:
        factors: [N, K], K ≥ 2.
        codes: [N, d], d ≥ 1. A code without any mutual information, as a constant one, scores 0
            and so lowers the mean.

    Returns:
        A score in [0, 1]: 1 if each code tells about one factor only, no matter how many codes
        tell about the same. A code of pure noise is not dead by this definition: what it scores
        comes from the bias of the binned mutual information, which is larger for factors with
        more values.

    Raises:
        ValueError: if an array is not of the stated shape, not finite, or a factor is constant.

    >>> import numpy as np
    >>> a, b = np.divmod(np.arange(400) % 4, 2)
    >>> factors = np.stack([a, b], axis=1)
    >>> round(modularity(factors, np.stack([a, a + b], axis=1)), 6)   # 1 and 0
    0.5
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
    return np.array(
        [
            [mutual_info_score(None, None, contingency=_counts(f, code)) for f in labels.T]
            for code in bins.T
        ]
    )


def _counts(factor: Labels, code: Labels) -> Labels:
    """How often each class of a factor [N] meets each bin of a code [N], without empty bins."""
    # (scikit-learn would count as well, but sorts both first, which takes five times as long)
    table = np.bincount(factor * BINS + code, minlength=(factor.max() + 1) * BINS)
    table = table.reshape(-1, BINS)
    return table[:, table.any(axis=0)]


def _svm_accuracy(code: Floats, factor: Floats) -> float:
    """Balanced accuracy of a linear classifier of a discrete factor [N] from one code [N]."""
    # With a rare class, plain accuracy would favour a code that knows nothing and mostly names
    # the common one, as sparse codes can. With classes of equal size the two are the same.
    machine = LinearSVC(C=0.01, class_weight="balanced", dual=False)
    machine.fit(code[:, None], factor)
    return float(balanced_accuracy_score(factor, machine.predict(code[:, None])))


def _top_gap(scores: Floats) -> Floats:
    """Largest minus second largest of each column: [d, K] to [K]."""
    ordered = np.sort(scores, axis=0)
    gap: Floats = ordered[-1] - ordered[-2]
    return gap


def _concentration(importance: Floats) -> float:
    """Mean over rows of 1 - entropy in base of the row's length, weighted by the rows' sums."""
    total = importance.sum()
    if total == 0:
        return 0.0
    weight = importance.sum(axis=1)
    p = importance[weight > 0] / weight[weight > 0, None]
    entropy = -np.sum(p * np.log(np.where(p > 0, p, 1.0)), axis=1) / np.log(importance.shape[1])
    return float(np.sum(weight[weight > 0] * (1 - entropy)) / total)


def _is_discrete(factor: Floats) -> bool:
    return bool(np.all(factor == np.round(factor)) and len(np.unique(factor)) <= MAX_CLASSES)


def _classes(factors: Floats) -> Labels:
    """Class indices from 0 up, [N, K]: a discrete factor's values, a continuous one's bins."""
    columns = [column if _is_discrete(column) else _bins(column) for column in factors.T]
    return np.stack([np.unique(c, return_inverse=True)[1] for c in columns], axis=1)


def _bins(values: Floats) -> Labels:
    """Index of each value among 20 equal bins between its column's least and largest value."""
    low, width = values.min(axis=0), np.ptp(values, axis=0)
    position = (values - low) / np.where(width > 0, width, 1.0)
    bins: Labels = np.minimum((position * BINS).astype(np.int64), BINS - 1)
    return bins


def _rows_by_class(labels: Labels) -> list[Labels]:
    """For each class of one factor [N], the rows that have it."""
    return np.split(np.argsort(labels, kind="stable"), np.cumsum(np.bincount(labels))[:-1])


def _standardised(values: Floats) -> Floats:
    """Columns of mean 0 and standard deviation 1; constant columns become 0."""
    varies = np.ptp(values, axis=0) > 0
    return np.where(
        varies, (values - values.mean(axis=0)) / np.where(varies, values.std(axis=0), 1.0), 0.0
    )


def _check(
    factors: ArrayLike, codes: ArrayLike, *, min_factors: int = 1, min_codes: int = 1
) -> tuple[Floats, Floats]:
    v = _as_matrix("factors", factors, min_columns=min_factors)
    z = _as_matrix("codes", codes, min_columns=min_codes)
    if len(v) != len(z):
        raise ValueError(
            f"factors and codes must have the same number of rows, got {len(v)} and {len(z)}"
        )
    constant = np.flatnonzero(np.ptp(v, axis=0) == 0)
    if len(constant):
        raise ValueError(
            f"factors: column {constant[0]} is constant; a factor must take at least two values"
        )
    return v, z


def _as_matrix(name: str, values: ArrayLike, *, min_columns: int) -> Floats:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().double().numpy()
    try:
        matrix = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be an array of numbers: {error}") from error
    if matrix.ndim != 2:
        raise ValueError(f"{name} must have two dimensions [N, columns], got shape {matrix.shape}")
    if len(matrix) == 0:
        raise ValueError(f"{name} must have at least one row, got shape {matrix.shape}")
    if matrix.shape[1] < min_columns:
        raise ValueError(
            f"{name} must have at least {min_columns} column(s) for this score, "
            f"got shape {matrix.shape}"
        )
    if not np.isfinite(matrix).all():
        raise ValueError(f"{name} must be finite, got {(~np.isfinite(matrix)).sum()} nan or inf")
    return matrix


def _check_integer(name: str, value: int, *, minimum: int) -> None:
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or not minimum <= value < 2**32:
        raise ValueError(f"{name} must be an integer from {minimum} up to 2**32 - 1, got {value!r}")
