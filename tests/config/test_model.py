"""The strict model: what it takes, and the rules between its keys."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from pydantic import BaseModel

from dcan.config import Config, parse
from dcan.config.model import bounds
from dcan.errors import DcanError

VOLUME = {"name": "mine", "source": "em.tif", "voxel_size": [50, 4, 4]}
TRUTH = {"source": "labels.tif", "kind": "neurites", "sections": "0:8"}


def config(volume: dict[str, Any] | None = None, **sections: Any) -> Config:
    return parse({"volume": VOLUME | (volume or {}), **sections}, "test")


def refused(volume: dict[str, Any] | None = None, **sections: Any) -> str:
    with pytest.raises(DcanError) as caught:
        config(volume, **sections)
    line = str(caught.value)
    assert "\n" not in line
    return line


def truth(**changed: Any) -> dict[str, Any]:
    return TRUTH | changed


def test_a_volume_alone_is_enough_and_everything_else_has_a_default() -> None:
    found = config()
    assert found.truth is None
    assert found.trained_on() == []
    assert found.storage.shard == (16, 1024, 1024)


def test_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        config().volume.name = "other"  # type: ignore[misc]


def test_bounds_of_a_range() -> None:
    assert list(bounds("3:6")) == [3, 4, 5]


@pytest.mark.parametrize("name", ["a", "0", "_x.y-z", "a" * 64])
def test_names_that_are_folders(name: str) -> None:
    assert config({"name": name}).volume.name == name


@pytest.mark.parametrize("name", ["", ".", "..", "-a", "a/b", "a b", "a\n", "é", "a" * 65, "$(id)"])
def test_names_that_are_not(name: str) -> None:
    assert "volume.name" in refused({"name": name})


@pytest.mark.parametrize(
    "text", ["", "  ", "a\nb", "a\0b", "a\x1b[31m", "a\x7f", "\ud800", "a\u2028"]
)
def test_text_is_one_line_that_can_be_shown(text: str) -> None:
    line = refused(output=text)
    assert "output" in line
    assert line.isprintable()


@pytest.mark.parametrize("text", ["a b", "$(id)", "'", "Δ/ünï", "-x", "日本　語", "{x}"])
def test_odd_paths_are_taken_as_they_are(text: str) -> None:
    assert config(output=text).output == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3",
        "3:3",
        "5:3",
        "-1:3",
        "0-4",
        " 0:4",
        "0:4\n",
        "0:1000000000",
        "\u0663:\u0665",
        "0:4:1",
    ],
)
def test_ranges_that_are_none(text: str) -> None:
    rule = 'give a half-open range of sections "first:end" with first < end'
    assert rule in refused(truth=truth(sections=text))


@pytest.mark.parametrize(
    ("sections", "key"),
    [
        ({"training": {"steps": 0}}, "training.steps is 0: give 1 or more"),
        ({"training": {"steps": 1.0}}, "training.steps is 1.0: give an integer"),
        ({"training": {"steps": True}}, "training.steps is true: give an integer"),
        ({"training": {"steps": "5"}}, 'training.steps is "5": give an integer'),
        ({"training": {"crop": 100}}, "training.crop is 100: give a multiple of 8"),
        ({"training": {"rule": "sgd"}}, "give 'adam-cosine' or 'paper'"),
        ({"linking": {"iou": True}}, "linking.iou is true: give a number"),
        ({"linking": {"iou": "0.5"}}, "give a number"),
        ({"linking": {"iou": 0.1234}}, "at most three places"),
        ({"linking": {"iou": float("nan")}}, "linking.iou is NaN"),
        ({"linking": {"iou": 10**5000}}, "linking.iou is an integer of 16610 bits"),
        ({"segmentation": {"depth": 0.25}}, "at most one place"),
        ({"segmentation": {"sigma": 17}}, "give 16 or less or 'auto'"),
        ({"blocks": {"shape": [8, 512]}}, "blocks.shape is [8, 512]: give three numbers"),
        ({"blocks": {"shape": [8, 1, 1, 1]}}, "blocks.shape is [8, 1, 1, 1]: give three numbers"),
        ({"blocks": {"shape": 8}}, "blocks.shape is 8: give three numbers"),
        ({"blocks": {"shape": [8, 0, 512]}}, "blocks.shape.1 is 0: give 1 or more"),
    ],
)
def test_values_out_of_their_rule(sections: dict[str, Any], key: str) -> None:
    assert key in refused(**sections)


@pytest.mark.parametrize(
    "address",
    [
        *("tls://node-7.site:8786", "tls://192.0.2.2:1", "tls://[fd00::2]:65535"),
        *("tcp://127.0.0.1:8786", "tcp://127.9.0.1:80", "tcp://[::1]:80", "tcp://localhost:80"),
    ],
)
def test_addresses_of_a_scheduler(address: str) -> None:
    assert config(engine={"scheduler": address}).engine.scheduler == address


@pytest.mark.parametrize(
    "host", ["node7", "10.0.0.1", "[fd00::2]", "0.0.0.0", "127.0.0.999", "localhost.x"]
)
def test_a_scheduler_that_everyone_reaches_is_refused(host: str) -> None:
    line = refused(engine={"scheduler": f"tcp://{host}:80"})
    assert f'engine.scheduler is "tcp://{host}:80": tcp:// lets everyone' in line
    assert line.endswith(f"start it with TLS and give tls://{host}:80")


@pytest.mark.parametrize(
    "address",
    [
        *("node7:8786", "inproc://x/1", "ucx://node7:1", "tls://node7", "tls://:8786", "TLS://a:1"),
        *("tls://a:65536", "tls://a:0", "tls://u@a:1", "tls://a:1/", "tls://a b:1", "tls://[a]x:1"),
    ],
)
def test_addresses_of_a_scheduler_that_are_none(address: str) -> None:
    line = refused(engine={"scheduler": address})
    assert f'engine.scheduler is "{address}": give an address "tls://HOST:PORT"' in line


@pytest.mark.parametrize("voxel_size", [[0, 4, 4], [50, -4, 4], [50, 4, float("inf")]])
def test_a_voxel_has_a_size(voxel_size: list[float]) -> None:
    assert "volume.voxel_size" in refused({"voxel_size": voxel_size})


def test_missing_sections_are_kept_in_order_and_named_once() -> None:
    assert config({"missing": [9, 2, 5]}).volume.missing == [2, 5, 9]
    assert config({"missing": [9, 2, 5]}) == config({"missing": [5, 9, 2]})
    line = refused({"missing": [9, 2, 9]})
    assert "volume.missing is [9, 2, 9]: section 9 is named twice" in line


def test_the_last_quarter_is_kept_back() -> None:
    given = config(truth=truth(sections="4:12")).truth
    assert given is not None
    assert given.validated() == range(10, 12)
    two = config(truth=truth(sections="4:6")).truth
    assert two is not None
    assert two.validated() == range(5, 6)


FUSION = {"sigma": 1, "depth": 16, "w_f": 0.5, "t": 0.4}


@pytest.mark.parametrize("segmentation", [FUSION, {"calibration": "isbi2012"}])
@pytest.mark.parametrize("sections", ["4:12", "4:5"])
def test_all_sections_are_trained_on_where_what_they_would_choose_is_given(
    segmentation: dict[str, Any], sections: str
) -> None:
    whole = truth(sections=sections, validation="none")
    found = config(truth=whole, segmentation=segmentation)
    assert [found.kept_back(volume) for volume in found.trained_on()] == [[]]


@pytest.mark.parametrize("left", list(FUSION))
def test_what_is_left_to_calibrate_needs_sections(left: str) -> None:
    whole, part = truth(validation="none"), truth(source="part.tif")
    line = refused(truth=whole, segmentation=FUSION | {left: "auto"})
    assert f"segmentation.{left} is auto and truth has validation none" in line
    volumes = [{"source": "em2.tif", "truth": given} for given in (whole, part)]
    config(training={"volumes": volumes})  # the second keeps some back
    refused(training={"volumes": volumes[:1]})


def test_losses_of_heads_fall_from_no_lower_than_their_floor() -> None:
    line = refused(training={"discount_start": 0.001})
    assert "training.discount_start is 0.001, below discount_floor, 0.01" in line
    config(training={"discount_start": 0, "discount_floor": 0})


def test_folds_keep_every_section_back_once() -> None:
    line = refused(
        truth=truth(validation="none"), training={"folds": 2, "members": 2}, segmentation=FUSION
    )
    assert 'training.folds is 2 and truth has validation "none"' in line


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"sections": "4:5"}, 'truth.sections is "4:5", one section'),
        ({"validation": "6:9"}, 'truth.validation is "6:9", not a part of sections "0:8"'),
        ({"sections": "2:8", "validation": "1:4"}, "truth.validation"),
        ({"validation": "0:8"}, "leave some to train on"),
        ({"offset": [3, 0, 0]}, "the labels begin at section 3 (offset)"),
        ({"source": "phantom", "kind": "membranes"}, 'truth.kind is "membranes"'),
    ],
)
def test_truth_fits_together(changed: dict[str, Any], words: str) -> None:
    phantom = {"shape": [24, 64, 64]}
    assert words in refused(truth=truth(**changed), phantom=phantom)
    training = {"volumes": [{"source": "em2.tif", "truth": truth(**changed)}]}
    line = refused(training=training, phantom=phantom)
    assert words.replace("truth.", "training.volumes.0.truth.", 1) in line


def test_huge_ranges_take_no_time() -> None:
    began = time.process_time()
    config(
        truth=truth(sections="0:499999999", validation="5:400000000"),
        evaluation={"sections": "499999999:999999999"},
    )
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize(
    ("evaluation", "changed", "words"),
    [
        ("8:10", {"truth": None}, "truth is null"),
        ("7:10", {}, 'truth.sections is "0:8", which share section 7'),
        ("0:1", {}, "share section 0"),
        ("0:2", {"truth": truth(sections="4:8", offset=[4, 0, 0])}, "labels begin at section 4"),
        ("10:12", {"volume": VOLUME | {"missing": [10, 11]}}, "all of them in volume.missing"),
    ],
)
def test_what_is_scored_was_held_out_and_is_there(
    evaluation: str, changed: dict[str, Any], words: str
) -> None:
    sections = {"truth": TRUTH, "evaluation": {"sections": evaluation}, "volume": VOLUME}
    with pytest.raises(DcanError) as caught:
        parse(sections | changed, "test")
    assert f'evaluation.sections is "{evaluation}"' in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize("source", ["em.tif", {"path": "em.tif"}])
def test_training_volumes_that_are_this_volume_are_held_apart_too(source: Any) -> None:
    def training(path: Any) -> dict[str, Any]:
        return {"volumes": [{"source": path, "truth": truth(sections="10:20")}]}

    scored = {"truth": TRUTH, "evaluation": {"sections": "12:14"}}
    line = refused(**scored, training=training(source))
    assert 'training.volumes.0.truth.sections is "10:20", which share section 12' in line
    assert len(config(**scored, training=training("another.tif")).trained_on()) == 1


def test_sections_that_touch_share_none() -> None:
    assert config(truth=TRUTH, evaluation={"sections": "8:10"}).evaluation is not None
    shifted = truth(sections="4:8", offset=[4, 9, 9])
    assert config(truth=shifted, evaluation={"sections": "8:10"}).evaluation is not None


@pytest.mark.parametrize(
    "sections",
    [
        {"volume": VOLUME | {"source": "phantom"}},
        {"volume": VOLUME, "truth": truth(source="phantom")},
        {"volume": VOLUME, "training": {"volumes": [{"source": "phantom", "truth": TRUTH}]}},
    ],
)
def test_a_phantom_has_a_shape(sections: dict[str, Any]) -> None:
    with pytest.raises(DcanError, match="phantom is null, but a source is phantom: add phantom:"):
        parse(sections, "test")
    assert parse(sections | {"phantom": {}}, "test").phantom is not None


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"truth": truth(sections="0:9")}, 'truth.sections is "0:9", but phantom.shape has 8'),
        (
            {"truth": truth(sections="0:4"), "evaluation": {"sections": "4:9"}},
            'evaluation.sections is "4:9", but phantom.shape has 8',
        ),
    ],
)
def test_sections_of_the_phantom_are_inside_it(sections: dict[str, Any], words: str) -> None:
    phantom = {"shape": [8, 64, 64]}
    assert words in refused({"source": "phantom"}, phantom=phantom, **sections)
    assert config(phantom=phantom, **sections).truth is not None, "only of the phantom"


def test_missing_sections_of_the_phantom_are_inside_it() -> None:
    line = refused({"source": "phantom", "missing": [8]}, phantom={"shape": [8, 64, 64]})
    assert "volume.missing names section 8" in line


@pytest.mark.parametrize(
    ("missing", "what"),
    [([0, 1, 2, 3, 4, 5], "train on"), ([6, 7], "validate on")],
)
def test_both_sides_of_the_split_have_tissue(missing: list[int], what: str) -> None:
    assert f"no section with tissue to {what}" in refused({"missing": missing}, truth=TRUTH)
    assert config({"missing": missing[1:]}, truth=TRUTH).trained_on()
    one = {"source": "b.tif", "truth": TRUTH, "missing": missing}
    assert what in refused(training={"volumes": [one]})
    other = {"source": "c.tif", "truth": TRUTH}
    assert len(config(training={"volumes": [one, other]}).trained_on()) == 2


def test_trains_on_this_volume_unless_others_are_named() -> None:
    (own,) = config({"missing": [3]}, truth=TRUTH).trained_on()
    assert own.source == "em.tif"
    assert own.missing == [3]
    other = {"source": "em2.tif", "truth": TRUTH}
    (named,) = config(truth=TRUTH, training={"volumes": [other]}).trained_on()
    assert named.source == "em2.tif"
    assert config(truth=TRUTH, training={"volumes": []}).trained_on() == []


def test_ready_weights_go_with_training_volumes() -> None:
    volumes = [{"source": "em2.tif", "truth": TRUTH}]
    assert config(model={"weights": "w"}, training={"volumes": volumes}).model.weights == "w"


def models(annotation: object) -> list[type[BaseModel]]:
    from typing import get_args

    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [
            annotation,
            *(m for f in annotation.model_fields.values() for m in models(f.annotation)),
        ]
    return [m for part in get_args(annotation) for m in models(part)]


def test_every_tuple_is_a_triple_as_the_errors_say() -> None:
    from typing import get_args, get_origin

    found = 0
    for model in models(Config):
        for field in model.model_fields.values():
            if get_origin(field.annotation) is tuple:
                assert len(get_args(field.annotation)) == 3
                found += 1
    assert found >= 5


def test_plain_values_give_the_same_configuration_again() -> None:
    found = config({"source": {"path": "a.h5", "dataset": "em"}}, truth=TRUTH)
    assert parse(json.loads(json.dumps(found.model_dump(mode="json"))), "again") == found


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        ({"training": {"folds": 3, "members": 4}}, "give a multiple of folds"),
        ({"training": {"folds": 2}}, "give a multiple of folds"),
        ({"truth": truth(validation="6:8")}, 'truth has validation "6:8"'),
        ({"truth": truth(sections="0:3")}, "truth has 3 labelled sections with tissue"),
        ({"volume": VOLUME | {"missing": [0, 1, 2, 3, 4]}}, "truth has 3 labelled sections"),
        ({"training": {"folds": 65, "members": 64}}, "training.folds is 65"),
    ],
)
def test_folds_that_do_not_fit(sections: dict[str, Any], says: str) -> None:
    given = {"truth": truth(), "training": {"folds": 4, "members": 4}} | sections
    assert says in refused(**given)


def test_with_folds_every_labelled_section_with_tissue_is_kept_back_from_some_member() -> None:
    found = config({"missing": [2]}, truth=truth(), training={"folds": 2, "members": 4})
    (volume,) = found.trained_on()
    assert found.kept_back(volume) == [0, 1, 3, 4, 5, 6, 7]
    (volume,) = (single := config({"missing": [6]}, truth=truth())).trained_on()
    assert single.kept_back(volume) == [7]


@pytest.mark.parametrize("given", [{"model": {"weights": "w"}}, {"membrane": {"source": "m.npy"}}])
def test_folds_ask_for_no_members_where_nothing_is_trained(given: dict[str, Any]) -> None:
    assert config(truth=truth(), training={"folds": 2}, **given).training.folds == 2


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"heads": []}, "model.heads is []: give some of C1, C2, C3"),
        ({"heads": ["C3", "C1"]}, "each once and in this order"),
        ({"heads": ["C1", "C1"]}, "each once and in this order"),
        ({"heads": "C1"}, 'model.heads is "C1": give a list'),
        ({"heads": ["C4"]}, 'model.heads.0 is "C4": give'),
        ({"kind": "unet", "inner": 4}, "model.inner is 4, but a network of model.kind unet"),
        ({"kind": "unet", "heads": ["C1"]}, "model.heads is ['C1'], but a network of model.kind"),
        ({"kind": "resnet"}, "give 'dcan' or 'unet'"),
    ],
)
def test_networks_that_cannot_be_are_refused(model: dict[str, Any], said: str) -> None:
    assert said in refused(model=model)


@pytest.mark.parametrize(
    ("training", "said"),
    [
        ({"average": 1}, "training.average is 1: give a number below 1"),
        ({"learning_rate": 0}, "training.learning_rate is 0: give a number above 0"),
        ({"workers": "many"}, 'training.workers is "many": give'),
        ({"augmentation": {"noize": 1}}, "did you mean 'noise'?"),
        (
            {"augmentation": {"creases": 1.5}},
            "training.augmentation.creases is 1.5: give 1 or less",
        ),
        ({"precision": "float16"}, "training.precision is"),
    ],
)
def test_trainings_that_cannot_be_are_refused(training: dict[str, Any], said: str) -> None:
    assert said in refused(training=training)


def test_some_heads_and_a_unet_are_taken() -> None:
    assert config(model={"heads": ["C1", "C3"]}).model.heads == ["C1", "C3"]
    assert config(model={"kind": "unet", "width": 8}).model.kind == "unet"
