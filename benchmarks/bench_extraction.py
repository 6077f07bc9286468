"""Seconds, memory and values of our extractor beside plain PyRadiomics: the same images, one process each.

python benchmarks/bench_extraction.py [--patients N] prints a table and writes build/bench/extraction.json.
The case: 512 x 512 pixels of 0.75 mm, slices 5 mm apart, textured noise, a ring of about 25,000 voxels like
skeletal muscle on one slice, params/features_sm.yaml (1316 features).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"  # before numpy is imported

import numpy as np  # noqa: E402
import SimpleITK as sitk  # noqa: E402
from scipy.ndimage import gaussian_filter  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
PARAMETERS = ROOT / "params" / "features_sm.yaml"


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


def write_cases(folder: Path, slices: int, patients: int) -> list[tuple[str, str]]:
    """Images as files, so that making them does not count as the memory of an engine."""
    paths = []
    for seed in range(patients):
        pair = tuple(str(folder / f"{slices}-{seed}-{kind}.mha") for kind in ("ct", "mask"))
        for image, path in zip(case(slices, seed), pair, strict=True):
            sitk.WriteImage(image, path)
        paths.append(pair)
    return paths


def measure(engine: str, paths: list[tuple[str, str]]) -> dict:
    """Run in a process of its own, so that the peak of memory is the engine's."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    if engine == "ours":
        from analysis_lib.extraction.fast_radiomics import extract

        extract(
            *map(sitk.ReadImage, paths[0]), PARAMETERS
        )  # compiled code is loaded once a process, not once a patient

        def run(image: sitk.Image, mask: sitk.Image) -> dict[str, float]:
            return extract(image, mask, PARAMETERS)
    else:
        import logging

        from radiomics.featureextractor import RadiomicsFeatureExtractor

        logging.getLogger("radiomics").setLevel(logging.ERROR)
        extractor = RadiomicsFeatureExtractor(str(PARAMETERS))

        def run(image: sitk.Image, mask: sitk.Image) -> dict[str, float]:
            result = extractor.execute(image, mask, label=1)
            return {k: float(v) for k, v in result.items() if not k.startswith("diagnostics_")}

    seconds, values, voxels = [], [], 0
    for pair in paths:
        image, mask = map(sitk.ReadImage, pair)
        voxels = int(sitk.GetArrayViewFromImage(mask).sum())
        start = time.perf_counter()
        values.append(run(image, mask))
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": statistics.median(seconds), "peak_mb": peak, "values": values, "voxels": voxels}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patients", type=int, default=3, help="images of each kind (default 3)")
    patients = parser.parse_args().patients
    report: dict = {"machine": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    worst = 0.0
    print("slices  engine       s/patient  peak MB  ratio  largest relative difference")
    for slices in (7, 40):
        with tempfile.TemporaryDirectory() as folder:
            paths = write_cases(Path(folder), slices, patients)
            runs = {}
            for engine in ("pyradiomics", "ours"):
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    runs[engine] = pool.apply(measure, (engine, paths))
        difference = max(
            abs(ours[name] - value) / max(abs(value), 1e-12)
            for ours, theirs in zip(runs["ours"]["values"], runs["pyradiomics"]["values"], strict=True)
            for name, value in theirs.items()
        )
        worst = max(worst, difference)
        ratio = runs["pyradiomics"]["seconds"] / runs["ours"]["seconds"]
        report[f"ratio_{slices}_slices"] = round(ratio, 2)
        for engine, run in runs.items():
            report[f"{engine}_seconds_{slices}_slices"] = round(run["seconds"], 4)
            report[f"{engine}_peak_mb_{slices}_slices"] = round(run["peak_mb"], 1)
            extra = f"{ratio:5.1f}  {difference:.1e}" if engine == "ours" else ""
            print(
                f"{slices:6d}  {engine:11s}  {run['seconds']:9.3f}  {run['peak_mb']:7.0f}  {extra}",
                flush=True,
            )
        report["voxels"], report["features"] = runs["ours"]["voxels"], len(runs["ours"]["values"][0])
    report["max_relative_difference"] = worst
    path = ROOT / "build" / "bench" / "extraction.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
