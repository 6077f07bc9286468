"""AutoEncoder and Cox network, from scaling to a saved model; knows no study.

``RadiomicsSurvivalModel`` scales, encodes and fits an ensemble of Cox networks, gives risks and survival, and is saved
with what it was trained on. The same seed gives the same model to the byte, on any number of cores.

>>> settings = NetworkParams(hidden=[8], ensemble=1, max_epochs=20)
>>> model = RadiomicsSurvivalModel.fit(features, months, died, autoencoder=None, network=settings, seed=1)
>>> risk = model.risk(features)  # log hazard ratio, a Series by patient_id
>>> high = high_risk(risk, model.cutoff)  # above the median of the training patients, to a grain
"""

from typing import TYPE_CHECKING

from analysis_lib.common.lazy import name_from

if TYPE_CHECKING:
    from analysis_lib.coxnet.cox_ensemble import CoxEnsemble
    from analysis_lib.coxnet.cutoff import high_risk
    from analysis_lib.coxnet.deepsurv import TrainingError
    from analysis_lib.coxnet.fitting import derived_seed
    from analysis_lib.coxnet.model import RadiomicsSurvivalModel
    from analysis_lib.coxnet.partial_likelihood import negative_log_partial_likelihood
    from analysis_lib.coxnet.scaling import FeatureError, FeatureScaler
    from analysis_lib.coxnet.settings import AutoEncoderParams, NetworkParams

__all__ = [
    "AutoEncoderParams",
    "CoxEnsemble",
    "FeatureError",
    "FeatureScaler",
    "NetworkParams",
    "RadiomicsSurvivalModel",
    "TrainingError",
    "derived_seed",
    "high_risk",
    "negative_log_partial_likelihood",
]
_MODULES = {
    "AutoEncoderParams": "settings",
    "CoxEnsemble": "cox_ensemble",
    "FeatureError": "scaling",
    "FeatureScaler": "scaling",
    "NetworkParams": "settings",
    "RadiomicsSurvivalModel": "model",
    "TrainingError": "deepsurv",
    "derived_seed": "fitting",
    "high_risk": "cutoff",
    "negative_log_partial_likelihood": "partial_likelihood",
}


def __getattr__(name: str) -> object:
    return name_from(__name__, _MODULES, name)
