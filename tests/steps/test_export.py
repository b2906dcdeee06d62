"""A network handed on in float16: the same network, rounded, in half the bytes."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import pytest
import torch

from dcan.errors import DcanError
from dcan.net.networks import layout
from dcan.steps.export import export
from dcan.steps.train import train_member, weights
from dcan.steps.workspace import Workspace
from dcan.storage.checkpoints import load_weights
from tests.steps.conftest import Make
from tests.steps.test_train import labelled

__all__ = ["labelled"]


@pytest.fixture
def space(labelled: Make) -> Workspace:
    space = labelled(steps=2, validate_every=1)
    train_member(space, 0)
    weights(space)
    return space


def test_what_is_handed_on_is_the_network_rounded(
    space: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dcan")
    out = tmp_path / "models" / "small.safetensors"
    export(space, 0, str(out))
    assert f"sha256 {hashlib.sha256(out.read_bytes()).hexdigest()}" in caplog.text
    own = space.root / "models" / "member-0.safetensors"
    before, after = load_weights(own, layout), load_weights(out, layout)
    assert after.meta == before.meta
    assert before.tensors.keys() == after.tensors.keys()
    for name, tensor in before.tensors.items():
        assert torch.equal(after.tensors[name], tensor.half().float())
    numbers = sum(tensor.numel() for tensor in before.tensors.values())
    assert own.stat().st_size - out.stat().st_size > 1.9 * numbers


def test_a_network_that_is_not_there_or_a_file_that_is(space: Workspace, tmp_path: Path) -> None:
    out = tmp_path / "kept.safetensors"
    out.write_bytes(b"precious")
    with pytest.raises(DcanError, match=r"--out .*kept.safetensors exists: give another name"):
        export(space, 0, str(out))
    assert out.read_bytes() == b"precious"
    with pytest.raises(DcanError, match=r"--member 1: 1 are trained, give 0..0"):
        export(space, 1, str(tmp_path / "new.safetensors"))
