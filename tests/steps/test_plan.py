"""What a volume will take: jobs, times by a record or as shipped, other cuts, what is refused."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from math import prod
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dcan.cli import main
from dcan.config import load, parse, write
from dcan.config.model import Config
from dcan.errors import DcanError
from dcan.geometry import Grid
from dcan.steps.costs import ON_GPU, SHIPPED, START, amount, pixels_read
from dcan.steps.cuts import alternatives, check_memory, cut_of, decodings, hours
from dcan.steps.jobs import AROUND, Jobs, Setting, all_jobs, job_of, jobs_of
from dcan.steps.plan import _stage_lines, figures
from dcan.steps.probe import check_cut, probe
from dcan.steps.profile import Profile
from dcan.steps.record import Record, benchmarks, measured, rate
from dcan.steps.vouching import working
from dcan.steps.workspace import Workspace
from dcan.storage.attempts import attempt, count, holding
from dcan.storage.volumes import CHUNK
from tests.steps.conftest import Make, noise

ROOT = Path(__file__).parents[2]

TERA = (2500, 20000, 20000)
HEADER = "s\th:m:s\tmax_rss\tcpu_time\n"


def config(**sections: Any) -> Config:
    volume = {"name": "a", "source": "phantom", "voxel_size": [50, 4, 4]}
    raw = {"volume": volume, "phantom": {"shape": list(TERA)}, "model": {"weights": "w"}}
    return parse({**raw, **sections}, "the test")


def of(setting: Setting, stage: str) -> Jobs:
    return next(jobs for jobs in jobs_of(setting) if jobs.stage == stage)


def profile(folder: Path, **values: Any) -> Profile:
    (folder / "config.yaml").write_text(yaml.safe_dump(values))
    return Profile.read(folder)


@pytest.mark.parametrize(
    ("shape", "batches"),
    [(TERA, 40), ((16, 2048, 2048), 1), ((16 * 64, 2048, 2048), 1), ((16 * 65, 2048, 2048), 2)],
)
def test_batches_follow_the_declared_shape_up_to_a_ceiling(
    shape: tuple[int, int, int], batches: int
) -> None:
    made = config(phantom={"shape": list(shape)})
    assert made.batches() == batches
    files = {"name": "a", "source": "em.tif", "voxel_size": [50, 4, 4]}
    assert config(volume={**files, "shape": list(shape)}, phantom=None).batches() == batches
    assert config(volume=files, phantom=None).batches() == 1, "no shape is declared"
    assert config(blocks={"batches": 7}, phantom={"shape": list(shape)}).batches() == 7


def test_a_declared_shape_is_held_to(make: Make) -> None:
    with pytest.raises(DcanError, match=r"volume.shape is \[4, 20, 21\].*\[4, 20, 20\]"):
        probe(make(noise(4, 20, 20), volume={"shape": [4, 20, 21]}))
    probe(make(noise(4, 20, 20), volume={"shape": [4, 20, 20]}))
    with pytest.raises(DcanError, match=r"volume.shape is \[1, 2, 3\], but phantom.shape"):
        config(volume={**config().volume.model_dump(), "shape": [1, 2, 3]})


def test_a_teravoxel_is_a_few_hundred_jobs() -> None:
    setting = Setting(config(labels={"grow": True}), TERA, 1)
    assert all_jobs(setting.config) <= 400
    assert sum(jobs.jobs for jobs in jobs_of(setting)) + 8 == all_jobs(setting.config), "8 seals"
    found = figures(setting)
    assert found["blocks"] == 157 * 10 * 10
    assert found["shards"] == 157 * 20 * 20
    shards = sum(157 * n * n for n in (20, 10, 5, 3, 2, 1, 1))
    assert found["files"] == 4 * (shards + 7 + 1) + 5 * found["jobs"]


def test_a_job_takes_its_start_and_its_share_on_its_threads() -> None:
    one, two = (Setting(config(blocks={"batches": n}), TERA, 1) for n in (157, 314))
    flood = of(one, "flood")
    seconds, source = SHIPPED["flood"]
    assert flood.total == pytest.approx(amount("flood", config(), TERA) * seconds)
    assert flood.source == source
    assert flood.blocks == 100
    assert flood.seconds == pytest.approx(START + flood.total / 157 / 2)
    assert of(two, "flood").seconds - START == pytest.approx((flood.seconds - START) / 2)
    merge = of(one, "merge")
    assert merge.seconds == pytest.approx(START + merge.total / 2)
    assert (merge.blocks, of(two, "merge")) == (0, merge)
    assert (of(one, "calibrate").source, of(one, "calibrate").seconds) == ("", START)


def test_work_of_the_network_is_what_it_sees() -> None:
    plain = amount("predict", config(), TERA)
    assert plain == pytest.approx(
        prod(TERA) / 1e6 * (1152 / 1024) ** 2 * 20 * 1024 * 20 * 1024 / 4e8
    )
    assert amount("predict", config(prediction={"views": 8}), TERA) == pytest.approx(8 * plain)
    half = {"weights": "w", "width": 32}
    assert amount("predict", config(model=half), TERA) == pytest.approx(plain / 2)
    copied = config(membrane={"source": "phantom"}, model={})
    assert amount("predict", copied, TERA) == prod(TERA) / 1e6
    for stage, made, name in (
        ("predict", copied, "copy_phantom"),
        ("predict", config(membrane={"source": "map.tif"}, model={}), "copy"),
        ("ingest", copied, "ingest_phantom"),
        ("ingest", config(volume={**copied.volume.model_dump(), "source": "em.tif"}), "ingest"),
    ):
        found = rate(stage, made, gpu=True, record=None)
        assert found is not None
        assert (found.seconds, found.gpu) == (SHIPPED[name][0], False)
    assert amount("train", config(), TERA) == 0, "weights are given"
    masked = config(volume={**copied.volume.model_dump(), "mask": "mask.tif"})
    assert (amount("survey", config(), TERA), amount("survey", masked, TERA)) == (0, 1e6)
    truth = {"source": "phantom", "kind": "neurites", "sections": "0:12"}
    trained = config(model={}, truth=truth, training={"steps": 10, "crop": 100 * 8, "batch": 3})
    assert amount("train", trained, TERA) == pytest.approx(10 * 3 * 0.64)


@pytest.fixture
def done(tmp_path: Path) -> Path:
    """The folder of a volume of 1000 million voxels in 2 batches, without benchmarks yet."""
    made = config(
        phantom={"shape": [10, 10000, 10000]}, blocks={"batches": 2}, output=str(tmp_path)
    )
    space = Workspace.of(made)
    write(made, space.root / "config.yaml")
    probe(space)
    (space.root / "benchmarks").mkdir()
    return space.root


def bench(root: Path, job: str, clock: object, cpu: object) -> None:
    (root / "benchmarks" / f"{job}.tsv").write_text(f"{HEADER}{clock}\tx\t100\t{cpu}\n")


def test_a_record_gives_seconds_for_a_unit_of_work(done: Path) -> None:
    with pytest.raises(DcanError, match=r"--record .*: no benchmarks"):
        Record.read(done)
    assert measured(done) is None
    bench(done, "relabel-0", 999, 50 + START)
    bench(done, "relabel-1", 999, 70 + START)
    bench(done, "merge", 999, START + 1)
    bench(done, "drift", 999, "NA")
    record = Record.read(done)
    assert record.cpu == {"relabel": pytest.approx(0.12)}, "too short or unknown tells nothing"
    assert (measured(done), record.gpu) == (record, {})
    bench(done, "relabel-1", 3, START + 0.5)
    assert Record.read(done).cpu["relabel"] == pytest.approx(0.10), "half of the work, not all"
    setting = Setting(config(), TERA, 1, record=Record.read(done))
    assert of(setting, "relabel").total == pytest.approx(1e5)
    assert of(setting, "relabel").source == str(done)
    assert of(setting, "fuse").source == SHIPPED["fuse"][1]


def test_a_job_that_found_half_of_its_work_done_is_no_measure(done: Path) -> None:
    space = Workspace.of(config(output=str(done.parent)))
    bench(done, "relabel-0", 999, 50 + START)
    bench(done, "relabel-1", 999, 10 + START)
    bench(done, "train-1", 999, 50 + START)
    found = dict(benchmarks(done, "relabel"))
    assert list(found) == ["relabel-0", "relabel-1"]
    for part in ("batch-1-of-2", "batch-11-of-20"):
        with pytest.raises(KeyError), working(space, "relabel", part):
            raise KeyError
    with working(space, "relabel", "batch-1-of-2"):
        pass
    assert Record.read(done).cpu["relabel"] == pytest.approx(0.10)
    with working(space, "relabel", "batch-1-of-2"):
        pass
    assert Record.read(done).cpu["relabel"] == pytest.approx(0.06), "all of it, at the next"
    with working(space, "relabel", "batch-11-of-20"):
        pass
    assert Record.read(done).cpu["relabel"] == pytest.approx(0.06), "that is of another job"


def test_a_job_that_counted_what_it_did_is_measured_by_that(done: Path) -> None:
    space = Workspace.of(config(output=str(done.parent)))
    bench(done, "relabel-0", 999, 50 + START)
    bench(done, "relabel-1", 999, 10 + START)
    with working(space, "relabel", "batch-0-of-2"):
        pass
    with pytest.raises(KeyError), working(space, "relabel", "batch-1-of-2"):
        raise KeyError
    with working(space, "relabel", "batch-1-of-2"):
        count(10, 2, workers=1)  # the others were done before
    assert Record.read(done).cpu["relabel"] == pytest.approx(0.10)
    with working(space, "relabel", "batch-1-of-2"):
        count(10, 0, workers=1)
    assert Record.read(done).cpu["relabel"] == pytest.approx(0.10), "it did nothing"


def test_a_record_is_of_the_work_that_its_jobs_were_asked_for(done: Path) -> None:
    space = Workspace.of(config(phantom={"shape": [10, 10000, 10000]}, output=str(done.parent)))
    for stage, part in (("relabel", "batch-0-of-2"), ("relabel", "batch-1-of-2"), ("merge", "all")):
        with working(space, stage, part):
            pass
    bench(done, "relabel-0", 999, 50 + START)
    bench(done, "relabel-1", 999, 70 + START)
    bench(done, "merge", 999, 80 + START)
    before = Record.read(done).cpu
    assert before == {"relabel": pytest.approx(0.12), "merge": pytest.approx(0.08)}
    changed = config(phantom={"shape": [10, 10000, 10000]}, blocks={"batches": 20})
    write(changed, done / "config.yaml")
    assert Record.read(done).cpu == before
    with working(space, "relabel", "batch-0-of-4"):
        pass
    assert Record.read(done).cpu["relabel"] == pytest.approx(0.12 / 0.75), "a quarter and a half"
    with working(space, "relabel", "batch-0-of-2"):
        pass
    assert Record.read(done).cpu == before, "the last one counts"


def test_the_cores_of_a_short_job_are_those_that_it_counted_itself(
    done: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = Workspace.of(config(phantom={"shape": [10, 10000, 10000]}, output=str(done.parent)))
    spent = iter([3.0, 53.0])
    monkeypatch.setattr("dcan.storage.attempts._cpu", lambda: next(spent))
    with working(space, "merge"):
        pass
    bench(done, "merge", 60, 1.2)
    assert Record.read(done).cpu["merge"] == pytest.approx(0.05)


def test_a_benchmark_that_can_not_be_read_tells_nothing(done: Path) -> None:
    bench(done, "relabel-0", 999, 50 + START)
    (done / "benchmarks" / "relabel-1.tsv").write_bytes(b"s\tcpu_time\n\xff\t9\n")
    (done / "benchmarks" / "relabel-2.tsv").symlink_to("nowhere")
    assert Record.read(done).cpu["relabel"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("set-threads: {flood: 0}", "set-threads gives flood 0: give 1 or more"),
        ("- jobs", "no mapping of keys"),
    ],
)
def test_a_profile_that_can_not_be_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "config.yaml").write_text(f"__use_yte__: true\n{text}" if ":" in text else text)
    with pytest.raises(DcanError, match=words):
        jobs_of(Setting(config(), TERA, 1, Profile.read(tmp_path)))


def test_blocks_that_were_handed_out_are_not_measured_by_who_handed_them_out(done: Path) -> None:
    bench(done, "flood-0", 999, 50 + START)
    bench(done, "predict-0", 999, 50 + START)
    assert Record.read(done).cpu.keys() == {"flood", "predict"}
    made = load(str(done / "config.yaml"))
    engine = made.engine.model_copy(update={"scheduler": "tls://node:8786"})
    write(made.model_copy(update={"engine": engine}), done / "config.yaml")
    assert Record.read(done).cpu.keys() == {"predict"}


def test_a_record_of_gpus_counts_the_time_that_they_were_held(
    done: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench(done, "predict-0", 100 + START, 9999)
    work = amount("predict", config(), (10, 10000, 10000)) / 2
    assert Record.read(done).cpu["predict"] == pytest.approx((9999 - START) / work)
    receipt = json.loads((done / "receipts" / "probe.json").read_text())
    from dcan.storage.receipts import Receipt

    Receipt("resolve", "f", "f", (), {"device": "cuda"}).write(done / "receipts" / "resolve.json")
    record = Record.read(done)
    assert (record.cpu, record.gpu) == ({}, {"predict": pytest.approx(100 / work)})
    tried = done / "receipts" / "predict"
    tried.mkdir(exist_ok=True)
    clock = iter([0.0, 5.0, 25.0, 25.0])
    monkeypatch.setattr("dcan.storage.attempts.time.monotonic", lambda: next(clock))
    with attempt(tried / "batch-0-of-2.attempts", work), holding(4):
        pass
    found = Record.read(done).gpu["predict"]
    assert found == pytest.approx(80 / work), "four for 20 s, which waited for 20 more"
    assert receipt["values"]["shape"] == [10, 10000, 10000]


def test_other_cuts_are_legal_and_the_own_one_is_first() -> None:
    setting = Setting(config(prediction={"tile": 512}), TERA, 1)
    cuts = alternatives(setting)
    assert (cuts[0].shape, cuts[0].batches) == ((16, 2048, 2048), 40)
    assert len({(cut.shape, cut.batches) for cut in cuts}) == len(cuts) > 5
    for cut in cuts:
        blocks = {"shape": list(cut.shape), "batches": cut.batches}
        made = config(prediction={"tile": 512}, blocks=blocks)
        check_cut(made, TERA)
        assert cut == cut_of(Setting(made, TERA, 1))
    by_shape = {cut.shape: cut for cut in cuts if cut.batches == 40}
    small, own, large = (by_shape[16, n, n] for n in (1024, 2048, 4096))
    assert small.memory < own.memory < large.memory
    assert [c.read for c in (small, own, large)] == pytest.approx([4, 2.25, 1.5625], rel=0.08)
    assert small.core_hours > own.core_hours > large.core_hours


@given(st.integers(1, 4), st.integers(1, 3000), st.integers(1, 3000))
@settings(max_examples=50, deadline=None)
def test_what_blocks_read_is_counted_pixel_by_pixel(times: int, height: int, width: int) -> None:
    side = times * 1024
    made, shape = config(blocks={"shape": [16, side, side]}), (16, height, width)
    read = sum(
        (min(box.stop[1] + CHUNK, height) - max(box.start[1] - CHUNK, 0))
        * (min(box.stop[2] + CHUNK, width) - max(box.start[2] - CHUNK, 0))
        for box in Grid(shape, made.blocks.within(shape))
    )
    assert pixels_read(made, shape) == pytest.approx(read / (height * width))
    assert amount("relabel", made, shape) == height * width * 16 / 1e6
    assert amount("flood", made, shape) >= amount("relabel", made, shape)


def test_a_profile_gives_threads_resources_and_gpus(tmp_path: Path) -> None:
    given = profile(
        tmp_path,
        **{
            "set-threads": {"flood": 8, "fuse": "attempt"},
            "set-resources": {"predict": {"gpu": 1, "mem_mb": 9000}, "train_member": {"gpu": 2}},
            "default-resources": {
                "mem_mb": 4000,
                "runtime": "120 * attempt",
                "disk_mb": "max(1, input.size)",
                "gpu": 1,
            },
        },
    )
    assert (given.threads_of("flood"), given.threads_of("fuse")) == (8, None)
    assert (given.given("predict", "mem_mb"), given.given("flood", "mem_mb")) == (9000, 4000)
    assert (given.given("flood", "runtime"), given.given("flood", "gpu")) == (120, 1)
    assert given.given("flood", "disk_mb") is None
    assert given.given("train", "gpu") == 2
    setting = Setting(config(), TERA, 1, given)
    assert (of(setting, "flood").threads, of(setting, "fuse").threads) == (8, 2)
    asked = [jobs.stage for jobs in jobs_of(setting) if jobs.gpus]
    assert asked == ["resolve", "calibrate", "predict"], "nothing is trained"
    assert not of(Setting(config(), TERA, 1), "predict").gpus
    assert not of(replace(setting, resolved_on_gpu=False), "predict").gpus
    assert of(Setting(config(), TERA, 1, profile(tmp_path, jobs=3)), "predict").gpus
    none = profile(tmp_path, **{"set-resources": {"predict": {"gpu": 0}}})
    assert not of(Setting(config(), TERA, 1, none), "predict").gpus
    assert of(Setting(config(), TERA, 1, resolved_on_gpu=True), "predict").gpus
    predict = of(setting, "predict")
    seconds = ON_GPU["predict"][0]
    assert predict.total == pytest.approx(amount("predict", setting.config, TERA) * seconds)
    assert predict.seconds == pytest.approx(START + predict.total * 393 / 15700)
    four = {"set-resources": {"predict": {"gpu": 4}, "calibrate": {"gpu": 4}}}
    several = Setting(config(), TERA, 1, profile(tmp_path, **four))
    sharing = of(several, "predict")
    assert (predict.gpus, sharing.gpus, of(several, "calibrate").gpus) == (1, 4, 1)
    assert sharing.seconds == pytest.approx(START + (predict.seconds - START) / 4)
    assert " 2+4 GPUs " in "".join(_stage_lines([asdict(sharing)]))
    ran = job_of(replace(setting, profile=None, resolved_on_gpu=True), "predict", gpus=4)
    assert (ran.gpus, ran.seconds) == (4, sharing.seconds), "as its attempts say"
    assert job_of(Setting(config(), TERA, 1), "predict", gpus=4).gpus == 0, "on no GPU"
    assert job_of(several, "predict", gpus=2).gpus == 2, "before the profile's"
    beside = hours([predict])[0] - START * predict.jobs / 3600
    assert beside == pytest.approx(predict.threads * hours([predict])[1])
    beside = hours([sharing])[0] - START * predict.jobs / 3600
    assert beside == pytest.approx(predict.threads * hours([sharing])[1] / 4)


def test_the_shipped_slurm_profile_is_worked_out(tmp_path: Path) -> None:
    shipped = Profile.read(ROOT / "profiles" / "slurm")
    assert (shipped.threads_of("flood"), shipped.threads_of("predict")) == (4, 4)
    on_gpu, on_cpu = (
        Setting(config(), TERA, 1, shipped, resolved_on_gpu=found) for found in (True, False)
    )
    assert of(on_gpu, "predict").threads == of(on_cpu, "predict").threads == 4
    network = of(on_cpu, "predict")
    assert network.seconds == pytest.approx(START + network.total * 393 / 15700 / 2), "its threads"
    text = (ROOT / "profiles" / "slurm" / "config.yaml").read_text("utf-8")
    (tmp_path / "config.yaml").write_text(
        text.replace("cpus: 4 ", "cpus: 9 ").replace("gpus: 1", "gpus: 0")
    )
    site = Profile.read(tmp_path)
    assert (site.threads_of("flood"), site.given("predict", "gpu")) == (9, 0)
    assert site.threads_of("predict") is None


def test_a_profile_may_be_a_template(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "__use_yte__: true\n__variables__:\n  cpus: 6\n"
        "set-threads:\n  ?for rule in ['flood', 'fuse']:\n    ?rule: ?cpus\n"
    )
    assert of(Setting(config(), TERA, 1, Profile.read(tmp_path)), "fuse").threads == 6
    (tmp_path / "config.yaml").write_text("__use_yte__: true\nset-threads: ?no_such_name\n")
    with pytest.raises(DcanError, match=r"--profile .*no_such_name") as caught:
        Profile.read(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_profile_of_another_form_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DcanError, match=r"no config\.yaml there"):
        Profile.read(tmp_path)
    with pytest.raises(DcanError, match="mappings"):
        profile(tmp_path, **{"set-threads": ["flood=8"]})


def test_blocks_that_do_not_fit_are_refused_with_the_nearest_that_do(tmp_path: Path) -> None:
    made = config(prediction={"tile": 512})
    memory = of(Setting(made, TERA, 1), "flood").memory
    assert memory is not None
    need = memory + AROUND
    enough = profile(tmp_path, **{"set-resources": {"flood": {"mem_mb": need}}})
    check_memory(Setting(made, TERA, 1, enough))
    given = profile(tmp_path, **{"set-resources": {"flood": {"mem_mb": need - 1}}})
    with pytest.raises(DcanError, match=r"flood .* give blocks.shape \[16, 1024, 1024\] or"):
        check_memory(Setting(made, TERA, 1, given))
    smaller = config(prediction={"tile": 512}, blocks={"shape": [16, 1024, 1024]})
    check_memory(Setting(smaller, TERA, 1, given))
    none = profile(tmp_path, **{"set-resources": {"flood": {"mem_mb": 10}}})
    with pytest.raises(DcanError, match=rf"profile gives 10: give mem_mb {need} .*`largest`"):
        check_memory(Setting(made, TERA, 1, none))
    check_memory(Setting(made, TERA, 1, profile(tmp_path, **{"default-resources": {}})))
    link = profile(tmp_path, **{"set-resources": {"link": {"mem_mb": 5000}}})
    with pytest.raises(DcanError, match=r"^volume of shape .*link .* gives 5000: give mem_mb \d"):
        check_memory(Setting(made, TERA, 1, link))


def test_a_source_that_is_compressed_by_sections_takes_more_and_is_remarked() -> None:
    plain = Setting(config(blocks={"shape": [16, 2048, 2048]}), TERA, 1)
    whole = replace(plain, piece=(1, 20000, 20000))
    strips = replace(plain, piece=(1, 1, 20000))
    assert decodings(plain) == 1
    assert decodings(whole) == pytest.approx(100)
    assert decodings(strips) == pytest.approx(10)
    assert decodings(replace(whole, shape=(2500, 4000, 4000))) == 1, "they stay in memory"
    held = [of(each, "ingest").memory or 0 for each in (plain, strips, whole)]
    assert held[1] - held[0] == pytest.approx(256, abs=2)
    assert held[2] - held[0] == pytest.approx(5 * 20000**2 / 2**20, abs=2), "two of each worker"
    said = [r for each in (plain, whole) for r in figures(each)["remarks"] if "decodes" in r]
    (line,) = said
    assert line.startswith("ingest decodes the source 100 times over")


def test_remarks_name_what_could_be_better(tmp_path: Path) -> None:
    found = figures(Setting(config(blocks={"batches": 50}), (16, 4096, 4096), 1))["remarks"]
    assert [r for r in found if "46 jobs have nothing to do, give 4" in r]
    files = {"name": "a", "source": "em.tif", "voxel_size": [50, 4, 4]}
    undeclared = config(volume=files, phantom=None)
    (said,) = figures(Setting(undeclared, TERA, 1))["remarks"]
    assert "set volume.shape to [2500, 20000, 20000], and each has 40" in said
    (large,) = figures(Setting(config(phantom=None, volume=files), (5000, 20000, 20000), 1))[
        "remarks"
    ][1:]
    assert re.match(r"a job of link takes up to 2\d\d\.\d GiB: see that a node has", large)
    for side, tile, told in ((1000, 1248, []), (999, 1256, ["1000"]), (300, 1024, ["304"])):
        small = config(phantom={"shape": [16, 200, side]}, prediction={"tile": tile})
        remarks = " ".join(figures(Setting(small, (16, 200, side), 1))["remarks"])
        assert re.findall(r"with tile (\d+) the network sees fewer", remarks) == told
    truth = {"source": "phantom", "kind": "neurites", "sections": "0:12"}
    learning = config(model={}, truth=truth, training={"batch": 4})
    for asked, used, told in ((3, 2, True), (8, 4, True), (2, 2, False)):
        gpus = profile(tmp_path, **{"set-resources": {"train_member": {"gpu": asked}}})
        setting = Setting(learning, TERA, 1, gpus)
        assert of(setting, "train").gpus == used
        assert any(f"to {used} of the {asked}" in r for r in figures(setting)["remarks"]) == told
        alone = of(Setting(learning, TERA, 1), "train").memory
        assert alone is not None
        assert of(setting, "train").memory == pytest.approx(used * alone, abs=used)
    given = profile(tmp_path, **{"default-resources": {"runtime": 120}})
    late = figures(Setting(config(), TERA, 1, given))["remarks"]
    assert [r for r in late if "a job of drift" in r]
    assert not [r for r in late if "a job of flood" in r]


def test_prints_a_table_and_the_same_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.yaml"
    write(config(output=str(tmp_path)), path)
    assert main(["plan", "-c", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["jobs"] == all_jobs(config())
    assert main(["plan", "-c", str(path)]) == 0
    said = capsys.readouterr().out
    assert f"jobs        {found['jobs']}" in said
    assert all(f"\n{stage['stage']} " in said for stage in found["stages"])
    assert said.count("[16, 2048, 2048]") >= 3
    assert not (tmp_path / "a").exists(), "nothing is written"
