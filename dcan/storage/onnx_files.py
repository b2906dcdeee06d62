"""Networks in ONNX: one file each, looked through before anything takes it for a network.

An ONNX file is a protocol buffer that may name other files to take tensors from. Here it may
not: what is computed is what was hashed.
"""

from __future__ import annotations

import hashlib
import stat
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from dcan.errors import DcanError

LARGEST = (1 << 31) - 1  # bytes; no protocol buffer is larger
DEEPEST = 64  # messages inside each other; readers of protocol buffers stop at 100

MESSAGES = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        **{5: "TensorProto", 10: "TensorProto", 6: "GraphProto", 11: "GraphProto"},
        **{22: "SparseTensorProto", 23: "SparseTensorProto"},
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "TensorProto": {},
}
"""The fields through which tensors are reached, by number. Source: onnx.proto3 of ONNX."""
VERSION, GRAPH, OPSETS = 1, 7, 8  # of ModelProto; every model has the three
EXTERNAL_DATA, DATA_LOCATION = 13, 14  # of TensorProto


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """A network in ONNX: where it is, its bytes, and their SHA-256."""

    path: Path
    content: bytes
    sha256: str


def read_onnx(path: Path) -> OnnxFile:
    """Read a network and check all that can be checked without running it.

    Raises DcanError, naming the file: unreadable, no file, larger than such a file can be, not
    ONNX or cut short, or with tensors in other files.
    """
    content = _content(path)
    _look_through(path, content)
    return OnnxFile(path, content, hashlib.sha256(content).hexdigest())


def _content(path: Path) -> bytes:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise _refusal(path, "not a file")
        if found.st_size > LARGEST:
            raise _refusal(path, f"{found.st_size} bytes, where no ONNX file passes {LARGEST}")
        return path.read_bytes()
    except OSError as error:
        raise _refusal(path, error.strerror or str(error)) from None


def _look_through(path: Path, content: bytes) -> None:
    """Refuse what is no model, and tensors that lie elsewhere."""
    parts = [("ModelProto", content, 0)]
    while parts:
        kind, part, depth = parts.pop()
        if depth > DEEPEST:
            raise _refusal(path, f"more than {DEEPEST} messages inside each other")
        found = _fields(path, part)
        if depth == 0 and not {VERSION, GRAPH, OPSETS} <= {number for number, _ in found}:
            raise _refusal(path, "not an ONNX model")
        for number, value in found:
            if kind == "TensorProto" and (
                number == EXTERNAL_DATA or (number == DATA_LOCATION and value)
            ):
                raise _refusal(
                    path, "it takes tensors from other files: save it with its weights inside"
                )
            if isinstance(value, bytes) and number in MESSAGES[kind]:
                parts.append((MESSAGES[kind][number], value, depth + 1))


def _fields(path: Path, part: bytes) -> list[tuple[int, object]]:
    """Number and value of the fields of a message, whatever it is."""
    message = Empty()
    try:
        message.ParseFromString(part)
    except DecodeError:
        raise _refusal(path, "not an ONNX model, damaged or cut short") from None
    return [(field.field_number, field.data) for field in UnknownFieldSet(message)]


def _refusal(path: Path, what: str) -> DcanError:
    return DcanError(f"network {path}: {what}: restore the file, or name another in model.weights")
