"""The model on any table: one row a patient, one column a covariate, a time, an event.

``fit_table`` is what ``python -m analysis_lib fit`` runs: the study's engine and defaults, nothing tuned to
the table. Imputation, scaling and the categories of a column are learnt from the training rows.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from analysis_lib.files import write_text
from analysis_lib.modelling.model import RadiomicsSurvivalModel
from analysis_lib.params import AutoEncoderParams, NetworkParams
from analysis_lib.statistics.evaluation import c_index_analytic

LEARNT_FROM = ("train", "valid")


class TableError(ValueError):
    """The table cannot be used; the message names the column and the fix."""


def fit_table(
    table: Path,
    time: str,
    event: str,
    out: Path,
    *,
    split: str | None = None,
    drop: list[str] | tuple[str, ...] = (),
    code_size: int | None = None,
    seeds: int = 5,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, dict[str, float]]:
    """Fit on the rows whose ``split`` is train or valid, and measure on every split.

    table : CSV or Parquet. split : column holding train, perhaps valid (rows that, like every training row in
    its turn, help to decide when to stop), and test or other names of test sets; without it a 7:3 split
    stratified by event is drawn. drop : columns that are no covariates. code_size : variables of an
    AutoEncoder before the networks; none means the networks alone. seeds : networks in the ensemble.

    Writes into ``out`` metrics.json (returned: by split c_index, low, high, n, events), risk.csv (row, split,
    risk), report.json (duplicates, imputed, constant and clipped covariates) and the folder model.
    Raises TableError for a table that cannot be used.
    """
    frame = read_table(table)
    for column in (time, event, *([split] if split else []), *drop):
        if column not in frame:
            raise TableError(f"{table} has no column '{column}'; it has {', '.join(map(str, frame.columns[:8]))} ...")
    months, died = _outcome(frame, time, event)
    part = _splits(frame, split, died, seed)
    covariates = frame.drop(columns=[time, event, *([split] if split else []), *drop])
    learn = part.isin(LEARNT_FROM).to_numpy()
    x = encode_categories(covariates, learn)
    if x.shape[1] == 0:
        raise TableError(f"{table} has no covariate left beside {time}, {event} and the dropped columns")

    autoencoder = AutoEncoderParams(code_size=min(code_size, x.shape[1])) if code_size else None
    network = NetworkParams(ensemble=seeds)
    fitted = RadiomicsSurvivalModel.fit(x[learn], months[learn], died[learn], autoencoder, network, seed)
    risk = fitted.risk(x)

    metrics = {}
    for name in part.unique():
        rows = (part == name).to_numpy()
        found = c_index_analytic(months[rows], died[rows], risk[rows], confidence)
        known = {k: None if np.isnan(found[k]) else float(found[k]) for k in ("c_index", "low", "high")}
        metrics[name] = {**known, "n": int(rows.sum()), "events": int(died[rows].sum())}
    care = fitted.scaler.report()
    report = {
        "duplicate_rows_train_test": duplicates(covariates.assign(_time=months, _event=died), learn),
        "duplicate_covariates_train_test": duplicates(covariates, learn),
        "covariates": x.shape[1],
        "imputed": care.loc[care["n_missing"] > 0, "n_missing"].to_dict(),
        "constant": care.index[care["constant"]].tolist(),
        "clipped": care.loc[care["n_clipped"] > 0, "n_clipped"].to_dict(),
        "network_steps": [int(h["step"].max()) for n, h in fitted.history_network.groupby("network") if n != "mean"],
        "confidence": confidence,
        "seed": seed,
    }
    out = Path(out)
    fitted.save(out / "model")
    rows = pd.DataFrame({"row": np.arange(len(frame)), "split": part.to_numpy(), "risk": risk.to_numpy()})
    write_text(out / "risk.csv", rows.to_csv(index=False, lineterminator="\n"))
    write_text(out / "report.json", json.dumps(report, indent=1) + "\n")
    write_text(out / "metrics.json", json.dumps(metrics, indent=1) + "\n")
    return metrics


def read_table(path: Path) -> pd.DataFrame:
    """CSV or Parquet with rows numbered from 0; TableError if it is neither."""
    path = Path(path)
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            frame = pd.read_parquet(path).reset_index(drop=True)
        else:
            frame = pd.read_csv(path, encoding="utf-8-sig", low_memory=False)
    except FileNotFoundError:
        raise TableError(f"there is no file {path}") from None
    except (ValueError, OSError) as error:
        raise TableError(f"{path} is neither CSV nor Parquet: {error}") from None
    return frame.set_axis(frame.columns.astype(str), axis=1)


def encode_categories(covariates: pd.DataFrame, learn: np.ndarray) -> pd.DataFrame:
    """Numbers as they are; a column of words becomes one 0/1 column for each word seen in training rows.

    A missing word, or one seen in test rows only, is 0 in all of them. TableError for a column with as many
    words as training rows, which is a name rather than a category.
    """
    parts = []
    for name, column in covariates.items():
        if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
            parts.append(column.astype(np.float64).rename(name))
            continue
        words = sorted(column[learn].dropna().astype(str).unique())
        if len(words) > max(10, learn.sum() / 2):
            raise TableError(f"column '{name}' has {len(words)} different words; leave it out with --drop {name}")
        text = column.astype(str).where(column.notna())
        parts += [(text == word).astype(np.float64).rename(f"{name}={word}") for word in words]
    return pd.concat(parts, axis=1) if parts else pd.DataFrame(index=covariates.index)


def duplicates(frame: pd.DataFrame, learn: np.ndarray) -> int:
    """Number of test rows that occur among the training rows too."""
    key = pd.util.hash_pandas_object(frame, index=False)
    return int(key[~learn].isin(key[learn]).sum())


def _outcome(frame: pd.DataFrame, time: str, event: str) -> tuple[np.ndarray, np.ndarray]:
    months = pd.to_numeric(frame[time], errors="coerce").to_numpy(np.float64, na_value=np.nan)
    died = pd.to_numeric(frame[event].astype(object).map(lambda v: {"True": 1, "False": 0}.get(v, v)), errors="coerce")
    died = died.to_numpy(np.float64, na_value=np.nan)
    if bad := np.flatnonzero(~(np.isfinite(months) & (months >= 0))).tolist():
        raise TableError(f"column '{time}': {len(bad)} times are missing or negative, the first in row {bad[0]}")
    if bad := np.flatnonzero(~np.isin(died, (0, 1))).tolist():
        raise TableError(f"column '{event}': {len(bad)} values are not 0 or 1, the first in row {bad[0]}")
    return months, died.astype(int)


def _splits(frame: pd.DataFrame, split: str | None, died: np.ndarray, seed: int) -> pd.Series:
    if split:
        if frame[split].isna().any():
            raise TableError(f"column '{split}' is empty in {int(frame[split].isna().sum())} rows")
        names = {"validation": "valid", "val": "valid", "training": "train"}
        part = frame[split].astype(str).str.strip().str.lower().replace(names)
        if not (part == "train").any():
            raise TableError(f"column '{split}' has no row 'train'")
        return part
    part = np.full(len(frame), "train", dtype=object)
    rng = np.random.default_rng(seed)
    for value in (0, 1):
        rows = rng.permutation(np.flatnonzero(died == value))
        part[rows[: int(0.3 * len(rows))]] = "test"
    return pd.Series(part, index=frame.index)
