"""The distributions to the last bit as scipy.stats has them, which takes a second to load."""

import ast
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from analysis_lib.common.distributions import chi2, norm, student
from analysis_lib.results.published import _percentage

X = np.r_[np.linspace(-9, 9, 1001), 0, np.inf, -np.inf, np.nan, 1e-300, 40]
Q = np.r_[np.linspace(0, 1, 1001)[1:], np.nan, 0.975, 0.025, 1e-300]


def test_normal():
    for ours, theirs, at in ((norm.ppf, stats.norm.ppf, Q), (norm.cdf, stats.norm.cdf, X), (norm.sf, stats.norm.sf, X)):
        np.testing.assert_array_equal(ours(at), theirs(at), strict=True)


@pytest.mark.parametrize("df", [1, 2, 7.5, 300, np.inf, np.nan])
def test_chi_squared_and_t(df):
    if np.isfinite(df):
        np.testing.assert_array_equal(chi2.sf(X, df), stats.chi2.sf(X, df), strict=True)
        np.testing.assert_array_equal(chi2.ppf(Q, df), stats.chi2.ppf(Q, df), strict=True)
    np.testing.assert_array_equal(student.sf(X, df), stats.t.sf(X, df), strict=True)
    np.testing.assert_array_equal(student.ppf(Q, df), stats.t.ppf(Q, df), strict=True)


@pytest.mark.parametrize("total", [1, 7, 38, 345])
def test_wilson_interval(total):
    for count in range(total + 1):
        theirs = stats.binomtest(count, total).proportion_ci(0.95, method="wilson")
        assert _percentage(count, total, 0.95)[1:] == (100 * theirs.low, 100 * theirs.high)


def test_no_module_loads_scipy_stats():
    """Within a function, where few runs come, it may stand."""
    found = set()
    for path in Path(__file__).resolve().parents[2].glob("analysis_lib/*/*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in getattr(node, "names", [])]
            whole = (
                [f"{getattr(node, 'module', '')}.{name}" for name in names]
                if isinstance(node, ast.ImportFrom)
                else names
            )
            found |= {path.name for name in whole if f"{name}.".startswith("scipy.stats.")}
    assert found == {"patients.py"}  # which draws the synthetic patients, once
