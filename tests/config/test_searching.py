"""What calibration looks for, and the sections it looks at."""

from __future__ import annotations

from typing import Any

import pytest

from dcan.config import Config, parse, searched, validation_pairs

PLAIN: dict[str, Any] = {
    "volume": {"name": "a", "source": "em.tif", "voxel_size": [50, 4, 4]},
    "truth": {"source": "ids.tif", "kind": "neurites", "sections": "0:8", "validation": "4:8"},
}
EVERY = ["sigma", "depth", "w_f", "t", "iou", "containment", "beside"]


def config(**changed: Any) -> Config:
    return parse(PLAIN | changed, "test")


def truth(**changed: Any) -> dict[str, Any]:
    return {**PLAIN["truth"], **changed}


def test_pairs_go_across_as_many_missing_sections_as_links_do() -> None:
    missing = {**PLAIN["volume"], "missing": [5]}
    assert validation_pairs(config()) == {0: [(4, 5), (5, 6), (6, 7)]}
    assert validation_pairs(config(volume=missing)) == {0: [(4, 6), (6, 7)]}
    assert validation_pairs(config(volume=missing, linking={"bridge": 0})) == {0: [(6, 7)]}


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        ({}, EVERY),
        ({"truth": None, "segmentation": {"sigma": 1.0}}, []),
        ({"truth": truth(kind="membranes")}, EVERY[:4]),
        ({"truth": truth(validation="7:8")}, EVERY[:4]),
        ({"linking": {"iou": 0.3, "containment": None}}, [*EVERY[:4], "beside"]),
        ({"segmentation": {"sigma": 1.0, "depth": 3.0, "w_f": 0.7, "t": 0.3}}, EVERY[4:]),
        ({"segmentation": {"calibration": "other.json"}}, []),
    ],
)
def test_what_is_searched(changed: dict[str, Any], names: list[str]) -> None:
    assert searched(config(**changed)) == names


def test_training_volumes_count_by_their_own_truth() -> None:
    volumes = [
        {"source": "b.tif", "truth": truth(kind="membranes")},
        {"source": "c.tif", "truth": truth(validation="6:8")},
    ]
    found = config(truth=None, training={"volumes": volumes})
    assert validation_pairs(found) == {1: [(6, 7)]}
    assert searched(found) == EVERY
