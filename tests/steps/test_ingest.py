"""From a source to the EM store: the same voxels, exact histograms, gaps refused."""

from __future__ import annotations

import numpy as np
import pytest

from dcan.errors import DcanError
from dcan.geometry import Box
from dcan.steps.ingest import histograms, ingest, pyramid, section_histogram, survey
from dcan.steps.probe import allocate, probe
from dcan.steps.sealing import seal
from dcan.steps.workspace import Part, Workspace
from dcan.storage.volumes import Store
from tests.steps.conftest import Make, noise


def ingested(space: Workspace) -> Workspace:
    probe(space)
    allocate(space)
    ingest(space, Part(0, 1), 2)
    seal(space, "ingest")
    return space


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_copies_voxels_and_counts_intensities(make: Make, dtype: type) -> None:
    em = noise(5, 50, 37, dtype=dtype)
    space = ingested(make(em))
    found = Store(space.root, "em.ome.zarr/0").read(Box.whole(em.shape))
    assert found.dtype == dtype
    assert (found == em).all()
    counts = histograms(space)
    bins = np.iinfo(dtype).max + 1
    for z, section in enumerate(em):
        assert (counts[z] == np.bincount(section.ravel(), minlength=bins)).all()
    survey(space)
    assert (section_histogram(space, 1) == counts[1]).all()
    assert (section_histogram(space, 4) == counts[4]).all()


def test_refuses_a_gap_that_was_not_declared_and_says_what_to_declare(make: Make) -> None:
    em = noise(6, 20, 20)
    em[2] = 0
    em[4] = 7
    with pytest.raises(DcanError, match=r"section 4 .* volume.missing to \[2, 4\]"):
        survey(ingested(make(em, volume={"missing": [2]})))
    survey(ingested(make(em, volume={"missing": [2, 4]})))


def test_refuses_blocks_that_cut_shards_or_tiles(make: Make) -> None:
    em = noise(4, 64, 64)
    with pytest.raises(DcanError, match=r"blocks.shape is \[4, 24, 32\].*\[4, 32, 32\]"):
        probe(make(em, blocks={"shape": [4, 24, 32]}))
    with pytest.raises(DcanError, match=r"prediction.tile is 40.*\[4, 64, 64\]"):
        probe(make(em, prediction={"tile": 40, "halo": 64}))
    probe(make(em, blocks={"shape": [100, 32, 999]}))  # spans both ways


def test_missing_sections_must_be_of_the_volume(make: Make) -> None:
    with pytest.raises(DcanError, match="section 9"):
        probe(make(noise(4, 20, 20), volume={"missing": [9]}))


def test_levels_of_a_pyramid_are_means_of_the_level_below(make: Make) -> None:
    em = noise(3, 700, 523)
    space = ingested(make(em, blocks={"shape": [4, 999, 999]}, storage={"shard": [2, 64, 64]}))
    pyramid(space, "em", "ingest", 2)
    level = Store(space.root, "em.ome.zarr/1").read(Box.whole((3, 350, 262)))
    wide = em.astype(int)
    assert level[1, 7, 9] == (wide[1, 14:16, 18:20].sum() + 2) // 4
    edge = wide[2, 20:22, 522]
    assert level[2, 10, 261] == (2 * edge.sum() + 2) // 4
    receipt = space.receipt("pyramid_em")
    assert len(receipt.entries) == 2 * 6 * 5


def test_a_second_time_nothing_is_done(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    space = ingested(make(noise(4, 40, 40)))
    with caplog.at_level("INFO", "dcan"):
        ingest(space, Part(0, 1), 1)
    assert "ingest: 0 done, 4 were done before" in caplog.text
