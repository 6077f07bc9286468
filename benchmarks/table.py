"""One table of what the benchmarks in build/bench found, with what is asked of each row; ``make bench`` ends with it.

python benchmarks/table.py [--write] prints it; --write puts it into docs/benchmarks.md between its marks.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FOUND, PAGE = ROOT / "build" / "bench", ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- result -->", "<!-- end of result -->"
# file, place in it (names joined by '/'), what it is, unit, bar, aim
ROWS = [
    ("whatif", "rows/make study", "make study, drawing of its patients included", "s", "480", "360"),
    ("whatif", "first_table_s", "the same, until Table 2 and Fig. 2 are there", "s", "240", "210"),
    ("whatif", "rows/one cut-off changed", "one cut-off changed, same study", "s", "15", "8"),
    ("whatif", "rows/a new study", "a new study on the same patients, compared", "s", "30", "15"),
    ("whatif", "rows/nothing changed", "make study with nothing to do", "s", "", ""),
    ("whatif", "rows/one patient, indices", "one patient, indices, command to answer", "s", "1.5", "1"),
    ("extraction", "ratio_7_slices", "extraction, 7 slices, against PyRadiomics", "times", "40", "60"),
    ("extraction", "ratio_40_slices", "extraction, 40 slices, against PyRadiomics", "times", "65", "100"),
    ("extraction", "ratio_7_slices_resampling", "the same, 7 slices, with resampling", "times", "15", "25"),
    ("extraction", "ratio_40_slices_resampling", "the same, 40 slices, with resampling", "times", "15", "25"),
    ("extraction", "ratio_7_slices_resegmentation", "the same, 7 slices, with resegmentation", "times", "15", "25"),
    ("extraction", "ratio_7_slices_normalisation", "the same, 7 slices, with normalisation", "times", "15", "25"),
    ("extraction", "ratio_7_slices_force2D", "the same, 7 slices, with force2D", "times", "15", "25"),
    ("training", "epochs_per_s/analysis_lib/100", "Cox network 345 x 100", "epochs/s", "4500", "6000"),
    ("training", "epochs_per_s/analysis_lib/1343", "Cox network 345 x 1343", "epochs/s", "900", "1300"),
    ("resampling", "ratio_5000", "C-index replicates against scikit-survival, 5,000 patients", "times", "", ""),
    ("resampling", "auc_ratio_500", "AUC replicates against scikit-survival, 500 patients", "times", "", ""),
]


def value_at(name: str, place: str) -> Any:
    """What a benchmark found, None where it did not run or has no such row."""
    path = FOUND / f"{name}.json"
    value = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    for key in place.split("/"):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def lines() -> Iterator[str]:
    """The table in Markdown, and that of the growth."""
    if machine := value_at("extraction", "machine"):
        cores, study = value_at("extraction", "cores"), value_at("whatif", "study")
        yield from (f"On {cores} cores, {machine}, the study {study}:", "")
    yield from ("| what | now | unit | bar | aim | all processes, MB |", "|---|---|---|---|---|---|")
    for name, place, what, unit, bar, aim in ROWS:
        value = value_at(name, place)
        if value is not None:
            now, peak = (value["wall_s"], value["peak_mb"]) if isinstance(value, dict) else (value, "")
            shown = f"{now:.3g}" if now < 1000 else f"{now:,.0f}"
            yield f"| {what} | {shown} | {unit} | {bar} | {aim} | {peak} |"
    steps, exponents = value_at("growth", "steps") or {}, value_at("growth", "exponent") or {}
    if steps:
        sizes = list(next(iter(steps.values())))
        heads = " | ".join(f"{int(n):,} patients" for n in sizes)
        yield from ("", f"| step | {heads} | grows as |", f"|---|{'---|' * (len(sizes) + 1)}")
        for step, at in steps.items():
            cells = " | ".join(f"{at[n]['seconds']:.1f} s, {at[n]['mb']:.0f} MB" for n in sizes)
            yield f"| {step} | {cells} | n^{exponents[step]:.2f} |"


def main() -> None:
    text = "\n".join(lines())
    print(text)
    if "--write" in sys.argv:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
