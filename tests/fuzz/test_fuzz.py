"""Thousands of damaged inputs of every format: each is read as the truth, or refused in one line.

A case is a finding where it ends in a traceback, a reason that nobody wrote, several lines, takes more than
20 s or 2 GB, or ends the process; and where it gives another value without a word, but for the kinds of ``UNSEEN``, of
which the file has no second witness. These are counted and printed with -s.

    FUZZ_CASES=5000 FUZZ_SECONDS=900 FUZZ_SEED=1 python -m pytest tests/fuzz -m slow -s
"""

from __future__ import annotations

import gzip
import multiprocessing
import os
import re
import shutil
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from conftest import write_seg, write_series
from ct_files import in_transfer_syntax
from fuzz_worker import read, serve
from mask_files import outlines, write_rtstruct, write_seg_dicom
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from analysis_lib.common.settings import LARGEST
from analysis_lib.core.parameters import PARAMS_DIR, load_params
from analysis_lib.coxnet.model import RadiomicsSurvivalModel
from analysis_lib.coxnet.settings import AutoEncoderParams, NetworkParams

CASES, SECONDS, SEED, FIRST = (
    int(os.environ.get(f"FUZZ_{n}", d)) for n, d in (("CASES", 5000), ("SECONDS", 900), ("SEED", 1), ("FIRST", 0))
)
LONGEST_S, LARGEST_MB = 20, 2048
FINE = {"same", "noted", "excluded", "refused"}
UNSEEN = {
    "voxels": "as many bytes as before, others: with the true ones in place nothing is another value; no format that "
    "is read here has a checksum of them",
    "cells": "other text in cells of the same rows and columns that is possible there: another age, name or time",
    "rows": "lines of a table that are gone or run into one: nothing in it says how many patients there are",
    "parameter": "another text, or a number of the size that the parameter may have; the run's record names it",
}
NUMBERS = [b"0", b"-1", b"nan", b"inf", b"1e30", b"1e-30", b"99999999999", b"65535", b"4.7", b"", b"0x10", b"\xc3"]
WORDS = [
    *(
        b"\x00\x00",
        b"\xff\xff",
        b"\x00\x80",
        b"\xff\x7f",
        b"\xff\xff\xff\x7f",
        b"\x00\x00\x80\x7f",
        b"\x00\x00\xc0\x7f",
    ),
    *(np.float32(1e30).tobytes(), np.float32(-1).tobytes(), b"\x01\x00\x00\x00"),
    *(b"\xfe\xff\x00\xe0", b"\xff\xff\xff\xff"),  # an item of DICOM, and a length that is not said
]


