"""Checkpoints: safetensors files whose header says what the tensors are and vouches for them.

The header's metadata holds one string, `dcan`: a SHA-256 and, after a space, a JSON object. The
hash is that of the object's text and of the name, shape and bytes of every tensor, so that any
flipped bit that matters is noticed, in the header too. Nothing in a checkpoint is code.

What is an architecture and which tensors it has is known elsewhere: a caller that loads
weights gives the function that says it. Weights are stored in float32, or in float16 to be
handed on in half the bytes; in memory they are float32.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Annotated, Literal

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from safetensors import SafetensorError
from torch import Tensor

from dcan.errors import DcanError
from dcan.storage.objects import replacing

LARGEST_HEADER = 1 << 24  # bytes; sixty names take a few thousand
PLAIN = "plain"
"""Of a state: its values as JSON, in bytes. The curve among them outgrows any header."""
DTYPES = {"float32": torch.float32, "float16": torch.float16}

Tensors = dict[str, Tensor]
Shapes = Mapping[str, tuple[int, ...]]
Layout = Callable[[Mapping[str, JsonValue]], Shapes]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Meta(BaseModel):
    """What weights are, and where they come from."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True
    )

    architecture: dict[str, JsonValue]
    normalisation: Literal["section-mean-deviation"] = "section-mean-deviation"
    """Of the image: by section, to mean 0 and deviation 1."""
    recipe: dict[str, JsonValue]
    step: Annotated[int, Field(ge=0)]
    """Optimiser steps of the training behind these weights."""
    start: Sha256 | None = None
    """The hash of the weights that it started from; None: drawn ones."""
    validation_loss: Annotated[float, Field(allow_inf_nan=False)] | None
    validation_rand_error: Annotated[float, Field(ge=0, le=1)] | None = None
    """Of the segments of the validation sections, which chose these weights."""
    sections: tuple[Sha256, ...]
    """Hashes of the sections trained on."""
    halo: Annotated[int, Field(ge=0)]
    """Least halo of a prediction, pixels."""
    versions: dict[str, str]
    """Of the packages that decide bits."""


@dataclass(frozen=True, slots=True)
class Weights:
    """The float32 tensors of a network by name, what they are, and the file's hash of both."""

    tensors: Tensors
    meta: Meta
    sha256: str


def save_weights(
    path: Path,
    tensors: Mapping[str, Tensor],
    meta: Meta,
    precision: Literal["float32", "float16"] = "float32",
) -> str:
    """Write weights in that precision, whole and durable or not at all; returns their sha256.

    Equal tensors and meta give equal bytes.

    Raises DcanError: the file cannot be written, or a weight is too large for the precision.
    """
    stored = {name: tensor.to(DTYPES[precision]) for name, tensor in tensors.items()}
    for name, tensor in stored.items():
        if not bool(torch.isfinite(tensor).all()):
            raise DcanError(f"weights {name!r} do not fit {precision}: keep them in float32")
    return _save(path, "weights", stored, meta.model_dump(mode="json"))


def load_weights(path: Path, layout: Layout) -> Weights:
    """Read weights and check all that can be checked.

    `layout` gives names and shapes of the tensors of an architecture, and raises DcanError
    where it is none.

    Raises DcanError, naming the file: unreadable, not a checkpoint, of another format, a tensor
    missing, unknown, of another shape or not finite, or bytes other than those written.
    """
    header = _header(path, "weights")
    try:
        meta = Meta.model_validate_json(json.dumps(header.plain))
        shapes = layout(meta.architecture)
    except ValidationError as error:
        found = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in found["loc"])
        raise _refusal(path, f"key {key!r} of its metadata: {found['msg']}") from None
    except DcanError as error:
        raise _refusal(path, str(error)) from None
    return Weights(_load(path, header, shapes), meta, header.sha256)


def save_state(path: Path, tensors: Mapping[str, Tensor], plain: Mapping[str, JsonValue]) -> None:
    """Write the state of a training, whole and durable or not at all; replaces the last.

    Raises DcanError: the file cannot be written.
    """
    text = json.dumps(dict(plain), allow_nan=False).encode()
    values = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    _save(path, "state", {**tensors, PLAIN: values}, {})


