"""The table of stages: what a fingerprint may hold, and that it names what there is."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from pydantic import BaseModel

from dcan.config import FUSION, LINKS, STAGES, Config, own, parse, planned, searched
from dcan.errors import DcanError

PLAIN: dict[str, Any] = {
    "volume": {"name": "a", "source": "em.tif", "voxel_size": [50, 4, 4]},
    "truth": {"source": "labels.tif", "kind": "neurites", "sections": "0:4"},
}


def config(**changed: Any) -> Config:
    return parse(PLAIN | changed, "test")


def upstream(stage: str) -> set[str]:
    """The stage and all that it stands on."""
    return {stage}.union(*(upstream(name) for name in STAGES[stage].after))


def depending(key: str) -> set[str]:
    """Stages whose fingerprint holds the key, and those that stand on one."""
    named = {name for name, stage in STAGES.items() if any(key.startswith(k) for k in stage.keys)}
    return {name for name in STAGES if upstream(name) & named}


@pytest.mark.parametrize("stage", STAGES)
def test_stands_on_earlier_stages_only(stage: str) -> None:
    earlier = list(STAGES)[: list(STAGES).index(stage)]
    assert set(STAGES[stage].after) <= set(earlier)


@pytest.mark.parametrize("stage", STAGES)
def test_names_keys_of_the_model(stage: str) -> None:
    for key in STAGES[stage].keys:
        model: Any = Config
        for part in key.split("."):
            assert issubclass(model, BaseModel)
            assert part in model.model_fields, f"{stage}: {key}"
            model = model.model_fields[part].annotation
            model = next(iter(get_args(model)), model)  # a section or null
    assert set(own(config(), stage)) == set(STAGES[stage].keys)


@pytest.mark.parametrize("stage", STAGES)
def test_names_calibrated_values_and_sources_that_there_are(stage: str) -> None:
    assert set(STAGES[stage].chosen) <= {*FUSION, *LINKS}
    assert set(STAGES[stage].sources) <= {"volume", "mask", "truth", "training"}
    if STAGES[stage].chosen:
        assert "calibrate" not in STAGES[stage].after, "a value alone is what it depends on"


def test_own_values_are_plain_and_follow_their_keys_alone() -> None:
    one, other = config(), config(linking={"iou": 0.5}, output="elsewhere")
    changed = {name for name in STAGES if own(one, name) != own(other, name)}
    assert changed == {"calibrate"}
    assert own(one, "drift")["linking.drift"] == 16
    assert own(one, "link") == {"labels.compact": False}
    assert own(one, "allocate")["storage.shard"] == [16, 1024, 1024]
    assert own(config(truth=None), "evaluate")["truth"] is None


@pytest.mark.parametrize(
    "key",
    [
        *("volume.name", "output", "engine.scheduler", "blocks.batches"),
        *("training.members", "training.checkpoint_every", "training.workers"),
    ],
)
def test_what_does_not_change_a_result_is_in_no_fingerprint(key: str) -> None:
    assert depending(key) == set()


def test_how_the_volume_is_cut_is_in_no_fingerprint_of_voxels() -> None:
    assert depending("storage.shard") <= {"probe", "allocate"}
    stages = depending("blocks.shape") - {"probe", "allocate"}
    assert stages == {name for name in STAGES if "flood" in upstream(name)}


@pytest.mark.parametrize(
    ("key", "first"),
    [
        ("linking.bridge", "drift"),
        ("linking.drift", "drift"),
        ("segmentation.min_size", "stitch"),
        ("labels.compact", "relabel"),
        ("labels.grow", "unite"),
        ("training.steps", "train"),
        ("prediction.tile", "predict"),
        ("prediction.views", "predict"),
        ("model.kind", "train"),
        ("model.onnx.output", "predict"),
        ("training.average", "train"),
    ],
)
def test_a_key_reruns_its_stage_and_none_before(key: str, first: str) -> None:
    order = list(STAGES)
    stages = depending(key) - {"probe", "allocate", "calibrate"}
    assert first in stages
    assert all(order.index(name) >= order.index(first) for name in stages)
    assert {"ingest", "survey"} & stages == set()


def given_map(**over: Any) -> Config:
    return config(membrane={"source": "map.tif"}, **over)


def test_a_given_map_leaves_the_network_out() -> None:
    grown = {"labels": {"grow": True}}
    assert set(STAGES) - set(planned(given_map(**grown))) == {"train", "resolve"}
    assert set(STAGES) - set(planned(given_map(truth=None, **grown))) == {
        *("truth", "train", "resolve"),
    }
    for stage in planned(given_map()).values():
        assert not {"train", "resolve"} & set(stage.after)
    for stage in ("calibrate", "predict"):
        assert "membrane" in planned(given_map())[stage].sources, "its content is read"
        assert own(given_map(), stage)["membrane.white"] == "membrane"


@pytest.mark.parametrize(
    "over",
    [
        {"model": {"weights": "ssTEM"}},
        {"training": {"volumes": []}},
    ],
)
def test_a_given_map_and_a_network_are_refused_together(over: dict[str, Any]) -> None:
    with pytest.raises(DcanError, match=r"membrane gives a map .*: remove one of the two"):
        given_map(**over)


FIXED = {"sigma": 1, "depth": 3, "w_f": 0.7, "t": 0.3}


@pytest.mark.parametrize(
    ("changed", "idle"),
    [
        ({}, {"grow", "settle"}),
        ({"labels": {"grow": True}}, set()),
        ({"labels": {"compact": True}, "segmentation": FIXED}, {"grow", "settle"}),
        ({"model": {"weights": "a"}}, {"grow", "settle"}),
        ({"model": {"weights": "a"}, "labels": {"grow": True}, "segmentation": FIXED}, {"truth"}),
        ({"model": {"weights": "a"}, "truth": None}, {"truth", "grow", "settle"}),
        (
            {"model": {"weights": "a"}, "segmentation": {"calibration": "c.json"}},
            {"truth", "grow", "settle"},
        ),
    ],
)
def test_stages_with_nothing_to_do_are_not_planned(changed: Any, idle: set[str]) -> None:
    stages = planned(config(**changed))
    assert list(stages) == [name for name in STAGES if name not in idle]
    for name, stage in stages.items():
        assert set(stage.after) == set(STAGES[name].after) - idle
        assert (stage.keys, stage.version) == (STAGES[name].keys, STAGES[name].version)


def test_is_searched_for_what_is_open_where_there_is_truth() -> None:
    assert searched(config())
    assert searched(config(segmentation={**FIXED, "t": "auto"}))
    assert not searched(config(segmentation=FIXED))
    assert not searched(config(segmentation={"calibration": "c.json"}))
    assert not searched(config(truth=None))


def test_neurites_stand_on_the_settled_rings_where_they_are_grown() -> None:
    assert planned(config())["unite"].after == ("relabel", "link")
    assert planned(config(labels={"grow": True}))["unite"].after == ("relabel", "settle", "link")
