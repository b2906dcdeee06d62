"""The command line: verbs that exist, refusals of one line, numbers that a program can read."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import tifffile

from dcan.cli import OPTIONS, VERBS, main
from dcan.storage.logs import failures


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_has_its_step_and_options(name: str) -> None:
    verb = VERBS[name]
    module, _, function = verb.step.partition(":")
    assert callable(getattr(import_module(f"dcan.steps.{module}"), function))
    assert set(verb.options.split()) <= set(OPTIONS)


def test_wrong_arguments_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["flood"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_refusal_is_one_line_and_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "-c", "no/such.yaml"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("dcan: error: ")
    assert "no/such.yaml" in said
    assert said.count("\n") == 1


def stack(path: Path, values: np.ndarray) -> str:
    tifffile.imwrite(path, values, photometric="minisblack")
    return str(path)


def test_a_defect_leaves_its_traceback_in_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(config: Path) -> None:
        raise MemoryError("of a table")

    monkeypatch.setattr("dcan.steps.resolve.resolve", broken)
    monkeypatch.setattr("dcan.steps.workspace.Workspace.open", lambda path: path)
    log = tmp_path / "logs" / "resolve.log"
    assert main(["resolve", "-c", "volume.yaml", "--log", str(log)]) == 1
    for text in (capsys.readouterr().err, log.read_text()):
        assert "dcan: error: MemoryError: of a table" in text
        assert text.endswith('raise MemoryError("of a table")\nMemoryError: of a table\n')
    assert [failure.why for failure in failures(log)] == ["MemoryError: of a table"]


def test_a_log_that_cannot_be_written_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["schema", "--log", str(tmp_path / "file" / "x.log")]) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith(f"dcan: error: --log {tmp_path}/file/x.log: ")


def test_scores_a_perfect_and_an_empty_proposal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = np.full((2, 40, 40), 255, np.uint8)
    truth[:, 19:21] = 0
    truth[:, :, 10] = 0
    labels = stack(tmp_path / "labels.tif", truth)
    assert main(["score", "--labels", labels, "--proposal", labels, "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["rand_error_foreground"] == scores["warping_error_classic"] == 0
    assert scores["vrand_thin_macro"] == 1
    merged = stack(tmp_path / "merged.tif", np.full_like(truth, 255))
    assert main(["score", "--labels", labels, "--proposal", merged, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rand_error_foreground"] > 0.1


@pytest.mark.parametrize(
    ("shape", "dtype", "words"),
    [((2, 40, 41), np.uint8, ["(2, 40, 41)", "one shape"]), ((2, 40, 40), np.uint32, ["uint32"])],
    ids=["shape", "dtype"],
)
def test_refuses_stacks_that_do_not_fit(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    shape: tuple[int, ...],
    dtype: type,
    words: list[str],
) -> None:
    labels = stack(tmp_path / "labels.tif", np.full((2, 40, 40), 255, np.uint8))
    proposal = stack(tmp_path / "proposal.tif", np.ones(shape, dtype))
    assert main(["score", "--labels", labels, "--proposal", proposal]) == 1
    said = capsys.readouterr().err
    assert all(word in said for word in words)


def test_phantom_writes_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "made"
    assert main(["phantom", "--out", str(out), "--shape", "3", "40", "50", "--membrane"]) == 0
    paths = capsys.readouterr().out.split()
    assert [Path(p).name for p in paths] == ["em.tif", "neurites.tif", "membrane.tif"]
    assert tifffile.imread(out / "em.tif").shape == (3, 40, 50)
