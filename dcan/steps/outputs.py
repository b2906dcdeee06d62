"""What a volume leaves under its output folder, for people."""

from __future__ import annotations

from pathlib import Path

OUTPUTS = {
    "report.html": "the report: open it in a browser",
    "metrics.json": "metrics of the held-out sections",
    "calibration.json": "sigma, depth, w_f, t and the curve behind them",
    "em.ome.zarr": "the EM volume, OME-Zarr 0.5",
    "em.ome.zarr/labels/segments": "2-D segments of every section, uint64",
    "em.ome.zarr/labels/neurites": "3-D neurites, uint64",
    "membrane.ome.zarr": "membrane probability, 255 = membrane",
    "models": "the trained networks",
    "tensorboard": "curves of the trainings, for TensorBoard",
    "logs": "a log of every job",
}


def existing(root: Path) -> list[tuple[str, str]]:
    """The outputs that are there: path and what it is."""
    return [(str(root / name), what) for name, what in OUTPUTS.items() if (root / name).exists()]
