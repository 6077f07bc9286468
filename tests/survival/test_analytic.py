"""Analytic intervals of the C-index against R's concordance and the bootstrap."""

from __future__ import annotations

import numpy as np
import pytest
from test_survival import R_SURVIVAL, TABLES, VALUES, every_table

from analysis_lib.survival import analytic, survival


@every_table
def test_analytic_c_index(name):
    table = TABLES[name]
    columns = table["month"], table["event"], table["risk"]
    found = analytic.c_index_analytic(*columns, 0.95)
    # R: concordance(Surv(month, event) ~ risk, reverse = TRUE)[c("concordance", "var")]
    np.testing.assert_allclose(found["c_index"], VALUES[name, "harrell"], rtol=1e-12)
    np.testing.assert_allclose(found["se"], VALUES[name, "harrell_error"], rtol=1e-9)
    # the bootstrap is a different estimator of the same interval
    other = survival.bootstrap_c_index(*columns, 1000, 0.95, 1).iloc[0]
    assert abs((other["high"] - other["low"]) / (found["high"] - found["low"]) - 1) < 0.15


@every_table
def test_analytic_difference(name, evidence):
    table = TABLES[name]
    columns = table["month"], table["event"]
    found = analytic.c_index_difference_analytic(*columns, table["risk"], table["age"], 0.95)
    # R: concordance(..., influence = 1)$dfbeta of risk less that of age, squared and summed
    evidence(
        "r-concordance-difference", "survival", "difference of two C-indices and its standard error", R_SURVIVAL,
        {f"{name}: {key}": VALUES[name, f"harrell_{key}"] for key in ("difference", "difference_error")},
        {f"{name}: difference": found["difference"], f"{name}: difference_error": found["se"]}, rtol=1e-9,
    )  # fmt: skip
    other = survival.bootstrap_c_index_difference(*columns, table[["risk", "age"]], "risk", 1000, 0.95, 1).iloc[0]
    assert abs((other["high"] - other["low"]) / (found["high"] - found["low"]) - 1) < 0.15
    assert abs(other["p"] - found["p"]) < 0.1


def test_what_cannot_be_compared():
    assert np.isnan(list(analytic.c_index_analytic([1, 2], [0, 0], [1, 2], 0.95).values())).all()
    same = analytic.c_index_difference_analytic([1, 2, 3], [1, 1, 0], [3, 1, 2], [3, 1, 2], 0.95)
    assert same["difference"] == same["se"] == 0 and np.isnan(same["p"])
    with pytest.raises(ValueError, match="time must be finite"):
        analytic.c_index_analytic([1, np.nan], [1, 0], [1, 2], 0.95)
    with pytest.raises(ValueError, match="risk scores must be finite"):
        analytic.c_index_analytic([1, 2], [1, 0], [1, np.nan], 0.95)
