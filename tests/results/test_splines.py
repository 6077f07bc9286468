"""The curve along an index passes one at the cut-off and shows no single patient."""

from __future__ import annotations

import numpy as np
from made_up import PARAMS, PATIENTS, STATISTICS

from analysis_lib.figures.curves import spline_grid
from analysis_lib.results.splines import spline_curves


def test_spline_passes_one_at_the_cut_off():
    part = PATIENTS[PATIENTS["set"] == "discovery"]
    frames = spline_curves(part, PARAMS.definitions, "OS", STATISTICS)
    at = frames["curves"][frames["curves"]["value"] == 0]
    assert at["panel"].tolist() == list(PARAMS.definitions)
    np.testing.assert_allclose(at[["hr", "low", "high"]], 1)
    assert len(spline_grid(**frames).axes) == 5
    inside = frames["counts"].groupby("panel")["n"].sum() / len(part)
    assert (inside > 0.95).all() and (inside <= 1).all()
