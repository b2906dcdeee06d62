"""Gather what the steps wrote into one report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dcan.config import FUSION, planned
from dcan.config.model import SourcePath
from dcan.report import learned, records, scored
from dcan.report.page import render
from dcan.report.records import Report
from dcan.report.scored import Absent
from dcan.steps.drift import shifts
from dcan.steps.outputs import existing
from dcan.steps.pictures import overlays
from dcan.steps.record import benchmarks
from dcan.steps.report_jobs import jobs_done
from dcan.steps.report_training import training
from dcan.steps.versions import versions
from dcan.steps.vouching import working
from dcan.steps.workspace import Workspace
from dcan.storage.objects import write_text
from dcan.storage.receipts import totals

LINK_COUNTS = (
    *("segments", "neurites", "mutual", "branches", "refused"),
    *("orphans", "isolated", "pieces_median", "pieces_most"),
)
WITHIN = "within_one_standard_error"


def _json(path: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return read


def _facts(space: Workspace) -> records.VolumeFacts:
    volume = space.config.volume
    source = volume.source
    where = f"{source.path} {source.dataset or ''}" if isinstance(source, SourcePath) else source
    packages = ("numba", "numpy", "scipy", "torch", "zarr", "dask", "snakemake")
    computed = {} if space.config.membrane else space.receipt("resolve").values["versions"]
    return records.VolumeFacts(
        name=volume.name,
        source=where.strip(),
        shape=space.shape,
        voxel_nm=volume.voxel_size,
        dtype=space.probe["dtype"],
        missing=tuple(sorted(space.missing)),
        versions={**versions(*packages), **computed},
        settings=space.config.model_dump(mode="json"),
    )


def _scores(found: dict[str, Any]) -> scored.MapScores:
    at = found["thresholds"]
    return scored.MapScores(
        **{key: scored.Score(found[key], at.get(key)) for key in scored.MAP_METRICS if key in found}
    )


def _fault(found: dict[str, Any]) -> scored.Fault:
    z, y, x = found["at"]
    return scored.Fault(found["label"], found["pieces"], found["voxels"], (z, y, x))


def _metrics(found: dict[str, Any]) -> scored.Metrics | Absent:
    if "absent" in found:
        return Absent(found["absent"])
    neurites: scored.NeuriteScores | Absent = Absent("the truth holds no neurites in 3-D")
    if "neurites" in found:
        of = found["neurites"]
        neurites = scored.NeuriteScores(
            **{key: of[key] for key in scored.NEURITE_METRICS},
            worst_splits=tuple(map(_fault, of["worst_splits"])),
            worst_merges=tuple(map(_fault, of["worst_merges"])),
            pieces=of["pieces"],
        )
    curves = {}
    for name in ("p", "fused"):
        curve = found[name]["curves"]["rand_error_foreground"]
        curves[name] = scored.Curve(tuple(curve["thresholds"]), tuple(curve["values"]))
    return scored.Metrics(
        scores={name: _scores(found[name]) for name in ("p", "fused", "segments")},
        definitions=found["definitions"],
        evaluated=tuple(found["sections"]),
        seen=None if found["seen_in_training"] is None else tuple(found["seen_in_training"]),
        neurites=neurites,
        curves=curves,
        mistakes={name: found[name]["warping_mistakes"] for name in ("p", "fused", "segments")},
        without_tissue=found.get("without_tissue", 0),
    )


def _calibration(space: Workspace) -> learned.Calibration:
    found = _json(space.root / "calibration.json")
    trials = tuple(
        learned.Trial(learned.Fusion(*row[:4]), *row[4:]) for row in found.get("surface", [])
    )
    sections = found.get("sections", [])
    hashes = found.get("weights", [])
    chosen = found["chosen"]
    return learned.Calibration(
        chosen=learned.Fusion(*(chosen[name] for name in FUSION)),
        origin=found["from"],
        trials=trials,
        warnings=(*found.get("remarks", []), *found["linking"].get("remarks", [])),
        sections=tuple(sorted({section["z"] for section in sections})),
        seen=_seen(sections),
        within={axis: tuple(ends) for axis, ends in found.get(WITHIN, {}).items()},
        weights_sha256=", ".join(hashes) or None,
        precision=learned.Precision(**found["precision"]) if found.get("precision") else None,
    )


def _seen(sections: list[dict[str, Any]]) -> scored.Sections | None:
    """The sections that the networks saw in training; None: it is not known of some."""
    if any(section["seen"] is None for section in sections):
        return None
    return tuple(sorted({section["z"] for section in sections if section["seen"]}))


def _linking(space: Workspace) -> records.Linking:
    found = space.receipt("link").values
    calibrated = _json(space.root / "calibration.json")
    chosen = calibrated["chosen"]
    moved = shifts(space)
    drift = [records.Drift(int(key.partition("-")[0]), dy, dx) for key, (dy, dx) in moved.items()]
    gaps = [tuple(map(int, key.split("-"))) for key in moved]
    bridged = sorted(z for low, high in gaps for z in range(low + 1, high))
    counted = {key: found[key] for key in LINK_COUNTS}
    return records.Linking(
        **counted,
        rule=records.LinkRule(
            chosen["iou"], chosen["containment"], chosen["beside"], calibrated["linking"]["from"]
        ),
        bridged=tuple(bridged),
        drift=tuple(sorted(drift, key=lambda d: d.z)),
    )


def _seconds(space: Workspace, stage: str) -> float | None:
    found = [row["s"] for _, row in benchmarks(space.root, stage) if "s" in row]
    return sum(found) if found else None


def _stages(space: Workspace) -> tuple[records.Stage, ...]:
    found = []
    for name in planned(space.config):
        if not (space.root / "receipts" / f"{name}.json").exists() or name == "evaluate":
            continue
        entries = space.receipt(name).entries
        objects = [stored for entry in entries for stored in entry.objects]
        counts = totals(entries)
        skipped = sum(entry.skipped for entry in entries)
        tables = sum(entry.table.length for entry in entries if entry.table)
        found.append(
            records.Stage(
                name,
                blocks=len(entries) - skipped if entries else None,
                objects=len(objects),
                size_bytes=sum(stored.size for stored in objects) + tables,
                seconds=_seconds(space, name),
                voxels=counts.get("voxels") or None,
                skipped=skipped,
                tiles=counts.get("tiles_predicted"),
                tiles_skipped=counts.get("tiles_skipped", 0),
            )
        )
    return tuple(found)


def report(space: Workspace) -> None:
    """Write report.html from receipts, metrics, calibration and the stores."""
    with working(space, "report"):
        found = _json(space.root / "metrics.json")
        page = render(
            Report(
                volume=_facts(space),
                metrics=_metrics(found),
                calibration=_calibration(space),
                training=training(space),
                linking=_linking(space),
                overlays=overlays(space, found),
                stages=_stages(space),
                jobs=jobs_done(space),
                outputs=tuple(records.Output(*pair) for pair in existing(space.root)),
                viewers=(
                    f"napari: napari --plugin napari-ome-zarr '{space.root}/em.ome.zarr'",
                    "Neuroglancer: serve this folder over HTTP and add "
                    "zarr3://http://HOST/em.ome.zarr and its labels/neurites",
                ),
            )
        )
        write_text(space.root / "report.html", page)
