"""The report of a finished study in Chromium, wide and narrow, and what it says."""

import base64
import re
import shutil
from dataclasses import replace

import pandas as pd
import pytest
from finished import toy_study

from analysis_lib.core.parameters import load_params
from analysis_lib.results.published import KEYS, printed_numbers
from analysis_lib.review.methods import methods
from analysis_lib.review.reading import for_reading
from analysis_lib.review.record import read_run
from analysis_lib.review.report import ReportError, beside, render, write_report

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")


@pytest.fixture(scope="module")
def root(template, tmp_path_factory):
    root = tmp_path_factory.mktemp("report")
    shutil.copytree(template, root, dirs_exist_ok=True)
    study = toy_study(root)
    (study.figures / "report.html").write_text(render(study, read_run(study)), encoding="utf-8")
    return root


@pytest.fixture
def study(root):
    return toy_study(root)


@pytest.fixture(scope="module")
def html(root):
    return (root / "figures" / "toy" / "report.html").read_text(encoding="utf-8")


def test_report_is_one_file_without_anything_from_elsewhere(html):
    assert not re.search(r"<link|@import|url\(|<script [^>]*src", html)
    text = re.sub(r"data:[^\"']+", "", html)  # any five letters may occur in an encoded picture
    assert "Synthetic images and outcomes" in text and "D9999" not in text and "D0001" not in text


def test_no_link_dies_when_the_page_is_mailed(html):
    """Each leads into the page, to the letter, or is a table that is inside the page and holds no patient."""
    ids, csv = set(re.findall(r'id="([^"]+)"', html)), 0
    links = re.findall(r'(?:src|srcset|href)="([^"]*)', html)
    assert len(links) > 40
    for link in links:
        if link.startswith("#"):
            assert link[1:] in ids, link
        elif link.startswith("data:text/csv;base64,"):
            table = base64.b64decode(link.partition(",")[2]).decode()
            assert table.count("\n") > 1 and "patient_id" not in table and "D0001" not in table
            csv += 1
        else:
            assert link == "https://doi.org/10.1631/jzus.B2300363" or link.startswith("data:image/"), link[:80]
    assert csv >= 4


def test_the_verdict_comes_first_and_data_are_told_synthetic_in_short(html):
    first = html[html.index("<main>") : html.index('<h2 id="paper"')]
    for text in ("110 synthetic patients", "P values lie on the printed side of 0.05", "Same conclusion?"):
        assert text in first, text
    assert first.count("<li>") == 4 and "data:image/svg+xml" in first  # nothing was calibrated in this toy
    assert html.count("no patient data") < 5 < html.count("Synthetic data.")


def test_tables_are_for_reading(html):
    heads = re.findall(r'<th scope="col">([^<]*)', html)
    assert "Hazard ratio (95% interval)" in heads and not [h for h in heads if "_" in h]
    cells = re.findall(r"<t[dh][^>]*>([^<]*)", html)
    assert not [c for c in cells if re.search(r"\d[eE]-?\d", c)]


@pytest.mark.parametrize(
    ("column", "value", "shown"),
    [
        ("p", 6.58e-15, "<0.001"),
        ("bca_p", 0.9999, ">0.99"),
        ("chisq", 6.58e-15, "<0.001"),
        ("difference", -2e-7, ">\N{MINUS SIGN}0.001"),
        ("hr_per_sd", 160490.298, "160490"),
        ("n", 12.0, "12"),
        ("synthetic", True, "yes"),
        ("note", None, ""),
        ("share", None, "NA"),
        ("covariates", "age tumour_single", "age tumour single"),
    ],
)
def test_a_cell_has_no_digit_too_many(column, value, shown):
    cohort = load_params("smoke").cohort
    table = for_reading(
        pd.DataFrame({"set": ["lt", "lt"], column: [value, 0.5 if column != "note" else "x"]}), cohort, 0.95
    )
    assert table.iloc[0].tolist() == ["External LT test", shown]


def test_an_interval_stands_beside_its_estimate():
    row = {"model": "A", "auc": 0.8, "low": 0.7123, "high": 0.9, "low_simultaneous": 0.6, "high_simultaneous": 1.0}
    row |= {"hr": 2.0, "hr_low": 1.2, "hr_high": 3.4, "bca_low": 1.1, "bca_high": 3.5, "median_months": 7.0}
    row |= {"median_low": 3.0, "median_high": None}
    table = for_reading(pd.DataFrame([row]), load_params("smoke").cohort, 0.9)
    assert table.iloc[0].to_dict() == {
        "Model": "A",
        "AUC (90% interval)": "0.800 (0.712–0.900)",
        "Simultaneous interval": "0.600–1.000",
        "Hazard ratio (90% interval)": "2.00 (1.20–3.40)",
        "BCa interval": "1.10–3.50",
        "Median months (90% interval)": "7.00 (3.00–NA)",
    }


def test_a_median_that_no_group_reaches_is_no_reason_to_warn():
    row = {"model": "A", "median_months": float("nan"), "median_low": 3.0, "median_high": float("nan")}
    table = for_reading(pd.DataFrame([row]), load_params("smoke").cohort, 0.95)
    assert table["Median months (95% interval)"].tolist() == ["NA"]


