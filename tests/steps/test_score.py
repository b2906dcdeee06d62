"""`dcan score`: formats, dtypes, polarity, threads, maps; sections in 2-D, objects in 3-D."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from skimage.metrics import adapted_rand_error, variation_of_information

from dcan.cli import main
from dcan.ops import contingency
from dcan.ops.definitions import MISTAKES
from dcan.ops.metrics import THRESHOLDS, score_stack, volume_scores, worst
from dcan.ops.warping import Mistake, mistakes
from dcan.steps import score_sections, score_volume
from dcan.steps.score import few_values
from dcan.steps.score_sections import Pair
from dcan.steps.score_volume import boxes
from dcan.storage.sources import SourceSpec, open_source
from tests.ops.test_metrics import GOLDEN, REFERENCE, synthetic, unit

Array = NDArray[Any]
Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """`dcan score` with these arguments: its status, output and errors."""

    def called(labels: Path, proposal: Path, *more: str) -> tuple[int, str, str]:
        status = main(["score", "--labels", str(labels), "--proposal", str(proposal), *more])
        return status, *capsys.readouterr()

    return called


def record(said: tuple[int, str, str]) -> dict[str, Any]:
    assert said[0] == 0, said[2]
    found: dict[str, Any] = json.loads(said[1])
    return found


def saved(path: Path, values: Array) -> Path:
    """The array in a file of the format that the path's ending names."""
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file.create_dataset("stack", data=values, chunks=(2, 7, 16))
    elif path.suffix == ".zarr":
        chunks = (3, 16, 7)
        zarr.create_array(path, data=values, chunks=chunks)
    else:
        tifffile.imwrite(path, values, photometric="minisblack")
    return path


FORMATS = ["tif", "npy", "h5", "zarr"]


@pytest.mark.parametrize("name", ["intensity_a", "nearmiss_b", "binary_c", "full_d"])
def test_the_reference_values_come_out_of_the_command_line(say: Say, name: str) -> None:
    if not REFERENCE.is_dir():
        pytest.skip(f"no reference values at {REFERENCE}")
    expected = json.loads((REFERENCE / "expected.json").read_text())[name]
    pair = [REFERENCE / f"{name}.{side}.tif" for side in ("labels", "proposal")]
    found = record(say(*pair, "--json"))
    assert {key: found[key] for key in expected} == pytest.approx(expected, rel=0, abs=1e-9)
    assert found["remarks"] == []
    every = set().union(*json.loads((REFERENCE / "expected.json").read_text()).values())
    assert every <= set(found)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"{case['seed']}-{case['kind']}")
def test_golden_values_from_every_format(say: Say, tmp_path: Path, kind: str, case: Any) -> None:
    truth, proposal = synthetic(case["seed"])
    if case["kind"] == "binary":
        proposal = np.where(proposal > 120, np.uint8(255), np.uint8(0))
    labels = saved(tmp_path / f"labels.{kind}", np.where(truth, np.uint8(255), np.uint8(0)))
    found = record(say(labels, saved(tmp_path / f"proposal.{kind}", proposal), "--json"))
    best = {key: found[key] for key in case["best"]}
    assert best == pytest.approx(case["best"], rel=0, abs=1e-12)
    assert found["at"] == pytest.approx(case["at"], rel=0, abs=0)
    assert found["dimensions"] == 2


def binary(proposal: Array, dtype: type, on: float) -> Array:
    return np.where(proposal > 120, on, 0).astype(dtype)


MAPS: dict[str, tuple[Callable[[Array], Array], bool]] = {
    "uint16": (lambda p: p.astype(np.uint16) * 257, False),
    "float32": (unit, False),
    "float64": (lambda p: p / 255, False),
    "bool": (lambda p: p > 120, True),
    "uint8 of 0 and 1": (lambda p: binary(p, np.uint8, 1), True),
    "float32 of 0 and .25": (lambda p: binary(p, np.float32, 0.25), True),
}


@pytest.mark.parametrize("kind", MAPS)
def test_maps_of_every_type_score_as_the_same_map(say: Say, tmp_path: Path, kind: str) -> None:
    truth, proposal = synthetic(3)
    convert, is_binary = MAPS[kind]
    values = (proposal > 120).astype(np.float32) if is_binary else unit(proposal)
    expected = score_stack(truth, values, thresholds=(0.0,) if is_binary else THRESHOLDS)
    labels = saved(tmp_path / "labels.npy", truth)
    found = record(say(labels, saved(tmp_path / "p.npy", convert(proposal)), "--json"))
    assert {key: found[key] for key in expected.best} == expected.best
    assert found["at"] == expected.at
    assert found["remarks"] == []


