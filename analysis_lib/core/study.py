"""What a notebook opens first: the study's parameters, its tables so far, and where results go."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis_lib.common.errors import StudyError
from analysis_lib.common.files import write_parquet
from analysis_lib.core.parameters import SYNTHETIC_NOTE, Params, load_params
from analysis_lib.survival.agreement import stable_features


class NoModelError(StudyError, ValueError):
    """Something is asked of a model that the study does not have."""


@dataclass(frozen=True)
class Study:
    """One study's parameters and folders."""

    params: Params

    @property
    def build(self) -> Path:
        """Folder of everything that is computed on the way."""
        return self.params.build_path

    @property
    def figures(self) -> Path:
        """Folder of the tables and figures."""
        return self.params.figures_path

    @property
    def note(self) -> str:
        """What every table and figure must say of the data; empty for real patients."""
        return SYNTHETIC_NOTE if self.params.synthetic else ""

    def patients(self, with_radiomics: bool = False) -> pd.DataFrame:
        """Analysed patients, one row each (patients.parquet); ``with_radiomics``: only those who have features."""
        patients = pd.read_parquet(self.build / "patients.parquet")
        if not with_radiomics:
            return patients
        if not self.params.radiomics:
            raise NoModelError(
                f"study {self.params.study} has no radiomics and so no model; take 'features: null' out of its file"
            )
        ids = pd.read_parquet(self.build / "features.parquet", columns=[]).index
        return patients[patients["patient_id"].isin(ids)].reset_index(drop=True)

    def exclusions(self) -> pd.DataFrame:
        """Excluded patients with stage, reason and set."""
        return pd.read_parquet(self.build / "exclusions.parquet")

    def features(self) -> pd.DataFrame:
        """Radiomics features of the analysed patients who have them, index patient_id.

        With ``features.min_icc``, only those whose lowest ICC under disturbance of mask, bins and noise reaches it.
        """
        features = pd.read_parquet(self.build / "features.parquet")
        features = features.loc[self.patients(with_radiomics=True)["patient_id"]]
        if self.params.features.min_icc > 0:
            features = features[stable_features(self.stability(), self.params.features.min_icc)]
        return features

    def stability(self) -> pd.DataFrame:
        """ICC of every feature and kind of disturbance (feature, family, icc, low, high, patients, repetitions)."""
        return pd.read_parquet(self.build / "stability.parquet")

    def stability_exclusions(self) -> pd.DataFrame:
        """Disturbed images or masks whose features could not be had (patient_id, variant, reason)."""
        return pd.read_parquet(self.build / "stability_exclusions.parquet")

    def risk(self) -> pd.DataFrame:
        """Risk score of each analysed patient (patient_id, set, risk, higher is worse, spread over the networks)."""
        return pd.read_csv(self.build / "risk.csv", dtype={"patient_id": str})

    def held_out_risk(self) -> pd.Series:
        """Risk of the training patients by networks that did not learn from them, index patient_id; NaN if all did."""
        return self._by_patient("held_out_risk.csv")["risk"]

    def survival(self) -> pd.DataFrame:
        """The model's survival probability of each patient, index patient_id, columns months."""
        table = self._by_patient("survival.csv").drop(columns="set")
        return table.set_axis([float(name.removeprefix("survival_")) for name in table], axis=1)

    def comparators(self) -> pd.DataFrame:
        """Risk of each analysed patient by the other models, index patient_id; NaN where one cannot say."""
        return self._by_patient("comparators.csv").drop(columns="set")

    def training_times(self) -> pd.DataFrame:
        """Seconds that each model took to fit on this machine (model, seconds)."""
        return pd.read_csv(self.build / "comparators_time.csv")

    def _by_patient(self, name: str) -> pd.DataFrame:
        # Read back to the last bit, so that a notebook later computes what the one that wrote it would have.
        table = pd.read_csv(self.build / name, dtype={"patient_id": str}, float_precision="round_trip")
        return table.set_index("patient_id")

    def cut_off(self) -> float:
        """Median risk of the training patients, which ``cutoff.high_risk`` compares a risk with in every set."""
        return float(json.loads((self.build / "model" / "model.json").read_text(encoding="utf-8"))["cutoff"])

    def provenance(self) -> dict:
        """What a saved model must say of its inputs: study, seed, feature settings, HU windows and versions."""
        from analysis_lib.core.feature_settings import training_settings  # here, because PyRadiomics is slow to import

        return training_settings(self.params)

    def write_comparison(self, comparison: pd.DataFrame) -> None:
        """Every printed number beside ours, as of ``published.compare``; its file for readers has fewer columns."""
        write_parquet(comparison, self.build / "paper_comparison.parquet")

    def comparison(self) -> pd.DataFrame:
        """The same read back: what each number is in columns of its own, and its values."""
        return pd.read_parquet(self.build / "paper_comparison.parquet")

    def result(self, name: str) -> pd.DataFrame:
        """A table that an earlier notebook wrote, as ``table2``."""
        return pd.read_csv(self.figures / f"{name}.csv")


def open_study(study: str) -> Study:
    """Open a study by name; in ``make explore`` the variable EXPLORE_STUDY names it."""
    return Study(load_params(os.environ.get("EXPLORE_STUDY") or study))
