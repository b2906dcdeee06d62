"""Steps called in this process on volumes made by the test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dcan.config import parse
from dcan.steps.workspace import Workspace

Make = Callable[..., Workspace]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A workspace on an array, which is written as .npy; other sections as in a configuration."""
    return maker(tmp_path)


def maker(folder: Path) -> Make:
    """As `make`, in a folder."""

    def workspace(em: np.ndarray, **sections: Any) -> Workspace:
        path = folder / "em.npy"
        np.save(path, em)
        volume = {
            "name": "made",
            "source": str(path),
            "voxel_size": [40, 4, 4],
            **sections.pop("volume", {}),
        }
        raw = {
            "volume": volume,
            "blocks": {"shape": [4, 32, 32]},
            "storage": {"shard": [2, 16, 16]},
            "prediction": {"tile": 32, "halo": 64},
            "output": str(folder / "results"),
            **sections,
        }
        return Workspace.of(parse(raw, "the test"))

    return workspace


def noise(*shape: int, dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    """Voxels over the whole range of a dtype."""
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype)
