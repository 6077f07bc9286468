"""Two studies side by side: each number in A and in B, which parameters differ, and the figures.

Rows are matched by their cells of text and by the columns that name a row (month, step), so a row that only one
study has shows as such.
"""

from __future__ import annotations

import base64
from html import escape
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis_lib.common.errors import StudyError
from analysis_lib.common.files import read_csv, replacing, write_text
from analysis_lib.common.formatting import NOT_AVAILABLE, absent
from analysis_lib.core.artefacts import describe, produced, stems
from analysis_lib.core.project import Study
from analysis_lib.core.question_params import cox_text, cuts_text, subset_text
from analysis_lib.figures.tables import html_table
from analysis_lib.results import MODEL
from analysis_lib.review.judge import NUMBER
from analysis_lib.review.record import read_run

KEYS = {
    "set",
    "definition",
    "outcome",
    "model",
    "month",
    "item",
    "panel",
    "group",
    "part",
    "step",
    "node",
    "patient_id",
}
EMPTY = pd.MultiIndex.from_arrays([[], []], names=["row", "column"])
COLUMNS = ["file", "row", "column", "a", "b", "difference"]
SHOWN = 40
LEADING = 10


class CompareError(StudyError):
    """A study has no results to compare; the message says what to run."""


def parameter_differences(a: Study, b: Study) -> pd.DataFrame:
    """Parameters that differ: parameter (dotted), a, b; the names and titles of the studies left out."""
    left, right = (_flat(s.params.model_dump(mode="json")) for s in (a, b))
    names = [n for n in dict.fromkeys([*left, *right]) if n not in ("study", "title", "data_dir", "workers")]
    rows: list[tuple[Any, ...]] = [(n, left.get(n, ""), right.get(n, "")) for n in names if left.get(n) != right.get(n)]
    if a.data != b.data:
        rows.insert(0, ("data", *(s.project.name_of(s.data) for s in (a, b))))
    return pd.DataFrame(rows, columns=["parameter", "a", "b"])


def question_in_words(a: Study, b: Study) -> list[tuple[str, str]]:
    """What each of two studies asks, by its name, where they ask something else; nothing where it is the same."""
    texts = []
    for params in (a.params, b.params):
        parts = [
            f"{params.endpoint.name} of {subset_text(params.subset) or 'all patients'}, from {params.statistics.origin}"
        ]
        parts += [f"risk groups cut at {cuts_text(params.risk_groups)}"] if params.risk_groups else []
        parts += [text] if (text := cox_text(params.cox).split(";")[0]) else []
        parts += ["competing events"] if params.cox.competing else []
        if any(study.params.cohort.sets != params.cohort.sets for study in (a, b)):
            roles = {"discovery": "split", "train": "trained on", "test": "a test set"}
            sets = [f"{entry.label} ({roles[entry.role]})" for entry in params.cohort.sets.values()]
            parts.append(f"sets: {', '.join(sets)}")
        parts += [] if params.network.strata == "none" else [f"network stratified by {params.network.strata}"]
        texts.append("; ".join(parts))
    return list(zip((a.name, b.name), texts, strict=True)) if texts[0] != texts[1] else []


def number_differences(a: Study, b: Study) -> pd.DataFrame:
    """Every number of the CSVs of both studies: COLUMNS; a or b is NaN where one study lacks the row."""
    frames = []
    for stem in dict.fromkeys([*stems(a.params), *stems(b.params)]):
        name = f"{stem}.csv"
        tables = [_numbers(s.figures / name) for s in (a, b)]
        if all(t is None for t in tables):
            continue
        left, right = (pd.Series(dtype=float, index=EMPTY) if t is None else t for t in tables)
        index = left.index.append(right.index.difference(left.index, sort=False))
        joined = pd.DataFrame({"a": left.reindex(index), "b": right.reindex(index)}).reset_index()
        frames.append(joined.assign(file=name, difference=joined["b"] - joined["a"])[COLUMNS])
    if not frames:
        return pd.DataFrame(columns=COLUMNS)
    return pd.concat(frames, ignore_index=True)


def changed(numbers: pd.DataFrame) -> pd.DataFrame:
    """The numbers that are not the same in both studies."""
    return numbers[~((numbers["a"] == numbers["b"]) | (numbers["a"].isna() & numbers["b"].isna()))]


