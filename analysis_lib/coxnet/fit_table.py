"""The model on any table: one row a patient, one column a covariate, a time, an event.

``fit_table`` is what ``python -m analysis_lib fit`` runs: the study's engine and defaults, nothing tuned to
the table. Imputation, scaling and the categories of a column are learnt from the training rows.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError

import numpy as np
import pandas as pd

from analysis_lib.common.files import LARGEST_WORKBOOK, read_csv, unpacked_size, write_text
from analysis_lib.common.loss import loss_by_outcome
from analysis_lib.common.table_columns import (
    GROUPED,
    codes_of_missing,
    entry_times,
    identifiers,
    is_time,
    numbers,
    without_codes,
)
from analysis_lib.common.times import tied_times
from analysis_lib.coxnet.covariates import FEWEST_ROWS, PROVENANCE, TableError, duplicates, encode, mostly_numbers
from analysis_lib.coxnet.cutoff import ensemble_spread
from analysis_lib.coxnet.settings import AutoEncoderParams, NetworkParams
from analysis_lib.survival.survival import bootstrap_c_index, c_index

if TYPE_CHECKING:
    from analysis_lib.coxnet.model import RadiomicsSurvivalModel

LEARNT_FROM = ("train", "valid")
SPLIT_NAMES = {"training": "train", "train": "train", "validation": "valid", "val": "valid", "valid": "valid"}
SPLIT_NAMES |= {"testing": "test", "test": "test"}
REPLICATES = 1000
MIRRORS = 0.95  # rank correlation with time or event from which on a covariate is taken for the outcome
FEWEST_EVENTS = 10  # learnt from, below which a note says so


def fit_table(
    table: Path,
    time: str,
    event: str,
    out: Path,
    *,
    split: str | None = None,
    drop: list[str] | tuple[str, ...] = (),
    missing: list[str] | tuple[str, ...] = (),
    code_size: int | None = None,
    seeds: int = 10,
    partner: bool = True,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, dict[str, float | None]]:
    """Fit on the rows whose ``split`` is train or valid, and measure on every split.

    table : CSV, Parquet or XLSX, of which the first sheet. split : column holding train, perhaps valid (learnt from
    as the training rows are: every row in its turn helps to decide when a network stops; where nothing else is there
    to test on, valid is a test set), and test or other names of test sets; without it a 7:3 split stratified by event
    is drawn. drop : columns that are no covariates. missing : values that say 'not known' in any column, such as -9.
    code_size : variables of an AutoEncoder, or none. seeds : networks in the ensemble. partner : combine them with
    the linear ``coxnet.partner``.

    Writes into ``out`` metrics.json (returned: by split c_index with bootstrap interval low and high, n, events),
    risk.csv (row, counted from 0, split, risk, spread: see ``cutoff.ensemble_spread``), report.json (duplicates,
    excluded rows, imputed, constant and clipped covariates, C-index with each network and of each part of the risk,
    notes) and the folder model. A column that only numbers or names the rows is left out, and said. A row without a
    usable time, event or split counts nowhere and is listed in the report; it has a risk all the same.
    Raises TableError for a table that cannot be used.
    """
    if seeds < 1 or (code_size is not None and code_size < 1):
        raise TableError(f"seeds ({seeds}) and the AutoEncoder's variables ({code_size}) must be at least 1")
    named = [time, event, *([split] if split else []), *drop]
    frame = without_codes(read_table(table, named), missing)
    months, died, excluded, doubts = _outcome(frame, time, event)
    diagnostics = [name for name in frame if name.startswith(PROVENANCE) and name not in named]
    covariates = frame.drop(columns=[*set(named), *diagnostics])
    index = identifiers(covariates)
    patients = covariates[[name for name in index if covariates[name].duplicated().any()]]
    part = _splits(frame, split, died, excluded, seed, patients)
    used = ~frame.index.isin(list(excluded))
    learnt_from, learn = _learnt_from(part, used, died, event)
    _no_entry_time(covariates, months)
    x, care_of_words = encode(covariates.drop(columns=index), learn)
    if x.shape[1] == 0:
        raise TableError(f"{table} has no covariate left beside {time}, {event} and the dropped columns")
    autoencoder = AutoEncoderParams(code_size=min(code_size, x.shape[1])) if code_size else None
    out, network = Path(out), NetworkParams(ensemble=seeds, linear_partner=partner)
    fitted = _fitted(x[learn], months[learn], died[learn], autoencoder, network, seed, out)
    risk, by_network = fitted.risk(x), fitted.risk_spread(x)

    splits = {name: (part == name).to_numpy() & used for name in dict.fromkeys(part[used])}
    metrics = {name: _metrics(months[k], died[k], risk[k], confidence, seed) for name, k in splits.items()}
    report = {
        "rows": len(frame),
        "excluded": {str(row): reason for row, reason in sorted(excluded.items())},
        "duplicate_rows_train_test": duplicates(x.assign(_time=months, _event=died), learn, used),
        "duplicate_covariates_train_test": duplicates(x, learn, used),
        "covariates": x.shape[1],
        **_care(fitted.scaler.report()),
        **care_of_words,
        "identifiers": index,
        "patients_train_test": _on_both_sides(patients, learn, used & ~learn),
        "codes_of_missing": codes_of_missing(x, learn),
        "mirrors": _mirrors(x, months, died, learn),
        "events_learnt_from": int(died[learn].sum()),
        "doubts": doubts,
        "diagnostics": diagnostics,
        "valid_rows": int((part[learn] == "valid").sum()),
        "valid_as_test": bool("valid" not in learnt_from and (part[used] == "valid").any()),
        **_parts(fitted, x, by_network, months, died, splits),
        "confidence": confidence,
        "seed": seed,
    }
    report["notes"] = _notes(report)
    spread = ensemble_spread(by_network).to_numpy()
    rows = pd.DataFrame({"row": frame.index, "split": part, "risk": risk.to_numpy(), "spread": spread})
    _write(out, rows, report, metrics)
    return metrics


def _write(out: Path, rows: pd.DataFrame, report: dict, metrics: dict) -> None:
    write_text(out / "risk.csv", rows.to_csv(index=False, lineterminator="\n"))
    for name, content in (("report", report), ("metrics", metrics)):
        write_text(out / f"{name}.json", json.dumps(content, indent=1) + "\n")


def _parts(fitted: RadiomicsSurvivalModel, x: pd.DataFrame, by_network: pd.DataFrame, months, died, splits) -> dict:
    """What the report says of networks and parts: C-index in each split, steps of training, weights."""
    parts, steps = fitted.risk_parts(x), fitted.history_network.groupby("network")["step"].max()
    found = {
        name: dict(zip(parts, _c_indices(months[k], died[k], parts[k]), strict=True)) for name, k in splits.items()
    }
    return {
        "c_index_by_network": {name: _c_indices(months[k], died[k], by_network[k]) for name, k in splits.items()},
        "c_index_by_part": found,
        "weights": dict(zip(parts, fitted.partner.weights.tolist(), strict=True)) if fitted.partner else {},
        "network_steps": [int(step) for network, step in steps.items() if network != "mean"],
    }


def _care(scaled: pd.DataFrame) -> dict[str, object]:
    """What scaling did to which covariate, for the report."""
    return {
        "imputed": scaled.loc[scaled["n_missing"] > 0, "n_missing"].to_dict(),
        "constant": scaled.index[scaled["constant"]].tolist(),
        "clipped": scaled.loc[scaled["n_clipped"] > 0, "n_clipped"].to_dict(),
    }


def _no_entry_time(covariates: pd.DataFrame, months: np.ndarray) -> None:
    if entry := entry_times(covariates, months):
        raise TableError(
            f"column '{entry[0]}' looks like the time of entry (delayed entry, left truncation), which the model does "
            f"not take; --drop '{entry[0]}' counts everybody from 0, and a covariate needs another name"
        )


def _on_both_sides(names: pd.DataFrame, learn: np.ndarray, test: np.ndarray) -> dict[str, int]:
    """How many values of each column occur in rows that are learnt from and in test rows."""
    return {str(name): len(set(column[learn].dropna()) & set(column[test])) for name, column in names.items()}


def _learnt_from(part: pd.Series, used: np.ndarray, died: np.ndarray, event: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the splits that are learnt from, and which rows are."""
    # a table of 'training' and 'validation' alone means by validation what others call test
    learnt_from = LEARNT_FROM if set(part[used]) - set(LEARNT_FROM) else LEARNT_FROM[:1]
    learn = part.isin(learnt_from).to_numpy() & used
    if (died[learn] == 1).sum() == 0:
        raise TableError(f"none of {learn.sum()} training rows has an event; '{event}' must be 1 for an event")
    if learn.sum() < 2:
        raise TableError("there is only 1 training row with a usable outcome; nothing can be learnt from it")
    return learnt_from, learn