@pytest.mark.parametrize("kind", ["uint8", *MAPS])
def test_white_membrane_is_the_same_map_turned_round(say: Say, tmp_path: Path, kind: str) -> None:
    truth, proposal = synthetic(4)
    convert, _ = MAPS.get(kind, (np.asarray, False))
    # thresholds stand between the levels of 8 bits, which turning round may move by a rounding
    levels = np.array([3, 45, 90, 140, 190, 250], np.uint8)[proposal // 43]
    values = convert(levels)
    whole = {"b": True, "u": np.iinfo(values.dtype).max if values.dtype.kind == "u" else 0, "f": 1}
    if MAPS.get(kind, (None, False))[1]:
        inverted = (values == 0).astype(values.dtype)
    else:
        inverted = (whole[values.dtype.kind] - values).astype(values.dtype)
    labels = saved(tmp_path / "labels.tif", truth.astype(np.uint8))
    right = record(say(labels, saved(tmp_path / "right.npy", values), "--json"))
    turned = saved(tmp_path / "turned.npy", inverted)
    assert record(say(labels, turned, "--json", "--white", "membrane")) == right


def test_a_wrong_polarity_is_said_in_one_line(say: Say, tmp_path: Path) -> None:
    truth, proposal = synthetic(5)
    labels = saved(tmp_path / "labels.tif", truth.astype(np.uint8) * 255)
    right, turned = (
        saved(tmp_path / name, values)
        for name, values in (("right.tif", proposal), ("turned.tif", 255 - proposal))
    )
    for path, white, other in ((turned, "neurite", "membrane"), (right, "membrane", "neurite")):
        status, out, err = say(labels, path, "--json", "--white", white)
        assert status == 0
        (remark,) = json.loads(out)["remarks"]
        assert "it looks inverted" in remark
        assert remark.endswith(f"try --white {other}")
        assert [line for line in err.splitlines() if remark in line] == [f"score: {remark}"]
        assert "inverted" not in say(labels, path, "--json", "--white", other)[2]
    found = record(say(saved(tmp_path / "l.tif", (~truth).astype(np.uint8)), turned, "--json"))
    assert len(found["remarks"]) == 1
    assert re.search(r"--labels is white on \d\d% of its pixels", found["remarks"][0])


def test_a_map_that_leaves_its_range_unused_is_said(say: Say, tmp_path: Path) -> None:
    truth, proposal = synthetic(5)
    labels = saved(tmp_path / "labels.tif", truth.astype(np.uint8))
    found = record(say(labels, saved(tmp_path / "p.tif", proposal.astype(np.uint16)), "--json"))
    (remark,) = found["remarks"]
    assert re.match(r"--proposal \(uint16\) uses 0\.\d% of its range", remark)


def test_threads_change_nothing(say: Say, tmp_path: Path) -> None:
    truth, proposal = synthetic(6, (40, 50), 7)
    pair = [saved(tmp_path / "l.zarr", truth), saved(tmp_path / "p.zarr", proposal)]
    one = say(*pair, "--json")
    assert say(*pair, "--json", "--workers", "3")[1] == one[1]
    assert say(*pair, "--workers", "2")[1] == say(*pair)[1]


def test_the_table_shows_the_numbers_and_says_what_they_are(say: Say, tmp_path: Path) -> None:
    truth, proposal = synthetic(6)
    pair = [saved(tmp_path / "l.tif", truth.astype(np.uint8)), saved(tmp_path / "p.tif", proposal)]
    found, (_, table, _) = record(say(*pair, "--json")), say(*pair)
    for key, at in found["at"].items():
        assert re.search(rf"^{key} +{found[key]:.6f} +{at:.1f}$", table, re.MULTILINE)
        assert re.search(rf"^{key}: \w", table, re.MULTILINE)
    assert sum(found["warping_mistakes"].values()) > 0
    for kind, meaning in MISTAKES.items():
        pixels = found["warping_mistakes"][kind]
        assert re.search(rf"^{kind} +{pixels} {meaning}$", table, re.MULTILINE)


@pytest.mark.parametrize("workers", ["1", "3"])
def test_the_map_of_mistakes_is_where_the_numbers_come_from(
    say: Say, tmp_path: Path, workers: str
) -> None:
    truth, proposal = synthetic(7, (64, 80), 5)
    pair = [saved(tmp_path / "l.tif", truth.astype(np.uint8)), saved(tmp_path / "p.tif", proposal)]
    folder = tmp_path / "made" / "maps"
    found = record(say(*pair, "--json", "--maps", str(folder), "--workers", workers))
    assert [path.name for path in folder.iterdir()] == ["warping_mistakes.tif"]
    path = folder / "warping_mistakes.tif"
    threshold = found["at"]["warping_error_splits_mergers"]
    expected = [mistakes(t, u, threshold) for t, u in zip(truth, unit(proposal), strict=True)]
    with tifffile.TiffFile(path) as file:
        assert len(file.pages) == 5
        stack = np.stack([page.asarray() for page in file.pages])
        colours = file.pages[0].colormap[:, : len(Mistake)].T
    assert stack.dtype == np.uint8
    assert (stack == np.stack(expected)).all()
    assert len({tuple(colour) for colour in colours.tolist()}) == len(Mistake)
    assert colours[0].tolist() == [0, 0, 0]
    counts = {kind: int((stack == value).sum()) for value, kind in enumerate(MISTAKES, 1)}
    assert counts == found["warping_mistakes"]
    assert counts["split"] + counts["merge"] > 0
    share = (counts["split"] + counts["merge"]) / stack.size
    assert share == found["warping_error_splits_mergers"]
    with Image.open(path) as image:
        assert (image.mode, image.size, getattr(image, "n_frames", 1)) == ("P", (80, 64), 5)
        image.seek(3)
        assert (np.asarray(image) == expected[3]).all()
    path.write_bytes(b"of an earlier run")
    say(*pair, "--maps", str(folder))
    assert (tifffile.imread(path, key=range(5)) == stack).all()


def test_mistakes_have_the_documented_values() -> None:
    assert [mistake.name.lower() for mistake in Mistake if mistake] == [*MISTAKES]
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (\d) \| `(\w+)` \|", page, re.MULTILINE))
    assert rows == {str(value): kind for value, kind in enumerate(MISTAKES, 1)}


def test_memory_of_sections_follows_one_and_not_the_stack(tmp_path: Path) -> None:
    truth, proposal = synthetic(8, (200, 200), 1)
    logging.getLogger("dcan").handlers.clear()  # those of earlier calls, whose streams are closed

    def peak(times: int) -> int:
        sources = [
            open_source(SourceSpec(str(saved(tmp_path / f"{k}.npy", np.tile(a, (times, 1, 1))))), k)
            for k, a in (("labels", truth), ("proposal", proposal))
        ]
        tracemalloc.start()
        score_sections.record_of(Pair(*sources, "neurite", binary=False), 1)  # type: ignore[arg-type]
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return held

    peak(1)
    assert peak(40) < 1.25 * peak(10)


def volumes(seed: int, shape: tuple[int, int, int] = (6, 40, 50)) -> tuple[Array, Array]:
    """Truth of blocks of its own size, uint32, and a proposal of others, int64; some 0 in both."""
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    truth = 1 + z // 3 + 4 * (y // 9) + 32 * (x // 11)
    proposal = 1 + (z + 1) // 4 + 8 * (y // 13) + 128 * ((x + y // 20) // 10)
    random = np.random.default_rng(seed)
    truth = np.where(random.random(shape) < 0.1, 0, truth)
    proposal = np.where(random.random(shape) < 0.05, 0, proposal * 2**33)
    return truth.astype(np.uint32), proposal.astype(np.int64)


@pytest.mark.parametrize("kinds", [("npy", "npy"), ("h5", "zarr"), ("zarr", "h5")])
@pytest.mark.parametrize("most", [1 << 23, 900, 7])
def test_a_volume_scores_the_same_however_it_is_stored_and_cut(
    say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kinds: tuple[str, str], most: int
) -> None:
    truth, proposal = volumes(1)
    table = contingency.count(truth, proposal)
    labels, found = (
        saved(tmp_path / f"{name}.{kind}", values)
        for name, kind, values in zip("lp", kinds, (truth, proposal), strict=True)
    )
    monkeypatch.setattr(score_volume, "BOX_VOXELS", most)
    texts = {say(labels, found, "--json", "--workers", n)[1] for n in ("1", "3")}
    (text,) = texts
    scored = json.loads(text)
    assert scored["dimensions"] == 3
    assert scored["units"] == {"voi_split": "bits", "voi_merge": "bits"}
    expected = volume_scores(table)
    assert {key: scored[key] for key in expected} == expected
    faults = worst(table, score_volume.WORST, truth.shape)
    assert len(faults.splits) == len(faults.merges) == score_volume.WORST
    for name, kept in (("worst_splits", faults.splits), ("worst_merges", faults.merges)):
        assert [f["label"] for f in scored[name]] == [fault.label for fault in kept]
        assert [tuple(f["at"]) for f in scored[name]] == [fault.at for fault in kept]
        side = truth if name == "worst_splits" else proposal
        for fault in scored[name]:
            assert side[tuple(fault["at"])] == fault["label"]
    assert scored["remarks"] == []


def test_volumes_agree_with_scikit_image_where_the_definitions_do(say: Say, tmp_path: Path) -> None:
    truth, proposal = volumes(2)
    proposal += 1  # without 0, which Rand of scikit-image takes for an object
    pair = [saved(tmp_path / "l.npy", truth), saved(tmp_path / "p.npy", proposal)]
    found = record(say(*pair, "--json"))
    small = np.unique(proposal, return_inverse=True)[1].reshape(proposal.shape) + 1
    split, merge = variation_of_information(truth, small, ignore_labels=(0,))
    assert (found["voi_split"], found["voi_merge"]) == pytest.approx((split, merge), abs=1e-9)
    # without the pairs of a voxel with itself, n of each sum
    n = np.count_nonzero(truth)
    sums = (contingency.count(truth, small).foreground, n)
    both = int((sums[0].count ** 2).sum())
    true, proposed = (both / found[key] for key in ("rand_split", "rand_merge"))
    _, recall, precision = adapted_rand_error(truth, small, ignore_labels=(0,))
    assert (both - n) / (true - n) == pytest.approx(recall, abs=1e-9)
    assert (both - n) / (proposed - n) == pytest.approx(precision, abs=1e-9)


def test_the_table_of_a_volume_names_objects_and_places(say: Say, tmp_path: Path) -> None:
    truth, proposal = volumes(3)
    pair = [saved(tmp_path / "l.npy", truth), saved(tmp_path / "p.npy", proposal)]
    found, (_, table, _) = record(say(*pair, "--json")), say(*pair)
    for key in ("adapted_rand_error", "rand_split", "rand_merge", "voi_split", "voi_merge"):
        bits = " bits" if key.startswith("voi") else ""
        assert re.search(rf"^{key} +{found[key]:.6f}{bits}$", table, re.MULTILINE)
        assert re.search(rf"^{key}: \w", table, re.MULTILINE)
    for fault in found["worst_splits"] + found["worst_merges"]:
        at = ", ".join(map(str, fault["at"]))
        row = rf"^ *{fault['label']} +{fault['pieces']} +{fault['voxels']}  {at}$"
        assert re.search(row, table, re.MULTILINE)
    perfect = say(pair[0], pair[0])[1]
    assert "worst splits: objects of --labels in pieces: none" in perfect


TRIPLES = st.tuples(*[st.integers(1, 40)] * 3)


@given(TRIPLES, TRIPLES, TRIPLES, st.integers(1, 3000))
def test_boxes_are_bounded_and_whole_pieces_where_they_can_be(
    shape: Any, one: Any, other: Any, most: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(score_volume, "BOX_VOXELS", most)
        grid = boxes(shape, one, other)
    assert max(box.size for box in grid) <= most
    assert sum(box.size for box in grid) == int(np.prod(shape))
    piece = [
        min(n, max(sizes)) for n, sizes in zip(shape, zip(one, other, strict=True), strict=True)
    ]
    if np.prod(piece) <= most:
        for step, size, n in zip(grid.step, piece, shape, strict=True):
            assert step % size == 0 or step == n


def test_pieces_are_what_is_decoded_at_once(tmp_path: Path) -> None:
    values = np.arange(6 * 20 * 24, dtype=np.uint16).reshape(6, 20, 24)
    pieces = {
        kind: open_source(SourceSpec(str(saved(tmp_path / f"v.{kind}", values))), "labels").piece
        for kind in FORMATS
    }
    assert pieces == {"tif": (1, 20, 24), "npy": (1, 1, 1), "h5": (2, 7, 16), "zarr": (3, 16, 7)}
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["stack"] = values
    assert open_source(SourceSpec(str(tmp_path / "plain.h5")), "labels").piece == (1, 1, 1)
    path = tmp_path / "shards.zarr"
    array = zarr.create_array(
        path, shape=(1, 6, 20, 24), dtype="i4", chunks=(1, 2, 5, 6), shards=(1, 4, 10, 12)
    )
    array[0] = values
    assert open_source(SourceSpec(str(path)), "labels").piece == (2, 5, 6)


PEAK = """
import pathlib, sys
from dcan.cli import main
assert main(sys.argv[1:]) == 0
print("peak", pathlib.Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""


def test_memory_of_a_volume_follows_the_box_and_not_the_volume(tmp_path: Path) -> None:
    def peak(depth: int) -> int:
        pair = []
        for name, shift in (("l", 0), ("p", 3)):
            path = tmp_path / f"{name}{depth}.npy"
            array = np.lib.format.open_memmap(path, "w+", np.uint32, (depth, 1024, 1024))
            for z in range(depth):
                array[z] = 1 + (np.arange(1024) + shift) // 64 + 1000 * (z % 8)
            array.flush()
            pair.append(str(path))
        done = subprocess.run(
            [sys.executable, "-c", PEAK, "score", "--labels", pair[0], "--proposal", pair[1]],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return int(done.stdout.split()[-1]) >> 10

    small, large = peak(8), peak(64)
    assert large - small < 40, "MiB; the two volumes have 448 MiB more"


def blocky(dtype: type = np.uint16) -> Array:
    return (1 + np.arange(2 * 12 * 12).reshape(2, 12, 12) // 50).astype(dtype)


BINARY = np.tile(np.array([0, 255, 255], np.uint8), (2, 12, 4))

REFUSALS: dict[str, tuple[Array, Array, list[str], str]] = {
    "shape": (BINARY, BINARY[:, :, :11], [], r"shape \(2, 12, 12\) and --proposal \(2, 12, 11\)"),
    "labels for sections": (
        BINARY, blocky(np.uint32), [], "--proposal, beside binary labels: .* holds uint32",
    ),
    "map for objects": (
        blocky(), BINARY.astype(np.float32), [],
        r"--proposal, beside labels of objects in 3-D \(more than two values\): .* holds float32",
    ),
    "labels without 0": (BINARY // 255 + 1, BINARY, [], "--labels holds the values 1 and 2"),
    "proposal without 0": (BINARY, BINARY // 255 + 4, [], "--proposal holds the values 4 and 5"),
    "beyond 1": (
        BINARY, np.linspace(0, 2, 288, dtype=np.float32).reshape(2, 12, 12), [],
        r"--proposal runs from 1.* to 2 in section 1",
    ),
    "not a number": (
        BINARY, np.where(BINARY, np.nan, 0.5), [], "--proposal runs from nan to nan in section 0",
    ),
    "maps of objects": (blocky(), blocky(), ["--maps", "m"], "leave out --maps and --white"),
    "white objects": (blocky(), blocky(), ["--white", "membrane"], "leave out --maps and --white"),
    "no workers": (BINARY, BINARY, ["--workers", "0"], "--workers 0: give 1 or more"),
    "negative": (blocky(), -blocky(np.int32), [], "holds label -6 at voxel"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_what_does_not_fit_is_refused_in_one_line(say: Say, tmp_path: Path, case: str) -> None:
    truth, proposal, options, words = REFUSALS[case]
    pair = [saved(tmp_path / "l.npy", truth), saved(tmp_path / "p.npy", proposal)]
    status, out, err = say(*pair, *options)
    assert (status, out) == (1, "")
    lines = [line for line in err.splitlines() if not line.startswith("score: ")]
    assert len(lines) == 1
    assert re.search(words, lines[0]), lines[0]


@pytest.mark.parametrize("proposal", [blocky(np.uint8), np.where(blocky() > 2, 7, 0)])
def test_labels_that_may_be_a_map_are_said(say: Say, tmp_path: Path, proposal: Array) -> None:
    pair = [saved(tmp_path / "l.npy", blocky()), saved(tmp_path / "p.npy", proposal)]
    (remark,) = record(say(*pair, "--json"))["remarks"]
    assert "is taken for labels too" in remark


@pytest.mark.parametrize("most", [1 << 23, 50])
def test_a_binary_stack_is_told_by_all_its_voxels(
    say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(score_volume, "BOX_VOXELS", most)
    late = BINARY.copy()
    late[1, 11, 11] = 9
    labels, found = saved(tmp_path / "l.npy", BINARY), saved(tmp_path / "p.npy", late)
    assert few_values(open_source(SourceSpec(str(labels)), "labels")) == {0, 255}
    assert few_values(open_source(SourceSpec(str(found)), "labels")) is None
    pair = saved(tmp_path / "late.npy", late), saved(tmp_path / "late2.npy", late.astype(int))
    assert record(say(*pair, "--json"))["dimensions"] == 3
