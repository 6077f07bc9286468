"""The chain under the flowchart, from images to the risk score, in this run's words."""

from __future__ import annotations

import pandas as pd

from analysis_lib.cohort.index_columns import taken_from_table
from analysis_lib.core.parameters import Params
from analysis_lib.results import MODEL


def process_labels(params: Params, patients: pd.DataFrame, n_features: int) -> list[str]:
    """The chain under the flowchart, from this run's parameters and from where its indices and features are."""
    images = (patients["ct_series"] != "").any() or params.features.rois
    indices = "Muscle indices from the clinical table" if taken_from_table(patients) else "Muscle indices"
    labels = ["CT at L3 (DICOM)", "SM and PM masks"] if images else []
    labels += [f"{indices} and {len(params.definitions)} definitions of sarcopenia"]
    if params.radiomics:
        labels += [f"{n_features} radiomics features{'' if params.features.rois else ' from a table'}"]
        labels += [f"AutoEncoder: {params.autoencoder.code_size} variables", f"{MODEL}: risk score"]
    return labels
