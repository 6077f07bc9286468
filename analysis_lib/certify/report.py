"""One self-contained HTML page of a finished study, and a PDF of it where Chromium is at hand.

Everything is inside the file: pictures, style, and the few lines of script that open the folds for printing.
"""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
import tempfile
from html import escape
from pathlib import Path

import pandas as pd
from jinja2 import Environment
from markupsafe import Markup

from analysis_lib.artefacts import ALL_NOTEBOOKS, describe, executed_notebook, notebook_of, produced, stems
from analysis_lib.certify.facts import Facts, facts, fill
from analysis_lib.certify.methods import methods
from analysis_lib.certify.record import read_run
from analysis_lib.errors import StudyError
from analysis_lib.files import replacing, write_text
from analysis_lib.params import Params
from analysis_lib.reporting.paper import published
from analysis_lib.reporting.plots import SYNTHETIC_LABEL
from analysis_lib.reporting.tables import format_p
from analysis_lib.study import Study

TEMPLATE = Path(__file__).with_name("report.html.j2")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SHOWN_PACKAGES = [
    *("numpy", "scipy", "pandas", "scikit-learn", "scikit-survival", "lifelines", "tensorflow", "keras", "pyradiomics"),
    *("SimpleITK", "pydicom", "numba", "matplotlib", "joblib", "papermill"),
]
LONGEST_TABLE = 400  # rows on the page; longer tables, as of every feature, are in their CSV


class ReportError(StudyError):
    """There is no finished study to report; the message says what to run."""


def write_report(params: Params) -> list[Path]:
    """Write ``report.html``, and ``report.pdf`` if a browser is there; returns the paths."""
    run = read_run(params)
    if run is None:
        raise ReportError(f"study '{params.study}' has not been run; make study STUDY={params.study}")
    study = Study(params)
    html = params.figures_path / "report.html"
    write_text(html, render(study, run))
    pdf = params.figures_path / "report.pdf"
    pdf.unlink(missing_ok=True)
    return [html, pdf] if _write_pdf(render(study, run, unfolded=True), pdf) else [html]


def render(study: Study, run: dict, unfolded: bool = False) -> str:
    """HTML text of the report; ``unfolded`` opens the folds, for paper."""
    params, found = study.params, facts(study)
    there = produced(params)
    entries = [_entry(study, stem, there, found) for stem in stems(params) if any(Path(f).stem == stem for f in there)]
    comparison = study.result("paper_comparison") if "paper_comparison.csv" in there else None
    if comparison is not None:
        for entry in entries:
            entry["published"] = _published(entry["stem"], comparison)
    notebooks = {n: f"../../build/{params.study}/notebooks/{n}.ipynb" for n in ALL_NOTEBOOKS}
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        TEMPLATE.read_text(encoding="utf-8")
    )
    return template.render(
        params=params,
        run=run,
        found=found,
        label=SYNTHETIC_LABEL,
        note=study.note,
        letter=published()["doi"],
        paper=[e for e in entries if e["part"] == "paper"],
        extended=[e for e in entries if e["part"] == "extended"],
        methods=methods(params, study.patients()),
        notebooks={n: path for n, path in notebooks.items() if executed_notebook(params, n).is_file()},
        packages=[(name, run["environment"]["packages"].get(name)) for name in SHOWN_PACKAGES],
        unfolded=unfolded,
    )


def _entry(study: Study, stem: str, there: list[str], found: Facts) -> dict:
    artefact, folder = describe(stem), study.figures
    entry = {
        "stem": stem,
        "title": artefact.title,
        "part": artefact.part,
        "caption": fill(artefact.caption, found),
        "notebook": notebook_of(stem),
        "files": [f for f in there if Path(f).stem == stem],
        "published": None,
    }
    if f"{stem}.png" in there:
        data = base64.b64encode((folder / f"{stem}.png").read_bytes()).decode()
        entry["image"] = f"data:image/png;base64,{data}"
        entry["alt"] = fill(artefact.alt or artefact.caption, found)
    elif stem == "exclusions":
        entry["table"] = _exclusions(study)
    elif f"{stem}.html" in there:
        entry["table"] = _table_of(folder / f"{stem}.html")
    else:
        table = pd.read_csv(folder / f"{stem}.csv")
        entry["table"] = html_table(table.head(LONGEST_TABLE))
    return entry


