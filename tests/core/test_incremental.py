"""A change of one cut-off: what runs again, how long it takes, and that the bytes are those of a run from scratch."""

import shutil
import time

import pytest
from made import copy_checkout, make, outputs

DEPENDS_ON_CUT_OFFS = [
    "02_sarcopenia",
    "03_radiomics_pca",
    "06_discrimination",
    "07_paper_comparison",
    "12_added_value",
    "13_extended_table2",
    "14_index_splines",
]
TWEAK = "base: smoke\ndata_dir: data/smoke\ndefinitions: {{PMI: {{men: {men}, women: 3.0}}}}\n"


@pytest.mark.slow
def test_a_new_cut_off_gives_the_bytes_of_a_run_from_scratch(tmp_path):
    copy_checkout(tmp_path, "__pycache__")
    make(tmp_path, "build/smoke/cohort.done", "STUDY=smoke")  # the patients
    tweak = tmp_path / "params" / "tweak.yaml"
    tweak.write_text(TWEAK.format(men=5.0))
    make(tmp_path, "study", "STUDY=tweak")
    tweak.write_text(TWEAK.format(men=5.5))
    started = time.monotonic()
    result = make(tmp_path, "study", "STUDY=tweak")
    print(f"{time.monotonic() - started:.0f} s after a new cut-off")  # a number for the reader; -s shows it
    ran = sorted(line.split()[1] for line in result.stdout.splitlines() if line.startswith("notebook "))
    assert ran == DEPENDS_ON_CUT_OFFS
    incremental = outputs(tmp_path, "tweak")
    for folder in ("build/tweak", "build/cache", "figures/tweak"):
        shutil.rmtree(tmp_path / folder)
    make(tmp_path, "study", "STUDY=tweak")
    scratch = outputs(tmp_path, "tweak")
    assert incremental.keys() == scratch.keys()
    assert [name for name in scratch if scratch[name] != incremental[name]] == []
