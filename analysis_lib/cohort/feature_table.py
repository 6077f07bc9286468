"""Features that were extracted elsewhere: a table with a row a patient, judged as a whole before it is learnt from.

What makes numbers wrong stops the run; what costs a patient his risk score, or a reader's time, is said. Names of
columns are shown, cells never.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from analysis_lib.cohort import mapping
from analysis_lib.cohort.columns import SAFE_ID
from analysis_lib.cohort.table_files import ClinicalTableError, RawTable, fold, read_table
from analysis_lib.common.settings import FORMULA
from analysis_lib.core.clinical_params import ClinicalParams
from analysis_lib.core.parameters import CohortParams
from analysis_lib.coxnet.covariates import PROVENANCE
from analysis_lib.radiomics import RADIOMICS_STAGE
from analysis_lib.radiomics.names import FeatureName, parse

COPY = 1e-3  # root mean square difference of two rows, SD of the features, up to which they are one rounded otherwise
FEWEST_FEATURES = 10  # of which two patients never agree by chance
NAMED = 3
OF_PYRADIOMICS = re.compile(r"_(shape|shape2D|firstorder|glcm|glrlm|glszm|gldm|ngtdm)_[^_]+$")  # its classes


def read_features(
    path: Path, settings: ClinicalParams, patients: pd.DataFrame, cohort: CohortParams
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """The features (index patient_id, sorted) of ``patients`` [patient_id, set]; who has none, with the reason; notes.

    ``settings`` say how the file is written and what its column of patients is called. Raises ClinicalTableError
    with count, names, cause and fix where the table cannot be used as it is.
    """
    if not path.is_file():
        raise ClinicalTableError(
            f"feature table {path.parent.name}/{path.name} not found; put it there or mend features.table"
        )
    cells = read_table(path, settings.model_copy(update={"sheet": None}), key=str).cells
    ids = _take_ids(cells, path.name, settings)
    notes: list[str] = []
    table, words = _numbers(cells[[name for name in cells if not name.startswith(PROVENANCE)]], settings)
    if words:
        notes.append(f"{path.name}: {len(words)} columns hold no number and are left out: {_few(words)}")
    _check_names(table.columns, path.name)
    table.index = pd.Index(ids, name="patient_id")
    known = patients["patient_id"]
    if (others := int((~table.index.isin(known)).sum())) == len(table):
        raise ClinicalTableError(
            f"{path.name}: none of its {len(table)} patients is in the clinical table; patient_id must be the same in "
            f"both{_nearly(table.index, known)}"
        )
    if others:
        notes.append(f"{path.name}: {others} of its rows are of no patient who can be analysed, and are left out")
    table = table[table.index.isin(known)].sort_index()
    failed = {name: f"no row in {path.name}" for name in sorted(set(known) - set(table.index))}
    empty = table.columns[table.isna().all()]
    if len(empty):
        notes.append(f"{path.name}: {len(empty)} features that no patient has are left out: {_few(empty)}")
        table = table.drop(columns=empty)
    table = _whole_rows(table, path.name, failed, notes)
    _say_of_columns(table, path.name, notes)
    _check_copies(table, patients.set_index("patient_id")["set"], cohort, path.name, notes)
    failures = [(name, RADIOMICS_STAGE, reason) for name, reason in sorted(failed.items())]
    return table, pd.DataFrame(failures, columns=["patient_id", "stage", "reason"]), notes


def _few(names) -> str:
    return ", ".join(map(str, list(names)[:NAMED])) + (", ..." if len(names) > NAMED else "")


def _take_ids(cells: pd.DataFrame, file: str, settings: ClinicalParams) -> list[str]:
    """The patients of the rows; their column is taken out of ``cells``."""
    wanted = {fold(settings.columns.get("patient_id", "patient_id")), "patient_id"}
    found = [name for name in cells if fold(name) in wanted]
    if len(found) != 1:
        raise ClinicalTableError(
            f"{file} has {len(found) or 'no'} column{'s' if found else ''} '{' or '.join(sorted(wanted))}'; one must "
            "name the patients, under the heading that it has in the clinical table"
        )
    ids = cells.pop(found[0]).tolist()
    if bad := sum(not SAFE_ID.fullmatch(name) for name in ids):
        raise ClinicalTableError(
            f"{file}: {bad} rows have no patient_id, or one with other signs than letters, digits, '.', '_' and '-'; "
            "mend it"
        )
    if twice := sorted({name for name in ids if ids.count(name) > 1}) if len(set(ids)) < len(ids) else []:
        raise ClinicalTableError(
            f"{file}: {len(twice)} patients have more than one row ({_few(twice)}), and nothing says which holds; keep "
            "one"
        )
    return ids


def _numbers(cells: pd.DataFrame, settings: ClinicalParams) -> tuple[pd.DataFrame, list[str]]:
    """The cells as numbers, to the bit as they are written, NaN for what is none; and the columns that hold none."""
    commas = any("," in text for text in cells.to_numpy().ravel())
    continental = commas and mapping.is_continental(RawTable(cells), list(cells))

    def value(text: str) -> float:
        try:
            return np.nan if "_" in text else float(text)
        except ValueError:
            return mapping.number(text, settings, continental)[0]

    parts, words = {}, []
    for name in cells:
        texts = cells[name].tolist()
        numbers = np.array([value(text) for text in texts])
        parts[name] = np.where(np.isfinite(numbers), numbers, np.nan)
        if np.isnan(numbers).all() and not mapping.is_empty(cells[name]).all():
            words.append(name)
    return pd.DataFrame(parts, index=cells.index, dtype=float).drop(columns=words), words


def _check_names(names: pd.Index, file: str) -> None:
    alike = defaultdict(list)
    for name in names:
        alike[fold(name)].append(name)
    if twice := [group for group in alike.values() if len(group) > 1]:
        shown = "; ".join(" and ".join(map(repr, group)) for group in twice[:NAMED])
        raise ClinicalTableError(
            f"{file}: {len(twice)} features have names that differ only in case, blanks or hyphens ({shown}): two "
            "exports put together? Delete one of each, or rename it"
        )
    if formulas := [name for name in names if name.lstrip(" ").startswith(FORMULA)]:
        raise ClinicalTableError(
            f"{file}: {len(formulas)} features have names that begin with =, +, - or @, which a spreadsheet takes for "
            "a formula in the tables of results; rename them"
        )
    if names.empty:
        raise ClinicalTableError(f"{file} holds no feature, only the column of patients; look at its headings")


def _nearly(theirs: pd.Index, ours: pd.Series) -> str:
    """What would make the two columns of patients agree, where it is plain."""
    for how, change in (("case", str.casefold), ("leading zeros", lambda name: name.lstrip("0"))):
        if set(map(change, theirs)) & set(map(change, ours)):
            return f" (they would agree without {how})"
    return ""


def _whole_rows(table: pd.DataFrame, file: str, failed: dict[str, str], notes: list[str]) -> pd.DataFrame:
    """The patients who have all features; the others go to ``failed``. Stops where they are most."""
    missing = table.isna()
    without = missing.any(axis=1)
    columns = missing.sum()[missing.any()].sort_values(ascending=False, kind="stable")
    if not without.any():
        return table
    shown = ", ".join(f"{name} in {count}" for name, count in columns[:NAMED].items())
    text = (
        f"{file}: {without.sum()} of {len(table)} patients lack features (empty, infinite or no number), in "
        f"{len(columns)} columns, most often {shown}"
    )
    if without.mean() > 0.5:
        raise ClinicalTableError(f"{text}; delete the columns that were not extracted for all, or extract them again")
    notes.append(f"{text}; these patients have their indices and no risk score")
    for name in table.index[without]:
        lost = missing.columns[missing.loc[name]]
        failed[name] = (
            f"{len(lost)} of {table.shape[1]} features are empty, infinite or no number in {file}: {_few(lost)}"
        )
    return table[~without]


def _say_of_columns(table: pd.DataFrame, file: str, notes: list[str]) -> None:
    """Features that tell nothing, or the same as another, stay: the model scales the first away, and both are few."""
    constant = table.columns[table.nunique() <= 1]
    if len(constant) and len(table) > 1:
        notes.append(
            f"{file}: {len(constant)} features are the same in all patients, and count for nothing: {_few(constant)}"
        )
    first: dict[bytes, str] = {}
    copies = [
        f"{name} of {seen}"
        for name in table.columns.difference(constant, sort=False)
        if (seen := first.setdefault(table[name].to_numpy().tobytes(), name)) != name
    ]
    if copies:
        notes.append(f"{file}: {len(copies)} features are copies of another, which so counts twice: {_few(copies)}")


def _check_copies(table: pd.DataFrame, sets: pd.Series, cohort: CohortParams, file: str, notes: list[str]) -> None:
    """Stop where two patients have one row and one of them may be trained on and the other tested; else say it."""
    varying = table.loc[:, table.nunique() > 1]
    if varying.shape[1] < FEWEST_FEATURES or len(varying) < 2:
        return
    from scipy.spatial import cKDTree  # here, because few studies ask for it

    z = (varying - varying.mean()) / varying.std() / varying.shape[1] ** 0.5
    found = cKDTree(z).query_pairs(COPY, output_type="ndarray")
    pairs = sorted(map(tuple, table.index.to_numpy()[found]))
    across = [
        (a, b)
        for a, b in pairs
        if (sets[a] in cohort.split_sets if sets[a] == sets[b] else {sets[a], sets[b]} & set(cohort.trained))
    ]
    if across:
        shown = "; ".join(f"{a} ({sets[a]}) and {b} ({sets[b]})" for a, b in across[:NAMED])
        raise ClinicalTableError(
            f"{file}: {len(across)} pairs of patients have the same features, so that who is tested may have been "
            f"trained on: {shown}. One patient under two names, or a row copied to another? Keep one of each"
        )
    if pairs:
        shown = "; ".join(f"{a} and {b}" for a, b in pairs[:NAMED])
        notes.append(
            f"{file}: {len(pairs)} pairs of patients of one set have the same features: {shown}; is one a copy?"
        )


def name_parts(names: Iterable[str]) -> pd.DataFrame:
    """One row a name, in their order: region, image, class, feature; a name of no known class is all feature."""
    parts = [parse(name) if OF_PYRADIOMICS.search(name) else FeatureName("", "", "", name) for name in names]
    return pd.DataFrame(parts, columns=["region", "image", "class", "feature"])
