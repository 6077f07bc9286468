"""How well `fit` ranks new patients, beside its own parts and boosting; writes build/bench/tables.csv, a row a split.

    python benchmarks/bench_tables.py [--splits 5] [--only NAME ...] [table.csv ...]

Tables: those that scikit-survival ships, the survival benchmarks beside the checkout where they are there, a wide one
that is made here, and any CSV with columns time and event. Each is split 7:3 by event at random, or by halves where
more than 3000 would be learnt from, the same for all models; `fit`'s defaults, nothing tuned. What is in the file
already is not computed again: delete it after a change of the code.
"""

from __future__ import annotations

import analysis_lib  # noqa: F401  # isort: skip  before NumPy, since it pins the numerical libraries

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from sksurv import datasets
from sksurv.ensemble import ComponentwiseGradientBoostingSurvivalAnalysis
from sksurv.util import Surv

from analysis_lib.common.files import write_text
from analysis_lib.coxnet import NetworkParams, RadiomicsSurvivalModel
from analysis_lib.coxnet.covariates import encode
from analysis_lib.survival.folds import stratified_folds
from analysis_lib.survival.survival import c_index

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "build" / "bench" / "tables.csv"
SHARED = ROOT.parent / "shared" / "data" / "survival-benchmarks"
SHIPPED = {
    "veteran": datasets.load_veterans_lung_cancer,
    "whas500": datasets.load_whas500,
    "gbsg2": datasets.load_gbsg2,
    "aids": datasets.load_aids,
    "breast_cancer": datasets.load_breast_cancer,
}
LARGEST = 3000  # rows that are learnt from


def tables(files: list[Path]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Name and table, with columns time and event beside the covariates."""
    for name, load in SHIPPED.items():
        x, y = load()
        event, time = y.dtype.names
        yield name, x.assign(time=y[time].astype(float), event=y[event].astype(int))
    yield "wide", wide()
    for path in [*sorted(SHARED.glob("*.csv")), *files]:
        yield path.stem, pd.read_csv(path).drop(columns="split", errors="ignore")


def wide(n: int = 200, d: int = 1000) -> pd.DataFrame:
    """More columns than patients, as radiomics are: eight factors make them up, and one of those is the hazard."""
    rng = np.random.default_rng(1)
    factor = rng.standard_normal((n, 8))
    x = factor @ (rng.standard_normal((8, d)) * np.geomspace(1, 0.3, 8)[:, None]) + 0.5 * rng.standard_normal((n, d))
    death, censored = rng.exponential(60 * np.exp(-factor[:, 4])), rng.uniform(12, 70, n)
    table = pd.DataFrame(x, columns=[f"x{k}" for k in range(d)])
    return table.assign(time=np.minimum(death, censored), event=(death <= censored).astype(int))


def one_split(table: pd.DataFrame, split: int) -> dict[str, float]:
    """C-index in the test rows by model, after one fit."""
    table = table[table["time"].notna() & table["event"].notna()].reset_index(drop=True)
    time, event = table["time"].to_numpy(float), table["event"].to_numpy(int)
    test = stratified_folds(event, 10, np.random.default_rng(split)) < (3 if len(table) * 0.7 <= LARGEST else 5)
    x = encode(table.drop(columns=["time", "event"]), ~test)[0]
    learn = x[~test], time[~test], event[~test]
    network = NetworkParams()
    alone = RadiomicsSurvivalModel.fit(*learn, None, network, split)
    both = alone.with_partner(*learn, network)
    z = both.scaler.transform(x)
    linear = both.partner.parts(z)
    boosting = ComponentwiseGradientBoostingSurvivalAnalysis(random_state=0)
    boosting.fit(z[~test], Surv.from_arrays(event[~test].astype(bool), time[~test]))
    risks = {
        "combined": both.risk(x),
        "networks": alone.risk(x),
        "ridge": linear[:, 0],
        "elastic net": linear[:, 1],
        "boosting": boosting.predict(z),
    }
    found = {name: float(c_index(time[test], event[test], np.asarray(risk)[test])) for name, risk in risks.items()}
    slope = both.ensemble.slope
    return found | dict(zip(("w networks", "w ridge", "w net"), both.partner.weights, strict=True)) | {"slope": slope}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--only", nargs="*")
    options = parser.parse_args()
    done = pd.read_csv(OUTPUT) if OUTPUT.is_file() else pd.DataFrame({"table": [], "split": []})
    for name, table in tables(options.files):
        if options.only and name not in options.only:
            continue
        for split in range(options.splits):
            if not ((done["table"] == name) & (done["split"] == split)).any():
                size = {"rows": len(table), "columns": table.shape[1] - 2, "events": int(table["event"].sum())}
                row = pd.DataFrame([{"table": name, "split": split} | size | one_split(table, split)])
                done = pd.concat([done, row], ignore_index=True)
                write_text(OUTPUT, done.to_csv(index=False, lineterminator="\n"))
                print(row.round(3).to_string(index=False, header=split == 0), flush=True)
    print(done.drop(columns="split").groupby("table", sort=False).mean().round(3).to_string())


if __name__ == "__main__":
    main()
