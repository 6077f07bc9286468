"""Numbers as the tables and the prose print them."""

from __future__ import annotations

import pandas as pd

NOT_AVAILABLE = "NA"


def format_p(p: float, letter: bool = True) -> str:
    """A P value as printed: two decimals, three below 0.01 or near 0.05, never 0.000.

    With ``letter`` 'P=0.02' or 'P<0.001', without '0.02'; 'NA' where there is none. ValueError outside 0 to
    1.
    """
    if absent(p):
        return NOT_AVAILABLE
    if not 0 <= p <= 1:
        raise ValueError(f"a P value lies between 0 and 1, got {p!r}")
    if p < 0.001:
        sign, number = "<", "0.001"
    elif p > 0.995:
        sign, number = ">", "0.99"
    elif p < 0.0095 or (0.045 <= p < 0.055):
        sign, number = "=", f"{p:.3f}"
    else:
        sign, number = "=", f"{p:.2f}"
    if letter:
        return f"P{sign}{number}"
    return number if sign == "=" else sign + number


def format_estimate(value: float, low: float, high: float, digits: int = 2) -> str:
    """An estimate with its interval, '0.73 (0.65–0.81)'; 'NA' for a missing estimate or limit."""
    if absent(value):
        return NOT_AVAILABLE
    low_text, high_text = (NOT_AVAILABLE if absent(x) else f"{x:.{digits}f}" for x in (low, high))
    return f"{value:.{digits}f} ({low_text}–{high_text})"


def format_ratio(ratio: float, low: float, high: float) -> str:
    """A hazard ratio with its interval as the letter prints it, '1.58 (1.07–2.35)'."""
    return format_estimate(ratio, low, high, digits=2)


def format_count(n: float, fraction: float) -> str:
    """A number of patients with its share in per cent, '216 (43.9)'; ``fraction`` is between 0 and 1."""
    if absent(n):
        return NOT_AVAILABLE
    return f"{int(n)}" if n == 0 or absent(fraction) else f"{int(n)} ({100 * fraction:.1f})"


def significance(confidence: float) -> float:
    """What a P value must lie below, 0.05 for intervals of 95%: 1 - 0.95 is a little more, and 0.05 not below 0.05."""
    return round(1 - confidence, 9)


def absent(value: object) -> bool:
    """Whether a table has no value there."""
    return bool(pd.api.types.is_scalar(value) and pd.isna(value))  # a list, as of parameters, is there
