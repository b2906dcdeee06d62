"""Networks in ONNX are looked through before anything runs them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from dcan.errors import DcanError
from dcan.storage import onnx_files
from dcan.storage.onnx_files import MESSAGES, read_onnx

pytest.importorskip("onnx", reason="onnx is not installed")

import onnx
from onnx import TensorProto, helper

from tests.net.onnx_networks import model_of, node, tensor

SUM = node("Add", "em", "w")


def outside() -> TensorProto:
    """A tensor whose values are in another file."""
    made = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1])
    made.data_location = TensorProto.EXTERNAL
    made.external_data.add(key="location", value="weights.bin")
    return made


def constant(value: TensorProto) -> onnx.NodeProto:
    return node("Constant", to="w", value=value)


def inside(graph: onnx.GraphProto) -> onnx.ModelProto:
    """A model with an operator that holds a graph."""
    return model_of([node("If", "c", then_branch=graph)], [tensor("c", np.array(True))])


def reaching() -> dict[str, onnx.ModelProto]:
    """Models that take a tensor from another file, by where the tensor is."""
    nested = model_of([constant(outside()), SUM]).graph
    sparse = onnx.SparseTensorProto(values=outside(), dims=[1])
    with_sparse = model_of([SUM])
    with_sparse.graph.sparse_initializer.append(sparse)
    with_function = model_of([SUM])
    function = helper.make_function("own", "f", [], ["w"], [constant(outside())], [])
    with_function.functions.append(function)
    with_training = model_of([SUM])
    with_training.training_info.add(algorithm=nested)
    location = outside()
    del location.external_data[:]
    entry = outside()
    entry.data_location = TensorProto.DEFAULT
    return {
        "weights": model_of([SUM], [outside()]),
        "constant": model_of([constant(outside()), SUM]),
        "branch": inside(nested),
        "branch in a branch": inside(inside(nested).graph),
        "sparse weights": with_sparse,
        "sparse constant": model_of([node("Constant", to="w", sparse_value=sparse), SUM]),
        "function": with_function,
        "training": with_training,
        "location alone": model_of([SUM], [location]),
        "entry alone": model_of([SUM], [entry]),
    }


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    return path


def plain() -> bytes:
    return bytes(model_of([SUM], [tensor("w", np.float32([3]))]).SerializeToString())


def refused(path: Path) -> str:
    with pytest.raises(DcanError, match=r"net\.onnx") as caught:
        read_onnx(path)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_a_network_is_its_bytes_and_their_hash(tmp_path: Path) -> None:
    found = read_onnx(written(tmp_path, plain()))
    assert found.content == plain()
    assert found.sha256 == hashlib.sha256(plain()).hexdigest()


@pytest.mark.parametrize("where", reaching())
def test_tensors_in_other_files_are_refused_wherever_they_are(tmp_path: Path, where: str) -> None:
    path = written(tmp_path, reaching()[where].SerializeToString())
    assert "it takes tensors from other files" in refused(path)


def test_tensors_are_looked_for_wherever_onnx_has_them() -> None:
    """The fields that lead to a tensor, by ONNX's own description of its format."""
    below: dict[str, dict[int, str]] = {}
    waiting = [onnx.ModelProto.DESCRIPTOR]
    while waiting:
        message = waiting.pop()
        if message.name not in below:
            held = {f.number: f.message_type for f in message.fields if f.message_type}
            below[message.name] = {number: each.name for number, each in held.items()}
            waiting += held.values()
    leading = {"TensorProto"}
    for _ in below:  # as many times as it can take
        leading |= {name for name, held in below.items() if leading & {*held.values()}}
    assert {
        name: {n: to for n, to in below[name].items() if to in leading and name != "TensorProto"}
        for name in leading
    } == MESSAGES
    fields = onnx.TensorProto.DESCRIPTOR.fields_by_name
    assert fields["external_data"].number == onnx_files.EXTERNAL_DATA
    assert fields["data_location"].number == onnx_files.DATA_LOCATION


def test_a_network_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    content = plain()
    for length in range(len(content)):
        assert "ONNX" in refused(written(tmp_path, content[:length]))


@pytest.mark.parametrize(
    "content", [b"", b"hello " * 20, b"\0" * 99, b"\x08\0\0\0ORTM" + b"\0" * 9]
)
def test_what_is_not_onnx_is_refused(tmp_path: Path, content: bytes) -> None:
    assert "not an ONNX model" in refused(written(tmp_path, content))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "net.onnx")
    os.mkfifo(tmp_path / "net.onnx")
    assert "not a file" in refused(tmp_path / "net.onnx")


def test_a_size_that_cannot_be_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    path = written(tmp_path, plain())
    os.truncate(path, 1 << 40)
    assert "1099511627776 bytes" in refused(path)


def test_graphs_inside_graphs_without_end_are_refused(tmp_path: Path) -> None:
    made = model_of([SUM])
    for _ in range(30):  # each is three messages deep
        made = inside(made.graph)
    path = written(tmp_path, made.SerializeToString())
    assert "inside each other" in refused(path)