def load_state(path: Path) -> tuple[Tensors, dict[str, JsonValue]]:
    """The tensors and plain values that `save_state` wrote.

    Raises DcanError, naming the file: as for weights, but for the tensors' names and shapes.
    """
    header = _header(path, "state")
    tensors = _load(path, header, None)
    if PLAIN not in tensors:  # they were in the header once
        return tensors, header.plain
    try:
        plain = json.loads(tensors.pop(PLAIN).numpy().tobytes())
    except (ValueError, RecursionError):
        plain = None
    if not isinstance(plain, dict):
        raise _refusal(path, "its values are not readable")
    return tensors, plain


def _save(path: Path, kind: str, tensors: Mapping[str, Tensor], plain: dict[str, JsonValue]) -> str:
    text = json.dumps({"format": 1, "kind": kind, "meta": plain}, sort_keys=True, allow_nan=False)
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    sha256 = _digest(text, stored)
    # One key: the order of several is random, and equal weights are equal files.
    data = safetensors.torch.save(stored, {"dcan": f"{sha256} {text}"})
    with replacing(path) as temporary:
        temporary.write_bytes(data)
    return sha256


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    total = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        total.update(f"\0{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def _refusal(path: Path, what: str) -> DcanError:
    return DcanError(f"checkpoint {path}: {what}: restore the file, or remove it and train again")


@dataclass(frozen=True, slots=True)
class _Header:
    text: str
    sha256: str
    plain: dict[str, JsonValue]
    size: int


def _header(path: Path, kind: str) -> _Header:
    """What a checkpoint of this kind says of itself; reads no tensors."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(LARGEST_HEADER, size - 8):
                raise _refusal(path, "cut short, or not a safetensors file")
            metadata = json.loads(file.read(length))["__metadata__"]
        sha256, _, text = metadata["dcan"].partition(" ")
        about = json.loads(text)
        found, version, plain = about["kind"], about["format"], about["meta"]
    except OSError as error:
        raise _refusal(path, error.strerror or str(error)) from None
    except (struct.error, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise _refusal(path, "not a checkpoint of this package") from None
    if found != kind or version != 1 or not isinstance(plain, dict):
        raise _refusal(path, f"holds {found!r} of format {version!r}, not {kind!r} of format 1")
    return _Header(text, sha256, plain, size)


def _load(path: Path, header: _Header, shapes: Shapes | None) -> Tensors:
    """The tensors of a file, checked against its hash and the expected shapes."""
    if shapes is not None:
        _check_size(path, header.size, shapes)
    try:
        tensors: Tensors = safetensors.torch.load(path.read_bytes())
    except OSError as error:
        raise _refusal(path, error.strerror or str(error)) from None
    except (SafetensorError, ValueError, KeyError):
        raise _refusal(path, "cut short or damaged") from None
    if shapes is not None:
        _check_shapes(path, {name: tuple(t.shape) for name, t in tensors.items()}, shapes)
    for name, tensor in tensors.items():
        if not (_is_plain(name, tensor, shapes) or _is_finite(tensor)):
            raise _refusal(path, f"tensor {name!r} is not of finite float32 or float16")
    if _digest(header.text, tensors) != header.sha256:
        raise _refusal(path, "its bytes are not those that were written (SHA-256 differs)")
    return {n: t if _is_plain(n, t, shapes) else t.float() for n, t in tensors.items()}


def _is_plain(name: str, tensor: Tensor, shapes: Shapes | None) -> bool:
    return shapes is None and name == PLAIN and tensor.dtype == torch.uint8


def _is_finite(tensor: Tensor) -> bool:
    return tensor.dtype in DTYPES.values() and bool(torch.isfinite(tensor).all())


def _check_size(path: Path, size: int, shapes: Shapes) -> None:
    """Before memory is taken: a file much larger than its architecture is none of it."""
    numbers = sum(map(prod, shapes.values()))
    if not 2 * numbers < size <= 4 * numbers + 8 + LARGEST_HEADER:
        raise _refusal(path, f"{size} bytes where its architecture has {numbers} weights")


def _check_shapes(path: Path, found: Shapes, expected: Shapes) -> None:
    for name in sorted({*found, *expected}):
        if found.get(name) != expected.get(name):
            raise _refusal(
                path,
                f"tensor {name!r} has shape {found.get(name)}, its architecture "
                f"{expected.get(name)}",
            )