def test_a_figure_of_real_patients_has_no_exact_coordinates(study, root):
    svg = study.build / "svg" / "fig2.svg"
    svg.parent.mkdir(exist_ok=True)
    svg.write_text("<svg>vector</svg>")
    encoded = base64.b64encode(svg.read_bytes()).decode()
    run = read_run(study)
    assert encoded in render(study, run)
    real = study.params.model_copy(update={"standin": None})
    page = render(replace(study, params=real), run)
    assert encoded not in page and "make check STUDY=toy" in page
    svg.unlink()


def test_report_follows_the_letter(html):
    order = [html.index(f'<section id="{stem}">') for stem in ("fig1", "table1", "table2", "fig2", "fig3", "c_index")]
    assert order == sorted(order)
    assert f"The numbers of doi {printed_numbers()['doi']} beside ours" in html
    assert '<details id="02_sarcopenia">' in html
    for image in re.findall(r"<img [^>]*>", html):
        assert len(re.search(r'alt="([^"]*)"', image).group(1)) > 60


@needs_chromium
@pytest.mark.parametrize("width", [1280, 360])
def test_report_in_chromium(root, width):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 800})
        asked, errors = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((root / "figures" / "toy" / "report.html").as_uri())
        assert [url for url in asked[1:] if not url.startswith("data:")] == [] and errors == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        broken = "Array.from(document.images).filter(i => !i.complete || i.naturalWidth === 0).length"
        assert page.evaluate(broken) == 0
        extended = page.locator("#extended ~ details:has(table)").first
        table = extended.locator("table").first
        assert not table.is_visible()
        extended.locator("summary").first.click()
        assert table.is_visible()
        assert page.locator("#table2 details table").first.is_visible()  # the letter's numbers, unfolded
        page.evaluate("scrollTo(0, 3000)")
        assert page.locator("nav summary").is_visible()  # contents stay in sight
        page.evaluate("location.hash = '#02_sarcopenia'")
        page.wait_for_function("document.getElementById('02_sarcopenia').open")
        page.emulate_media(color_scheme="dark")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 22, 22)"
        page.emulate_media(media="print")
        assert not page.locator("nav").is_visible()
        browser.close()


@needs_chromium
def test_pdf_of_the_report(study):
    html, pdf = write_report(study)
    assert pdf.read_bytes().startswith(b"%PDF") and pdf.stat().st_size > 20_000


def test_without_a_browser_the_report_is_html_alone(study, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    assert [p.name for p in write_report(study)] == ["report.html"]
    assert "HTML only" in capsys.readouterr().out


def test_a_study_that_has_not_run_is_named(root):
    with pytest.raises(ReportError, match="make study STUDY=nothing"):
        write_report(toy_study(root, "nothing"))


def test_published_numbers_stand_in_one_row_with_interval_and_p():
    ratio, count = ("Table 2", "discovery", "PMA", "OS", "HR"), ("Table 2", "discovery", "PMA", "", "sarcopenic")
    rows = pd.DataFrame(
        [
            (*ratio, "estimate", 1.58, 1.3446, True),
            (*ratio, "low", 1.07, 0.9, None),
            (*ratio, "high", 2.35, 2.0, None),
            (*ratio, "P", 0.02, 0.14, None),
            (*count, "n", 216, 215, None),
            (*count, "%", 43.9, 43.7, True),
            ("Table 1", "lt", "", "", "age", "mean", 55.9, None, None),
            ("Table 1", "lt", "", "", "age", "SD", 11.1, None, None),
        ],
        columns=[*KEYS, "published", "ours", "inside"],
    )
    assert beside(rows, load_params("smoke").cohort).values.tolist() == [
        ["Discovery", "PMA OS HR", "1.58 (1.07–2.35) P=0.02", "1.34 (0.90–2.00) P=0.14", "yes"],
        ["Discovery", "PMA sarcopenic, n (%)", "216 (43.9%)", "215 (43.7%)", "yes"],
        ["External LT test", "age, years, mean ± SD", "55.9 ± 11.1", "NA", ""],
    ]


def test_methods_follow_the_parameters(root):
    params = load_params("standin")
    patients = pd.read_parquet(root / "build" / "toy" / "patients.parquet")
    changed = params.model_copy(
        update={
            "network": params.network.model_copy(update={"dropout": 0.37, "ties": "breslow", "strata": "centre"}),
            "autoencoder": params.autoencoder.model_copy(update={"joint": True}),
            "features": params.features.model_copy(update={"min_icc": 0.75}),
            "stability": params.stability.model_copy(update={"patients": 40}),
            "clinical": params.clinical.model_copy(update={"tumour_threshold_cm": 3.0}),
            "optimism": params.optimism.model_copy(update={"repeats": 0, "permutations": 0}),
        }
    )
    before, after = (" ".join(text for _, text in methods(p, patients, 1343)) for p in (params, changed))
    assert "dropout 0.37" in after and "Breslow's ties" in after and "dropout 0.37" not in before
    for text in ("trained together", "stratified by centre", "at least 0.75 in 40", "tumour diameter > 3 cm"):
        assert text in after and text not in before, text
    assert "fitted again to 50 random splits" in before and "fitted again" not in after
    for name in ("Firth", "Benjamini-Hochberg", "Schoenfeld", "Brier", "Decision curves", "competing risk"):
        assert name in before, name
    assert "below 6.36 (men) or 3.92 (women) cm²/m²" in before and "[" not in before
