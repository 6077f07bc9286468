"""Our command beside PyRadiomics' own batch command: the same table of cases, one process and one thread each.

python benchmarks/bench_extraction.py [--patients N] prints a table and writes build/bench/extraction.json.
The case: 512 x 512 pixels of 0.75 mm, slices 5 mm apart, textured noise, a ring of about 25,000 voxels like
skeletal muscle on one slice, params/features_sm.yaml (1316 features). Both commands write a file a patient; seconds a
patient are the time from the first of these files to the last, divided by the patients in between. Reading the
images and writing the results counts, the start of the programs (start_seconds, up to the first file) does not.
Further rows are the same with one setting more (SETTINGS); --only takes some of the rows.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import SimpleITK as sitk
import yaml
from scipy.ndimage import gaussian_filter

ROOT = Path(__file__).resolve().parents[1]
PARAMETERS = ROOT / "params" / "features_sm.yaml"
SETTINGS = {
    "": {},
    "resampling": {"resampledPixelSpacing": [1, 1, 5], "padDistance": 8},
    "resegmentation": {"resegmentRange": [0, 90]},
    "normalisation": {"normalize": True, "normalizeScale": 100},
    "force2D": {"force2D": True},
}
ROWS = [(7, ""), (40, ""), *((7, name) for name in SETTINGS if name), (40, "resampling")]
ONE_THREAD = {
    name: "1"
    for name in (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMBA_NUM_THREADS",
        "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
    )
}
PYRADIOMICS = [sys.executable, "-W", "ignore", "-c", "from radiomics.scripts import parse_args; parse_args()"]
OURS_TIMES = 10  # as many times more patients, because each takes so much less


def case(slices: int, seed: int) -> tuple[sitk.Image, sitk.Image]:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:512, :512]
    radius = np.hypot((y - 256) / 0.8, x - 256)
    texture = gaussian_filter(rng.normal(size=(slices, 512, 512)), (0.3, 1, 1))
    volume = np.where(radius < 195, 45 + 25 * texture / texture.std(), -1000)
    volume += rng.normal(0, 8, volume.shape)
    mask = np.zeros(volume.shape, np.uint8)
    mask[slices // 2, (radius >= 146) & (radius < 177)] = 1
    images = sitk.GetImageFromArray(volume.round().astype(np.int16)), sitk.GetImageFromArray(mask)
    for image in images:
        image.SetSpacing((0.75, 0.75, 5.0))
    return images


def write_cases(folder: Path, slices: int, images: int) -> None:
    for seed in range(images):
        for kind, image in zip(("ct", "mask"), case(slices, seed), strict=True):
            sitk.WriteImage(image, str(folder / f"{seed}-{kind}.mha"))


def write_table(path: Path, patients: int, images: int) -> None:
    rows = [f"P{k:03d},{k % images}-ct.mha,{k % images}-mask.mha" for k in range(patients)]
    path.write_text("\n".join(["ID,Image,Mask", *rows]) + "\n", encoding="utf-8")


def write_parameters(path: Path, setting: str) -> None:
    content = yaml.safe_load(PARAMETERS.read_text(encoding="utf-8"))
    content["setting"] |= SETTINGS[setting]
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def run(engine: str, folder: Path, patients: int, images: int) -> dict:
    """Values, seconds a patient, seconds up to the first result, and peak MB of the largest process."""
    parameters = folder / "parameters.yaml"
    table, out, results = folder / "cases.csv", folder / f"{engine}.csv", folder / f"{engine}.cases"
    write_table(table, patients, images)
    if engine == "pyradiomics":
        results.mkdir()
        command = [*PYRADIOMICS, str(table), "--param", str(parameters), "--out", str(out), "--format", "csv"]
        command += ["--out-dir", str(results), "--jobs", "1", "--logging-level", "ERROR"]
    else:
        command = [sys.executable, "-m", "analysis_lib", "features", "--table", str(table), "--params", str(parameters)]
        command += ["--out", str(out), "--workers", "1", "--quiet"]
    environment = {**os.environ, **ONE_THREAD, "SCHEDULER": ""}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    start = time.time()
    process = subprocess.Popen(command, cwd=ROOT, env=environment, **quiet)
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, *(_peak_mb(pid) for pid in _family(process.pid)))
        time.sleep(0.05)
    written = sorted(path.stat().st_mtime for path in results.rglob("*") if path.is_file())
    if process.returncode or len(written) != patients:
        raise SystemExit(f"{engine} failed: {' '.join(command)}")
    return {
        "values": pd.read_csv(out).set_index("ID"),
        "seconds": (written[-1] - written[0]) / (patients - 1),
        "start": written[0] - start,
        "peak_mb": peak,
    }


def _family(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        children = []
    return [pid, *(one for child in children for one in _family(int(child)))]


def _peak_mb(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patients", type=int, default=3, help="additional patients of PyRadiomics (default 3)")
    names = {"_".join(filter(None, (f"{slices}_slices", setting))): (slices, setting) for slices, setting in ROWS}
    parser.add_argument("--only", nargs="+", choices=list(names), default=list(names), help="rows (default all)")
    options = parser.parse_args()
    patients = options.patients
    report: dict = {"machine": _processor(), "cores": os.cpu_count()}
    worst = 0.0
    print("slices  setting         engine       s/patient  start s  peak MB  ratio  largest relative difference")
    for row in options.only:
        slices, setting = names[row]
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_cases(folder, slices, patients)
            write_parameters(folder / "parameters.yaml", setting)
            runs = {
                "pyradiomics": run("pyradiomics", folder, 1 + patients, patients),
                "ours": run("ours", folder, 1 + patients * OURS_TIMES, patients),
            }
        theirs = runs["pyradiomics"]["values"].filter(regex="^(?!diagnostics_|Image|Mask)")
        ours = runs["ours"]["values"].loc[theirs.index, theirs.columns]
        difference = float(((ours - theirs).abs() / theirs.abs().clip(lower=1e-12)).max(axis=None))
        worst = max(worst, difference)
        ratio = runs["pyradiomics"]["seconds"] / runs["ours"]["seconds"]
        report[f"ratio_{row}"] = round(ratio, 2)
        for engine, one in runs.items():
            report[f"{engine}_seconds_{row}"] = round(one["seconds"], 4)
            report[f"{engine}_start_seconds_{row}"] = round(one["start"], 2)
            report[f"{engine}_peak_mb_{row}"] = round(one["peak_mb"], 1)
            extra = f"{ratio:5.1f}  {difference:.1e}" if engine == "ours" else ""
            numbers = f"{one['seconds']:9.3f}  {one['start']:7.1f}  {one['peak_mb']:7.0f}"
            print(f"{slices:6d}  {setting:14s}  {engine:11s}  {numbers}  {extra}", flush=True)
        report["features"] = theirs.shape[1]
    report["max_relative_difference"] = worst
    path = ROOT / "build" / "bench" / "extraction.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
