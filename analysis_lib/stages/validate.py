"""A saved model applied to a study's patients, whose outcomes are known, to be judged on them; nothing is trained.

The judgement itself is notebook 17, by ``results.validation``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from analysis_lib.common.files import SUMS, file_hash
from analysis_lib.core.project import Study
from analysis_lib.coxnet.cutoff import ensemble_spread
from analysis_lib.coxnet.model import RadiomicsSurvivalModel
from analysis_lib.coxnet.scaling import FeatureError
from analysis_lib.stages.clinical_model import read_models
from analysis_lib.stages.export import CASE_MIX, plain
from analysis_lib.stages.predict import PredictError, check_applicable, load_model, prediction_table


def validate(study: Study, folder: Path) -> str:
    """Write each patient's predictions and what the folder says of its model; say what was done.

    The training patients of the study's own model are left out; of any other model nobody can say who they were.
    Raises PredictError for a folder that holds no usable model, for one of other features, and where nobody is left.
    """
    model, patients = load_model(folder), study.patients(with_radiomics=True)
    origin = model.description["provenance"]
    own = (origin.get("study"), origin.get("seed")) == (study.name, study.params.seed)
    notes = check_applicable(model, study, folder, own)
    if own:
        trained = patients["split"] == "train"
        patients = patients[~trained].assign(set=patients["split"])  # of a set that was split, the internal test set
        notes.append(f"The model is this study's own: its {int(trained.sum())} training patients are not judged.")
    if patients.empty:
        raise PredictError(f"study {study.name} has no patient with features whom the model was not trained on")
    features = study.features().loc[patients["patient_id"]]
    try:
        table = prediction_table(model, features, study.params.statistics.curve_months())
    except FeatureError as error:
        raise PredictError(f"{folder}: {error}") from None
    table.insert(1, "set", patients["set"].to_numpy())
    table.insert(3, "spread", ensemble_spread(model.risk_spread(features)).to_numpy())
    study.write_validation(table, about(model, study, folder, notes))
    counts = patients["set"].value_counts(sort=False)
    return "\n".join(
        [
            f"{len(table)} patients with {int(patients['event'].sum())} {study.params.endpoint.plural} predicted: "
            + ", ".join(f"{name} {n}" for name, n in counts.items()),
            *(f"note: {note}" for note in notes),
        ]
    )


def about(model: RadiomicsSurvivalModel, study: Study, folder: Path, notes: list[str]) -> dict[str, Any]:
    """What the judgement tells of the model, plain values: which one it is, on whom it was trained, its limits."""
    origin, training = model.description["provenance"], model.training
    root, place = study.project.root, folder.resolve()
    try:
        mix = pd.DataFrame(origin.get("case_mix", {}), columns=CASE_MIX)
        mix[CASE_MIX[1:]] = mix[CASE_MIX[1:]].apply(pd.to_numeric)
    except (ValueError, TypeError, AttributeError):
        raise PredictError(f"{folder}: the training patients' case mix in model.json is none; take it anew") from None
    return {
        "folder": place.relative_to(root).as_posix() if place.is_relative_to(root) else place.name,
        "sums_sha256": file_hash(folder / SUMS),
        "study": origin["study"],
        "synthetic": origin["synthetic"],
        "required": origin["required"],
        "versions": model.description["versions"],
        "cutoff": model.cutoff,
        "n_patients": training.n_patients,
        "n_features": len(model.scaler.names),
        "networks": len(model.ensemble.networks),
        "last_month": training.last_month,
        "share_limit": training.share_limit,
        "error_limit": training.error_limit,
        "case_mix": plain(mix),
        "clinical": [model.model_dump() for model in read_models(folder)],
        "notes": notes,
    }
