"""The verdict: which conclusions are others than the printed ones, in which words, and what the forest plot shows."""

import numpy as np
import pandas as pd
import pytest

from analysis_lib.common.formatting import significance
from analysis_lib.core.parameters import load_params
from analysis_lib.core.project import Project
from analysis_lib.figures.forest import forest
from analysis_lib.figures.vector import svg_text
from analysis_lib.results.published import KEYS
from analysis_lib.results.verdict import changed_p, conclusions, sentences
from analysis_lib.review.verdict import verdict_of_expectation

RATIO = ("Table 2", "discovery", "PMA", "OS", "HR")
C_INDEX = ("Fig. 5", "lt", "TFDeepSurv", "", "C-index")


def compared(key, published, ours) -> pd.DataFrame:
    """Rows of ``published.compare`` for one estimate with its interval and, of four numbers, its P."""
    statistics = ["estimate", "low", "high", "P"][: len(published)]
    named = [f"{' '.join(key[:4])} {statistic}" for statistic in statistics]
    rows = [(*key, *values) for values in zip(statistics, named, published, ours, strict=True)]
    return pd.DataFrame(rows, columns=[*KEYS, "item", "published", "ours"]).assign(low=np.nan, high=np.nan, inside=None)


@pytest.mark.parametrize(
    ("key", "published", "ours", "same"),
    [
        (RATIO, (1.6, 1.1, 2.4, 0.02), (1.5, 1.1, 2.1, 0.03), True),
        (RATIO, (1.6, 1.1, 2.4, 0.02), (1.3, 0.9, 2.0, 0.14), False),
        (RATIO, (1.5, 1.0, 2.3, 0.05), (1.3, 0.9, 2.0, 0.14), False),  # the letter calls its 0.05 significant
        (RATIO, (1.5, 1.0, 2.3, 0.05), (1.3, 1.0, 2.0, 0.04), True),
        (RATIO, (1.6, 1.1, 2.4, 0.02), (0.6, 0.4, 0.9, 0.02), False),  # significant the other way
        (RATIO, (1.6, 1.1, 2.4, 0.02), (np.nan, np.nan, np.nan, np.nan), None),
        (C_INDEX, (0.66, 0.63, 0.68), (0.7, 0.6, 0.8), True),
        (C_INDEX, (0.66, 0.63, 0.68), (0.6, 0.4, 0.8), False),
        (C_INDEX, (0.66, 0.63, 0.68), (0.3, 0.2, 0.4), False),
    ],
)
def test_the_same_conclusion(key, published, ours, same):
    (found,) = conclusions(compared(key, published, ours), 0.95)["same"]
    assert found is pd.NA if same is None else found == same


def test_each_changed_p_is_named_with_both_values():
    lost, kept = ((1.6, 1.1, 2.4, 0.02), (1.3, 0.9, 2.0, 0.14)), ((1.6, 1.1, 2.4, 0.02), (1.5, 1.1, 2.1, 0.03))
    gained = ((1.2, 0.8, 1.9, 0.3), (1.5, 1.2, 2.3, 0.004))
    table = pd.concat(
        [
            compared(RATIO, *lost),
            compared(("Table 2", "lt", "PMI", "RFS", "HR"), *gained),
            compared(("Table 2", "lt", "PD", "OS", "HR"), *kept),
        ]
    )
    assert changed_p(table, 0.95)["published"].tolist() == [0.02, 0.3]
    counts = pd.DataFrame({"set": ["discovery", "lt"], "n": [40, 20], "events": [9, 4]})
    said = sentences(counts, load_params("smoke"), table)
    assert said[0].startswith("60 synthetic patients (Discovery 40, External LT test 20), of whom 13 died.")
    assert said[2] == (
        "1 of 3 P values lie on the printed side of 0.05; significant in print alone: Discovery PMA OS (printed P=0.02,"
        " here P=0.14); significant here alone: External LT test PMI RFS (printed P=0.3, here P=0.004)."
    )
    real = load_params("smoke").model_copy(update={"standin": None})
    assert "synthetic" not in " ".join(sentences(counts, real, table))


def test_the_level_of_a_p_is_that_of_the_intervals_without_its_last_bit():
    assert [significance(c) for c in (0.95, 0.9, 0.99)] == [0.05, 0.1, 0.01] and not 0.05 < significance(
        0.95
    ) < 1 - 0.95


def test_the_committed_runs_have_their_five_sentences():
    for study, n in (("standin", "826 "), ("smoke", "62 ")):
        said = verdict_of_expectation(Project().study(study))
        assert len(said) == 5 and said[0].startswith(n)


def test_the_forest_plot_says_where_another_conclusion_is_drawn_and_is_the_same_each_time():
    rows = conclusions(
        pd.concat(
            [
                compared(RATIO, (1.6, 1.1, 2.4, 0.02), (1.3, 0.9, 99.0, 0.14)),
                compared(C_INDEX, (0.66, 0.63, 0.68), (0.7, 0.6, 0.8)),
            ]
        ),
        0.95,
    )
    frame = rows.assign(label=["a", "b"], group=["Hazard ratio", "C-index"])
    texts = [t.get_text() for t in forest(frame).texts]
    assert {"1.60 (1.10–2.40) P=0.02", "1.30 (0.90–99.00) P=0.14", "0.700 (0.600–0.800)", "NO", "yes"} <= set(texts)
    assert svg_text(forest(frame)) == svg_text(forest(frame)).strip("\n") + "\n"
    with pytest.raises(ValueError, match="lacks column"):
        forest(frame.drop(columns="same"))


@pytest.mark.parametrize(
    ("study", "said"), [("standin", "drawn until they agreed"), ("smoke", "analysis runs, and say")]
)
def test_what_agreement_of_synthetic_data_is_worth(study, said):
    counts = pd.DataFrame({"set": ["discovery"], "n": [40], "events": [9]})
    assert said in sentences(counts, load_params(study))[0]
