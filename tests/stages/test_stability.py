"""Disturbed images and masks: each changes what it says and nothing else."""

import functools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from analysis_lib.core.parameters import ParameterError, StabilityParams, load_params
from analysis_lib.core.project import Study
from analysis_lib.figures import stability as figure
from analysis_lib.figures import style
from analysis_lib.radiomics.perturb import perturb
from analysis_lib.radiomics.workers import run_here
from analysis_lib.stages import variants as stability
from analysis_lib.survival.agreement import icc_table

ROOT = Path(__file__).resolve().parents[2]
FILES = {"sm": ROOT / "params" / "features_sm.yaml", "pm": ROOT / "params" / "features_pm.yaml"}


def load(patient_id: str):
    rng = np.random.default_rng(int(patient_id[1:]))
    image = sitk.GetImageFromArray(rng.normal(40 + 5 * rng.normal(), 20, (6, 48, 48)).astype(np.int16))
    sm, pm = np.zeros((2, 6, 48, 48), np.uint8)
    sm[3, 6:18, 5 : 28 + int(patient_id[1:])] = 1
    pm[3, 9:15, 9:17] = 1
    images = [image, *map(sitk.GetImageFromArray, (sm, pm))]
    for one in images:
        one.SetSpacing((0.8, 0.9, 5.0))
    return images[0], {"sm": images[1], "pm": images[2]}


def disturbed(variant: str, key: str = "1 P3"):
    image, masks = perturb(*load("P3"), variant, key, noise_hu=5, contour_px=0.5, moved_mm=18)
    return sitk.GetArrayFromImage(image), {roi: sitk.GetArrayFromImage(mask) > 0 for roi, mask in masks.items()}


def test_masks_grow_shrink_and_wander_in_their_slice() -> None:
    voxels, original = disturbed("original")
    for variant in ("eroded", "dilated", "contour"):
        changed, masks = disturbed(variant)
        np.testing.assert_array_equal(changed, voxels)
        for roi in ("sm", "pm"):
            assert masks[roi].any(axis=(1, 2)).tolist() == original[roi].any(axis=(1, 2)).tolist()
    eroded, dilated, contour = (disturbed(v)[1]["sm"] for v in ("eroded", "dilated", "contour"))
    sm = original["sm"]
    assert sm.sum() == 12 * 26
    assert eroded.sum() == 10 * 24
    assert dilated.sum() == sm.sum() + 2 * (12 + 26)
    assert (eroded <= sm).all()
    assert (sm <= dilated).all()
    assert 0 < (contour ^ sm).sum() < 2 * (12 + 26)


def test_shuffling_keeps_every_regions_intensities() -> None:
    voxels, masks = disturbed("original")
    changed, same = disturbed("shuffled")
    for roi, mask in masks.items():
        np.testing.assert_array_equal(mask, same[roi])
        np.testing.assert_array_equal(np.sort(changed[mask]), np.sort(voxels[mask]))
        assert (changed[mask] != voxels[mask]).mean() > 0.8
    outside = ~(masks["sm"] | masks["pm"])
    np.testing.assert_array_equal(changed[outside], voxels[outside])


def test_moved_and_noisy() -> None:
    voxels, masks = disturbed("original")
    _, moved = disturbed("moved")
    np.testing.assert_array_equal(np.roll(masks["sm"], 20, axis=1), moved["sm"])
    noisy, same = disturbed("noise")
    np.testing.assert_array_equal(masks["pm"], same["pm"])
    assert np.std(noisy.astype(float) - voxels) == pytest.approx(5, rel=0.03)
    with pytest.raises(ValueError, match=r"leaves the image; choose a smaller stability.moved_mm"):
        perturb(*load("P3"), "moved", "1 P3", 5, 0.5, moved_mm=40)


def test_random_numbers_depend_on_patient_and_seed_alone() -> None:
    first, again, other = disturbed("noise"), disturbed("noise"), disturbed("noise", "2 P3")
    np.testing.assert_array_equal(first[0], again[0])
    assert (first[0] != other[0]).mean() > 0.5


