"""Fig. 3: how well principal components of the radiomics tell the groups of each definition apart."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from analysis_lib.cohort.feature_table import name_parts
from analysis_lib.common.keep import keeping
from analysis_lib.common.sarcopenia import sarcopenic
from analysis_lib.core.parameters import CohortParams, DefinitionParams, StatisticsParams
from analysis_lib.survival.separation import separation

ALL = "all sets"
HALF = math.sqrt(2 * math.log(2))  # in SDs, the radius that holds half of a normal distribution in two dimensions
ELLIPSE = ["definition", "sarcopenic", "component", "x", "y", "sd_x", "sd_y", "r", "radius"]
FEWEST = 5  # patients of a group that has an ellipse
# What an AUC is worth in words, after Hosmer, Lemeshow and Sturdivant 2013, doi:10.1002/9781118548387, section 5.2.4.
WORDS = {
    0.6: "hardly apart",
    0.7: "poorly apart",
    0.8: "acceptably apart",
    0.9: "well apart",
    1.01: "almost wholly apart",
}


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
    p_permutation, words: the AUC in them). ``kept`` is a folder for the answers, so that a new cut-off of one
    definition permutes that definition alone.
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
                {"definition": key, "patients": part, "n": len(known), "n_sarcopenic": int(known.sum())}
                | result
                | {"words": in_words(result["auc"])}
            )
    return groups, pd.DataFrame(rows)


def in_words(auc: float) -> str:
    """An AUC of telling two groups apart, in words; empty where there is none."""
    return next((words for below, words in WORDS.items() if auc < below), "")


def ellipses(scores: pd.DataFrame, groups: pd.DataFrame) -> pd.DataFrame:
    """Where half of a normal distribution with the mean and covariance of each group lies, PC2 and PC3 against PC1.

    ``scores`` [PC1 ...] and ``groups`` as from ``separations``. Columns ELLIPSE: of sarcopenic 0 and 1 the means x, y,
    SDs, correlation r and radius in SDs; of groups of at least FEWEST patients.
    """
    rows = []
    for definition, verdict in groups.items():
        for value in (False, True):
            part = scores[(verdict == value).fillna(False).to_numpy(bool)]
            for component in ("PC2", "PC3") if len(part) >= FEWEST else ():
                if component in part:
                    x, y = part["PC1"], part[component]
                    shape = x.mean(), y.mean(), x.std(), y.std(), x.corr(y), HALF
                    rows.append((definition, int(value), component, *shape))
    return pd.DataFrame(rows, columns=ELLIPSE)


def feature_counts(names: Iterable[str]) -> pd.DataFrame:
    """How many features there are by region and class, as far as their names say."""
    parts = name_parts(names)
    return parts.groupby(["region", "class"], sort=False).size().unstack(fill_value=0)
