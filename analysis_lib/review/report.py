"""One self-contained HTML page of a finished study, and a PDF of it where Chromium is at hand.

Everything is inside the file: pictures, style, and the few lines of script that open the folds for printing.
"""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
import tempfile
from datetime import UTC, datetime
from html import escape
from pathlib import Path

import pandas as pd
from jinja2 import Environment
from markupsafe import Markup
from pydantic import ValidationError

from analysis_lib.common.errors import StudyError
from analysis_lib.common.files import replacing, write_text
from analysis_lib.common.formatting import format_p
from analysis_lib.core.artefacts import ALL_NOTEBOOKS, describe, executed_notebook, notebook_of, produced, stems
from analysis_lib.core.parameters import CohortParams, Params
from analysis_lib.core.study import Study
from analysis_lib.figures.style import SYNTHETIC_LABEL
from analysis_lib.results.published import printed_numbers
from analysis_lib.review.facts import Facts, facts, fill
from analysis_lib.review.methods import methods
from analysis_lib.review.record import read_run

TEMPLATE = Path(__file__).with_name("report.html.j2")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SHOWN_PACKAGES = [
    *("numpy", "scipy", "pandas", "scikit-learn", "scikit-survival", "lifelines", "tensorflow", "keras", "pyradiomics"),
    *("SimpleITK", "pydicom", "numba", "matplotlib", "joblib", "papermill"),
]
LONGEST_ON_PAPER = 60  # rows
WIDEST_UPRIGHT = 14  # columns; a wider table lies on its side on paper
LONGEST_TABLE = 400  # rows on the page; longer tables, as of every feature, are in their CSV


class ReportError(StudyError):
    """There is no finished study to report; the message says what to run."""


def write_report(params: Params) -> list[Path]:
    """Write ``report.html``, and ``report.pdf`` if a browser is there; returns the paths."""
    run = read_run(params)
    if run is None:
        raise ReportError(f"study '{params.study}' has not been run; make study STUDY={params.study}")
    study = Study(_of_the_run(params, run))
    html = params.figures_path / "report.html"
    write_text(html, render(study, run))
    pdf = params.figures_path / "report.pdf"
    pdf.unlink(missing_ok=True)
    return [html, pdf] if _write_pdf(render(study, run, unfolded=True), pdf) else [html]


def _of_the_run(params: Params, run: dict) -> Params:
    """The parameters that the run used, which the report tells of; ReportError where they can no longer be read."""
    try:
        return Params.model_validate(run["parameters"])
    except ValidationError:
        raise ReportError(
            f"the run of '{params.study}' was made by another version of the project; make study STUDY={params.study}"
        ) from None


def render(study: Study, run: dict, unfolded: bool = False) -> str:
    """HTML text of the report; ``unfolded`` opens the folds, for paper."""
    params, found = study.params, facts(study)
    there = produced(params)
    entries = [_entry(study, stem, there, found) for stem in stems(params) if any(Path(f).stem == stem for f in there)]
    comparison = study.result("paper_comparison") if "paper_comparison.csv" in there else None
    if comparison is not None:
        for entry in entries:
            entry["published"] = _published(entry["stem"], comparison, params)
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
        letter=printed_numbers()["doi"],
        paper=[e for e in entries if e["part"] == "paper"],
        extended=[e for e in entries if e["part"] == "extended"],
        methods=methods(params, study.patients()),
        notebooks={n: path for n, path in notebooks.items() if executed_notebook(params, n).is_file()},
        packages=_versions(run),
        finished=_readable_time(run["finished"]),
        unfolded=unfolded,
    )


def _versions(run: dict) -> list[tuple[str, str | None]]:
    there = {name.lower(): number for name, number in run["environment"]["packages"].items()}
    return [(name, there.get(name.lower())) for name in SHOWN_PACKAGES]


def _readable_time(text: str) -> str:
    return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M} UTC"


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
    if "table" in entry:
        entry["table"] = _for_paper(entry["table"])
        entry["wide"] = entry["table"].partition("</thead>")[0].count("<th ") > WIDEST_UPRIGHT
    return entry


def _for_paper(table: Markup) -> Markup:
    """Intervals that do not break in the middle, and rows beyond ``LONGEST_ON_PAPER`` that print leaves out."""
    text = re.sub(r"[^\s<>]*\d–[^\s<>]+", lambda m: f'<span class="nb">{m.group()}</span>', str(table))
    head, mark, body = text.partition("<tbody>")
    parts = body.split("<tr>")
    if (more := len(parts) - 1 - LONGEST_ON_PAPER) <= 0:
        return Markup(text)
    kept, hidden = parts[: LONGEST_ON_PAPER + 1], parts[LONGEST_ON_PAPER + 1 :]
    note = (
        f'<tr class="paper"><td colspan="{head.count("<th ")}">{more} more rows on the screen and in the CSV.</td></tr>'
    )
    return Markup(head + mark + "<tr>".join(kept) + note + "".join(f'<tr class="screen">{part}' for part in hidden))


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


def _published(stem: str, comparison: pd.DataFrame, params: Params) -> Markup | None:
    pattern = describe(stem).published
    rows = comparison[comparison["item"].str.contains(pattern)] if pattern else comparison.iloc[:0]
    return None if rows.empty else _for_paper(html_table(beside(rows, params.cohort)))


def beside(rows: pd.DataFrame, cohort: CohortParams) -> pd.DataFrame:
    """The letter's numbers beside ours, an estimate in one row with its interval and P, a count with its percentage.

    ``rows`` are rows of paper_comparison.csv. Returns set (its label), item, letter, this run, and whether the letter's
    value lies in this run's interval.
    """
    values = rows.set_index("item")
    table = []
    for item, row in values.iterrows():
        base = re.sub(r", interval (low|high)$| P$", "", item)
        if base != item and (base in values.index or f"{base} HR" in values.index):
            continue  # shown in the row of its estimate
        stem, end = re.sub(r" HR$|, (n|%|mean|SD)$", "", item), item.rpartition(", ")[2]
        if {"%": f"{stem}, n", "SD": f"{stem}, mean"}.get(end) in values.index:
            continue  # shown in the row of its count or mean

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
            if item == f"{stem}, n" and not pd.isna(share := values[column].get(f"{stem}, %", float("nan"))):
                text += f" ({share:.1f}%)"
            if item == f"{stem}, mean" and f"{stem}, SD" in values.index:
                text += f" ± {_figure(values.at[f'{stem}, SD', column], item)}"
            return text

        inside = values["inside"].get(f"{stem}, %", row["inside"]) if item == f"{stem}, n" else row["inside"]
        holds = "" if pd.isna(inside) else ("yes" if str(inside) == "True" else "no")
        where, name, what = re.fullmatch(r"((?:Table|Fig\.) \d+) (\S+) (.*)", item).groups()
        label = cohort.label(name) if name in (*cohort.sets, "train", "internal") else name
        if item == f"{stem}, mean":
            what = what.removesuffix(", mean") + ", mean ± SD"
        elif item == f"{stem}, n" and f"{stem}, %" in values.index:
            what += " (%)"
        table.append((label, what, cell("published"), cell("ours"), holds))
    return pd.DataFrame(table, columns=["set", "item", "letter", "this run", "letter's value in our interval"])


def _figure(value: float, item: str) -> str:
    if item.endswith(", n"):
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