def _c_indices(months: np.ndarray, died: np.ndarray, risks: pd.DataFrame) -> list[float | None]:
    """Harrell's C of each column; None where there is none, since JSON has no NaN."""
    each = [c_index(months, died, risks[k]) for k in risks]
    return [None if np.isnan(value) else value for value in each]


def _fitted(
    x: pd.DataFrame,
    months: np.ndarray,
    died: np.ndarray,
    autoencoder: AutoEncoderParams | None,
    network: NetworkParams,
    seed: int,
    out: Path,
) -> RadiomicsSurvivalModel:
    """The model of the rows that are learnt from, saved in the folder model."""
    from analysis_lib.coxnet.deepsurv import TrainingError  # here, so that a wrong table is told at once
    from analysis_lib.coxnet.model import RadiomicsSurvivalModel
    from analysis_lib.coxnet.scaling import FeatureError

    try:
        fitted = RadiomicsSurvivalModel.fit(x, months, died, autoencoder, network, seed)
        fitted.save(out / "model")
    except (FeatureError, TrainingError, OSError) as error:
        raise TableError(str(error)) from error
    return fitted


def read_table(path: Path, needed: list[str]) -> pd.DataFrame:
    """A table with rows numbered from 0; TableError if it is no CSV, Parquet or XLSX, or lacks a ``needed`` column."""
    path = Path(path)
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            frame = pd.read_parquet(path)
            if frame.index.name is not None:  # to_parquet keeps a named index, such as patient_id
                frame = frame.reset_index()
            frame = frame.reset_index(drop=True)
        elif path.suffix.lower() == ".xlsx":
            frame = _first_sheet(path)
        else:
            frame = read_csv(path, encoding="utf-8-sig", low_memory=False)
    except FileNotFoundError:
        raise TableError(f"there is no file {path}") from None
    except (ValueError, OSError, KeyError, zipfile.BadZipFile, ParseError) as error:
        raise TableError(f"{path} is neither CSV, Parquet nor XLSX: {error}") from None
    frame = frame.set_axis(frame.columns.astype(str), axis=1)
    if repeated := frame.columns[frame.columns.duplicated()].tolist():
        raise TableError(f"{path} has two columns '{repeated[0]}'; rename one")
    if absent := [column for column in needed if column not in frame]:
        raise TableError(f"{path} has no column '{absent[0]}'; it has {', '.join(frame.columns[:8])} ...")
    return frame


