"""Fig. 3: how well principal components of the radiomics tell the groups of each definition apart."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from analysis_lib.cohort.feature_table import name_parts
from analysis_lib.common.keep import keeping
from analysis_lib.common.sarcopenia import sarcopenic
from analysis_lib.core.parameters import CohortParams, DefinitionParams, StatisticsParams
from analysis_lib.survival.separation import separation

ALL = "all sets"


def separations(
    patients: pd.DataFrame,
    scores: pd.DataFrame,
    definitions: dict[str, DefinitionParams],
    cohort: CohortParams,
    folds: int,
    statistics: StatisticsParams,
    seed: int,
    kept: Path | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """How well a linear rule on the components tells each definition's groups apart, pooled and within what is trained.

    Pooled over the sets, as in the letter's figure, a rule may tell the sets apart and not the muscle: P permutes
    within the sets, and the sets that are trained on stand alone in rows of their own.

    Returns the groups (patient_id, one nullable boolean column a definition) and two rows a definition, of all and of
    the trained sets, or one where there is no other (definition, patients, n, n_sarcopenic, auc, low, high,
    p_permutation). ``kept`` is a folder for the answers, so that a new cut-off of one definition permutes that
    definition alone.
    """
    separated = keeping(separation, kept)
    indexed = patients.set_index("patient_id").loc[scores.index]
    groups = pd.DataFrame({key: sarcopenic(indexed, d) for key, d in definitions.items()}, index=scores.index)
    trained = ", ".join(cohort.label(name) for name in cohort.trained)
    parts = {ALL: pd.Series(True, indexed.index), trained: indexed["set"].isin(cohort.trained)}
    rows = []
    for key in definitions:
        for part, inside in parts.items():
            if part != ALL and (inside.all() or not inside.any()):
                continue
            known = groups.loc[inside, key].dropna().astype(bool)
            result = separated(
                scores.loc[known.index].to_numpy(),
                known.to_numpy(),
                folds,
                statistics.curve_replicates,
                statistics.confidence,
                seed,
                indexed.loc[known.index, "set"].to_numpy(str),
            )
            rows.append(
                {"definition": key, "patients": part, "n": len(known), "n_sarcopenic": int(known.sum())} | result
            )
    return groups, pd.DataFrame(rows)


def feature_counts(names: Iterable[str]) -> pd.DataFrame:
    """How many features there are by region and class, as far as their names say."""
    parts = name_parts(names)
    return parts.groupby(["region", "class"], sort=False).size().unstack(fill_value=0)
