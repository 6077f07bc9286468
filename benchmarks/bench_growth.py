"""How time and memory grow with patients: assembling, fitting the model and every notebook but 04, on tiled patients.

python benchmarks/bench_growth.py [--study smoke] [--sizes 826 2500 10000] prints a table and writes
build/bench/growth.json.
The tables of a finished study are tiled to each size, with other times of follow-up so that few are tied; features,
risks and the other models' risks are tiled with them. Seconds are of processor time without imports, memory is the
largest of the process. A step grows by n^x; x near 1 is linear. The images' stages treat one patient at a time.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SIZES = (826, 2500, 10_000)
NOTEBOOKS = (
    *("01_cohort", "02_sarcopenia", "03_radiomics_pca", "05_risk_groups", "06_discrimination", "09_beyond_the_letter"),
    *("12_added_value", "13_extended_table2", "14_index_splines", "07_paper_comparison"),
)
TILED = ("risk.csv", "held_out_risk.csv", "survival.csv", "comparators.csv")


def tile(source: str, name: str, n: int) -> None:
    """A study ``name`` with ``n`` patients made of those of a finished study."""
    import analysis_lib  # noqa: F401, I001  pins, before NumPy
    import numpy as np
    import pandas as pd

    from analysis_lib.core.project import Project

    base = f"base: {source}\ntitle: Growth\ndata_dir: data/{source}\n"
    (ROOT / "params" / f"{name}.yaml").write_text(base, encoding="utf-8")
    old, new = Project().study(source), Project().study(name)
    new.build.mkdir(parents=True, exist_ok=True)
    new.figures.mkdir(parents=True, exist_ok=True)
    patients, rng = old.patients(with_radiomics=True), np.random.default_rng(n)
    copies = math.ceil(n / len(patients))

    def tiled(table: pd.DataFrame) -> pd.DataFrame:
        parts = [table.assign(patient_id=table["patient_id"] + f"-{k}") for k in range(copies)]
        return pd.concat(parts, ignore_index=True)

    table = tiled(patients)
    for column in ("os_months", "rfs_months"):
        table[column] = (table[column] * rng.uniform(0.97, 1.03, len(table))).clip(lower=0.1)
    table["rfs_months"] = table[["rfs_months", "os_months"]].min(axis=1)
    table["smi"] += rng.normal(0, 0.5, len(table))
    chosen = table["patient_id"].sample(n, random_state=1).sort_values()
    table = table.set_index("patient_id").loc[chosen].reset_index()
    new.write_patients(table)
    new.write_exclusions(old.exclusions())
    new.write_measured(table.drop(columns="split"))
    for write, read in (
        (new.write_measured_exclusions, old.measured_exclusions),
        (new.write_features_exclusions, old.features_exclusions),
    ):
        write(read())
    features = tiled(old.features().reset_index()).set_index("patient_id").loc[chosen]
    new.write_features(features)
    for file in TILED:
        frame = tiled(pd.read_csv(old.build / file, dtype={"patient_id": str})).set_index("patient_id")
        frame.loc[frame.index.intersection(chosen)].to_csv(new.build / file)
    for file in ("comparators_time.csv", "optimism.csv"):
        shutil.copy(old.build / file, new.build / file)
    shutil.copytree(old.model, new.model, dirs_exist_ok=True)


def run_here(name: str, step: str) -> None:
    """Run one step of the study in this process and print processor seconds and peak MB."""
    import nbformat

    import analysis_lib  # noqa: F401  pins
    from analysis_lib.core.project import Project
    from analysis_lib.stages.assemble import assemble_patients
    from analysis_lib.stages.fit import fit_model

    variables: dict = {}
    study = Project().study(name)
    if step == "assemble":
        started = time.process_time()
        assemble_patients(study)
    elif step == "fit":
        patients, features = study.patients(with_radiomics=True).set_index("patient_id"), study.features()
        started = time.process_time()
        fit_model(patients, features, study.params)
    else:
        cells = [c for c in nbformat.read(ROOT / "notebooks" / f"{step}.ipynb", 4).cells if c.cell_type == "code"]
        sources = [f"study = {name!r}" if "parameters" in c.metadata.get("tags", []) else c.source for c in cells]
        imports = [line for text in sources for line in text.splitlines() if line.startswith(("from ", "import "))]
        exec("\n".join(imports), variables)
        started = time.process_time()
        for text in sources:
            exec(compile(text, step, "exec"), variables)
    seconds = time.process_time() - started
    print("\n" + json.dumps({"seconds": seconds, "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def remove(name: str) -> None:
    (ROOT / "params" / f"{name}.yaml").unlink(missing_ok=True)
    for folder in ("build", "figures"):
        shutil.rmtree(ROOT / folder / name, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--study", default=os.environ.get("STUDY", "smoke"), help="finished study that is tiled")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--here", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if options.here:
        run_here(*options.here)
        return
    found: dict[str, dict[int, dict[str, float]]] = {}
    for n in options.sizes:
        name = f"growth{n}"
        try:
            tile(options.study, name, n)
            for step in (*NOTEBOOKS, "fit", "assemble"):
                command = [sys.executable, "-W", "ignore", __file__, "--here", name, step]
                done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
                if done.returncode:
                    raise SystemExit(f"{step} of {n} patients failed: {done.stderr[-2000:]}")
                found.setdefault(step, {})[n] = json.loads(done.stdout.splitlines()[-1])
                print(
                    f"{n:6d}  {step:22s} {found[step][n]['seconds']:8.2f} s {found[step][n]['mb']:6.0f} MB", flush=True
                )
        finally:
            remove(name)
    first, last = options.sizes[-2:]
    report: dict = {"study": options.study, "steps": found, "exponent": {}}
    for step, at in found.items():
        report["exponent"][step] = round(
            math.log(at[last]["seconds"] / at[first]["seconds"]) / math.log(last / first), 2
        )
        print(f"{step:22s} n^{report['exponent'][step]:.2f} from {first} to {last}")
    path = ROOT / "build" / "bench" / "growth.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
