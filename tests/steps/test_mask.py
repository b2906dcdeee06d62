"""A mask of tissue: refused by name, or nothing outside it is predicted, learned or scored."""

from __future__ import annotations

import json
import time
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from dcan.config import parse
from dcan.errors import DcanError
from dcan.geometry import Box
from dcan.net.normalise import histogram, section_table
from dcan.net.predict import predict_section
from dcan.ops import calibration as ops
from dcan.ops import contingency, phantom
from dcan.ops.calibration import SearchGrid
from dcan.ops.metrics import volume_scores
from dcan.ops.sections import Fusion
from dcan.ops.tally import Tally
from dcan.ops.targets import NEURITE, UNKNOWN, target
from dcan.report.wording import count
from dcan.steps import assess
from dcan.steps.calibrate import THRESHOLDS, WEIGHTS, calibrate
from dcan.steps.drift import pairs
from dcan.steps.experiment import experiment
from dcan.steps.ingest import section_histogram, survey
from dcan.steps.pictures import overlays
from dcan.steps.precision import precision_error
from dcan.steps.predict import predict
from dcan.steps.probe import NEURITES, allocate, probe
from dcan.steps.report import report
from dcan.steps.resolve import predictor
from dcan.steps.sealing import seal
from dcan.steps.truth import labelled, truth
from dcan.steps.validation import Validation
from dcan.steps.verify import verify
from dcan.steps.watching import standings
from dcan.steps.workspace import Part, Workspace
from dcan.storage.volumes import Store
from tests.steps.conftest import Make, maker, noise
from tests.steps.test_blockwise import run
from tests.steps.test_ingest import ingested
from tests.steps.test_truth import saved
from tests.steps.test_validation import TRAINING, trained

SHAPE = (6, 96, 80)
K = 4
MEMBRANE = "membrane.ome.zarr/0"


def coarse() -> np.ndarray:
    """A mask of pixels of 4 x 4: section 2 is empty, of the others the upper rows are tissue."""
    mask = np.zeros((6, 24, 20), np.uint16)
    mask[:, :7] = 300
    mask[:, 5, :3] = 0
    mask[2] = 0
    mask[4, :, 9:] = 0
    return mask


def fine() -> np.ndarray:
    return np.kron(coarse() > 0, np.ones((1, K, K), bool))


def image() -> np.ndarray:
    """Noise in the mask, and outside it a margin that is all of one intensity."""
    return np.where(fine(), noise(*SHAPE), 9).astype(np.uint8)


def masked(make: Make, tmp_path: Path, mask: np.ndarray | None = None, **more: Any) -> Workspace:
    source = saved(tmp_path / "mask.npy", coarse() if mask is None else mask)
    volume = {"mask": source, **more.pop("volume", {})}
    return make(more.pop("em", image()), volume=volume, **more)


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (np.ones((5, 96, 80), bool), r"volume.mask has shape \[5, 96, 80\], the volume has \[6, 9"),
        (np.ones((6, 48, 20), bool), r"shape \[6, 48, 20\].*with one whole k for both"),
        (
            np.ones((6, 7, 6), bool),
            "stand for 14 to 15 of the volume's along y and x: give a finer",
        ),
        (np.ones((6, 24, 20), np.float32), "volume.mask: .*holds float32: a mask is bool or unsig"),
        (np.full((6, 24, 20), -1, np.int16), "volume.mask: .*holds int16: a mask is bool or unsig"),
        (np.zeros((6, 24, 20), bool), "volume.mask is 0 everywhere, which is no tissue: give one"),
    ],
)
def test_what_is_no_mask_of_the_volume_is_refused(
    make: Make, tmp_path: Path, mask: np.ndarray, said: str
) -> None:
    with pytest.raises(DcanError, match=said) as caught:
        probe(masked(make, tmp_path, mask))
    assert "\n" not in str(caught.value)


