"""Power by simulation: draws repeat and are kept; the size that a study needs is read off between two sizes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis_lib.core.parameters import load_params
from analysis_lib.figures import specification
from analysis_lib.results import power

PARAMS = load_params("smoke").model_copy(update={"workers": 1})


def draw(definitions=PARAMS.definitions) -> list[dict]:
    published = load_params("defaults").definitions
    return power.one_draw(PARAMS.standin, "discovery", published, definitions, 1.0, 50, 0.95, 1.0, 1)


def test_one_draw_has_the_events_asked_for_and_repeats():
    rows = draw()
    assert {row["events"] for row in rows} == {24} and {row["n"] for row in rows} == {38}
    assert len(rows) == 10 and rows == draw()


def test_a_further_definition_is_judged_and_not_drawn_to():
    more = PARAMS.definitions | {"JSH": PARAMS.definitions["SMI"].model_copy(update={"men": 42.0, "women": 38.0})}
    rows = draw(more)
    assert [r for r in rows if r["definition"] != "JSH"] == draw()
    assert [r["measure"] for r in rows if r["definition"] == "JSH"] == ["HR", "C-index"]


DRAWN: list[int] = []


def quick_draw(standin, name, published, definitions, score_error, replicates, confidence, factor, seed):
    number = seed - PARAMS.seed - 1
    DRAWN.append(number)
    return [{"n": round(100 * factor), "events": round(20 * factor), "measure": "HR", "definition": "SMI",
             "estimate": 1.5, "p": 0.049 if number < 4 * factor else 0.051}]  # fmt: skip


def test_power_counts_significant_draws_and_resumes(tmp_path, monkeypatch):
    monkeypatch.setattr(power, "one_draw", quick_draw)
    monkeypatch.setattr(power, "map_patients", lambda function, jobs, **_: [function(*job) for job in jobs])
    found = power.power(PARAMS, tmp_path, quiet=True)
    assert found.loc[found["n"] == 100, "power"].tolist() == [0.4] and found.loc[
        found["n"] == 200, "power"
    ].tolist() == [0.8]
    assert ((found["low"] <= found["power"]) & (found["power"] <= found["high"] + 1e-12)).all()
    DRAWN.clear()
    pd.testing.assert_frame_equal(power.power(PARAMS, tmp_path, quiet=True), found)
    assert not DRAWN
    needed = power.sizes_needed(found, 0.6)
    fig = specification.power_curves(found, needed, 0.6)
    assert len(fig.axes) == 2 and "HR" not in fig.axes[0].get_legend().texts[0].get_text()


def test_the_size_needed_is_read_off_between_two_sizes():
    table = pd.DataFrame(
        {
            "measure": "HR",
            "definition": ["a"] * 3 + ["b"] * 3 + ["c"] * 3,
            "n": [100, 200, 400] * 3,
            "events": [20, 40, 80] * 3,
            "power": [0.2, 0.6, 0.9, 0.1, 0.2, 0.3, 0.85, 0.9, 1.0],
        }
    )
    table = table.assign(low=table["power"] - 0.1, high=table["power"] + 0.1)
    found = power.sizes_needed(table, 0.8).set_index("definition")
    assert found.loc["a", "patients"] == pytest.approx(200 * 2 ** (2 / 3))
    assert found.loc["a", "events"] == pytest.approx(40 * 2 ** (2 / 3))
    ends = found.loc["a", ["events_low", "events_high"]].tolist()
    assert ends == pytest.approx([40 * 2 ** (1 / 3), 80])
    assert np.isnan(found.loc["b", "events"]) and found.loc["b", "note"] == "more than 80"
    assert np.isnan(found.loc["c", "patients"]) and found.loc["c", "note"] == "fewer than 20"
