"""Folds of cross-validation with each label spread evenly over them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def stratified_folds(
    label: ArrayLike, folds: int, rng: np.random.Generator, *, shuffled: str = "numbers"
) -> NDArray[np.int64]:
    """Number (0 to folds - 1) of each patient's fold, shape (n,); those labelled True are dealt first.

    ``shuffled`` says what is put in random order before the numbers are dealt out: the fold "numbers" or the
    "patients". One is as random as the other; results that are committed rest on each.
    """
    label = np.asarray(label, dtype=bool)
    fold = np.empty(len(label), dtype=np.int64)
    for value in (True, False):
        place = np.flatnonzero(label == value)
        numbers = np.arange(len(place)) % folds
        if shuffled == "patients":
            fold[rng.permutation(place)] = numbers
        else:
            fold[place] = rng.permutation(numbers)
    return fold
