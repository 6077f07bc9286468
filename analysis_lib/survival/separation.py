"""Principal components of the features and how well they tell two groups of patients apart (Fig. 3)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import ArrayLike, NDArray

from analysis_lib.survival.folds import stratified_folds
from analysis_lib.survival.resampling import bootstrap_counts, percentile_interval

NAN = float("nan")


def principal_components(
    features_train: pd.DataFrame, features_all: pd.DataFrame, n: int
) -> tuple[pd.DataFrame, NDArray[np.float64]]:
    """Scores of the first ``n`` components, fitted on the training patients alone.

    Features are centred and scaled to unit variance by the training patients; a feature that does not vary
    among them is left out. Each component's sign is such that its largest loading is positive.

    Args:
        features_train: patients by features, finite.
        features_all: patients to score, the same columns.
        n: number of components.

    Returns:
        frame with columns PC1 ... PCn on the index of ``features_all``, and the share of the training
        variance that each explains, shape (n,).
    """
    train = features_train.to_numpy(dtype=float)
    everyone = features_all[features_train.columns].to_numpy(dtype=float)
    if not (np.isfinite(train).all() and np.isfinite(everyone).all()):
        raise ValueError("features must be finite; extract the missing ones or drop the patients first")
    mean, spread = train.mean(axis=0), train.std(axis=0)
    # A constant feature's SD is rounding noise, not always zero.
    varies = spread > 1e-10 * np.maximum(1e-300, np.abs(train).max(axis=0))
    if varies.sum() < n or len(train) <= n:
        raise ValueError(f"{n} components need more than {n} patients and {n} features that vary")
    scaled = (train[:, varies] - mean[varies]) / spread[varies]
    _, singular, axes = np.linalg.svd(scaled, full_matrices=False)
    largest = np.abs(axes).argmax(axis=1)
    axes *= np.sign(axes[np.arange(len(axes)), largest])[:, None]
    scores = (everyone[:, varies] - mean[varies]) / spread[varies] @ axes[:n].T
    names = [f"PC{k + 1}" for k in range(n)]
    return pd.DataFrame(scores, index=features_all.index, columns=names), singular[:n] ** 2 / np.sum(singular**2)


def separation(
    scores: pd.DataFrame | NDArray[np.float64],
    group: ArrayLike,
    folds: int,
    replicates: int,
    confidence: float,
    seed: int,
    strata: ArrayLike | None = None,
) -> dict[str, float]:
    """Cross-validated AUC of the linear discriminant on the components, its interval and permutation P value.

    Each patient is scored by the rule fitted on the other folds (stratified by group), and the AUC is taken
    within each fold and pooled over the pairs, so that rules of different folds are never compared. The
    interval resamples the scored patients, and so speaks about these rules on other patients; P permutes the
    groups among the patients of a stratum and repeats the whole cross-validation, so that what tells strata apart, as a
    scanner or the sexes may, is in the permuted AUC too.

    Args:
        scores: patients by components, finite.
        group: True or False for each patient.
        folds: number of folds; a group smaller than this gives NaN.
        replicates: bootstrap replicates, and permutations.
        confidence: level of the interval.
        seed: of folds, bootstrap and permutations.
        strata: set of each patient, say; default: one for all.

    Returns:
        auc, low, high, p_permutation.

    Source: Fisher 1936, doi:10.1111/j.1469-1809.1936.tb02137.x; Ojala and Garriga 2010 for the permutation,
    doi:10.1109/ICDM.2009.108.
    """
    x = np.asarray(scores, dtype=float)
    member = np.asarray(group).astype(bool)
    if len(x) != len(member) or not np.isfinite(x).all():
        raise ValueError("scores must be finite and as many as the groups")
    if min(member.sum(), (~member).sum()) < folds:
        return {"auc": NAN, "low": NAN, "high": NAN, "p_permutation": NAN}
    rng = np.random.default_rng(seed)
    # The first row is the groups as they are, the others are permutations; all are scored at once.
    members, fold = [member], [stratified_folds(member, folds, rng, shuffled="patients")]
    stratum = np.zeros(len(x), int) if strata is None else np.unique(np.asarray(strata), return_inverse=True)[1]
    inside = [np.flatnonzero(stratum == k) for k in range(stratum.max() + 1)]
    for _ in range(replicates):
        permuted = member.copy()
        for rows in inside:
            permuted[rows] = rng.permutation(member[rows])
        members.append(permuted)
        fold.append(stratified_folds(members[-1], folds, rng, shuffled="patients"))
    rules = _cross_scores(x, np.array(members), np.array(fold), folds)
    ranks = np.array([np.unique(row, return_inverse=True)[1] for row in rules]) + 1
    one = np.ones((1, len(x)), dtype=np.uint16)
    values = np.array([_pooled_auc(*row, folds, one)[0] for row in zip(ranks, members, fold, strict=True)])
    counts = bootstrap_counts(len(x), replicates, seed)
    resampled = _pooled_auc(ranks[0], member, fold[0], folds, counts)
    low, high = percentile_interval(resampled[:, None], confidence)
    auc = values[0]
    p = np.mean(values >= auc)  # the groups as they are count among the permutations
    return {"auc": float(auc), "low": float(low[0]), "high": float(high[0]), "p_permutation": float(p)}


def _cross_scores(
    x: NDArray[np.float64], member: NDArray[np.bool_], fold: NDArray[np.int64], folds: int
) -> NDArray[np.float64]:
    """Linear discriminant of each patient, fitted without the patient's fold; ``member`` and ``fold`` (rows, n)."""
    x = x - x.mean(axis=0)  # so that sums of squares lose no digits, and what does not vary is exactly zero
    products = (x[:, :, None] * x[:, None, :]).reshape(len(x), -1)
    rule = np.empty(fold.shape)
    for k in range(folds):
        out = fold == k
        scatter, means = np.zeros((len(fold), x.shape[1] ** 2)), []
        for group in (member, ~member):
            used = (group & ~out).astype(float)
            n = used.sum(axis=1, keepdims=True)
            mean = used @ x / n
            scatter += used @ products - (n[..., None] * mean[:, :, None] * mean[:, None, :]).reshape(scatter.shape)
            means.append(mean)
        # The pseudo-inverse serves components that do not vary; the scale of the rule is of no account.
        pooled = np.linalg.pinv(scatter.reshape(-1, x.shape[1], x.shape[1]), rcond=1e-12, hermitian=True)
        weights = (pooled @ (means[0] - means[1])[:, :, None])[:, :, 0]
        rule[out] = (weights @ x.T)[out]
    return rule


@njit(cache=True, nogil=True)
def _pooled_auc(ranks, member, fold, folds, counts):
    """Share of within-fold pairs (one of each group) in the right order, ties one half, by resample."""
    order = np.argsort(ranks)
    out = np.empty(len(counts))
    below = np.empty(folds)
    tied = np.empty(folds)
    tied_members = np.empty(folds)
    members = np.empty(folds)
    for b in range(len(counts)):
        below[:] = 0
        tied[:] = 0
        tied_members[:] = 0
        members[:] = 0
        right = 0.0
        for i in range(len(order)):
            patient = order[i]
            if member[patient]:
                tied_members[fold[patient]] += counts[b, patient]
            else:
                tied[fold[patient]] += counts[b, patient]
            if i + 1 == len(order) or ranks[order[i + 1]] != ranks[patient]:
                for k in range(folds):
                    right += tied_members[k] * (below[k] + 0.5 * tied[k])
                    members[k] += tied_members[k]
                    below[k] += tied[k]
                    tied[k] = 0
                    tied_members[k] = 0
        pairs = np.sum(members * below)
        out[b] = right / pairs if pairs > 0 else np.nan
    return out