def mutated(content: bytes, rng: np.random.Generator, front: float = 0.7) -> bytes:
    """One to four changes, most of them where headers are."""
    data = bytearray(content)
    for _ in range(int(rng.choice([1, 1, 1, 2, 4]))):
        if not data:
            break
        near = min(len(data), 1500) if rng.random() < front else len(data)
        at, length = int(rng.integers(near)), int(rng.choice([1, 1, 2, 4, 8, 32, 512]))
        how = rng.integers(9)
        if how == 0:
            data[at] ^= 1 << int(rng.integers(8))
        elif how == 1:
            data[at] = int(rng.integers(256))
        elif how == 2:
            del data[at : at + length]
        elif how == 3:
            data[at:at] = data[at : at + length]
        elif how == 4:
            data[at:at] = rng.bytes(length)
        elif how == 5:
            del data[at + (len(data) - at) // 2 :]
        elif how == 6:
            word = WORDS[int(rng.integers(len(WORDS)))]
            data[at : at + len(word)] = word
        else:
            found = [m.span() for m in re.finditer(rb"-?\d+(\.\d+)?", bytes(data[: max(near, 64)]))]
            if found:
                start, end = found[int(rng.integers(len(found)))]
                data[start:end] = NUMBERS[int(rng.integers(len(NUMBERS)))]
    return bytes(data)


def inside_gzip(content: bytes, rng: np.random.Generator) -> bytes:
    return gzip.compress(mutated(gzip.decompress(content), rng), 1) if rng.random() < 0.6 else mutated(content, rng)


def inside_nrrd(content: bytes, rng: np.random.Generator) -> bytes:
    """The header, the packed stream, or what is packed."""
    head, _, packed = content.partition(b"\n\n")
    if rng.random() < 0.7:
        return mutated(head, rng, 0.2) + b"\n\n" + packed
    unpacked = mutated(zlib.decompress(packed, 31), rng)
    return head + b"\n\n" + (gzip.compress(unpacked, 1) if rng.random() < 0.5 else mutated(packed, rng))


def inside_zip(path: Path, rng: np.random.Generator) -> None:
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = list(parts)[int(rng.integers(len(parts)))]
    parts[name] = mutated(parts[name], rng, 0.3)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for part, content in parts.items():
            archive.writestr(part, content)


def change_file(path: Path, rng: np.random.Generator) -> None:
    """Change one file by what it is."""
    if path.suffix == ".xlsx" and rng.random() < 0.8:
        inside_zip(path, rng)
        return
    content = path.read_bytes()
    how: Callable = mutated
    if path.name.endswith(".gz"):
        how = inside_gzip
    elif path.suffix == ".nrrd" and b"encoding: gzip" in content[:4000]:
        how = inside_nrrd
    elif path.suffix in (".csv", ".yaml", ".json"):
        how = lambda data, rng: mutated(data, rng, 0.0)  # noqa: E731  no header in front of the rest
    path.write_bytes(how(content, rng))


@pytest.fixture(scope="module")
def seeds(tmp_path_factory) -> dict[str, tuple[str, Path]]:
    """A good input of every format: its kind, and the folder that holds it."""
    root = tmp_path_factory.mktemp("seeds")
    rng = np.random.default_rng(5)
    hu = rng.integers(-60, 110, size=(6, 40, 50)).astype(np.int16)
    hu[:, :, :5], hu[:, :, 5:9] = -1000, -100
    sm, pm = np.zeros(hu.shape, bool), np.zeros(hu.shape, bool)
    sm[3, 10:30, 12:40], pm[3, 15:22, 14:24] = True, True
    found: dict[str, tuple[str, Path]] = {}

    def add(name: str, series: Callable[[Path], None], mask: Callable[[Path, Path], None]) -> None:
        folder = root / name
        (folder / "masks").mkdir(parents=True)
        series(folder / "ct")
        mask(folder / "masks", folder / "ct" / "P1")
        found[name] = ("image", folder)

    def dicom(syntax: str = "") -> Callable[[Path], None]:
        def write(ct: Path) -> None:
            write_series(ct / "P1", hu)
            if syntax:
                in_transfer_syntax(ct / "P1", syntax)

        return write

    grid = write_series(root / "grid", hu)

    def volume(suffix: str) -> Callable[[Path], None]:
        return lambda ct: (ct.mkdir(), sitk.WriteImage(grid.image_of(hu), str(ct / f"P1{suffix}")))

    def slicer(masks: Path, _: Path) -> None:
        write_seg(masks / "P1.seg.nrrd", {"SM": sm, "PM": pm}, grid)

    def label_map(suffix: str) -> Callable[[Path, Path], None]:
        def write(masks: Path, _: Path) -> None:
            (masks / "P1").mkdir()
            for name, mask in (("SM", sm), ("PM", pm)):
                sitk.WriteImage(grid.image_of(mask.astype(np.uint8)), str(masks / "P1" / f"{name}{suffix}"))

        return write

    for name, syntax in (
        ("", ""),
        (" JPEG-LS", JPEGLSLossless),
        (" JPEG 2000", JPEG2000Lossless),
        (" RLE", RLELossless),
    ):
        add(f"CT DICOM{name}", dicom(syntax), slicer)
    for suffix in (".nii", ".nii.gz", ".nrrd", ".mha"):
        add(f"CT {suffix}", volume(suffix), slicer)
        add(f"masks {suffix}", dicom(), label_map(suffix))
    add("SEG", dicom(), lambda masks, ct: write_seg_dicom(masks / "P1.dcm", ct, {"SM": sm, "PM": pm}))
    regions = {"SM": outlines(sm, grid), "PM": outlines(pm, grid)}
    add("RTSTRUCT", dicom(), lambda masks, _: write_rtstruct(masks / "P1.dcm", regions))
    table = pd.DataFrame(
        {"patient_id": [f"P{k}" for k in range(12)], "set": ["discovery", "external"] * 6, "sex": list("MF") * 6,
         "age": range(40, 52), "height_m": 1.7, "bmi": 23.5, "os_months": np.arange(12) * 3.5 + 1,
         "os_event": [0, 1, 1] * 4}
    )  # fmt: skip
    for suffix, write in ((".csv", table.to_csv), (".xlsx", table.to_excel)):
        (root / suffix).mkdir()
        write(root / suffix / f"patients{suffix}", index=False)
        found[f"table {suffix}"] = ("table", root / suffix)
    (root / "params").mkdir()
    for path in PARAMS_DIR.glob("*.yaml"):
        shutil.copy(path, root / "params")
    shutil.copy(PARAMS_DIR / "standin.yaml", root / "params" / "study.yaml")
    found["parameters"] = ("parameters", root / "params")
    features = pd.DataFrame(rng.normal(size=(30, 8)), [f"P{k}" for k in range(30)], [f"f{k}" for k in range(8)])
    small = AutoEncoderParams(code_size=2, max_epochs=5), NetworkParams(ensemble=2, max_epochs=5)
    model = RadiomicsSurvivalModel.fit(features, np.arange(30) + 1.5, np.arange(30) % 2, *small, seed=1)
    model.save(root / "model")
    found["model"] = ("model", root / "model")
    return found


def damaged(source: Path, kind: str, place: Path, rng: np.random.Generator) -> None:
    """A copy of a good input at ``place`` of which one file, or now and then two, is changed."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(source, place)
    files = sorted(path for path in place.rglob("*") if path.is_file())
    if kind == "parameters":
        files = [place / "study.yaml"]
    for k in rng.choice(len(files), min(len(files), int(rng.choice([1, 1, 1, 2]))), replace=False):
        change_file(files[k], rng)


def with_true_voxels(true: Path, path: Path) -> None:
    """Give a file the voxels (or contours) of the true one, if it has as many bytes, unpacked."""
    old, new = true.read_bytes(), path.read_bytes()
    if path.suffix == ".gz":
        old, new = gzip.decompress(old), gzip.decompress(new)
    elif path.suffix == ".nrrd" and b"encoding: gzip" in old[:4000]:
        (head, _, old), (new_head, _, new) = old.partition(b"\n\n"), new.partition(b"\n\n")
        if new_head == head and len(zlib.decompress(old, 31)) == len(zlib.decompress(new, 31)):
            path.write_bytes(true.read_bytes())
        return
    begin = {".nii": 352, ".gz": 352, ".nrrd": old.find(b"\n\n") + 2, ".mha": old.find(b"LOCAL\n") + 6}.get(path.suffix)
    if begin is None:  # PixelData, or ROIContourSequence
        begin = max(old.rfind(b"\xe0\x7f\x10\x00"), old.find(b"\x06\x30\x39\x00"))
    content = new[:begin] + old[begin:]
    if len(old) == len(new):
        path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)


def leaves(value, name: str = "") -> dict[str, object]:
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    return {name: value} if parts is None else {k: v for key, x in parts for k, v in leaves(x, f"{name}.{key}").items()}


def unseen(source: Path, kind: str, case: Path, again: Callable[[], tuple]) -> str:
    """The kind of ``UNSEEN`` that a case of another value is of; "" where it should have been seen."""
    changed = [path for path in case.rglob("*") if path.is_file()]
    changed = [path for path in changed if path.read_bytes() != (source / path.relative_to(case)).read_bytes()]
    if kind == "image":
        for path in changed:
            with_true_voxels(source / path.relative_to(case), path)
        return "voxels" if again()[0] != "other" else ""
    if kind == "table":
        old, new = (
            pd.read_excel(folder / changed[0].name, header=None, dtype=str, keep_default_na=False).to_numpy().tolist()
            if changed[0].suffix == ".xlsx"
            else [line.split(",") for line in (folder / changed[0].name).read_text("latin-1").splitlines()]
            for folder in (source, case)
        )
        return "" if old[0] != new[0] else "cells" if len(old) == len(new) else "rows"
    if kind == "parameters":
        old, new = (leaves(load_params("study", folder).model_dump(mode="json")) for folder in (source, case))
        numbers = [v for k, v in new.items() if old.get(k) != v and isinstance(v, int | float) and k != ".seed"]
        return "parameter" if all(abs(v) <= LARGEST for v in numbers) else ""
    return ""


class Reader:
    """A process that reads cases, and is another one after a case that ended it."""

    def __init__(self, place: Path) -> None:
        self.place, self.process = place, None

    def outcome(self, kind: str, truth) -> tuple[str, str, float]:
        if self.process is None:
            context = multiprocessing.get_context("spawn")
            self.connection, other = context.Pipe()
            self.process = context.Process(target=serve, args=(other, self.place), daemon=True)
            self.process.start()
            other.close()
            assert self.connection.recv() == "ready"
        self.connection.send((kind, truth))
        try:
            if self.connection.poll(LONGEST_S):
                return self.connection.recv()
        except EOFError:
            self.end()
            return "death", "the process ended", 0.0
        self.end()
        return "hang", f"more than {LONGEST_S} s", 0.0

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
        self.process = None


@pytest.mark.slow
def test_damaged_inputs_are_read_as_the_truth_or_refused_in_one_line(seeds, tmp_path):
    truths = {name: read(kind, source) for name, (kind, source) in seeds.items()}
    counts, findings, begun = Counter(), [], time.monotonic()
    reader, names, case = Reader(tmp_path / "case"), list(seeds), tmp_path / "case"

    def make(number: int) -> str:  # a case again: its number and the seed
        rng = np.random.default_rng((SEED, number))
        name = names[int(rng.integers(len(names)))]
        damaged(seeds[name][1], seeds[name][0], case, rng)
        return name

    for number in range(FIRST, FIRST + CASES):
        if time.monotonic() - begun > SECONDS:
            break
        name = make(number)
        kind, source = seeds[name]
        found, detail, peak_mb = reader.outcome(kind, truths[name])
        if found == "other":
            make(number)
            found = unseen(source, kind, case, partial(reader.outcome, kind, truths[name])) or found
        counts[name, found] += 1
        if found not in FINE | UNSEEN.keys() or peak_mb > LARGEST_MB:
            findings.append(f"case {number}, {name}: {found}, {peak_mb:.0f} MB: {detail}")
            reader.end()
    reader.end()
    table = pd.Series(counts).unstack(fill_value=0)
    print(f"\n{table.assign(cases=table.sum(axis=1)).to_string()}\nseed {SEED}: {table.to_numpy().sum()} cases")
    assert table.to_numpy().sum() > 0
    assert findings == [], "\n\n".join(findings[:20])