def test_the_phantom_is_no_mask() -> None:
    raw = {"name": "a", "source": "phantom", "voxel_size": [40, 4, 4], "mask": "phantom"}
    with pytest.raises(DcanError, match=r"volume.mask is phantom, .*: name a file, or null"):
        parse({"volume": raw, "phantom": {}}, "the test")


def test_an_experiment_knows_no_mask(make: Make, tmp_path: Path) -> None:
    space = masked(make, tmp_path)
    base = space.config.model_dump(mode="json")
    labels = saved(tmp_path / "ids.npy", noise(*SHAPE))
    given = {"source": labels, "kind": "neurites", "sections": "0:4"}
    base["training"]["volumes"] = [{"source": base["volume"]["source"], "truth": given}]
    (tmp_path / "base.yaml").write_text(json.dumps(base))
    text = {"name": "e", "base": str(tmp_path / "base.yaml"), "steps": 2, "runs": [{"name": "a"}]}
    (tmp_path / "e.yaml").write_text(json.dumps(text))
    with pytest.raises(DcanError, match=r"volume.mask, .*set it to null there"):
        experiment(str(tmp_path / "e.yaml"))


def test_sections_that_the_mask_leaves_empty_are_missing_without_being_named(
    make: Make, tmp_path: Path
) -> None:
    space = ingested(masked(make, tmp_path, volume={"missing": [5]}))
    assert space.missing == {2, 5}
    assert [pair.key for pair in pairs(space)] == ["0-1", "1-3", "3-4"]
    survey(space, 2)
    em, tissue = image(), fine()
    for z in range(SHAPE[0]):
        assert (section_histogram(space, z) == histogram(em[z][tissue[z]])).all()


def test_tissue_of_one_intensity_is_a_gap(make: Make, tmp_path: Path) -> None:
    em = image()
    em[3][fine()[3]] = 77
    with pytest.raises(DcanError, match=r"section 3 .* all over its mask.*missing to \[3, 5\]"):
        survey(ingested(masked(make, tmp_path, em=em, volume={"missing": [5]})))