def leading(a: Study, numbers: pd.DataFrame) -> pd.DataFrame:
    """The ten numbers to look at first: what (in words), a, b, difference.

    The model's C-index in the test sets, then of the first set the hazard ratios of the endpoint and the prevalences by
    definition that moved most (a ratio by its logarithm), filled up with those that did not.
    """
    cohort, rows = a.params.cohort, numbers.set_index(["file", "row", "column"])[["a", "b", "difference"]]
    found, endpoint = [], a.params.endpoint
    for name in cohort.test_sets:
        found.append((("c_index.csv", f"{name} {MODEL}", "c_index"), f"C-index of {MODEL}, {cohort.label(name)}"))
    moved: dict[str, list[tuple]] = {"hr": [], "prevalence": []}
    for definition in a.params.definitions:
        for column, what in (("hr", f"Hazard ratio of {endpoint.noun}"), ("prevalence", "Prevalence")):
            key = ("table2.csv", f"{cohort.discovery} {definition} {endpoint.short}", column)
            if key in rows.index:
                left, right = rows.loc[key, ["a", "b"]]
                size = abs(np.log(right / left)) if column == "hr" and left > 0 and right > 0 else abs(right - left)
                label = f"{what}, {definition}, {cohort.label(cohort.discovery)}"
                moved[column].append((-np.nan_to_num(size), key, label))
    found = [entry for entry in found if entry[0] in rows.index]
    half = (LEADING - len(found) + 1) // 2
    ratios, shares = (sorted(moved[column], key=lambda entry: entry[0]) for column in ("hr", "prevalence"))
    found += [entry[1:] for entry in [*ratios[:half], *shares[:half], *ratios[half:], *shares[half:]]]
    chosen = [(label, *rows.loc[key]) for key, label in found[:LEADING]]
    return pd.DataFrame(chosen, columns=["what", "a", "b", "difference"])


def write_comparison(a: Study, b: Study) -> tuple[Path, str]:
    """Write ``build/compare/<A>-<B>/compare.html`` and ``.csv``; returns the folder and the summary that is printed."""
    for study in (a, b):
        if not produced(study):
            raise CompareError(f"study '{study.name}' has no results; {study.command}")
    parameters, numbers = parameter_differences(a, b), number_differences(a, b)
    folder = a.project.root / "build" / "compare" / f"{a.name}-{b.name}"
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / "compare.csv") as temporary:
        numbers.to_csv(temporary, index=False, lineterminator="\n")
    write_text(folder / "compare.html", _page(a, b, parameters, numbers))
    return folder, summary(a, b, parameters, numbers)


def summary(a: Study, b: Study, parameters: pd.DataFrame, numbers: pd.DataFrame) -> str:
    """What a terminal shows: parameters that differ, numbers by file, and the changed numbers of the tables."""
    out = StringIO()
    out.write(f"A = {a.name}, B = {b.name}\n")
    for study in (a, b):
        run = read_run(study)
        if run and {**run["parameters"], "workers": 0} != {**study.params.model_dump(mode="json"), "workers": 0}:
            out.write(f"params/{study.name}.yaml has changed since its run: {study.command}\n")
    out.write("\nFirst:\n")
    for row in leading(a, numbers).itertuples():
        out.write(f"  {row.what}: {_digits(row.a)} -> {_digits(row.b)} ({_digits(row.difference, '+')})\n")
    out.write(f"\nParameters that differ: {len(parameters) or 'none'}\n")
    for row in parameters.itertuples():
        out.write(f"  {row.parameter}: {row.a} -> {row.b}\n")
    for name, text in question_in_words(a, b):
        out.write(f"  {name} asks about {text}\n")
    out.write("\nNumbers that differ, by file:\n")
    counts = {file: (len(changed(part)), len(part)) for file, part in numbers.groupby("file", sort=False)}
    for file, (n, of) in counts.items():
        out.write(f"  {file}: {n} of {of}\n" if n else "")
    out.write(f"  none in {', '.join(file for file, (n, _) in counts.items() if not n) or 'no file'}\n")
    moved = changed(numbers[~numbers["file"].str.startswith("fig")])
    out.write(f"\nIn the tables: {len(moved)} numbers\n")
    for row in moved.head(SHOWN).itertuples():
        out.write(f"  {row.file} {row.row}, {row.column}: {row.a:.4g} -> {row.b:.4g} ({row.difference:+.3g})\n")
    if len(moved) > SHOWN:
        out.write(f"  and {len(moved) - SHOWN} more, in compare.csv\n")
    return out.getvalue()


def _numbers(path: Path) -> pd.Series | None:
    """The numbers of a CSV by what names their row, and column; those inside text ('55.9 ± 11.1') one by one."""
    if not path.is_file():
        return None
    table = read_csv(path).drop(columns="synthetic", errors="ignore")
    named = [c for c in table if c in KEYS] or list(table.columns[:1])
    rows = table[named].astype(object).where(table[named].notna(), "").itertuples(index=False)
    labels = pd.Series([" ".join(str(v) for v in row if v != "") for row in rows], dtype=object)
    again = labels.groupby(labels).cumcount()
    labels = labels.where(again == 0, labels + " #" + (again + 1).astype(str))
    found: dict[tuple[str, str], float] = {}
    for column in table.columns.difference(named, sort=False):
        for label, value in zip(labels, table[column], strict=True):
            if isinstance(value, str):
                for k, number in enumerate(NUMBER.findall(value), start=1):
                    found[label, column if k == 1 else f"{column} ({k})"] = float(number)
            elif pd.notna(value):
                found[label, column] = float(value)
    index = pd.MultiIndex.from_tuples(list(found), names=["row", "column"]) if found else EMPTY
    return pd.Series(list(found.values()), index=index, dtype=float)


