"""What a notebook opens first: the study's parameters, its tables so far, and where results go."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from analysis_lib.params import PARAMS_DIR, Params, load_params

SYNTHETIC_NOTE = "Synthetic images and outcomes: no patient data. Nothing here says anything about patients."


@dataclass(frozen=True)
class Study:
    """One study's parameters and folders."""

    params: Params

    @property
    def build(self) -> Path:
        return self.params.build_path

    @property
    def figures(self) -> Path:
        return self.params.figures_path

    @property
    def note(self) -> str:
        """What every table and figure must say of the data; empty for real patients."""
        return SYNTHETIC_NOTE if self.params.synthetic else ""

    def patients(self) -> pd.DataFrame:
        """Analysed patients, one row each (patients.parquet)."""
        return pd.read_parquet(self.build / "patients.parquet")

    def exclusions(self) -> pd.DataFrame:
        """Excluded patients with stage, reason and set."""
        return pd.read_parquet(self.build / "exclusions.parquet")

    def features(self) -> pd.DataFrame:
        """Radiomics features of the analysed patients, index patient_id."""
        features = pd.read_parquet(self.build / "features.parquet")
        return features.loc[self.patients()["patient_id"]]

    def risk(self) -> pd.DataFrame:
        """Risk score of each analysed patient (patient_id, set, risk; higher is worse)."""
        return pd.read_csv(self.build / "risk.csv", dtype={"patient_id": str})

    def comparators(self) -> pd.DataFrame:
        """Risk of each analysed patient by the other models, index patient_id; NaN where one cannot say."""
        table = pd.read_csv(self.build / "comparators.csv", dtype={"patient_id": str})
        return table.set_index("patient_id").drop(columns="set")

    def cut_off(self) -> float:
        """Median risk of the training patients, the border of the two risk groups in every set."""
        return float(json.loads((self.build / "model" / "model.json").read_text(encoding="utf-8"))["cutoff"])

    def provenance(self) -> dict:
        """What a saved model must say of its inputs: feature parameter files by hash, and versions."""
        files = sorted(entry.parameter_file for entry in self.params.features.rois.values())
        hashes = {f: hashlib.sha256((PARAMS_DIR / f).read_bytes()).hexdigest() for f in files}
        packages = {name: version(name) for name in ("pyradiomics", "SimpleITK", "numpy", "pandas")}
        return {
            "study": self.params.study,
            "seed": self.params.seed,
            "feature_parameters": hashes,
            "versions": packages,
        }

    def result(self, name: str) -> pd.DataFrame:
        """A table that an earlier notebook wrote, as ``table2``."""
        return pd.read_csv(self.figures / f"{name}.csv")


def open_study(study: str) -> Study:
    """Open a study by name; in ``make explore`` the variable EXPLORE_STUDY names it."""
    return Study(load_params(os.environ.get("EXPLORE_STUDY") or study))
