"""The groups and arrays of a Zarr, from their JSON alone; no chunk is opened."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from dcan.errors import DcanError
from dcan.storage.sources.locating import ZARR_METADATA
from dcan.storage.sources.spec import reading

METADATA_BOUND = 16 << 20


@dataclass(frozen=True, slots=True)
class Node:
    """A group (no shape) or an array of a Zarr."""

    folder: Path
    format: Literal[2, 3]
    attributes: dict[str, Any]
    shape: tuple[int, ...] | None = None
    axes: tuple[str, ...] | None = None
    codecs: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Level:
    """The array that holds a volume, with the folders whose metadata led to it."""

    array: Node
    folders: tuple[Path, ...]

    def metadata(self) -> tuple[Path, ...]:
        """The metadata files, in a fixed order."""
        paths = (folder / name for folder in self.folders for name in ZARR_METADATA)
        return tuple(path for path in dict.fromkeys(paths) if path.is_file())

    def files(self) -> tuple[Path, ...]:
        """The metadata files and every file of the array."""
        chunks = (Path(at) / name for at, _, names in _walk(self.array.folder) for name in names)
        return tuple(dict.fromkeys((*self.metadata(), *sorted(chunks))))

    def holds(self, need: int) -> int:
        """Bytes stored for the array, counted until they reach `need`."""
        held = 0
        for at, _, names in _walk(self.array.folder):
            for name in names:
                held += os.stat(os.path.join(at, name)).st_size
                if held >= need:
                    return held
        return held


def find_level(root: Path, dataset: str | None) -> Level:
    """The array that `dataset` means below `root`.

    Of a group with OME multiscales it is the level of the finest scale, of another group its only
    3-D array. Raises DcanError when there is no such array, or more than one.
    """
    folders = [root]
    if dataset is not None:
        folders.append(_below(root, dataset))
    node = _node(folders[-1])
    if node is None:
        raise DcanError(f"no Zarr array or group {dataset!r} in {root}: {_listing(root)}")
    if node.shape is not None:
        return Level(node, tuple(folders))
    multiscales = _multiscales(node)
    if multiscales is None:
        array = _only_volume(node.folder)
        return Level(array, (*folders, array.folder))
    with reading(f"the OME multiscales of {node.folder}"):
        finest = _below(node.folder, str(_finest(multiscales)["path"]))
        axes = multiscales.get("axes", list("tczyx"))
        names = tuple(str(axis["name"] if isinstance(axis, dict) else axis) for axis in axes)
        return Level(replace(_array(finest), axes=names), (*folders, finest))


def _multiscales(node: Node) -> dict[str, Any] | None:
    """The one pyramid of a group: OME-Zarr 0.5 below `ome`, before that at the top."""
    ome = node.attributes.get("ome")
    holder = ome if isinstance(ome, dict) else node.attributes
    found = holder.get("multiscales")
    if found is None:
        return None
    if not isinstance(found, list) or len(found) != 1 or not isinstance(found[0], dict):
        raise DcanError(
            f"{node.folder} has not exactly one OME multiscales: give the dataset of the array"
        )
    return found[0]


def _finest(multiscales: dict[str, Any]) -> dict[str, Any]:
    """The level of the smallest voxel; the first of equals, as the specification orders them."""

    def voxel(level: dict[str, Any]) -> float:
        scales = (t["scale"] for t in level.get("coordinateTransformations", ()) if "scale" in t)
        return prod(float(size) for scale in scales for size in scale)

    levels: list[dict[str, Any]] = multiscales["datasets"]
    return min(levels, key=voxel)


def _array(folder: Path) -> Node:
    node = _node(folder)
    if node is None or node.shape is None:
        raise DcanError(f"no Zarr array at {folder}, which its group names: restore it")
    return node


def _only_volume(group: Path) -> Node:
    volumes = [node for node in _arrays(group) if node.shape and len(node.shape) == 3]
    if len(volumes) != 1:
        raise DcanError(f"{group} is a Zarr group: {_listing(group)}")
    return volumes[0]


def _listing(group: Path) -> str:
    nodes = [node for node in _arrays(group) if node.shape and len(node.shape) >= 3]
    return give_dataset([node.folder.relative_to(group).as_posix() for node in nodes])


def give_dataset(names: Sequence[str]) -> str:
    """What to do about a dataset that is not clear, in words."""
    return f"give dataset, one of {', '.join(sorted(names)[:20])}" if names else "it has no volume"


def _arrays(group: Path) -> Iterator[Node]:
    for at, folders, _ in _walk(group):
        node = _node(Path(at))
        if node is not None and node.shape is not None:
            folders.clear()
            yield node


def _walk(top: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """As `os.walk`, in order of names, into linked folders too, but into none twice."""
    seen: set[str] = set()
    for at, folders, names in os.walk(top, followlinks=True):
        real = os.path.realpath(at)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        yield at, folders, sorted(names)


def _below(root: Path, inside: str) -> Path:
    """Raises DcanError for a path that leaves `root`: the identity covers `root` alone."""
    path = PurePosixPath(inside.strip("/"))
    if ".." in path.parts or "\0" in inside or "\\" in inside:
        raise DcanError(f"{inside!r} is no path inside {root}: give one without '..'")
    return root / path


def _node(folder: Path) -> Node | None:
    with reading(f"the Zarr metadata of {folder}"):
        if (folder / "zarr.json").is_file():
            return _node_3(folder, _json(folder / "zarr.json"))
        if (folder / ".zarray").is_file():
            held = _json(folder / ".zarray")
            codecs = frozenset(_codecs(held))
            return Node(folder, 2, _json(folder / ".zattrs"), _shape(held), None, codecs)
        if (folder / ".zgroup").is_file() or (folder / ".zattrs").is_file():
            return Node(folder, 2, _json(folder / ".zattrs"))
    return None


def _node_3(folder: Path, held: dict[str, Any]) -> Node:
    attributes = held.get("attributes") or {}
    if held["node_type"] != "array":
        return Node(folder, 3, attributes)
    names = held.get("dimension_names")
    axes = tuple(names) if names and all(isinstance(name, str) for name in names) else None
    return Node(folder, 3, attributes, _shape(held), axes, frozenset(_codecs(held)))


def _codecs(held: dict[str, Any]) -> Iterator[str]:
    """Names of the codecs in an array's metadata, those inside shards too."""
    for key in ("compressor", "filters", "codecs", "index_codecs"):
        value = held.get(key) or []
        for codec in value if isinstance(value, list) else [value]:
            named = codec if isinstance(codec, dict) else {"name": codec}
            yield str(named.get("id", named.get("name"))).removeprefix("numcodecs.")
            yield from _codecs(named.get("configuration") or {})


def _shape(held: dict[str, Any]) -> tuple[int, ...]:
    return tuple(int(n) for n in held["shape"])


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    if path.stat().st_size > METADATA_BOUND:
        raise DcanError(f"{path} has more than {METADATA_BOUND} bytes: that is no Zarr metadata")
    held = json.loads(path.read_bytes())
    if not isinstance(held, dict):
        raise ValueError(f"{path.name} holds no JSON object")
    return held
