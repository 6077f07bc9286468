"""The paper's model, from features to risk: scaling, AutoEncoder, Cox networks, baseline hazard, cut-off.

Everything is learnt from the training patients. A saved model is one folder and needs no training data.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from analysis_lib.common.files import check_seal, seal, temporary_prefix, to_disk
from analysis_lib.coxnet.autoencoder import AutoEncoder, code_report
from analysis_lib.coxnet.cox_ensemble import CoxEnsemble
from analysis_lib.coxnet.cutoff import median_cutoff
from analysis_lib.coxnet.fitting import derived_seed
from analysis_lib.coxnet.partner import PARTS, LinearPartner, fit_partner
from analysis_lib.coxnet.scaling import FeatureError, FeatureScaler
from analysis_lib.coxnet.settings import AutoEncoderParams, NetworkParams
from analysis_lib.coxnet.tf_setup import keras, tf
from analysis_lib.coxnet.training_range import TrainingRange

FORMAT = 3
PARTNER = "linear_partner.json"  # where the model has one


def package_versions() -> dict[str, str]:
    """Versions of what computes a risk from the features; another one may round differently."""
    return {"tensorflow": tf.__version__, "keras": keras.__version__, "numpy": np.__version__}


@dataclass(frozen=True)
class RadiomicsSurvivalModel:
    """A fitted model. ``cutoff`` is the median risk of the training patients; who is above it says ``coxnet.cutoff``.

    ``autoencoder`` is None for the networks alone on the scaled features, and for joint ones, which hold it.
    ``training`` is where the training
    patients lay. ``description`` is what the folder of a loaded model says of it (provenance, versions). ``partner``:
    the linear models that the networks are combined with, if any; the risk is then a log hazard, of SD unlike 1.
    """

    scaler: FeatureScaler
    autoencoder: AutoEncoder | None
    ensemble: CoxEnsemble
    cutoff: float
    training: TrainingRange
    description: dict[str, Any] = field(default_factory=dict)
    partner: LinearPartner | None = None

    @classmethod
    def fit(
        cls,
        features: pd.DataFrame,
        time_months: ArrayLike,
        event: ArrayLike,
        autoencoder: AutoEncoderParams | None,
        network: NetworkParams,
        seed: int,
        strata: ArrayLike | None = None,
        clip: float = 5.0,
    ) -> RadiomicsSurvivalModel:
        """Fit on training patients: features (index patient_id), months and events in the same order.

        ``strata``: a label a patient (centre, say) within which risks are compared. ``clip`` is used without
        an AutoEncoder only. Raises FeatureError, ValueError or NoEventsError with the cause.
        """
        if isinstance(time_months, pd.Series) and not time_months.index.equals(features.index):
            raise FeatureError("features and survival times list different patients, or in another order")
        # one order of columns, so that the order in a file changes nothing
        features = features[sorted(features.columns)]
        scaler = FeatureScaler.fit(features, autoencoder.clip if autoencoder else clip)
        z = scaler.transform(features)
        joint = autoencoder if autoencoder and autoencoder.joint else None
        encoder = AutoEncoder.fit(z, autoencoder, derived_seed(seed, 0)) if autoencoder and not joint else None
        x = encoder.encode(z) if encoder else z
        ensemble = CoxEnsemble.fit(x, time_months, event, network, derived_seed(seed, 1), strata, joint)
        error = encoder.patient_error(z) if encoder else None
        training = TrainingRange.fit(features, time_months, error)
        fitted = cls(scaler, encoder, ensemble, np.nan, training)
        if network.linear_partner:
            return fitted.with_partner(features, time_months, event, network, strata)
        return replace(fitted, cutoff=median_cutoff(ensemble.risk(x)))

    def with_partner(
        self,
        features: pd.DataFrame,
        time_months: ArrayLike,
        event: ArrayLike,
        network: NetworkParams,
        strata: ArrayLike | None = None,
    ) -> RadiomicsSurvivalModel:
        """The same networks combined with linear models (``coxnet.partner``); arguments as given to ``fit``, in the
        same order. The partner sees the scaled features, whether or not there is an AutoEncoder.
        """
        z, x = self.scaler.transform(features), self.inputs(features)
        partner, ensemble = fit_partner(self.ensemble, z, x, time_months, event, strata, network.ties)
        fitted = replace(self, ensemble=ensemble, partner=partner)
        return replace(fitted, cutoff=median_cutoff(fitted.risk(features)))

    def inputs(self, features: pd.DataFrame) -> np.ndarray:
        """What the networks see, (n, code_size): the code, or the scaled features without an AutoEncoder."""
        z = self.scaler.transform(features)
        return self.autoencoder.encode(z) if self.autoencoder else z

    def risk(self, features: pd.DataFrame) -> pd.Series:
        """Risk by patient_id; higher is worse. FeatureError if the columns are not those of the fit."""
        return pd.Series(self._risks(features).mean(axis=1), index=features.index, name="risk")

    def risk_spread(self, features: pd.DataFrame) -> pd.DataFrame:
        """Risk by each network, with the partner if there is one (columns network_1 ...), index patient_id."""
        risks = self._risks(features)
        return pd.DataFrame(risks, features.index, columns=[f"network_{k + 1}" for k in range(risks.shape[1])])

    def risk_parts(self, features: pd.DataFrame) -> pd.DataFrame:
        """Log-risk by each part of the risk (columns of PARTS), before they are weighed; index patient_id."""
        networks = self.ensemble.risk(self.inputs(features))
        linear = self.partner.parts(self.scaler.transform(features)) if self.partner else np.empty((len(networks), 0))
        return pd.DataFrame(np.column_stack([networks, linear]), features.index, list(PARTS)[: 1 + linear.shape[1]])

    def _risks(self, features: pd.DataFrame) -> np.ndarray:
        return self.risks_of_scaled(self.scaler.transform(features))

    def risks_of_scaled(self, z: np.ndarray) -> np.ndarray:
        """As ``risk_spread``, (n, networks), of features that ``scaler.transform`` scaled, or of a mixture of such."""
        each = self.ensemble.risks(self.autoencoder.encode(z) if self.autoencoder else z)
        return self.partner.combine(each, z) if self.partner else each

    def survival(self, features: pd.DataFrame, months: ArrayLike) -> pd.DataFrame:
        """Predicted survival probability, patients x months; NaN past the longest observed training patient.

        There the baseline hazard is flat, and the risk would be one of an earlier month.
        """
        months = np.atleast_1d(np.asarray(months, float))
        values = self.ensemble.survival(self.risk(features).to_numpy(), months)
        values[:, months > self.training.last_month] = np.nan
        return pd.DataFrame(values, features.index, columns=pd.Index(months, name="month"))

    def code_report(self, features: pd.DataFrame) -> pd.DataFrame:
        """Whether variables of the code are constant or copies of each other; see autoencoder.code_report."""
        return code_report(self.inputs(features))

    @cached_property
    def history_autoencoder(self) -> pd.DataFrame:
        """Columns step, train_loss, val_loss; empty without an AutoEncoder."""
        if self.autoencoder is None:
            return pd.DataFrame(columns=["step", "train_loss", "val_loss"], dtype=float)
        return self.autoencoder.history

    @property
    def history_network(self) -> pd.DataFrame:
        """Columns network, step, train_loss, val_loss, train_c_index, val_c_index."""
        return self.ensemble.history

    def save(
        self, folder: Path, provenance: dict[str, Any] | None = None, texts: Mapping[str, str] | None = None
    ) -> None:
        """Write the model into ``folder``, which is replaced as a whole and only when all is written.

        ``provenance`` (plain values: where the features come from, versions) is kept in model.json; without it the
        model cannot be applied to the images of new patients. ``texts``: further files by name, as its model card.
        """
        folder = Path(folder)
        if folder.exists() and not (folder / "model.json").is_file() and any(folder.iterdir()):
            raise FileExistsError(f"{folder} holds something that is not a saved model; choose another folder")
        folder.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(dir=folder.parent, prefix=temporary_prefix()))
        try:
            self.scaler.save(new / "scaler.json")
            if self.autoencoder:
                self.autoencoder.save(new)
            self.ensemble.save(new)
            if self.partner:
                self.partner.save(new / PARTNER)
            self.training.save(new / "training_range.json")
            description = {
                "format": FORMAT,
                "cutoff": self.cutoff,
                "autoencoder": self.autoencoder is not None,
                "n_features": len(self.scaler.names),
                "provenance": provenance or {},
                "versions": package_versions(),
            }
            (new / "model.json").write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
            for name, text in (texts or {}).items():
                (new / name).write_text(text, encoding="utf-8")
            seal(new)
            os.chmod(new, 0o755)
            for file in (*new.iterdir(), new):
                to_disk(file)
            old = None
            if folder.exists():
                old = Path(tempfile.mkdtemp(dir=folder.parent, prefix=temporary_prefix()))
                os.replace(folder, old)
            os.replace(new, folder)
            if old:
                shutil.rmtree(old)
        finally:
            shutil.rmtree(new, ignore_errors=True)

    @classmethod
    def load(cls, folder: Path) -> RadiomicsSurvivalModel:
        """Read a saved model, if every file is as it was saved. FileNotFoundError or ValueError says what is wrong."""
        folder = Path(folder)
        if not (folder / "model.json").is_file():
            raise FileNotFoundError(f"{folder} holds no saved model (no model.json)")
        check_seal(folder)
        description = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        if description["format"] != FORMAT:
            raise ValueError(f"{folder} is of format {description['format']}, this version reads {FORMAT}; refit")
        return cls(
            FeatureScaler.load(folder / "scaler.json"),
            AutoEncoder.load(folder) if description["autoencoder"] else None,
            CoxEnsemble.load(folder),
            description["cutoff"],
            TrainingRange.load(folder / "training_range.json"),
            description,
            LinearPartner.load(folder / PARTNER) if (folder / PARTNER).is_file() else None,
        )


def timed_fit(*args: Any) -> tuple[RadiomicsSurvivalModel, float]:
    """``RadiomicsSurvivalModel.fit``, and the seconds that it took; here, where its code is what it depends on."""
    begun = time.perf_counter()
    return RadiomicsSurvivalModel.fit(*args), time.perf_counter() - begun


def timed_partner(
    model: RadiomicsSurvivalModel, features: pd.DataFrame, outcome: tuple[Any, ...], fitted_with: tuple[Any, ...]
) -> tuple[RadiomicsSurvivalModel, float]:
    """``with_partner`` of a model, and the seconds that it took; ``fitted_with`` stands for it where this is kept."""
    begun = time.perf_counter()
    return model.with_partner(features, *outcome), time.perf_counter() - begun
