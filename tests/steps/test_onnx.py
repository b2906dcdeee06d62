"""A volume segmented by networks of the user's own, from their files to the report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from dcan.errors import DcanError
from dcan.geometry import Box
from dcan.net.members import torch_members
from dcan.net.model import Architecture
from dcan.net.normalise import histogram, section_table
from dcan.net.predict import Predictor, predict_section
from dcan.ops import phantom
from dcan.steps import assess, ingest, probe
from dcan.steps.export import export
from dcan.steps.predict import predict
from dcan.steps.report import report
from dcan.steps.resolve import predictor, resolve
from dcan.steps.sealing import seal
from dcan.steps.train import weights
from dcan.steps.truth import truth
from dcan.steps.workspace import Part, Workspace
from dcan.storage.receipts import Receipt
from dcan.storage.volumes import Store
from tests.net.test_predict import weights as drawn
from tests.steps.conftest import Make, noise
from tests.steps.test_blockwise import run
from tests.steps.test_truth import saved

pytest.importorskip("dcan.net.onnx", reason="the extra `onnx` is not installed")
pytest.importorskip("onnx", reason="onnx is not installed")

from tests.net.onnx_networks import exported, filtered, model_of, node, tensor

SAID = {"halo": 8, "normalisation": "zero-one", "output": "probability"}
PREDICTION = {"tile": 32, "halo": 8, "threads": 1}
FUSION = {"sigma": 1, "depth": 8, "w_f": 0.7, "t": 0.4, "min_size": 5}
SAME = [node("Identity", "em")]
SHAPE = (6, 64, 70)


@pytest.fixture
def given(make: Make, tmp_path: Path) -> Make:
    """A workspace whose network is `content`, probed, with room for its results."""

    def workspace(em: np.ndarray, content: bytes, **sections: Any) -> Workspace:
        (tmp_path / "net.onnx").write_bytes(content)
        model = {"weights": str(tmp_path / "net.onnx"), "onnx": SAID | sections.pop("onnx", {})}
        base = {"model": model, "prediction": PREDICTION, "segmentation": FUSION}
        space = make(em, **{**base, **sections})
        probe.probe(space)
        probe.allocate(space)
        return space

    return workspace


def graph(*nodes: Any, **more: Any) -> bytes:
    return bytes(model_of(nodes, **more).SerializeToString())


def mapped(space: Workspace, workers: int = 1, batches: tuple[int, ...] = (0,)) -> np.ndarray:
    """The membrane map, made in batches in that order."""
    ingest.ingest(space, Part(0, 1), 1)
    seal(space, "ingest")
    ingest.survey(space)
    weights(space)
    resolve(space)
    for batch in batches:
        predict(space, Part(batch, len(batches)), workers)
    return Store(space.root, "membrane.ome.zarr/0").read(Box.whole(space.shape))


def test_from_a_file_to_the_report_and_nothing_is_said_to_be_unseen(
    given: Make, tmp_path: Path
) -> None:
    em = phantom.membrane(SHAPE, 5, Box.whole(SHAPE))  # what the network finds in it is itself
    ids = phantom.render(SHAPE, 5, Box.whole(SHAPE)).neurites
    space = given(
        em,
        graph(*SAME),
        truth={
            "source": saved(tmp_path / "ids.npy", ids),
            "kind": "neurites",
            "sections": "0:3",
        },
        evaluation={"sections": "3:6"},
        segmentation={**FUSION, "t": "auto"},
        volume={"missing": [4]},
        labels={"grow": True},
        blocks={"shape": list(SHAPE)},
        storage={"shard": list(SHAPE)},
    )
    mapped(space)
    truth(space)
    run(space, 2, Random(0))
    assess.evaluate(space)
    report(space)
    assert (Store(space.root, "membrane.ome.zarr/0").read(Box.whole(SHAPE)) == em).all()

    record = dict(space.receipt("resolve").values)
    assert (record["backend"], record["precision"], record["threads"]) == (
        *("onnxruntime", "float32", 1),
    )
    assert record["versions"].keys() == {"torch", "onnxruntime"}
    calibration = json.loads((space.root / "calibration.json").read_text())
    assert calibration["seen_in_training"] is None
    assert [(s["z"], s["members"], s["seen"]) for s in calibration["sections"]] == [(2, [0], None)]
    assert "it is not known whether" in calibration["remarks"][0]
    assert json.loads((space.root / "metrics.json").read_text())["seen_in_training"] is None
    page = (space.root / "report.html").read_text()
    assert page.count("not known whether seen in training") == 4
    assert "none seen in training" not in page
    assert "It is not known whether the network was trained on sections" in page
    assert str(tmp_path / "net.onnx") in page
    assert f"<dd>{record['versions']['onnxruntime']}</dd>" in page
    with pytest.raises(DcanError, match="of networks in ONNX: hand on those files"):
        export(space, 0, str(tmp_path / "out.safetensors"))


def test_an_ensemble_gives_the_same_bits_however_the_volume_is_cut(
    given: Make, tmp_path: Path
) -> None:
    em = noise(3, 70, 40)
    em[1] //= 3  # another contrast, which is for the section's table
    architecture, folder = Architecture(4), tmp_path / "nets"
    folder.mkdir()
    states = [drawn(seed) for seed in (1, 2)]
    for name, state in zip("ab", states, strict=True):
        (folder / f"{name}.onnx").write_bytes(exported(architecture, state))
    said = {"halo": 54, "normalisation": "section-mean-deviation", "output": "softmax"}
    space = given(
        em,
        b"",
        model={"weights": str(folder), "onnx": {**said, "channel": 1}},
        prediction={**PREDICTION, "halo": 56},
    )
    found = mapped(space, 2, (1, 0))
    tables = [section_table(histogram(section)) for section in em]
    sections = list(zip(em, tables, strict=True))
    whole = [predict_section(predictor(space), s, t, 32, 56) for s, t in sections]
    assert np.ptp(whole) > 100
    assert np.array_equal(found, whole)
    own = Predictor(torch_members(architecture, states), 54, threads=1)
    same = [predict_section(own, s, t, 32, 56) for s, t in sections]
    assert np.abs(found.astype(int) - same).max() <= 1
    assert (found != same).mean() < 0.01


@pytest.mark.parametrize(
    ("dtype", "onnx", "expected"),
    [
        (np.uint8, {"normalisation": "none"}, lambda em: em / 1000),
        (np.uint16, {"normalisation": "zero-one"}, lambda em: em / 65535),
        (
            *(np.uint8, {"normalisation": "section-mean-deviation", "output": "sigmoid"}),
            lambda em: 1 / (1 + np.exp(-(em - em.mean()) / em.std())),
        ),
        (np.uint8, {"normalisation": "zero-one", "white": "neurite"}, lambda em: 1 - em / 255),
    ],
)
def test_what_the_network_reads_is_normalised_by_the_section(
    given: Make, dtype: Any, onnx: dict[str, Any], expected: Any
) -> None:
    em = noise(2, 40, 48, dtype=dtype)
    em[1] //= 2
    scaled = graph(node("Div", "em", "by"), tensors=[tensor("by", np.float32(1000))])
    content = scaled if onnx["normalisation"] == "none" else graph(*SAME)
    found = mapped(given(em, content, onnx=onnx))
    wanted = np.stack([expected(section.astype(np.float64)) * 255 for section in em])
    assert np.abs(found - wanted).max() <= 0.5 + 1e-3


REFUSED: dict[str, tuple[bytes, dict[str, Any], str]] = {
    "damaged": (graph(*SAME)[:-9], {}, "not an ONNX model"),
    "of another size": (
        *(graph(*SAME, inputs=((1, 1, 64, 64),)), {}),
        "windows of 64 x 64 pixels alone, and .* are 48",
    ),
    "of two channels": (filtered(np.zeros((2, 3, 3))), {}, "channel is null"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_network_is_refused_before_the_first_block(given: Make, what: str) -> None:
    content, onnx, words = REFUSED[what]
    space = given(noise(1, 32, 32), content, onnx=onnx)
    with pytest.raises(DcanError, match=words) as caught:
        weights(space)
    assert "net.onnx" in str(caught.value)
    assert not (space.root / "receipts" / "train.json").exists()


def test_a_folder_without_networks_is_refused(given: Make, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    model = {"weights": str(tmp_path / "none"), "onnx": SAID}
    with pytest.raises(DcanError, match=r"no checkpoint \(\.onnx\), no folder of them"):
        weights(given(noise(1, 32, 32), b"", model=model))


def test_another_file_under_the_name_is_noticed(given: Make, tmp_path: Path) -> None:
    space = given(noise(1, 32, 32), graph(*SAME))
    weights(space)
    resolve(space)
    assert predictor(space)
    (tmp_path / "net.onnx").write_bytes(graph(node("Neg", "em")))
    with pytest.raises(DcanError, match=r"net\.onnx is not the one that was vouched for"):
        predictor(space)


def test_another_onnxruntime_is_refused(given: Make) -> None:
    space = given(noise(1, 32, 32), graph(*SAME))
    weights(space)
    resolve(space)
    path = space.root / "receipts" / "resolve.json"
    kept = Receipt.read(path)
    versions = {**kept.values["versions"], "onnxruntime": "1.0"}
    replace(kept, values={**kept.values, "versions": versions}).write(path)
    with pytest.raises(DcanError, match=r"was resolved for versions .*'onnxruntime': '1\.0'"):
        predictor(space)


def test_a_map_depends_on_the_file_and_on_how_it_is_read_alone(given: Make) -> None:
    em = noise(1, 32, 32)

    def fingerprint(content: bytes = graph(*SAME), **onnx: Any) -> str:
        space = given(em, content, onnx=onnx)
        ingest.ingest(space, Part(0, 1), 1)
        seal(space, "ingest")
        ingest.survey(space)
        weights(space)
        resolve(space)
        return space.fingerprint("predict")

    first = fingerprint()
    assert fingerprint(halo=0, multiple=4) == fingerprint(halo=5) == first
    others = [
        fingerprint(filtered(np.eye(3)[None])),
        fingerprint(normalisation="none"),
        fingerprint(output="sigmoid"),
        fingerprint(channel=0),
        fingerprint(white="neurite"),
    ]
    assert len({first, *others}) == 6
