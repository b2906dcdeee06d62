"""What jobs ask a scheduler for: it follows the prediction, and leaves room."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from pathlib import Path

import pytest
import tifffile

from dcan.config import write
from dcan.steps.jobs import AROUND, Setting, jobs_of
from dcan.steps.plan import setting_of
from dcan.steps.probe import probe
from dcan.steps.requests import (
    LABELLED,
    LEAST,
    OF_SECTIONS,
    SECTIONS,
    SLOWER,
    TABLES,
    UNPREDICTED,
    Requests,
)
from dcan.steps.workspace import Workspace
from dcan.storage.receipts import Receipt
from tests.steps.conftest import Make, noise
from tests.steps.test_plan import HEADER, TERA, config


def of(**sections: object) -> Requests:
    return Requests(Workspace.of(config(**sections)))


def test_memory_of_the_first_jobs_follows_the_declared_shape() -> None:
    asked, smaller = (of(phantom={"shape": shape}).mib("merge", 2) for shape in (TERA, (9, 99, 99)))
    assert asked > 5 * smaller


def test_memory_is_what_is_predicted_and_what_the_plan_does_not_count() -> None:
    requests = of()
    for job in jobs_of(Setting(config(), TERA, 1)):
        asked = requests.mib(job.stage, job.threads) - AROUND
        least = LABELLED if job.stage in OF_SECTIONS else 0
        assert asked == max(least, TABLES if job.memory is None else job.memory), job.stage
    assert requests.mib("seal", 1) == AROUND + TABLES


def test_a_larger_training_is_given_more() -> None:
    truth = {"source": "phantom", "kind": "neurites", "sections": "0:4", "validation": "3:4"}
    small, large = (
        of(model={"width": 64}, truth=truth, training={"crop": crop, "batch": 8}).mib("train", 2)
        for crop in (64, 512)
    )
    assert small == AROUND + LABELLED
    assert large - AROUND > 96 * 8 * 512**2 * 64 // 2**20 > LABELLED
    made = config(model={"width": 64}, truth=truth, training={"crop": 512, "batch": 8})
    job = next(jobs for jobs in jobs_of(Setting(made, TERA, 1)) if jobs.stage == "train")
    assert large == AROUND + SECTIONS + (job.memory or 0), "its sections are beside it"


def test_a_calibration_holds_a_window_of_the_network_too() -> None:
    wide = {"model": {"weights": "w", "width": 128}, "prediction": {"tile": 2048, "halo": 64}}
    small, large = of().mib("calibrate", 2), of(**wide).mib("calibrate", 2)
    assert small == AROUND + LABELLED
    assert large > AROUND + SECTIONS + 16 * 2176**2 * 128 // 2**20 > small


def test_a_probe_reads_every_byte_of_what_is_given() -> None:
    volume = {"name": "a", "source": "em.tif", "voxel_size": [50, 4, 4], "shape": TERA}
    given = {"volume": volume, "phantom": None}
    alone = of(**given).minutes("probe", 1)
    mapped = of(**given, membrane={"source": "map.tif"}, model={}).minutes("probe", 1)
    assert mapped - LEAST == pytest.approx(2 * (alone - LEAST), abs=1)
    assert alone > LEAST + 60
    assert of().minutes("probe", 1) == UNPREDICTED, "a phantom has none"


def test_a_source_that_is_compressed_by_sections_is_found_out(make: Make, tmp_path: Path) -> None:
    space = make(noise(4, 64, 64), output=str(tmp_path))
    grey = {"photometric": "minisblack", "compression": "zlib", "rowsperstrip": 64}
    tifffile.imwrite(tmp_path / "em.tif", noise(4, 64, 64), **grey)
    plain = space.config.model_dump(mode="json")
    plain["volume"]["source"] = str(tmp_path / "em.tif")
    stack = Workspace.of(type(space.config).model_validate(plain))
    assert setting_of(space, None, None).piece == (1, 1, 1)
    assert setting_of(stack, None, None).piece == (1, 64, 64)
    probe(space)
    before = Requests(Workspace.of(space.config)).mib("ingest", 1)
    probe(stack)
    assert Requests(Workspace.of(stack.config)).mib("ingest", 1) >= before + 256


def test_a_given_map_is_counted_by_what_of_it_is_decoded_at_once(
    make: Make, tmp_path: Path
) -> None:
    found = {}
    for rows in (None, 1, 64):
        given = {"compression": "zlib", "rowsperstrip": rows} if rows else {}
        path = tmp_path / f"map-{rows}.tif"
        tifffile.imwrite(path, noise(4, 64, 64), photometric="minisblack", **given)
        space = make(noise(4, 64, 64), output=str(tmp_path), membrane={"source": str(path)})
        planned = setting_of(space, None, None)
        probe(space)
        asked = Requests(Workspace.of(space.config))
        assert asked._setting.map_piece == planned.map_piece
        found[rows] = (planned.map_piece, asked.mib("predict", 1))
    assert [piece for piece, _ in found.values()] == [1, 64, 64 * 64]
    assert found[1][1] == found[64][1] == found[None][1] + 256, "what is kept, in MiB"
    large = Setting(config(membrane={"source": "map.tif"}, model={}), TERA, 1)
    whole = replace(large, map_piece=8 * 20000**2)
    more = [
        next(jobs.memory or 0 for jobs in jobs_of(each) if jobs.stage == "predict")
        for each in (large, whole)
    ]
    assert more[1] - more[0] == pytest.approx(5 * 8 * 20000**2 / 2**20, abs=2), "two of each worker"


def test_a_training_on_several_gpus_is_given_the_memory_of_as_many_processes() -> None:
    truth = {"source": "phantom", "kind": "neurites", "sections": "0:4", "validation": "3:4"}
    requests = of(model={"width": 64}, truth=truth, training={"crop": 512, "batch": 4})
    one, two, three = (requests.mib("train", 2, gpus) - AROUND for gpus in (1, 2, 3))
    assert two == three == pytest.approx(2 * one, abs=1)
    assert requests.mib("predict", 2, 4) == requests.mib("predict", 2)


def test_a_job_on_several_gpus_is_given_less_time(tmp_path: Path) -> None:
    made = config(output=str(tmp_path))
    space = Workspace.of(made)
    assert Requests(space).minutes("predict", 2, 4) == Requests(space).minutes("predict", 2)
    (space.root / "receipts").mkdir(parents=True)
    Receipt("resolve", "f", "f", (), {"device": "cuda"}).write(space.root / "receipts/resolve.json")
    one, four = (Requests(space).minutes("predict", 2, gpus) - LEAST for gpus in (1, 4))
    assert four == pytest.approx(one / 4, abs=1)
    assert one > 20


def test_a_job_is_given_its_predicted_time_several_times_over() -> None:
    requests, setting = of(), Setting(config(), TERA, 1)
    for job in jobs_of(setting):
        minutes = requests.minutes(job.stage, job.threads)
        if job.source:
            assert minutes == LEAST + ceil(SLOWER * job.seconds / 60), job.stage
        else:
            assert minutes == UNPREDICTED, job.stage
    assert requests.minutes("seal", 1) == requests.minutes("weights", 1) == UNPREDICTED
    two, eight = (requests.minutes("pyramid_em", threads) - LEAST for threads in (2, 8))
    assert two == pytest.approx(4 * eight, rel=0.05)


def test_what_the_jobs_of_the_volume_took_counts(make: Make, tmp_path: Path) -> None:
    space = make(noise(4, 64, 64), output=str(tmp_path))
    assert Requests(space).minutes("flood", 1) > LEAST + 1, "its shape is not known yet"
    probe(space)
    write(space.config, space.root / "config.yaml")
    shipped = Requests(space).minutes("flood", 1)
    assert shipped == LEAST + 1
    folder = space.root / "benchmarks"
    folder.mkdir(exist_ok=True)
    (folder / "flood-0.tsv").write_text(HEADER + "0\t0\t0\t1202\n")
    assert Requests(space).minutes("flood", 1) == LEAST + ceil(SLOWER * 1202 / 60)
    assert Requests(space).minutes("flood", 4) == LEAST + ceil(SLOWER * 302 / 60)
    (folder / "flood-1.tsv").mkdir()
    assert Requests(space).minutes("flood", 4) == LEAST + ceil(SLOWER * 302 / 60), "no file"
    (space.root / "config.yaml").write_text("volume: {nonsense: 1}")
    assert Requests(space).minutes("flood", 1) == shipped
