"""Whether this processor computes to the byte what another one does, in under a minute and without a study.

``python -m analysis_lib fingerprint`` runs the numerical core on data that it makes itself and prints a line a part:
its name and a hash of every bit of the result. Two machines with the same lines compute these parts alike, to the
byte; where they differ, the first part that does tells where to look. ``run.json`` holds the lines and ``verify``
compares them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from analysis_lib.common.keep import keeping
from analysis_lib.core.project import Project
from analysis_lib.review.record import environment
from analysis_lib.survival import auc_curve, bootstrap_c_index, cox_fit, kaplan_meier
from analysis_lib.survival.separation import principal_components

SEED = 20240101
PATIENTS, FEATURES = 300, 700  # more features than any block of a product, more patients too: every path is taken


def fingerprint(parameter_file: Path) -> dict[str, str]:
    """Name of each part of the numerical core and the hash of what it gives, in the order of the study.

    ``parameter_file``: of PyRadiomics, for the features of one patient.
    """
    return dict(_features(parameter_file)) | dict(_model_and_statistics())


def together(parts: dict[str, str]) -> str:
    """One hash of all parts, in their order: what a reader compares first."""
    return _hash([np.frombuffer("\n".join(f"{name} {value}" for name, value in parts.items()).encode(), np.uint8)])


def kept_fingerprint(project: Project) -> dict[str, str]:
    """The fingerprint of this machine, computed once for one code and one environment."""
    return keeping(_of_machine, project.cache / "fingerprint")(environment(), project.params_dir / "features_sm.yaml")


def _of_machine(_: dict, parameter_file: Path) -> dict[str, str]:
    return fingerprint(parameter_file)


def _features(parameter_file: Path) -> Iterator[tuple[str, str]]:
    import SimpleITK as sitk

    from analysis_lib.radiomics import extract

    rng = np.random.default_rng(SEED)
    hounsfield = rng.normal(45, 30, (7, 40, 48)).round().astype(np.int16)
    row, column = np.mgrid[:40, :48]
    region = np.zeros(hounsfield.shape, np.uint8)
    region[3] = (np.hypot((row - 20) / 14, (column - 24) / 18) < 1) & (np.hypot(row - 22, column - 24) > 5)
    image, mask = sitk.GetImageFromArray(hounsfield), sitk.GetImageFromArray(region)
    for one in (image, mask):
        one.SetSpacing((0.7, 0.8, 5.0))
    yield "features of one patient", _hash(list(extract(image, mask, str(parameter_file)).values()))


def _model_and_statistics() -> Iterator[tuple[str, str]]:
    from analysis_lib.coxnet import AutoEncoderParams, NetworkParams, RadiomicsSurvivalModel

    rng = np.random.default_rng(SEED)
    hidden = rng.normal(size=(PATIENTS, 12))
    values = np.sinh(hidden @ rng.normal(size=(12, FEATURES)) / 3 + 0.5 * rng.normal(size=(PATIENTS, FEATURES)))
    index = pd.Index([f"P{k:03d}" for k in range(PATIENTS)], name="patient_id")
    features = pd.DataFrame(values, index, [f"feature_{k:04d}" for k in range(FEATURES)])
    months = (rng.exponential(40, PATIENTS) * np.exp(-0.7 * hidden[:, 0])).round(2) + 0.01
    died = (rng.random(PATIENTS) < 0.5).astype(float)

    model = RadiomicsSurvivalModel.fit(
        features,
        months,
        died,
        AutoEncoderParams(code_size=20, max_epochs=15),
        NetworkParams(hidden=[16, 8], ensemble=2, max_epochs=60),
        seed=SEED,
    )
    risk = model.risk(features).to_numpy()
    yield "scaling", _hash(model.scaler.transform(features))
    yield "AutoEncoder", _hash(model.inputs(features))
    yield "ensemble of Cox networks", _hash([w for n in model.ensemble.networks for w in n.weights])
    yield "risk scores", _hash(risk)
    yield "survival curves", _hash(model.survival(features, [12, 36, 60]).to_numpy())
    both = model.with_partner(features, months, died, NetworkParams())
    yield "linear partner", _hash([both.risk_parts(features), both.risk(features).to_numpy()])
    yield "bootstrap of the C-index", _hash(bootstrap_c_index(months, died, risk, 500, 0.95, SEED))
    yield "time-dependent AUC", _hash(auc_curve(months, died, risk, [12, 24, 36], 200, 0.95, SEED))
    yield "principal components", _hash(principal_components(features.head(200), features, 3))
    covariates = pd.DataFrame({"age": hidden[:, 0] * 10 + 56, "smi": hidden[:, 1] * 8 + 48})
    yield "Cox regression", _hash([cox_fit(months, died, covariates).coefficients])
    yield "Kaplan-Meier", _hash(kaplan_meier(months, died, 0.95))


def _hash(result: object) -> str:
    """Hash of the bits of numbers, arrays, frames and lists of them."""
    digest = hashlib.blake2b(digest_size=8)

    def add(one: object) -> None:
        if isinstance(one, pd.DataFrame):
            add(one.select_dtypes("number").to_numpy(np.float64))
        elif isinstance(one, (list, tuple)):
            for part in one:
                add(part)
        else:
            digest.update(np.ascontiguousarray(one).tobytes())

    add(result)
    return digest.hexdigest()
