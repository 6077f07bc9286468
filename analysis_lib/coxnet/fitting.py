"""What every fit needs and TensorFlow does not: seeds of parts of the work, and strata of the patients."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis_lib.core.parameters import NetworkParams, ParameterError


def derived_seed(seed: int, *path: int) -> int:
    """A seed for one part of the work (a network, a replicate), unrelated to its neighbours."""
    return int(np.random.SeedSequence([int(seed), *path]).generate_state(1)[0])


def strata_of(patients: pd.DataFrame, network: NetworkParams) -> pd.Series | None:
    """Stratum of each patient by ``network.strata``, None without; those whose value is unknown are one stratum.

    Raises ParameterError where nobody has a value.
    """
    if network.strata == "none":
        return None
    if network.strata not in patients or patients[network.strata].replace("", None).isna().all():
        raise ParameterError(
            f"network.strata is {network.strata}, but no patient of the clinical table has a {network.strata}; "
            "fill that column or set network.strata: none"
        )
    return patients[network.strata].replace("", None).fillna("unknown").astype(str)
