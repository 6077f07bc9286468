"""Numbers as a journal prints them."""

import numpy as np
import pytest

from analysis_lib.common import formatting


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (0.0, "P<0.001"),
        (0.00099, "P<0.001"),
        (0.001, "P=0.001"),
        (0.0094, "P=0.009"),
        (0.0095, "P=0.01"),
        (0.02, "P=0.02"),
        (0.0449, "P=0.04"),
        (0.0451, "P=0.045"),
        (0.0496, "P=0.050"),
        (0.0512, "P=0.051"),
        (0.0549, "P=0.055"),
        (0.0551, "P=0.06"),
        (0.76, "P=0.76"),
        (0.999, "P>0.99"),
        (1.0, "P>0.99"),
        (np.nan, "NA"),
        (None, "NA"),
    ],
)
def test_p_values(p, text):
    assert formatting.format_p(p) == text


def test_p_without_letter_and_impossible_p():
    assert formatting.format_p(0.02, letter=False) == "0.02"
    assert formatting.format_p(1e-9, letter=False) == "<0.001"
    with pytest.raises(ValueError, match="between 0 and 1"):
        formatting.format_p(1.2)


def test_numbers_as_the_letter_prints_them():
    assert formatting.format_ratio(1.58, 1.07, 2.35) == "1.58 (1.07–2.35)"
    assert formatting.format_ratio(np.nan, np.nan, np.nan) == "NA"
    assert formatting.format_estimate(0.73, 0.707, 0.753, digits=3) == "0.730 (0.707–0.753)"
    assert formatting.format_count(216, 216 / 492) == "216 (43.9)"
    assert formatting.format_count(0, 0.0) == "0"
