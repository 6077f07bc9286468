"""Fig. 3: how well principal components of the radiomics tell the groups of each definition apart."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from analysis_lib.cohort.feature_table import name_parts
from analysis_lib.common.keep import keeping
from analysis_lib.common.sarcopenia import sarcopenic
from analysis_lib.core.parameters import DefinitionParams, StatisticsParams
from analysis_lib.survival.separation import separation


def separations(
    patients: pd.DataFrame,
    scores: pd.DataFrame,
    definitions: dict[str, DefinitionParams],
    folds: int,
    statistics: StatisticsParams,
    seed: int,
    kept: Path | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """How well a linear rule on the components tells each definition's groups apart.

    Returns the groups (patient_id, one nullable boolean column a definition) and one row a definition
    (definition, n, n_sarcopenic, auc, low, high, p_permutation). ``kept`` is a folder for the answers, so that a new
    cut-off of one definition permutes that definition alone.
    """
    separated = keeping(separation, kept)
    indexed = patients.set_index("patient_id").loc[scores.index]
    groups = pd.DataFrame({key: sarcopenic(indexed, d) for key, d in definitions.items()}, index=scores.index)
    rows = []
    for key in definitions:
        known = groups[key].dropna().astype(bool)
        result = separated(
            scores.loc[known.index].to_numpy(),
            known.to_numpy(),
            folds,
            statistics.bootstrap_replicates,
            statistics.confidence,
            seed,
        )
        rows.append({"definition": key, "n": len(known), "n_sarcopenic": int(known.sum())} | result)
    return groups, pd.DataFrame(rows)


def feature_counts(names: Iterable[str]) -> pd.DataFrame:
    """How many features there are by region and class, as far as their names say."""
    parts = name_parts(names)
    return parts.groupby(["region", "class"], sort=False).size().unstack(fill_value=0)
