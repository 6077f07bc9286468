"""Covariates of a table that nobody prepared: words to numbers, columns that are none, rows that occur twice.

What a column is (numbers, categories, neither) is read from the training rows alone.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis_lib.common.errors import StudyError
from analysis_lib.common.table_columns import is_time, numbers

# what PyRadiomics writes beside its features: versions, settings, hashes and geometry of image and mask
PROVENANCE = ("diagnostics_", "general_info_")
MOSTLY_NUMBERS = 0.9  # of the training rows with a value: then the others are taken for missing
FEWEST_ROWS = 5  # of a category: rarer ones share a column, because a network learns nothing from a row or two
OTHER = "other, rare"


class TableError(StudyError, ValueError):
    """The table cannot be used; the message names the column and the fix."""


def encode(covariates: pd.DataFrame, learn: np.ndarray) -> tuple[pd.DataFrame, dict[str, dict[str, int]]]:
    """All columns as numbers, and what was done to them by name: stray words, missing or rare categories.

    covariates : (n, columns). learn : (n,) of bool, the training rows. Numbers stay as they are. A column whose
    training values are numbers but for a few words (``MOSTLY_NUMBERS``) has those for missing. Any other column of
    words becomes one 0/1 column a category of the training rows; categories with fewer than ``FEWEST_ROWS`` rows
    share one, which also takes words seen in test rows only. A row without a word is 0 in all of them.

    Raises TableError, with the options that mend it, for columns that are names, dates or durations.
    """
    parts, neither = {}, []
    care: dict[str, dict[str, int]] = {"stray_words": {}, "missing_categories": {}, "rare_categories": {}}
    for name, column in covariates.items():
        values = numbers(column)
        if values is None and not is_time(column):
            values, strays = mostly_numbers(column, learn)
            if strays:
                care["stray_words"][name] = strays
        if values is not None:
            parts[name] = values
            continue
        text = column.astype(str).str.strip().where(column.notna())
        words = text[learn].value_counts()
        many = len(words) > max(10, learn.sum() / 5) and words[words >= FEWEST_ROWS].sum() < words.sum() / 2
        if is_time(column) or many:
            neither.append(name)
            continue
        if missing := int(text.isna().sum()):
            care["missing_categories"][name] = missing
        rare = words.index[words < FEWEST_ROWS]
        if len(rare) > 1:
            care["rare_categories"][name] = len(rare)
            frequent = words.index.difference(rare)
            text = text.where(text.isna() | text.isin(frequent), OTHER)
        for word in sorted(text[learn].dropna().unique()):
            if (new := f"{name}={word}") in covariates or new in parts:
                raise TableError(f"a category of column '{name}' would be named '{new}', which is a column; rename one")
            parts[new] = (text == word).to_numpy(np.float64)
    if neither:
        shown = ", ".join(f"'{name}'" for name in neither[:20]) + (", ..." if len(neither) > 20 else "")
        options = " ".join(f"--drop '{name}'" for name in neither)
        raise TableError(
            f"{len(neither)} columns hold names, dates or durations and no category: {shown}; "
            f"leave them out with {options}, or give numbers instead, such as age for a date of birth"
        )
    return pd.DataFrame(parts, index=covariates.index), care


def mostly_numbers(column: pd.Series, learn: np.ndarray) -> tuple[np.ndarray | None, int]:
    """The numbers of a column of words, and how many words go missing; None where words are no exception."""
    values = pd.to_numeric(column, errors="coerce")
    known = column.notna()
    if known[learn].sum() == 0 or values[learn].notna().sum() < MOSTLY_NUMBERS * known[learn].sum():
        return None, 0
    return values.to_numpy(dtype=np.float64), int((known & values.isna()).sum())


def duplicates(frame: pd.DataFrame, learn: np.ndarray, used: np.ndarray) -> list[tuple[int, int]]:
    """(test row, training row) for every test row that occurs among the training rows too, rows from 0."""
    key = pd.util.hash_pandas_object(frame, index=False)
    first = {value: row for row, value in reversed(list(key[learn].items()))}
    tested = key[used & ~learn]
    return [(int(row), int(first[value])) for row, value in tested.items() if value in first]
