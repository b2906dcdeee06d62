"""What the precision of a network changes is measured and said."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dcan.net.predict import predict_section
from dcan.ops.calibration import SearchGrid, calibrate
from dcan.ops.sections import Fusion
from dcan.steps.calibrate import calibrate as calibrating
from dcan.steps.precision import precision_error
from dcan.steps.resolve import predictor
from dcan.steps.validation import Validation
from dcan.steps.workspace import Workspace
from tests.steps.conftest import Make, noise
from tests.steps.test_truth import saved
from tests.steps.test_validation import TRAINING, made, trained

FUSION = Fusion(1.0, 8.0, 500, 500, 1)


def space(make: Make, tmp_path: Path, **prediction: Any) -> Workspace:
    found = made(make, tmp_path)
    given = found.config.prediction.model_copy(update=prediction)
    return trained(
        dataclasses.replace(found, config=found.config.model_copy(update={"prediction": given}))
    )


@pytest.mark.parametrize("prediction", [{"backend": "torch"}, {"backend": "openvino"}])
def test_the_error_is_that_against_float32_by_torch(
    make: Make, tmp_path: Path, prediction: dict[str, str]
) -> None:
    if prediction["backend"] == "openvino":
        pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
    run = space(make, tmp_path, **{"precision": "bfloat16"} | prediction)
    validation = Validation(run)
    found = precision_error(run, validation, FUSION)
    assert found is not None
    exact = predictor(run, exact=True)
    maps = [predict_section(exact, s.em, s.table, 32, 64) for s in validation.sections][:3]
    apart = np.abs(np.stack(validation.maps[:3]).astype(int) - np.stack(maps))
    assert 0 < found["largest"] == apart.max() / 255
    assert found["mean"] == pytest.approx(apart.mean() / 255)
    grid = SearchGrid((1.0,), (8.0,), (500,), (500,), (1,))
    for stack, key in ((validation.maps[:3], "rand_error"), (maps, "exact_rand_error")):
        assert found[key] == calibrate(stack, validation.truths[:3], grid).best.rand_error
    calibrating(run)
    kept = json.loads((run.root / "calibration.json").read_text())["precision"]
    assert kept["precision"] == "bfloat16"
    assert kept["backend"] == prediction["backend"]
    assert kept["largest"] == found["largest"]


def test_sections_of_several_sizes_are_measured(make: Make, tmp_path: Path) -> None:
    volumes = []
    for number, size in enumerate([(32, 40), (48, 24)]):
        ids = noise(4, *size, seed=1) % 5 // 4 * 255
        volumes.append(
            {
                "source": saved(tmp_path / f"em-{number}.npy", noise(4, *size, seed=number)),
                "truth": {
                    **{"source": saved(tmp_path / f"ids-{number}.npy", 255 - ids)},
                    **{"kind": "membranes", "sections": "0:4", "validation": "3:4"},
                },
            }
        )
    run = trained(
        make(
            noise(4, 40, 40),
            training=TRAINING | {"volumes": volumes},
            model={"width": 2},
            prediction={"tile": 32, "halo": 64, "threads": 1, "precision": "bfloat16"},
        )
    )
    validation = Validation(run)
    found = precision_error(run, validation, FUSION)
    assert found is not None
    exact = validation.predicted(2, exact=True)
    apart = [np.abs(u.astype(int) - v) for u, v in zip(validation.maps, exact, strict=True)]
    assert [each.shape for each in apart] == [(32, 40), (48, 24)]
    pixels = np.concatenate([each.ravel() for each in apart])
    assert 0 < found["largest"] == pixels.max() / 255
    assert found["mean"] == pytest.approx(pixels.mean() / 255)


def test_float32_by_torch_is_what_others_are_measured_by(make: Make, tmp_path: Path) -> None:
    run = space(make, tmp_path, precision="float32", backend="torch")
    assert precision_error(run, Validation(run), FUSION) is None
