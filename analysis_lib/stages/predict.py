"""A saved model applied to patients without outcomes, and refused where it cannot hold.

The clinical table needs nothing but patient_id; CT and masks lie as in any study.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from analysis_lib.cohort.clinical import EXCLUSION_COLUMNS, read_patient_ids
from analysis_lib.core.feature_settings import FROM_TABLE, differences, training_settings
from analysis_lib.core.parameters import SYNTHETIC_NOTE
from analysis_lib.core.project import Study
from analysis_lib.coxnet.cutoff import high_risk
from analysis_lib.coxnet.model import RadiomicsSurvivalModel, package_versions
from analysis_lib.coxnet.scaling import FeatureError
from analysis_lib.radiomics.features import FeatureCountError
from analysis_lib.stages import StageError
from analysis_lib.stages.features import features_of
from analysis_lib.stages.measure import measured_rows

SMALLEST_BATCH = 8
NAMED_FEATURES = 3


class PredictError(StageError):
    """The model cannot be applied; the message names the difference."""


def predict(study: Study, folder: Path, quiet: bool = False) -> str:
    """Write ``predictions.csv`` and ``predict_exclusions.csv`` into the study's build folder; say what was done.

    Raises PredictError for a folder that holds no usable model, a model whose features were made with other settings
    or versions, and a study in which nobody can be predicted.
    """
    params, model = study.params, load_model(folder)
    notes = check_applicable(model, study, folder)
    clinical, excluded = read_patient_ids(study.clinical_file, params.clinical)
    located, no_image = clinical, excluded.head(0)
    if not params.features.table:
        measured, no_image = measured_rows(study, clinical, quiet)
        # the series that was measured is the one whose features are taken
        located = clinical.drop(columns="series_uid", errors="ignore").merge(measured[["patient_id", "series_uid"]])
    try:
        features, no_features = features_of(study, located, quiet)
        table = None if features.empty else prediction_table(model, features, params.statistics.horizons_months)
    except (FeatureCountError, FeatureError) as error:
        raise PredictError(f"{folder}: {error}") from None
    parts = [part for part in (excluded, no_image, no_features) if not part.empty]
    exclusions = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=EXCLUSION_COLUMNS)
    if table is not None:
        short = params.endpoint.short.lower()
        if short != "os":  # what is predicted is not to live on
            table = table.rename(columns=lambda name: str(name).replace("survival_", f"{short}_"))
        table["note"] = " ".join(notes)
    study.write_predictions(table, exclusions[EXCLUSION_COLUMNS])
    if table is None:
        first = exclusions.iloc[0]
        raise PredictError(f"nobody can be predicted; for example {first.patient_id}: {first.reason}")
    high, warned = (table["risk_group"] == "high").sum(), (table["warning"] != "").sum()
    lines = [
        f"{len(table)} patients predicted ({high} high risk, {warned} with a warning), {len(exclusions)} excluded",
        *(f"note: {note}" for note in notes),
        f"written: build/{params.study}/predictions.csv, build/{params.study}/predict_exclusions.csv",
    ]
    return "\n".join(lines)


def prediction_table(model: RadiomicsSurvivalModel, features: pd.DataFrame, months: list[float]) -> pd.DataFrame:
    """One row a patient (at least one): risk (higher is worse), risk_group, survival_<m>_months, warning, its grounds.

    ``features`` (index patient_id) have the columns of the fit, else FeatureError. Survival is the predicted
    probability to live beyond each month; missing beyond the longest observed time of the training patients.
    """
    n = len(features)
    # one or two rows take another path through the matrix products and are rounded differently
    rows = features.iloc[np.minimum(np.arange(max(n, SMALLEST_BATCH)), n - 1)]
    risk = model.risk(rows).to_numpy()[:n]
    survival = model.survival(rows, months).to_numpy()[:n]
    training = model.training
    outside = training.outside(features)
    error = np.full(n, np.nan)
    if model.autoencoder:
        error = model.autoencoder.patient_error(model.scaler.transform(rows))[:n]
    share = (outside > 0).mean(axis=1).to_numpy()
    group = np.where(high_risk(risk, model.cutoff), "high", "low")
    columns = {"patient_id": features.index, "risk": risk, "risk_group": group}
    for k, month in enumerate(months):
        columns[f"survival_{month:g}_months"] = survival[:, k]
    columns |= {"share_outside": share, "reconstruction_error": error}
    columns["warning"] = [_warning(model, outside.iloc[k], share[k], error[k]) for k in range(n)]
    return pd.DataFrame(columns)


def _warning(model: RadiomicsSurvivalModel, outside: pd.Series, share: float, error: float) -> str:
    training, parts = model.training, []
    if share > training.share_limit:
        worst = outside.nlargest(NAMED_FEATURES).index
        parts.append(
            f"{share:.1%} of the features lie outside the {training.n_patients} training patients "
            f"(limit {training.share_limit:.1%}), furthest {', '.join(worst)}"
        )
    if training.error_limit is not None and error > training.error_limit:
        parts.append(
            f"the AutoEncoder rebuilds the features badly (error {error:.3g}, limit {training.error_limit:.3g})"
        )
    return f"unlike the training patients: {'; '.join(parts)}" if parts else ""


def load_model(folder: Path) -> RadiomicsSurvivalModel:
    """A saved model; PredictError where the folder holds none, or one that is damaged or was changed."""
    try:
        model = RadiomicsSurvivalModel.load(folder)
        if (origin := model.description["provenance"]) and not (
            origin.keys() >= {"study", "seed", "synthetic", "required"} and str(origin["study"]).isprintable()
        ):
            raise ValueError("model.json does not say where the model comes from")
        return model
    except FileNotFoundError as error:
        raise PredictError(f"{error}; make study STUDY=<name> saves one in build/<name>/model") from None
    except (ValueError, OSError) as error:
        raise PredictError(f"{folder} cannot be read as a saved model: {' '.join(str(error).split())[:300]}") from None
    except Exception:  # whatever a folder that somebody made up makes the readers of JSON, NumPy and Keras raise
        raise PredictError(
            f"{folder} cannot be read as a saved model: its files are not those of one; take the folder anew"
        ) from None


def check_applicable(model: RadiomicsSurvivalModel, study: Study, folder: Path, own: bool = False) -> list[str]:
    """What to tell beside the results; PredictError where the features are not those that the model knows.

    ``own``: the model is the study's, and so is what made its features alike over scanners.
    """
    params = study.params
    provenance = model.description["provenance"]
    if not provenance:
        raise PredictError(
            f"{folder} does not say how its features were made (it was fitted to a table), so it cannot read images"
        )
    theirs, ours = provenance.get("harmonised", ""), params.features.harmonise.batch
    if (scanners := theirs or ours) and not (own and theirs == ours):
        raise PredictError(
            f"features.harmonise: after ComBat over '{scanners}' features are not those extracted, and {folder} does "
            "not know a new patient's scanner; take a model and parameters without it"
        )
    required = training_settings(study)["required"]
    if (provenance["required"] == FROM_TABLE) != (required == FROM_TABLE):
        origins = ("extracted from images", "taken from a table, which does not say how they were extracted")
        theirs, ours = origins if required == FROM_TABLE else reversed(origins)
        raise PredictError(
            f"{folder} learnt from features that were {theirs}, and those of study {params.study} are {ours}: its "
            "risks may not hold. Give the study features of the same origin"
        )
    if found := differences(provenance["required"], required):
        raise PredictError(
            f"{folder} was trained with other settings than study {params.study} has, so its risks would not hold: "
            f"{'; '.join(found)}. Give the study the model's settings, or fit a model with the study's"
        )
    if found := differences(model.description["versions"], package_versions(), "versions"):
        raise PredictError(
            f"{folder} was trained with other versions of what computes a risk: {'; '.join(found)}. Use the "
            "environment of the model (make env with its requirements.lock), or fit the model again in this one"
        )
    asked = params.asks
    learnt = provenance.get("asks", asked | {"endpoint": "overall survival", "patients": ""})  # of an older version
    if learnt["endpoint"] != asked["endpoint"]:
        raise PredictError(
            f"{folder} predicts {learnt['endpoint']} and study {params.study} asks for {asked['endpoint']}; give the "
            "study the model's endpoint, or take a model of the study's"
        )
    notes = []
    if learnt["patients"] != asked["patients"]:
        whose, here = (f"'{part['patients'] or 'everybody from the start'}'" for part in (learnt, asked))
        notes.append(f"The model learnt from other patients ({whose}) than it is applied to ({here}).")
    if provenance["synthetic"]:
        notes.append("The model was trained on synthetic patients: its risks say nothing about a patient.")
    if params.synthetic:
        notes.append(SYNTHETIC_NOTE)
    late = [f"{month:g}" for month in params.statistics.horizons_months if month > model.training.last_month]
    if late:
        notes.append(
            f"No survival at {', '.join(late)} months: the training patients were observed for "
            f"{model.training.last_month:.1f} months at most."
        )
    return notes
