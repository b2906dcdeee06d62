import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from dcan.errors import DcanError
from dcan.storage import checkpoints
from dcan.storage.checkpoints import (
    Meta,
    Weights,
    load_state,
    load_weights,
    save_state,
    save_weights,
)

SHAPES = {"a.weight": (3, 2, 3, 3), "a.bias": (3,), "b.weight": (1, 3)}
META = Meta(
    architecture={"width": 4},
    recipe={"steps": 7, "rule": "paper"},
    step=7,
    validation_loss=0.25,
    sections=("0" * 64, "f" * 64),
    halo=54,
    versions={"torch": "2"},
)


def layout(architecture: object) -> dict[str, tuple[int, ...]]:
    if architecture != {"width": 4}:
        raise DcanError(f"architecture is {architecture}: give width 4")
    return SHAPES


def tensors(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}


def equal(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "member-0.safetensors"
    save_weights(path, tensors(), META)
    return path


def test_half_the_bytes_come_back_as_float32_rounded(tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    sha256 = save_weights(path, tensors(), META, "float16")
    found = load_weights(path, layout)
    assert found.sha256 == sha256
    assert equal(found.tensors, {name: t.half().float() for name, t in tensors().items()})
    assert all(tensor.dtype == torch.float32 for tensor in found.tensors.values())


def test_a_weight_that_half_precision_cannot_hold_is_refused(tmp_path: Path) -> None:
    large = tensors() | {"a.bias": torch.tensor([0.0, 7e4, 0.0])}
    with pytest.raises(DcanError, match=r"weights 'a.bias' do not fit float16: keep them"):
        save_weights(tmp_path / "half.safetensors", large, META, "float16")
    assert not list(tmp_path.iterdir())


def test_weights_come_back(path: Path) -> None:
    found = load_weights(path, layout)
    assert equal(found.tensors, tensors())
    assert found.meta == META
    assert found.sha256 == save_weights(path, tensors(), META)


def test_equal_weights_are_equal_files(path: Path) -> None:
    other = path.with_name("other")
    save_weights(other, dict(reversed(tensors().items())), META)
    assert other.read_bytes() == path.read_bytes()


def test_the_hash_follows_tensors_and_meta(path: Path) -> None:
    one = save_weights(path, tensors(), META)
    assert one != save_weights(path, tensors(1), META)
    assert one != save_weights(path, tensors(), META.model_copy(update={"halo": 56}))


def test_strided_tensors_are_stored_by_value(path: Path) -> None:
    strided = {
        n: t.to(memory_format=torch.channels_last) if t.dim() == 4 else t
        for n, t in tensors().items()
    }
    save_weights(path, strided, META)
    assert equal(load_weights(path, layout).tensors, tensors())


def load_or_refuse(path: Path) -> Weights | None:
    try:
        return load_weights(path, layout)
    except DcanError as error:
        if str(path) not in str(error) or "\n" in str(error):
            raise AssertionError(f"not one line that names the file: {error}") from error
        return None


def test_no_flipped_bit_gives_other_weights(path: Path) -> None:
    good = path.read_bytes()
    refused = 0
    (length,) = struct.unpack("<Q", good[:8])
    rng = np.random.default_rng(0)
    header = rng.choice(8 * (8 + length), 300, replace=False)
    body = rng.integers(8 * (8 + length), 8 * len(good), 150)
    for bit in [*header.tolist(), *body.tolist()]:
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bad)
        found = load_or_refuse(path)
        refused += found is None
        assert found is None or (equal(found.tensors, tensors()) and found.meta == META)
        assert found is None or bit < 8 * (8 + length)
    assert refused > 0.95 * 300 + 150


@given(st.integers(0, 10**6), st.binary(max_size=40))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_cut_grown_and_garbled_files_are_refused(path: Path, place: int, noise: bytes) -> None:
    good = path.read_bytes()
    try:
        for bad in (
            good[: place % len(good)],
            good + noise + b"\0",
            noise,
            good[: place % len(good)] + b"\xff" + noise + good[place % len(good) :],
        ):
            path.write_bytes(bad)
            assert load_or_refuse(path) is None
    finally:
        path.write_bytes(good)


def raw(path: Path, header: object, data: bytes = b"") -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


@pytest.mark.parametrize(
    "header",
    [
        {},
        [],
        None,
        {"__metadata__": None},
        {"__metadata__": {}},
        {"__metadata__": {"dcan": 7}},
        {"__metadata__": {"dcan": "x []"}},
        {"__metadata__": {"dcan": "x " + "{" * 10}},
        {"__metadata__": {"dcan": "x " + "[" * 100_000}},
        b"[" * 1_000_000,
        {"__metadata__": {"dcan": 'x {"kind": "weights", "format": 2, "meta": {}}'}},
        {"__metadata__": {"dcan": 'x {"kind": "weights", "format": 1, "meta": []}'}},
        {"__metadata__": {"dcan": 'x {"kind": "weights", "format": 1, "meta": {}}'}},
    ],
    ids=range(13),
)
def test_hostile_headers_are_refused(path: Path, header: object) -> None:
    raw(path, header)
    assert load_or_refuse(path) is None


def test_a_header_that_claims_gigabytes_is_refused(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", 1 << 40) + b"{}")
    assert load_or_refuse(path) is None


def rewrite(path: Path, meta: dict[str, JsonValue], given: dict[str, torch.Tensor]) -> None:
    """A file with a true hash over what the package would never write."""
    checkpoints._save(path, "weights", given, meta)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"halo": "54"}, "halo"),
        ({"halo": -1}, "halo"),
        ({"sections": ["x"]}, "sections"),
        ({"code": "import os"}, "code"),
        ({"normalisation": "tile"}, "normalisation"),
        ({"architecture": {"width": 5}}, "give width 4"),
    ],
)
def test_metadata_out_of_schema_is_refused(
    path: Path, change: dict[str, JsonValue], named: str
) -> None:
    rewrite(path, META.model_dump(mode="json") | change, tensors())
    with pytest.raises(DcanError, match=named):
        load_weights(path, layout)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"a.bias": torch.zeros(4)}, "a.bias"),
        ({"a.bias": None}, "a.bias"),
        ({"c": torch.zeros(1)}, "'c'"),
        ({"a.bias": torch.zeros(3, dtype=torch.int32)}, "float32"),
        ({"a.bias": torch.tensor([0, np.nan, 0])}, "finite"),
        ({"a.bias": torch.tensor([0, np.inf, 0])}, "finite"),
    ],
    ids=range(6),
)
def test_tensors_that_do_not_fit_are_refused(
    path: Path, change: dict[str, torch.Tensor | None], named: str
) -> None:
    given = {name: t for name, t in (tensors() | change).items() if t is not None}
    rewrite(path, META.model_dump(mode="json"), given)
    with pytest.raises(DcanError, match=named):
        load_weights(path, layout)