def _table_of(path: Path) -> Markup:
    """The table of a page written by ``tables.write_table``, without its caption; long ones cut and said so."""
    match = re.search(r"<table>.*?</table>", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    text = re.sub(r"<caption>.*?</caption>\n?", "", match.group() if match else "", flags=re.DOTALL)
    head, body, tail = re.split(r"(?<=<tbody>)|(?=</tbody>)", text, maxsplit=2)
    rows = re.findall(r"<tr>.*?</tr>\n?", body, flags=re.DOTALL)
    cut = ""
    if len(rows) > LONGEST_TABLE:
        columns = rows[0].count("<td>") + rows[0].count("<th ")
        cut = f'<tr><td colspan="{columns}">{len(rows) - LONGEST_TABLE} more rows in the CSV.</td></tr>'
    return Markup(head + "".join(rows[:LONGEST_TABLE]) + cut + tail)


def html_table(frame: pd.DataFrame) -> Markup:
    """A plain table of text; numbers with three significant digits, what is missing as NA."""

    def cell(value: object) -> str:
        if pd.isna(value):
            return "NA"
        return f"{value:.3g}" if isinstance(value, float) else escape(str(value))

    head = "".join(f'<th scope="col">{escape(str(c))}</th>' for c in frame.columns)
    rows = "".join(
        f'<tr><th scope="row">{cell(row[0])}</th>' + "".join(f"<td>{cell(v)}</td>" for v in row[1:]) + "</tr>\n"
        for row in frame.itertuples(index=False, name=None)
    )
    return Markup(f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table>")


def _exclusions(study: Study) -> Markup:
    """Excluded patients by set and stage: a report goes further than a list of patients may."""
    exclusions = study.exclusions()
    if exclusions.empty:
        return Markup("<p>No patient was excluded.</p>")
    counts = exclusions.groupby(["set", "stage"], sort=False).size().rename("patients").reset_index()
    return html_table(counts)


def _published(stem: str, comparison: pd.DataFrame) -> Markup | None:
    pattern = describe(stem).published
    rows = comparison[comparison["item"].str.contains(pattern)] if pattern else comparison.iloc[:0]
    return None if rows.empty else html_table(beside(rows))


def beside(rows: pd.DataFrame) -> pd.DataFrame:
    """The letter's numbers beside ours, an estimate in one row with its interval and P.

    ``rows`` are rows of paper_comparison.csv. Returns item, letter, this run, and whether the letter's value lies in
    this run's interval.
    """
    values = rows.set_index("item")
    table = []
    for item, row in values.iterrows():
        base = re.sub(r", interval (low|high)$| P$", "", item)
        if base != item and (base in values.index or f"{base} HR" in values.index):
            continue  # shown in the row of its estimate
        stem = item.removesuffix(" HR")

        def cell(column: str, item: str = item, stem: str = stem, row: pd.Series = row) -> str:
            value = row[column]
            if pd.isna(value):
                return "NA"
            text = _figure(value, item)
            if f"{item}, interval low" in values.index:
                low, high = (values.at[f"{item}, interval {end}", column] for end in ("low", "high"))
                text += f" ({_figure(low, item)}–{_figure(high, item)})"
            if f"{stem} P" in values.index and not pd.isna(values.at[f"{stem} P", column]):
                text += f" {format_p(values.at[f'{stem} P', column])}"
            return text

        inside = row["inside"]
        holds = "" if pd.isna(inside) else ("yes" if str(inside) == "True" else "no")
        table.append((item, cell("published"), cell("ours"), holds))
    return pd.DataFrame(table, columns=["item", "letter", "this run", "letter's value in our interval"])


def _figure(value: float, item: str) -> str:
    if item.endswith((", n", "patients, n")):
        return f"{value:.0f}"
    return f"{value:.3f}" if "C-index" in item else (f"{value:.2f}" if " HR" in item else f"{value:.1f}")


def _write_pdf(html: str, pdf: Path) -> bool:
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        print("no Chromium or Chrome found: the report is HTML only")
        return False
    with tempfile.TemporaryDirectory() as folder, replacing(pdf) as temporary:
        page = Path(folder) / "report.html"
        page.write_text(html, encoding="utf-8")
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/profile"]
        command += ["--no-pdf-header-footer", f"--print-to-pdf={temporary}", page.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180)
        if done.returncode == 0 and temporary.stat().st_size > 0:
            return True
        print(f"{Path(browser).name} made no PDF: {done.stderr.strip().splitlines()[-1:]}")
    pdf.unlink(missing_ok=True)
    return False