def test_what_is_left_of_nothing_is_said() -> None:
    image, masks = load("P3")
    thin = np.zeros((6, 48, 48), np.uint8)
    thin[3, 20, 5:30] = 1
    masks["pm"] = sitk.GetImageFromArray(thin)
    with pytest.raises(ValueError, match="nothing is left of PM when eroded"):
        perturb(image, masks, "eroded", "k", 5, 0.5, 18)


def test_from_images_to_figure_and_chosen_features(tmp_path: Path) -> None:
    settings = StabilityParams(patients=4, moved_mm=18)
    calls: list[str] = []

    def counted(patient_id: str):
        calls.append(patient_id)
        return load(patient_id)

    run = functools.partial(
        stability.extract_variants,
        [f"P{k}" for k in range(4)],
        counted,
        str,
        FILES,
        settings,
        1,
        tmp_path,
        quiet=True,
        executor=run_here,
    )
    values, failures = run()
    assert failures.empty
    assert values.shape == (4 * 9, 1343)
    assert len(calls) == 4 * 9
    calls.clear()
    pd.testing.assert_frame_equal(run()[0], values)
    assert calls == []
    for change in ({"moved_mm": 17}, {"noise_hu": 9}, {"contour_px": 2}):  # what was kept is of other settings
        stability.extract_variants(
            ["P0"],
            counted,
            str,
            FILES,
            settings.model_copy(update=change),
            1,
            tmp_path,
            quiet=True,
            executor=run_here,
        )
        assert len(calls) == 9, change
        calls.clear()
    table = icc_table(values, stability.families(settings))
    icc = table.set_index(["family", "feature"])["icc"]
    assert icc["shuffled", "sm_original_firstorder_Mean"] == 1.0
    assert icc["moved", "sm_original_shape_VoxelVolume"] == 1.0
    assert icc["shuffled", "sm_original_glcm_Correlation"] < 0.5
    assert icc["bins", "sm_original_firstorder_Mean"] == 1.0
    assert 0 < icc["mask", "sm_original_shape_VoxelVolume"] < 1
    frame = figure.stability_frame(table)
    path = style.save_figure(figure.stability(frame), tmp_path, "stability", frame, synthetic=True)
    assert pd.read_csv(path.with_suffix(".csv")).shape[0] == 1343 * 5


def test_the_draw_is_steady() -> None:
    names = [f"P{k:03d}" for k in range(100)]
    drawn = stability.draw(names, 20, seed=1)
    assert len(drawn) == 20
    assert stability.draw(names[::-1], 20, seed=1) == drawn
    assert stability.draw(names, 20, seed=2) != drawn
    assert set(stability.draw([n for n in names if n != drawn[0]], 20, seed=1)) >= set(drawn[1:])


def test_the_study_uses_only_stable_features(tmp_path: Path) -> None:
    (tmp_path / "params").mkdir()
    for name in ("defaults", "site.example"):
        (tmp_path / "params" / f"{name}.yaml").write_text((ROOT / "params" / f"{name}.yaml").read_text())
    what_if = tmp_path / "params" / "t.yaml"
    what_if.write_text("base: defaults\nfeatures: {min_icc: 0.75}\n")
    with pytest.raises(ParameterError, match=r"features.min_icc 0.75 needs the stability analysis"):
        load_params("t", tmp_path / "params")
    what_if.write_text("base: defaults\nfeatures: {min_icc: 0.75}\nstability: {patients: 40}\n")
    params = load_params("t", tmp_path / "params")

    class Here(Study):
        build = tmp_path

    pd.DataFrame({"patient_id": ["P1", "P2"]}).to_parquet(tmp_path / "patients.parquet")
    features = pd.DataFrame({"a": [1.0, 2], "b": [3.0, 4]}, index=pd.Index(["P1", "P2"], name="patient_id"))
    features.to_parquet(tmp_path / "features.parquet")
    table = [(f, family, icc) for f, icc in (("a", 0.8), ("b", 0.7)) for family in ("mask", "bins", "noise")]
    pd.DataFrame(table, columns=["feature", "family", "icc"]).to_parquet(tmp_path / "stability.parquet")
    assert Here(params).features().columns.tolist() == ["a"]