def _first_sheet(path: Path) -> pd.DataFrame:
    if (size := unpacked_size(path)) > LARGEST_WORKBOOK:
        raise TableError(f"{path} unpacks to {size >> 20} MB; save the table as CSV")
    return pd.read_excel(path, engine="openpyxl").dropna(axis=0, how="all").reset_index(drop=True)


def _mirrors(x: pd.DataFrame, months: np.ndarray, died: np.ndarray, learn: np.ndarray) -> dict[str, str]:
    """Covariates that are the outcome itself, or nearly so, in the rows that are learnt from: name, of what."""
    ranks = x[learn].rank().assign(_time=pd.Series(months[learn]).rank().to_numpy(), _event=died[learn])
    alike = ranks.corr().abs().loc[x.columns, ["_time", "_event"]]
    return {
        name: "the time" if row["_time"] >= MIRRORS else "the event"
        for name, row in alike.iterrows()
        if row.max() >= MIRRORS
    }


def _metrics(months, died, risk: pd.Series, confidence: float, seed: int) -> dict[str, float | int | None]:
    found = dict.fromkeys(("c_index", "low", "high"))
    if died.sum() > 0 and len(died) > 1 and risk.nunique() > 1:  # one risk for all tells nobody apart
        row = bootstrap_c_index(
            months, died, risk.rename("risk").to_frame(), replicates=REPLICATES, confidence=confidence, seed=seed
        ).iloc[0]
        found = {k: None if pd.isna(row[k]) else float(row[k]) for k in found}
        if died.sum() == 1:  # every resample has the same one death or none
            found |= {"low": None, "high": None}
    return {**found, "n": len(died), "events": int(died.sum())}