def _flat(value: object, prefix: str = "") -> dict[str, object]:
    if not isinstance(value, dict):
        return {prefix: value}
    flat: dict[str, object] = {}
    for key, inner in value.items():
        flat |= _flat(inner, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _page(a: Study, b: Study, parameters: pd.DataFrame, numbers: pd.DataFrame) -> str:
    parts = [_HEAD.format(a=escape(a.name), b=escape(b.name))]
    if synthetic := " and ".join(s.name for s in (a, b) if s.params.synthetic):
        parts.append(f'<p class="synthetic">Synthetic images and outcomes: {escape(synthetic)}. No patient data.</p>')
    parts.append(f"<p>A: {escape(a.params.heading)}. B: {escape(b.params.heading)}.</p>")
    first = leading(a, numbers)
    shown = first.assign(**{c: first[c].map(_digits) for c in ("a", "b")})
    shown["difference"] = first["difference"].map(lambda v: _digits(v, "+"))
    shown.columns = ["", "A", "B", "B - A"]
    parts.append(f"<h2>First</h2>{_scroll(html_table(shown))}" if len(shown) else "")
    parts.append("<h2>Parameters that differ</h2>")
    parts += [f"<p>{escape(name)} asks about {escape(text)}.</p>" for name, text in question_in_words(a, b)]
    parts.append(_scroll(html_table(parameters)) if len(parameters) else "<p>None.</p>")
    parts.append("<h2>Numbers that differ</h2>")
    equal = []
    for file, part in numbers.groupby("file", sort=False):
        moved = changed(part)
        title = f"{describe(Path(file).stem).title} ({file}): {len(moved)} of {len(part)}"
        if moved.empty:
            equal.append(describe(Path(file).stem).title)
            continue
        more = f"<p>The first 200 of {len(moved)}; all in compare.csv.</p>" if len(moved) > 200 else ""
        table = html_table(moved[["row", "column", "a", "b", "difference"]].head(200))
        parts.append(f"<details><summary>{escape(title)}</summary>{more}{_scroll(table)}</details>")
    parts.append(f"<p>The same numbers in both: {escape(', '.join(equal)) or 'none'}.</p>")
    parts.append("<h2>Figures that changed</h2>")
    same = []
    for stem in dict.fromkeys([*stems(a.params), *stems(b.params)]):
        files = [s.figures / f"{stem}.png" for s in (a, b)]
        if not any(f.is_file() for f in files):
            continue
        title = describe(stem).title
        if all(f.is_file() for f in files) and files[0].read_bytes() == files[1].read_bytes():
            same.append(title)
            continue
        parts.append(f"<h3>{escape(title)}</h3><div class='pair'>")
        for letter, study, file in zip("AB", (a, b), files, strict=True):
            parts.append(_figure(f"{letter}: {study.name}", title, file))
        parts.append("</div>")
    parts.append(f"<p>The same to the byte in both: {escape(', '.join(same)) or 'none'}.</p>")
    return "\n".join(parts) + "\n</body></html>\n"


def _digits(value: float, sign: str = "") -> str:
    return NOT_AVAILABLE if absent(value) else f"{round(value, 3) + 0.0:{sign}.3f}"  # no -0.000


def _figure(label: str, title: str, file: Path) -> str:
    if not file.is_file():
        return f"<figure><figcaption>{escape(label)}: not made</figcaption></figure>"
    data = base64.b64encode(file.read_bytes()).decode()
    text = escape(f"{title}, {label}", quote=True)
    return (
        f"<figure><figcaption>{escape(label)}</figcaption>"
        f'<img src="data:image/png;base64,{data}" alt="{text}"></figure>'
    )


def _scroll(table: str) -> str:
    return f'<div class="scroll" tabindex="0">{table}</div>'


_HEAD = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{a} and {b} compared</title>
<style>
body {{ font: 1rem/1.5 Arial, "DejaVu Sans", sans-serif; color: #161616; margin: 0 auto;
  max-width: 100rem; padding: 1rem; }}
.synthetic {{ border: 2px solid #8c3a00; color: #8c3a00; font-weight: bold; padding: .5rem .75rem; }}
.scroll {{ overflow-x: auto; }} .pair {{ display: grid; grid-template-columns: 1fr 1fr; gap: 1rem; }}
figure {{ margin: 0; }} img {{ width: 100%; height: auto; }} summary {{ cursor: pointer; }}
table {{ border-collapse: collapse; font-size: .85rem; }} th, td {{ padding: .2rem .6rem; text-align: left; }}
thead th {{ border-bottom: 1px solid #161616; }} tbody th {{ font-weight: normal; }}
@media (max-width: 45rem) {{ .pair {{ grid-template-columns: 1fr; }} }}
</style></head><body>
<h1>{a} and {b} compared</h1>"""
