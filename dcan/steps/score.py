"""Score a proposal against labels: sections in 2-D, or the objects of a volume in 3-D."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

from dcan.errors import DcanError
from dcan.steps import score_sections, score_volume
from dcan.steps.score_tables import sections_table, volume_table
from dcan.steps.score_volume import boxes
from dcan.storage.sources import Kind, Source, SourceSpec, open_source

OBJECTS = "objects in 3-D (more than two values)"

_log = logging.getLogger("dcan")


def score(
    labels: str,
    proposal: str,
    *,
    white: str = "neurite",
    maps: str | None = None,
    workers: int = 1,
    as_json: bool = False,
) -> str:
    """The metrics of a proposal, as a table or as one JSON object.

    What the labels hold decides. Up to two values, 0 = membrane: sections are scored in 2-D
    by the ISBI 2012 metrics; the proposal is a map, of which `white` says what is high, or
    binary. More values: they name objects, the proposal does too, and the volume is scored in
    3-D. A dataset in HDF5 or Zarr is given as `FILE::DATASET`. `maps`: a folder for the map of
    warping mistakes. Memory follows a section, or a box, for each of `workers` threads.

    Raises DcanError when the two do not fit each other.
    """
    truth = _opened(labels, "--labels", "labels")
    values = few_values(truth)
    if values is None:
        found = _opened(proposal, f"--proposal, beside labels of {OBJECTS}", "labels")
    else:
        found = _opened(proposal, "--proposal, beside binary labels", "proposal")
    if truth.shape != found.shape:
        raise DcanError(
            f"--labels has shape {truth.shape} and --proposal {found.shape}: give stacks of one "
            "shape (z, y, x)"
        )
    if values is None:
        record = _volume(truth, found, white, maps, workers)
        table = volume_table
    else:
        _check_binary("--labels", values)
        record = _sections(truth, found, white, maps, workers)
        table = sections_table
    for remark in record["remarks"]:
        _log.warning("score: %s", remark)
    return json.dumps(record, indent=1) + "\n" if as_json else table(record)


def few_values(source: Source) -> set[float] | None:
    """The values that a volume holds when they are two at most; None when there are more."""
    values: set[float] = set()
    for box in boxes(source.shape, source.piece):
        voxels = source.read(box)
        least, greatest = voxels.min(), voxels.max()
        if not ((voxels == least) | (voxels == greatest)).all():
            return None
        values |= {least.item(), greatest.item()}
        if len(values) > 2:
            return None
    return values


def _opened(path: str, key: str, kind: Kind) -> Source:
    file, _, dataset = path.partition("::")
    return open_source(SourceSpec(file, dataset or None, key=key), kind)


def _check_binary(key: str, values: set[float]) -> None:
    if len(values) == 2 and 0 not in values:
        low, high = sorted(values)
        raise DcanError(
            f"{key} holds the values {low:g} and {high:g}: a binary stack is 0 and one other value"
        )


def _sections(
    truth: Source, found: Source, white: str, maps: str | None, workers: int
) -> dict[str, Any]:
    values = few_values(found)
    if values is not None:
        _check_binary("--proposal", values)
    pair = score_sections.Pair(truth, found, white, binary=values is not None)
    record = score_sections.record_of(pair, workers)
    if maps is not None:
        path = Path(maps) / "warping_mistakes.tif"
        threshold = record["at"]["warping_error_splits_mergers"]
        score_sections.write_mistakes(path, pair, threshold, workers)
        _log.info("score: %s holds the mistakes at threshold %.1f", path, threshold)
    return record


def _volume(
    truth: Source, found: Source, white: str, maps: str | None, workers: int
) -> dict[str, Any]:
    if maps is not None or white != "neurite":
        raise DcanError(
            f"--labels are of {OBJECTS}: leave out --maps and --white, or give a binary stack"
        )
    table = score_volume.table_of(truth, found, workers)
    record = score_volume.record_of(table, truth.shape)
    proposed = np.unique(table.proposal).size
    remarks = []
    if found.dtype == "uint8" or proposed <= 2:
        remarks.append(
            f"--proposal ({found.dtype}, {proposed} values) is taken for labels too, since "
            f"--labels are of {OBJECTS}; to score a map give binary labels"
        )
    units = {"voi_split": "bits", "voi_merge": "bits"}
    return {"dimensions": 3, **record, "units": units, "remarks": remarks}