def _notes(report: dict) -> list[str]:
    """What the reader must know, one sentence each."""
    notes = list(report["doubts"])
    if (n := report["events_learnt_from"]) < FEWEST_EVENTS:
        notes.append(f"{n} event{'s' * (n > 1)} among the training rows: nothing can be learnt from so few")
    for name, what in report["mirrors"].items():
        notes.append(f"column '{name}' mirrors {what}: who is not followed yet has no such value; --drop '{name}'")
    for name, n in report["patients_train_test"].items():
        if n:
            notes.append(
                f"{n} patients of '{name}' occur in training and test; they flatter the test: split by patient"
            )
    for name, (code, n) in report["codes_of_missing"].items():
        notes.append(
            f"column '{name}': {code} in {n} rows, far from all others; give --missing {code} if it means 'not known'"
        )
    if n := len(report["excluded"]):
        row, reason = next(iter(report["excluded"].items()))
        notes.append(f"{n} rows are left out, the first is row {row}: {reason}")
    if pairs := report["duplicate_rows_train_test"]:
        notes.append(
            f"{len(pairs)} test rows occur among the training rows too, outcome included; they flatter the test: "
            f"{_pairs(pairs)}"
        )
    elif pairs := report["duplicate_covariates_train_test"]:
        notes.append(f"{len(pairs)} test rows have the covariates of a training row: {_pairs(pairs)}")
    for name in report["identifiers"]:
        notes.append(f"column '{name}' only tells the rows apart and is left out")
    if n := len(report["diagnostics"]):
        notes.append(f"{n} columns of PyRadiomics' diagnostics (versions, hashes, geometry) are left out")
    if report["valid_as_test"]:
        notes.append("beside 'train' there is only 'valid', so it is a test set here and nothing is learnt from it")
    if n := report["valid_rows"]:
        notes.append(
            f"{n} rows of the split 'valid' are learnt from like training rows, and decide with them when a network "
            "stops; their C-index is no test"
        )
    for name, n in report["stray_words"].items():
        notes.append(f"column '{name}' holds numbers but for {n} words, which are taken for missing")
    for name, n in report["rare_categories"].items():
        notes.append(f"column '{name}': {n} categories with fewer than {FEWEST_ROWS} training rows share one column")
    if n := len(report["missing_categories"]):
        notes.append(f"{n} columns of categories have missing values, which are 0 in all their categories")
    if n := len(report["constant"]):
        notes.append(f"{n} covariates are constant in the training rows and ignored")
    if n := len(report["imputed"]):
        notes.append(f"{n} covariates have missing values, which take the training median")
    return notes


def _pairs(pairs: list[tuple[int, int]]) -> str:
    shown = ", ".join(f"row {test} is row {train}" for test, train in pairs[:10])
    return shown + (f", and {len(pairs) - 10} more in report.json" if len(pairs) > 10 else "")


