"""Normal, chi-squared and Student's distribution to the last bit as scipy.stats has them.

Importing scipy.stats costs a second of every command and notebook; the functions behind it cost nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import chdtrc, gammaincinv, ndtr, ndtri, stdtr, stdtrit


class norm:
    """The standard normal distribution: value at a probability, and the probability below and above a value."""

    ppf, cdf = ndtri, ndtr

    @staticmethod
    def sf(x: Any) -> Any:
        """Probability above ``x``."""
        return ndtr(-x)


class chi2:
    """Chi-squared of ``df`` degrees of freedom."""

    @staticmethod
    def sf(x: Any, df: Any) -> Any:
        """Probability above ``x``."""
        return chdtrc(df, np.maximum(x, 0))

    @staticmethod
    def ppf(q: Any, df: Any) -> Any:
        """Value below which the share ``q`` lies."""
        return 2 * gammaincinv(df / 2, q)


class student:
    """Student's t of ``df`` degrees of freedom."""

    @staticmethod
    def sf(x: Any, df: Any) -> Any:
        """Probability above ``x``."""
        return stdtr(df, -x)

    @staticmethod
    def ppf(q: Any, df: Any) -> Any:
        """Value below which the share ``q`` lies, above 0."""
        return stdtrit(df, q)