def labels(tmp_path: Path, **more: Any) -> dict[str, Any]:
    ids = noise(6, 40, 80, seed=1) % 5 // 4 * 255
    source = saved(tmp_path / "ids.npy", 255 - ids)
    return {"source": source, "kind": "membranes", "sections": "0:5", "validation": "3:5", **more}


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A masked volume with a network of its own."""
    folder = tmp_path_factory.mktemp("learned")
    return trained(
        masked(
            maker(folder),
            folder,
            truth=labels(folder),
            training=TRAINING,
            model={"width": 2, "head": "upsample", "inner": 2},
            segmentation={"sigma": 1, "depth": 8},
            prediction={"tile": 16, "halo": 64, "threads": 1, "precision": "bfloat16"},
        )
    )


def test_a_precision_is_judged_where_there_is_tissue(learned: Workspace) -> None:
    kept = Validation(learned)
    found = precision_error(learned, kept, Fusion(1.0, 8.0, 900, 600, 5))
    assert found is not None
    assert 0 < found["largest"] < 0.1, "255 without tissue against what the network sees there"
    maps = [m[t] for m, t in zip(kept.maps, kept.tissues, strict=True) if t is not None]
    assert min(part.min() for part in maps) < 200
    wanted = ops.calibrate(
        kept.maps,
        kept.truths,
        SearchGrid((1.0,), (8.0,), (900,), (600,), (5,)),
        tissues=kept.tissues,
    )
    assert found["rand_error"] == wanted.best.rand_error


def test_only_tiles_with_tissue_are_predicted_and_the_others_recorded_as_skipped(
    learned: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    em, tissue = image(), fine()
    network = predictor(learned)
    wanted = np.full(SHAPE, 255, np.uint8)
    for z in (0, 1, 3, 4, 5):
        table = section_table(histogram(em[z][tissue[z]]))
        wanted[z] = predict_section(network, em[z], table, 16, 64)
    wanted[~tissue] = 255
    assert len(np.unique(wanted[tissue])) > 2
    of_tiles = tissue.reshape(6, 6, 16, 5, 16).any(axis=(2, 4))  # tiles of 16 in 96 x 80

    totals = {}
    for shape in ([4, 32, 32], [2, 96, 80]):
        plain = learned.config.model_dump(mode="json") | {"blocks": {"shape": shape}}
        space = Workspace.of(parse(plain, "the test"))
        caplog.clear()
        with caplog.at_level("INFO", "dcan"):
            predict(space, Part(0, 1), 2)
            seal(space, "predict")
        assert (Store(space.root, MEMBRANE).read(Box.whole(SHAPE)) == wanted).all()
        receipt = space.receipt("predict")
        for entry in receipt.entries:
            box = Box.parse(entry.key)
            tiles = of_tiles[:, box.start[1] // 16 : -(-box.stop[1] // 16)][
                box.slices[0], :, box.start[2] // 16 : -(-box.stop[2] // 16)
            ]
            assert entry.counts["tiles_predicted"] == tiles.sum()
            assert entry.counts["tiles_skipped"] == (~tiles).sum()
            assert entry.counts["voxels"] == 256 * tiles.sum()
            assert entry.skipped == (not tiles.any())
        totals[tuple(shape)] = (receipt.values, sum(entry.skipped for entry in receipt.entries))
        if shape == [4, 32, 32]:
            assert "predict: 6 done, 12 skipped: no tissue, 0 were done before" in caplog.text
            assert "predict: 18 blocks, 12 of them skipped" in caplog.text
            journal = "".join(
                path.read_text() for path in (space.root / "receipts/predict").glob("*.journal")
            )
            assert journal.count('"skipped": true') == 12
        else:
            assert "predict: 0 done, 3 were done before" in caplog.text, "the shards are there"
        verify(space)
    assert totals[4, 32, 32][0] == totals[2, 96, 80][0]
    assert (totals[4, 32, 32][1], totals[2, 96, 80][1]) == (12, 0)
    assert totals[2, 96, 80][0]["tiles_predicted"] == of_tiles.sum()
    assert totals[2, 96, 80][0]["tiles_skipped"] == (~of_tiles).sum()


def test_a_mask_that_is_all_tissue_changes_nothing(learned: Workspace, tmp_path: Path) -> None:
    """Neither the map, nor what was learned."""
    maps, stages = {}, {}
    em = np.where(np.arange(6)[:, None, None] == 2, 9, noise(*SHAPE)).astype(np.uint8)
    source = saved(tmp_path / "em.npy", em)
    full = np.ones((6, 24, 20), bool)
    full[2] = False
    for name, mask, missing in (("none", None, [2]), ("all", full, [2])):
        plain = learned.config.model_dump(mode="json")
        given = None if mask is None else saved(tmp_path / "full.npy", mask)
        plain["volume"] |= {"name": name, "source": source, "mask": given, "missing": missing}
        plain["model"] |= {"weights": str(learned.root / "models")}
        plain["prediction"] |= {"tile": 96}
        plain["blocks"] |= {"shape": list(SHAPE)}
        plain["truth"] |= {"sections": "3:6", "validation": "5:6"}
        space = trained(Workspace.of(parse(plain, "the test")))
        predict(space, Part(0, 1), 1)
        maps[name] = Store(space.root, MEMBRANE).read(Box.whole(SHAPE))
        stages[name] = {s: space.fingerprint(s) for s in ("ingest", "survey", "predict")}
        stages[name]["truth"] = space.receipt("truth").fingerprint
    assert (maps["none"] == maps["all"]).all()
    changed = {s for s in stages["all"] if stages["all"][s] != stages["none"][s]}
    assert changed == {"survey", "predict"}, "it is read there, and nothing is ingested or learned"


def test_pixels_without_tissue_teach_nothing(learned: Workspace) -> None:
    found = {s.z: s for s in labelled(learned, lambda fold: True)}
    assert sorted(found) == [0, 1, 3, 4], "section 2 is empty"
    ids = 255 - noise(6, 40, 80, seed=1) % 5 // 4 * 255
    for z, section in found.items():
        tissue = fine()[z, :40]
        assert (section.target[~tissue] == UNKNOWN).all()
        assert (section.target[tissue] == target(ids[z], "membranes")[tissue]).all()
        counted = histogram(image()[z][fine()[z]])
        assert (section.table == section_table(counted)).all()
    kept = Validation(learned)
    assert [section.z for section in kept.sections] == [3, 4]
    for section, tissue, membrane in zip(kept.sections, kept.tissues, kept.maps, strict=True):
        assert tissue is not None
        assert (tissue == fine()[section.z, :40]).all()
        assert (membrane[~tissue] == 255).all()
        assert (membrane[tissue] < 255).any()
    calibrate(learned)
    found = json.loads((learned.root / "calibration.json").read_text())["surface"]
    grid = SearchGrid((1.0,), (8.0,), WEIGHTS, THRESHOLDS, (25,))
    wanted = ops.calibrate(kept.maps, kept.truths, grid, tissues=kept.tissues)
    assert [row[4] for row in found] == [score.rand_error for score in wanted.surface]
    everywhere = ops.calibrate(kept.maps, kept.truths, grid)
    assert wanted.surface != everywhere.surface
    changed = learned.receipt("truth").fingerprint != learned.fingerprint("truth")
    assert changed, "another mask would teach otherwise"


def test_folds_are_cut_of_the_sections_that_have_tissue(make: Make, tmp_path: Path) -> None:
    given = labels(tmp_path, validation=None)
    space = masked(make, tmp_path, truth=given, training={"folds": 2, "members": 2})
    survey(ingested(space))
    truth(space)
    (found,) = space.receipt("truth").values["volumes"]
    assert (found["sections"], found["folds"]) == ([0, 1, 3, 4], [0, 0, 1, 1])


@pytest.mark.parametrize(
    ("empty", "folds", "said"),
    [
        ([3, 4], 1, "no tissue in the labels of the sections to validate on"),
        ([0, 1, 2], 1, "no tissue in the labels of the sections to train on"),
        ([0, 1, 2, 4], 2, "no tissue in the labels of the sections to make 2 folds of"),
        ([0, 1, 2, 3, 4], 1, "no tissue in the labels of the sections to validate on"),
    ],
)
def test_a_split_without_tissue_is_refused(
    make: Make, tmp_path: Path, empty: list[int], folds: int, said: str
) -> None:
    mask = coarse()
    mask[2] = 300
    mask[empty, :10] = 0  # the labels end at row 40
    mask[:, 20:] = 5
    given = labels(tmp_path, validation=None if folds > 1 else "3:5")
    training = {"folds": folds, "members": folds}
    space = ingested(masked(make, tmp_path, mask, em=noise(*SHAPE), truth=given, training=training))
    survey(space)
    with pytest.raises(DcanError, match=said):
        truth(space)


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, np.ndarray, np.ndarray]:
    """A given map under a mask, segmented and scored: workspace, truth, tissue."""
    folder, shape = tmp_path_factory.mktemp("scored"), (7, 64, 72)
    whole = Box.whole(shape)
    mask = np.ones((7, 32, 36), bool)
    mask[:, :5] = False
    mask[:, 14:18, 10:] = False
    mask[[2, 4]] = False  # 4 is a gap of the phantom, and not declared
    ids = phantom.render(shape, 5, whole).neurites
    raw = {
        "volume": {
            "name": "v",
            "source": saved(folder / "map.npy", phantom.membrane(shape, 5, whole)),
            "voxel_size": [50, 4, 4],
            "mask": saved(folder / "mask.npy", mask),
        },
        "membrane": {"source": str(folder / "map.npy")},
        "truth": {
            "source": saved(folder / "ids.npy", ids),
            "kind": "neurites",
            "sections": "0:4",
            "validation": "1:4",
        },
        "evaluation": {"sections": "4:7"},
        # w_f > 1 - t: membrane of 255 is inside where the mask does not say otherwise
        "segmentation": {"sigma": 1, "depth": 8, "w_f": 0.7, "t": 0.4, "min_size": 5},
        "labels": {"grow": True},
        "blocks": {"shape": [2, 32, 64]},
        "storage": {"shard": [2, 32, 32]},
        "output": str(folder / "results"),
    }
    space = Workspace.of(parse(raw, "test"))
    probe(space)
    space = Workspace.of(space.config)
    allocate(space)
    ingested(space)
    survey(space)
    truth(space)
    run(space, 2, Random(0))
    assess.evaluate(space)
    return space, ids, np.kron(mask, np.ones((1, 2, 2), bool))


def test_pixels_without_tissue_are_in_no_metric(scored: Any) -> None:
    space, ids, tissue = scored
    found = json.loads((space.root / "metrics.json").read_text())
    assert found["sections"] == [5, 6], "section 4 is empty"
    assert found["without_tissue"] == (~tissue[[5, 6]]).sum()
    config = space.config
    assert config.truth
    assert config.evaluation
    held = assess.HeldOut(space, config.truth, config.evaluation)
    for values in held.maps(5, assess.fusion_of(space)).values():
        assert not values[~tissue[5]].any()
    tally = Tally((0.0,))
    neurites = Store(space.root, NEURITES).read(Box.whole(ids.shape))
    segments = Store(space.root, "em.ome.zarr/labels/segments/0").read(Box.whole(ids.shape))
    assert not neurites[~tissue].any()
    for z in (5, 6):
        on = target(np.where(tissue[z], ids[z], 0), "neurites") == NEURITE
        tally.add(tally.measure(on, (segments[z] > 0).astype("f4"), tissue[z]))
    assert found["segments"]["curves"] == tally.scores().as_dict()
    inside = np.where(tissue, ids, 0)[[5, 6]]
    scores = volume_scores(contingency.count(inside, neurites[[5, 6]]))
    assert {key: found["neurites"][key] for key in scores} == scores


def test_linking_goes_across_what_the_mask_empties(scored: Any) -> None:
    space, _, _ = scored
    neurites = Store(space.root, NEURITES).read(Box.whole(space.shape))
    assert not neurites[4].any()
    assert np.intersect1d(neurites[3][neurites[3] > 0], neurites[5]).size > 0
    links = json.loads((space.root / "calibration.json").read_text())["linking"]
    assert links["from"] == "validation sections", "1 and 3, of which 2 between them is empty"


def test_the_report_says_what_was_left_out(scored: Any) -> None:
    space, _, tissue = scored
    report(space)
    page = (space.root / "report.html").read_text()
    without = (~tissue[[5, 6]]).sum()
    assert f"The metrics leave out {count(int(without))} pixels" in page
    assert "Sections without tissue: 2, 4." in page
    for one in overlays(space, json.loads((space.root / "metrics.json").read_text())):
        assert one.mistakes is not None
        assert not one.mistakes[~tissue[one.section]].any()


@pytest.mark.parametrize(("rows", "sections"), [(64, "4:5"), (10, "5:7")])
def test_evaluation_without_tissue_is_refused(
    scored: Any, tmp_path: Path, rows: int, sections: str
) -> None:
    space, ids, _ = scored
    plain = space.config.model_dump(mode="json") | {"evaluation": {"sections": sections}}
    plain["truth"]["source"] = saved(tmp_path / "crop.npy", ids[:, :rows])
    other = Workspace.of(parse(plain, "test"))
    assert other.config.truth
    assert other.config.evaluation
    with pytest.raises(DcanError, match=rf'"{sections}", and volume.mask leaves no tissue'):
        assess.HeldOut(other, other.config.truth, other.config.evaluation)


def test_a_finished_truth_under_a_mask_is_known_as_done(learned: Workspace) -> None:
    states = {each.stage: each.state for each in standings(learned, time.time())}
    assert (states["truth"], states["train"]) == ("done", "done")