def test_a_file_larger_than_its_architecture_is_refused_unread(path: Path) -> None:
    with path.open("ab") as file:
        os.truncate(file.fileno(), 1 << 33)
    with pytest.raises(DcanError, match="8589934592 bytes"):
        load_weights(path, layout)


def test_a_pickle_is_refused_and_not_run(path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(path) + ".canary",)

    torch.save({"a.weight": Payload()}, path)
    assert load_or_refuse(path) is None
    assert not Path(str(path) + ".canary").exists()


def test_a_foreign_safetensors_file_is_refused(path: Path) -> None:
    safetensors.torch.save_file(tensors(), path)
    assert load_or_refuse(path) is None


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DcanError, match="nowhere"):
        load_weights(tmp_path / "nowhere", layout)
    with pytest.raises(DcanError, match="directory"):
        load_weights(tmp_path, layout)


def test_a_state_comes_back_and_is_not_weights(path: Path) -> None:
    plain: dict[str, JsonValue] = {"step": 3, "best_loss": 0.1 + 0.2, "best_step": None}
    given = {**tensors(), "optimiser.step": torch.tensor(3.0)}
    save_state(path, given, plain)
    found, values = load_state(path)
    assert equal(found, given)
    assert values == plain
    assert load_or_refuse(path) is None
    save_weights(path, tensors(), META)
    with pytest.raises(DcanError, match="not 'state'"):
        load_state(path)


def test_values_of_a_state_may_be_larger_than_any_header(path: Path) -> None:
    plain: dict[str, JsonValue] = {"curve": [{"loss": 0.1 + i, "s": "ü"} for i in range(10**6)]}
    save_state(path, tensors(), plain)
    assert path.stat().st_size > checkpoints.LARGEST_HEADER
    found, values = load_state(path)
    assert values == plain
    assert equal(found, tensors())


def test_a_state_with_its_values_in_the_header_comes_back(path: Path) -> None:
    checkpoints._save(path, "state", tensors(), {"step": 3})
    found, values = load_state(path)
    assert equal(found, tensors())
    assert values == {"step": 3}


@pytest.mark.parametrize("kept", [b"[1]", b"{", b"[" * 10**5, b"\xff"], ids=range(4))
def test_values_that_are_none_are_refused(path: Path, kept: bytes) -> None:
    values = torch.frombuffer(bytearray(kept), dtype=torch.uint8)
    checkpoints._save(path, "state", {**tensors(), "plain": values}, {})
    with pytest.raises(DcanError, match=r"its values are not readable: .*remove it"):
        load_state(path)


def test_bytes_are_no_weights(path: Path) -> None:
    bias = {"a.bias": torch.zeros(3, dtype=torch.uint8)}
    rewrite(path, META.model_dump(mode="json"), tensors() | bias)
    with pytest.raises(DcanError, match=r"'a\.bias' is not of finite float32"):
        load_weights(path, layout)


def test_a_damaged_state_is_refused(path: Path) -> None:
    save_state(path, tensors(), {"step": 3})
    good = path.read_bytes()
    for place in np.random.default_rng(1).integers(0, 8 * len(good), 300):
        bad = bytearray(good)
        bad[place // 8] ^= 1 << place % 8
        path.write_bytes(bad)
        try:
            found, plain = load_state(path)
        except DcanError:
            continue
        assert equal(found, tensors())
        assert plain == {"step": 3}


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DcanError, match="No space left"):
        save_weights(path, tensors(1), META)
    assert path.read_bytes() == good
    assert list(path.parent.iterdir()) == [path]