def _outcome(frame: pd.DataFrame, time: str, event: str) -> tuple[np.ndarray, np.ndarray, dict[int, str], list[str]]:
    """Times, events (0 where unknown), the rows that cannot be used, with the reason, and doubts."""
    known, doubts, months = frame[time].notna(), [], numbers(frame[time])
    if months is None and not is_time(frame[time]):
        text = frame[time].astype(str).str.strip()
        if thousands := int((grouped := text.str.fullmatch(GROUPED)).sum()):
            doubts.append(f"'{time}': {thousands} rows have commas between thousands, as 1,204, read as 1204")
        plain = frame[time].mask(grouped, text.str.replace(",", ""))
        months, _ = mostly_numbers(plain, np.ones(len(frame), bool))  # a word or two cost their rows alone
    if months is None:
        what = "dates or durations" if is_time(frame[time]) else "words"
        raise TableError(f"column '{time}' holds {what}; it must hold numbers, such as months of follow-up")
    words = {"true": 1, "false": 0}
    codes = frame[event].map(lambda v: np.nan if pd.isna(v) else words.get(str(v).strip().lower(), v)).astype(object)
    died = numbers(codes)
    if died is None:
        died, _ = mostly_numbers(codes, np.ones(len(frame), bool))
    found = np.zeros(0) if died is None else died[~np.isnan(died)]
    if died is None or not np.isin(found, (0, 1)).all():
        wrong = "all" if died is None else int((~np.isin(found, (0, 1))).sum())
        raise TableError(f"column '{event}': {wrong} values are not 0 or 1; 1 is an event, 0 a censored patient")
    excluded: dict[int, str] = {}
    for row in np.flatnonzero(~(np.isfinite(months) & (months >= 0))):
        why = "negative" if months[row] < 0 else "no number" if known[row] else "missing"
        excluded[int(row)] = f"'{time}' is {why}"
    for row in np.flatnonzero(np.isnan(died)):
        excluded.setdefault(int(row), f"'{event}' is {'missing' if pd.isna(codes[row]) else 'not 0 or 1'}")
    if len(excluded) > len(frame) / 2:
        first = min(excluded)
        raise TableError(f"{len(excluded)} of {len(frame)} rows have no usable outcome; row {first}: {excluded[first]}")
    reasons = pd.Series(excluded, index=frame.index, dtype=object)
    stop, lost = loss_by_outcome(reasons.notna(), pd.Series(died), pd.Series(months), reasons)
    if stop:
        raise TableError(stop)
    return tied_times(months), np.nan_to_num(died).astype(int), excluded, doubts + lost


def _splits(
    frame: pd.DataFrame,
    split: str | None,
    died: np.ndarray,
    excluded: dict[int, str],
    seed: int,
    patients: pd.DataFrame,
) -> pd.Series:
    """Name of each row's split, drawn with all rows of a patient together; rows without one go to ``excluded``."""
    if split:
        name = frame[split].astype(str).str.strip()
        part = name.str.lower().map(SPLIT_NAMES).fillna(name).where(frame[split].notna(), "")
        for row in np.flatnonzero(part == ""):
            excluded.setdefault(int(row), f"'{split}' is empty")
        if not (part == "train").any():
            found = ", ".join(sorted(part.unique())[:5])
            raise TableError(
                f"column '{split}' has no row 'train'; it has {found}; name the rows to learn from 'train' there"
            )
        return part
    part = np.full(len(frame), "train", dtype=object)
    rng = np.random.default_rng(seed)
    usable = ~frame.index.isin(list(excluded))
    for value in (0, 1):
        rows = rng.permutation(np.flatnonzero((died == value) & usable))
        part[rows[: int(0.3 * len(rows))]] = "test"
    drawn = pd.Series(part, index=frame.index)
    for _, names in patients.items():
        drawn = drawn.where(names.isna(), drawn.groupby(names).transform("first"))
    return drawn
