"""Hazard ratio along each muscle index, by restricted cubic spline."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis_lib.common.distributions import chi2, norm
from analysis_lib.common.formatting import format_p
from analysis_lib.common.sarcopenia import cut_offs
from analysis_lib.core.parameters import DefinitionParams, StatisticsParams
from analysis_lib.survival import evaluation
from analysis_lib.survival.cox import NoFiniteEstimate, cox_fit

BINS = 30  # of the patients under a spline
POINTS = 101  # of a curve


def spline_curves(
    patients: pd.DataFrame,
    definitions: dict[str, DefinitionParams],
    outcome: str,
    statistics: StatisticsParams,
) -> dict[str, pd.DataFrame]:
    """Hazard ratio along each index against its cut-off, by a restricted cubic spline in a Cox model.

    Returns ``curves`` (panel, value: index less the cut-off of the patient's sex, hr, low, high; hr is 1 at the
    cut-off), ``counts`` (panel, value: middle of one of ``BINS`` bins of the curve's width, n: patients in it, so that
    no single patient shows) and ``annotations`` (panel, title, unit, text). The curve spans the middle 98% of the
    patients. A definition that cannot be fitted, or whose index nobody has, has a text and no curve.
    """
    months, event = statistics.outcomes[outcome].columns
    z = norm.ppf((1 + statistics.confidence) / 2)
    curves, counts, annotations = [], [], []
    for key, definition in definitions.items():
        above = patients[definition.column] - cut_offs(patients, definition)
        part = patients[above.notna() & patients[months].notna() & patients[event].notna()]
        value = above[part.index].to_numpy(float)
        title = (key, f"{key} ({definition.source})", definition.unit)
        if part.empty:
            annotations.append((*title, "NA: nobody has index and outcome"))
            continue
        text = "NA: not estimable"
        try:
            time, dead = part[months].to_numpy(float), part[event].to_numpy(float)
            knots = np.quantile(value, statistics.spline_knots)
            fit = cox_fit(time, dead, evaluation.restricted_cubic_spline(value, knots))
            first, last = np.quantile(value, [0.01, 0.99])
            at = np.linspace(first, last, POINTS)
            at = np.union1d(at, [0.0]) if at[0] < 0 < at[-1] else at
            contrast = evaluation.restricted_cubic_spline(at, knots) - evaluation.restricted_cubic_spline([0.0], knots)
            log_hr = contrast @ fit.coefficients
            error = np.sqrt(np.einsum("ij,jk,ik->i", contrast, fit.covariance, contrast))
            frame = {"value": at, "hr": np.exp(log_hr)}
            frame |= {"low": np.exp(log_hr - z * error), "high": np.exp(log_hr + z * error)}
            curves.append(pd.DataFrame({"panel": key, **frame}))
            n, edges = np.histogram(value, bins=BINS, range=(at[0], at[-1]))
            counts.append(pd.DataFrame({"panel": key, "value": (edges[:-1] + edges[1:]) / 2, "n": n}))
            straight = cox_fit(time, dead, value)
            curved = float(chi2.sf(2 * (fit.loglik - straight.loglik), len(knots) - 2))
            text = f"overall {format_p(fit.likelihood_ratio[1])}, curvature {format_p(curved)}"
        except (NoFiniteEstimate, ValueError):
            pass
        annotations.append((*title, text))
    empty = pd.DataFrame(columns=["panel", "value", "hr", "low", "high"])
    return {
        "curves": pd.concat(curves, ignore_index=True) if curves else empty,
        "counts": pd.concat(counts, ignore_index=True) if counts else pd.DataFrame(columns=["panel", "value", "n"]),
        "annotations": pd.DataFrame(annotations, columns=["panel", "title", "unit", "text"]),
    }
