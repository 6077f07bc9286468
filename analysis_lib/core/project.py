"""Where everything of a study lies, and the one place that reads and writes its tables.

A ``Project`` is a root folder: parameters, data, ``build`` and ``figures`` are below it. A ``Study`` is one parameter
file of it with all its paths; each file of ``build/<study>`` has its writer and its reader here, side by side, so
that a format is known in one place. docs/architecture.md lists the files with their columns.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from analysis_lib.common.errors import ParameterError, StudyError
from analysis_lib.common.files import read_csv, write_parquet, write_text
from analysis_lib.core.parameters import PARAMS_DIR, SYNTHETIC_NOTE, Params, load_params

CHECKOUT = PARAMS_DIR.parent
IDS = {"patient_id": str}


class NoModelError(StudyError, ValueError):
    """Something is asked of a model that the study does not have."""


@dataclass(frozen=True)
class Project:
    """A root folder with params/, data/, build/, figures/ and notebooks/; this checkout unless told otherwise."""

    root: Path = CHECKOUT

    @property
    def params_dir(self) -> Path:
        """Folder of the parameter files."""
        return self.root / "params"

    @property
    def notebooks(self) -> Path:
        """Folder of the notebooks as they are written, without outputs."""
        return self.root / "notebooks"

    @property
    def expected(self) -> Path:
        """Folder of the committed expectations, one subfolder a study."""
        return self.root / "tests" / "expected"

    @property
    def cache(self) -> Path:
        """What studies share because it depends on contents alone: features, fitted models."""
        return self.root / "build" / "cache"

    def params(self, study: str) -> Params:
        """Parameters of ``params/<study>.yaml`` and its bases; ParameterError names what is wrong in them."""
        return load_params(study, self.params_dir)

    def study(self, name: str) -> Study:
        """The study of ``params/<name>.yaml``."""
        return Study(self.params(name), self)

    def name_of(self, path: Path) -> str:
        """A path as it is told to others: relative to the root, with slashes."""
        return path.relative_to(self.root).as_posix()


@dataclass(frozen=True)
class Study:
    """One study: its parameters, its folders, and its tables."""

    params: Params
    project: Project = field(default_factory=Project)

    # ---- where things lie --------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Name of the parameter file, and of the folders below build/ and figures/."""
        return self.params.study

    @property
    def data(self) -> Path:
        """Folder of the clinical table, ct/ and masks/; may be another study's, which is then only read."""
        return self.project.root / (self.params.data_dir or f"data/{self.name}")

    @property
    def clinical_file(self) -> Path:
        """The clinical table."""
        return self.data / self.params.clinical.file

    @property
    def feature_file(self) -> Path:
        """The table of features that were extracted elsewhere, in a study that has one (``features.table``)."""
        return self.data / self.params.features.table

    @property
    def reference_file(self) -> Path:
        """The table of published values by age and sex, in a study that has one (``reference.table``)."""
        return self.data / self.params.reference.table

    @property
    def build(self) -> Path:
        """Folder of everything that is computed on the way."""
        return self.project.root / "build" / self.name

    @property
    def figures(self) -> Path:
        """Folder of the tables and figures."""
        return self.project.root / "figures" / self.name

    @property
    def cache(self) -> Path:
        """What studies share because it depends on contents alone: features, fitted models."""
        return self.project.cache

    @property
    def hashes(self) -> Path:
        """Hashes of the files of ``data``, known from earlier (``common.hashes``)."""
        return self.cache / "hashes" / f"{self.data.name}.json"

    @property
    def model(self) -> Path:
        """Folder of the fitted model."""
        return self.build / "model"

    @property
    def parameter_files(self) -> dict[str, Path]:
        """PyRadiomics parameter file of each region ("sm", "pm")."""
        return {roi: self.project.params_dir / entry.parameter_file for roi, entry in self.params.features.rois.items()}

    def executed(self, notebook: str) -> Path:
        """A notebook with its outputs."""
        return self.build / "notebooks" / f"{notebook}.ipynb"

    @property
    def note(self) -> str:
        """What every table and figure must say of the data; empty for real patients."""
        return SYNTHETIC_NOTE if self.params.synthetic else ""

    # ---- patients ----------------------------------------------------------------------------------------------

    def write_measured(self, measured: pd.DataFrame) -> None:
        """Keep the clinical columns, areas and densities of the patients with usable images."""
        write_parquet(measured, self.build / "measured.parquet")

    def measured(self, columns: list[str] | None = None) -> pd.DataFrame:
        """Clinical columns, areas and densities of each patient with usable images."""
        return pd.read_parquet(self.build / "measured.parquet", columns=columns)

    def write_measured_exclusions(self, exclusions: pd.DataFrame) -> None:
        """Keep the patients whose row or images cannot be used."""
        write_parquet(exclusions, self.build / "measured_exclusions.parquet")

    def measured_exclusions(self) -> pd.DataFrame:
        """Patients whose row or images cannot be used (patient_id, stage, reason, set)."""
        return pd.read_parquet(self.build / "measured_exclusions.parquet")

    def write_patients(self, patients: pd.DataFrame, left_out: pd.DataFrame | None = None) -> None:
        """The analysed patients, as Parquet and for reading as CSV; of whom nobody asks."""
        left_out = pd.DataFrame(columns=["patient_id", "set", "step"]) if left_out is None else left_out
        write_parquet(left_out, self.build / "left_out.parquet")
        write_parquet(patients, self.build / "patients.parquet")
        _write_csv(patients, self.build / "patients.csv")

    def patients(self, with_radiomics: bool = False) -> pd.DataFrame:
        """Analysed patients, one row each; ``with_radiomics``: only those who have features."""
        patients = pd.read_parquet(self.build / "patients.parquet")
        if not with_radiomics:
            return patients
        if not self.params.radiomics:
            raise NoModelError(
                f"study {self.name} has no radiomics and so no model; take 'features: null' out of its file"
            )
        return patients[patients["patient_id"].isin(self.featured())].reset_index(drop=True)

    def write_exclusions(self, exclusions: pd.DataFrame) -> None:
        """Keep who could not be used, or has no features."""
        write_parquet(exclusions, self.build / "exclusions.parquet")

    def exclusions(self) -> pd.DataFrame:
        """Excluded patients with stage, reason and set."""
        return pd.read_parquet(self.build / "exclusions.parquet")

    def left_out(self) -> pd.DataFrame:
        """Usable patients of whom the study does not ask (patient_id, set, step), in the order of the steps."""
        return pd.read_parquet(self.build / "left_out.parquet")

    # ---- radiomics ---------------------------------------------------------------------------------------------

    def write_features(self, features: pd.DataFrame) -> None:
        """Features of each patient, index patient_id."""
        write_parquet(features, self.build / "features.parquet", index=True)

    def features(self, as_extracted: bool = False) -> pd.DataFrame:
        """Radiomics features of the analysed patients who have them, index patient_id.

        With ``features.min_icc``, only those whose lowest ICC under disturbance of mask, bins and noise reaches it.
        With ``features.harmonise`` made alike by ComBat of the training patients, unless ``as_extracted``.
        """
        features = pd.read_parquet(self.build / "features.parquet")
        features = features.loc[self.patients(with_radiomics=True)["patient_id"]]
        if self.params.features.min_icc > 0:
            from analysis_lib.survival.agreement import stable_features  # here, because few studies ask for it

            features = features[stable_features(self.stability(), self.params.features.min_icc)]
        asked = self.params.features.harmonise
        if as_extracted or not asked.batch:
            return features
        from analysis_lib.survival.combat import Combat  # here, because few studies ask for it

        patients = self.patients(with_radiomics=True).set_index("patient_id")
        batch, train = patients[asked.batch], patients.index[patients["split"] == "train"]
        sizes = batch[train].value_counts()
        if len(sizes) < 2 or sizes.min() < asked.smallest:
            found = ", ".join(map(str, sizes)) or "none"
            raise ParameterError(
                f"features.harmonise: the training patients by '{asked.batch}' are {found}, and it takes two batches "
                f"of {asked.smallest} or more and none of fewer; give small ones the code of a scanner like theirs, or "
                "leave their cells empty, for features as they are"
            )
        return Combat.fit(features.loc[train], batch[train]).transform(features, batch)

    def featured(self) -> pd.Index:
        """Who has features, patient_id."""
        return pd.read_parquet(self.build / "features.parquet", columns=[]).index

    @property
    def n_features(self) -> int:
        """How many features there are, before any is left out for its ICC; 0 in a study without radiomics."""
        if not self.params.features.table:
            return self.params.features.expected_count if self.params.radiomics else 0
        return len(pd.read_parquet(self.build / "features.parquet").columns)

    def write_features_exclusions(self, failures: pd.DataFrame) -> None:
        """Keep the patients without features."""
        write_parquet(failures, self.build / "features_exclusions.parquet")

    def features_exclusions(self) -> pd.DataFrame:
        """Patients without features (patient_id, stage, reason)."""
        return pd.read_parquet(self.build / "features_exclusions.parquet")

    def write_stability(self, icc: pd.DataFrame) -> None:
        """Keep the ICC of every feature and kind of disturbance."""
        write_parquet(icc, self.build / "stability.parquet")

    def stability(self) -> pd.DataFrame:
        """ICC of every feature and kind of disturbance (feature, family, icc, low, high, patients, repetitions)."""
        return pd.read_parquet(self.build / "stability.parquet")

    def write_stability_exclusions(self, failures: pd.DataFrame) -> None:
        """Keep the disturbed images or masks whose features could not be had."""
        write_parquet(failures, self.build / "stability_exclusions.parquet")

    def stability_exclusions(self) -> pd.DataFrame:
        """Disturbed images or masks whose features could not be had (patient_id, variant, reason)."""
        return pd.read_parquet(self.build / "stability_exclusions.parquet")

    # ---- the model ---------------------------------------------------------------------------------------------

    def cut_off(self) -> float:
        """Median risk of the training patients, which ``cutoff.high_risk`` compares a risk with in every set."""
        return float(json.loads((self.model / "model.json").read_text(encoding="utf-8"))["cutoff"])

    def write_risk(self, risk: pd.Series, split: pd.Series, spread: pd.Series) -> None:
        """Risk of each patient (higher is worse), the set it counts in, and the SD of the risk over the networks."""
        table = pd.DataFrame({"set": split, "risk": risk, "spread": spread}, index=split.index)
        _write_csv(table, self.build / "risk.csv", index_label="patient_id")

    def risk(self) -> pd.DataFrame:
        """Risk score of each analysed patient (patient_id, set, risk, higher is worse, spread over the networks)."""
        return read_csv(self.build / "risk.csv", dtype=IDS)

    def write_held_out_risk(self, risk: pd.Series) -> None:
        """Risk of the training patients by networks that did not learn from them, by patient_id."""
        _write_csv(risk.rename("risk").to_frame(), self.build / "held_out_risk.csv", index_label="patient_id")

    def held_out_risk(self) -> pd.Series:
        """The same read back, index patient_id; NaN where all networks learnt from the patient."""
        return self._by_patient("held_out_risk.csv")["risk"]

    def write_survival(self, survival: pd.DataFrame, split: pd.Series) -> None:
        """Probability to live beyond each month (columns, as numbers) by patient_id; columns survival_<month>."""
        table = survival.set_axis([f"survival_{month:g}" for month in survival.columns], axis=1)
        table.insert(0, "set", split)
        _write_csv(table, self.build / "survival.csv", index_label="patient_id")

    def survival(self) -> pd.DataFrame:
        """The model's survival probability of each patient, index patient_id, columns months."""
        table = self._by_patient("survival.csv").drop(columns="set")
        return table.set_axis([float(name.removeprefix("survival_")) for name in table], axis=1)

    def write_comparators(self, risks: pd.DataFrame, split: pd.Series, times: pd.DataFrame) -> None:
        """Risks by the other models (a column each) by patient_id, and the seconds that each took to fit."""
        table = risks.copy()
        table.insert(0, "set", split)
        _write_csv(table, self.build / "comparators.csv", index_label="patient_id")
        _write_csv(times, self.build / "comparators_time.csv")

    def comparators(self) -> pd.DataFrame:
        """Risk of each analysed patient by the other models, index patient_id; NaN where one cannot say."""
        return self._by_patient("comparators.csv").drop(columns="set")

    def training_times(self) -> pd.DataFrame:
        """Seconds that each model took to fit on this machine (model, seconds)."""
        return read_csv(self.build / "comparators_time.csv")

    def write_optimism(self, replicates: pd.DataFrame) -> None:
        """Keep the fits of the resampled pipeline."""
        _write_csv(replicates, self.build / "optimism.csv")

    def write_no_optimism(self) -> None:
        """An empty file, which make waits for, in a study without a pipeline to resample."""
        write_text(self.build / "optimism.csv", "")

    def optimism(self) -> pd.DataFrame:
        """The pipeline fitted again and again, a row a replicate (``stages.optimism.COLUMNS``)."""
        return read_csv(self.build / "optimism.csv")

    def write_predictions(self, predictions: pd.DataFrame | None, exclusions: pd.DataFrame) -> None:
        """Predicted patients and those who could not be; None takes away the predictions of an earlier run."""
        _write_csv(exclusions, self.build / "predict_exclusions.csv")
        if predictions is None:
            (self.build / "predictions.csv").unlink(missing_ok=True)
        else:
            _write_csv(predictions, self.build / "predictions.csv")

    def write_validation(self, predictions: pd.DataFrame, about: dict[str, Any]) -> None:
        """Each judged patient's predictions by a saved model, and what is told of that model (plain values)."""
        _write_csv(predictions, self.build / "validation/predictions.csv")
        write_text(self.build / "validation/model.json", json.dumps(about, indent=1, ensure_ascii=False) + "\n")

    def validation(self) -> tuple[pd.DataFrame, dict[str, Any]]:
        """The same read back."""
        about = json.loads((self.build / "validation/model.json").read_text(encoding="utf-8"))
        return read_csv(self.build / "validation/predictions.csv", dtype=IDS), about

    @property
    def only_validated(self) -> bool:
        """Whether a saved model was judged on the study's patients and none was trained on them."""
        return (self.build / "validation/model.json").is_file() and not self.model.is_dir()

    @property
    def command(self) -> str:
        """What makes the study's results again: training and all, or the judgement of a saved model alone."""
        cohort = self.params.cohort
        return (cohort.judged(cohort.sets) if self.only_validated else cohort).command(self.name)

    def write_multiverse(self, ratios: pd.DataFrame, gains: pd.DataFrame, power: pd.DataFrame | None) -> None:
        """Hazard ratios and gains of every specification, and how often cohorts of each size find what is there."""
        folder = self.build / "multiverse"
        _write_csv(ratios, folder / "ratios.csv")
        _write_csv(gains, folder / "gains.csv")
        if power is not None:
            _write_csv(power, folder / "power.csv")

    def multiverse(self) -> dict[str, pd.DataFrame]:
        """The same read back: ratios, gains and, of a synthetic study, power."""
        folder = self.build / "multiverse"
        names = ["ratios", "gains", "power"] if self.params.synthetic else ["ratios", "gains"]
        return {name: read_csv(folder / f"{name}.csv") for name in names}

    def write_search(self, trials: pd.DataFrame) -> None:
        """Keep the trials of the search of hyperparameters."""
        _write_csv(trials, self.build / "search" / "trials.csv")

    def search(self) -> pd.DataFrame:
        """Trials of the search of hyperparameters (trial, state, value, one column a value tried)."""
        return read_csv(self.build / "search" / "trials.csv")

    # ---- results -----------------------------------------------------------------------------------------------

    def write_comparison(self, comparison: pd.DataFrame) -> None:
        """Every printed number beside ours, as of ``published.compare``; its file for readers has fewer columns."""
        write_parquet(comparison, self.build / "paper_comparison.parquet")

    def comparison(self) -> pd.DataFrame:
        """The same read back: what each number is in columns of its own, and its values."""
        return pd.read_parquet(self.build / "paper_comparison.parquet")

    def result(self, name: str) -> pd.DataFrame:
        """A table that an earlier notebook wrote, as ``table2``."""
        return read_csv(self.figures / f"{name}.csv")

    def write_answer(self, notebook: str, text: str) -> None:
        """Keep the answer in which a notebook ends; each notebook's in a file of its own, since they run at once."""
        write_text(self.build / "answers" / f"{notebook}.json", json.dumps({"answer": text}, ensure_ascii=False) + "\n")

    def answers(self) -> dict[str, str]:
        """What each notebook that has run answers, by its name, in order."""
        files = sorted((self.build / "answers").glob("*.json"))
        return {file.stem: json.loads(file.read_text(encoding="utf-8"))["answer"] for file in files}

    def _by_patient(self, name: str) -> pd.DataFrame:
        return read_csv(self.build / name, dtype=IDS).set_index("patient_id")


def _write_csv(table: pd.DataFrame, path: Path, index_label: str | None = None) -> None:
    write_text(path, table.to_csv(index=index_label is not None, index_label=index_label, lineterminator="\n"))
