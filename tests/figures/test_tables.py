"""Tables: numbers as a journal prints them, HTML for a screen reader too, CSV that reads back exactly."""

from html.parser import HTMLParser

import numpy as np
import pandas as pd

from analysis_lib.figures import tables
from analysis_lib.figures.style import SYNTHETIC_LABEL

TABLE2 = pd.DataFrame(
    [
        ("discovery", "PMA", "OS", 492, 216, 216 / 492, 1.58, 1.07, 2.35, 0.02),
        ("discovery", "PMA", "RFS", 492, 216, 216 / 492, 1.04, 0.80, 1.35, 0.76),
        ("discovery", "PD", "OS", 492, 20, 20 / 492, 2.11, 0.92, 4.85, 0.08),
        ("discovery", "PD", "RFS", 492, 20, 20 / 492, 1.27, 0.68, 2.40, 0.45),
        ("external", "PMA", "OS", 161, 54, 54 / 161, 1.58, 0.81, 3.06, 0.18),
        ("external", "PD", "OS", 161, 0, 0.0, np.nan, np.nan, np.nan, np.nan),
    ],
    columns=[
        "set",
        "definition",
        "outcome",
        "n",
        "n_sarcopenic",
        "prevalence",
        "hr",
        "hr_low",
        "hr_high",
        "p",
    ],
)


def test_table2_for_reading():
    shown = tables.table2_for_reading(
        TABLE2,
        {"discovery": "Discovery", "external": "External test"},
        {"PMA": "Golse PMA", "PD": "Yoo PD"},
    )
    assert list(shown.columns) == [
        "Definition",
        "Discovery: N (%)",
        "Discovery: RFS, HR (CI)",
        "Discovery: OS, HR (CI)",
        "External test: N (%)",
        "External test: OS, HR (CI)",
    ]
    assert shown.iloc[0].tolist() == [
        "Golse PMA",
        "216 (43.9)",
        "1.04 (0.80–1.35) P=0.76",
        "1.58 (1.07–2.35) P=0.02",
        "54 (33.5)",
        "1.58 (0.81–3.06) P=0.18",
    ]
    assert shown.iloc[1].tolist()[-2:] == ["0", "NA"]
    more = TABLE2.assign(p_logrank=0.02, events=100, events_sarcopenic=55)
    shown = tables.table2_for_reading(more, {"discovery": "Discovery"}, {"PMA": "Golse PMA", "PD": "Yoo PD"})
    assert shown.iloc[0, 3] == "1.58 (1.07–2.35) P=0.02, log-rank P=0.02; 55 / 100"


class Cells(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.cells: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if {"td", "th"} & set(self.open):
            self.cells[-1] += data


def test_html_is_well_formed_escaped_and_scoped():
    frame = pd.DataFrame({"name": ["<5 cm & more", "b"], "x": [1 / 3, np.nan], "n": [3.0, 1234.0]})
    page = tables.to_html(frame, "Table 1", "What & why", synthetic=False)
    parser = Cells()
    parser.feed(page)
    assert parser.open == []
    assert parser.cells == ["name", "x", "n", "<5 cm & more", "0.333", "3", "b", "NA", "1234"]
    scopes = [attributes.get("scope") for tag, attributes in parser.tags if tag == "th"]
    assert scopes == ["col"] * 3 + ["row"] * 2
    assert ("html", {"lang": "en"}) in parser.tags
    assert "<caption>What &amp; why</caption>" in page
    assert "http" not in page and SYNTHETIC_LABEL not in page


def test_a_long_table_is_cut_and_says_so_on_screen_and_paper():
    page = tables.html_table(
        pd.DataFrame({"x": range(9), "hr": "1.5 (1.2–1.9)"}), most_rows=5, on_paper=2, unbroken=True
    )
    parser = Cells()
    parser.feed(page)
    assert parser.open == [] and parser.cells[2:6] == ["0", "1.5 (1.2–1.9)", "1", "1.5 (1.2–1.9)"]
    assert parser.cells[6] == "3 more rows on the screen and in the CSV."
    assert parser.cells[-1] == "4 more rows in the CSV."
    assert page.count('<tr class="screen">') == 3 and page.count('<span class="nb">(1.2–1.9)</span>') == 5


def test_html_says_synthetic_in_banner_and_caption():
    page = tables.to_html(TABLE2, "Table 2", "Prevalence.", synthetic=True)
    assert page.count(SYNTHETIC_LABEL) == 2


def test_csv_reads_back_exactly_and_is_the_same_twice(tmp_path):
    path = tables.write_table(TABLE2, tmp_path, "table2", "Table 2", "Prevalence and hazard ratio.", synthetic=True)
    pd.testing.assert_frame_equal(pd.read_csv(path, float_precision="round_trip"), TABLE2)
    first = path.read_bytes(), path.with_suffix(".html").read_bytes()
    assert b"\r" not in first[0]
    tables.write_table(TABLE2, tmp_path, "table2", "Table 2", "Prevalence and hazard ratio.", synthetic=True)
    assert (path.read_bytes(), path.with_suffix(".html").read_bytes()) == first
    assert sorted(p.name for p in tmp_path.iterdir()) == ["table2.csv", "table2.html"]
