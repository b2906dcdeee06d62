"""A volume in one file of its own: HDF5, NumPy; and the phantom, which is in none."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcan.errors import DcanError
from dcan.geometry import Box, Triple
from dcan.storage.sources.hierarchy import give_dataset
from dcan.storage.sources.spec import (
    ANY,
    Kind,
    check_inside,
    check_piece,
    last_three,
    native,
    reading,
    volume_shape,
)


@dataclass(frozen=True, slots=True)
class Hdf5Source:
    """A dataset of an HDF5 file, which is opened for each read. See `Source`."""

    path: Path
    dataset: str
    shape: Triple
    dtype: np.dtype[Any]
    piece: Triple = ANY

    def read(self, box: Box) -> NDArray[Any]:
        """See `Source.read`."""
        import h5py

        check_inside(box, self.shape)
        what = f"{self.path}, dataset {self.dataset}, box {box.key}"
        with reading(what), h5py.File(self.path, "r", locking="best-effort") as file:
            held = file[self.dataset]
            inner = box.slices if held.ndim > 2 else box.slices[1:]
            outer = (0,) * (held.ndim - len(inner))
            return np.asarray(held[(*outer, *inner)], self.dtype).reshape(box.shape)

    def files(self) -> tuple[Path, ...]:
        """The file."""
        return (self.path,)


def open_hdf5(path: Path, dataset: str | None) -> Hdf5Source:
    """The volume of a dataset; without a name, of the only 3-D dataset of the file.

    A chunk that is not stored reads as the fill value. Raises DcanError when the dataset is not
    there or not one, when it was never written, when it is stored in other files, and when
    the file cannot hold its chunks.
    """
    import h5py

    with reading(str(path)), h5py.File(path, "r", locking="best-effort") as file:
        held = _hdf5_dataset(path, file, dataset)
        what = f"{path}, dataset {held.name}"
        if held.is_virtual or held.external or Path(held.file.filename) != path:
            raise DcanError(f"{what} is stored in other files: copy it into one, or give those")
        shape = volume_shape(what, held.shape or ())
        if held.id.get_storage_size() == 0:
            raise DcanError(f"{what} holds no data: it was declared and never written")
        chunk = held.chunks or (0,)
        check_piece(what, prod(chunk) * held.dtype.itemsize, path.stat().st_size)
        piece = last_three(held.chunks) if held.chunks else ANY
        return Hdf5Source(path, held.name, shape, native(held.dtype), piece)


def _hdf5_dataset(path: Path, file: Any, dataset: str | None) -> Any:
    import h5py

    volumes: list[str] = []

    def visit(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset) and node.ndim == 3:
            volumes.append(name)

    if dataset is None:
        file.visititems(visit)
        if len(volumes) == 1:
            return file[volumes[0]]
        raise DcanError(f"{path} has {len(volumes)} 3-D datasets: {give_dataset(volumes)}")
    node = file.get(dataset)
    if not isinstance(node, h5py.Dataset):
        file.visititems(visit)
        raise DcanError(f"no dataset {dataset!r} in {path}: {give_dataset(volumes)}")
    return node


@dataclass(frozen=True, slots=True)
class NumpySource:
    """A `.npy` file, mapped for each read. See `Source`."""

    path: Path
    shape: Triple
    dtype: np.dtype[Any]
    piece: Triple = ANY

    def read(self, box: Box) -> NDArray[Any]:
        """See `Source.read`."""
        check_inside(box, self.shape)
        with reading(f"{self.path}, box {box.key}"):
            return np.array(_map(self.path).reshape(self.shape)[box.slices], self.dtype)

    def files(self) -> tuple[Path, ...]:
        """The file."""
        return (self.path,)


def open_numpy(path: Path) -> NumpySource:
    """The volume of a `.npy` file; pickled objects are never loaded."""
    with reading(str(path)):
        held = _map(path)
        return NumpySource(path, volume_shape(str(path), held.shape), native(held.dtype))


def _map(path: Path) -> NDArray[Any]:
    return np.lib.format.open_memmap(path, mode="r")


@dataclass(frozen=True, slots=True)
class PhantomSource:
    """The synthetic volume, made on reading. See `Source`."""

    shape: Triple
    seed: int
    kind: Kind
    piece: Triple = ANY

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8 for the image and the map, uint32 for the labels."""
        return np.dtype(np.uint32 if self.kind == "labels" else np.uint8)

    def read(self, box: Box) -> NDArray[Any]:
        """See `Source.read`."""
        from dcan.ops import phantom

        check_inside(box, self.shape)
        if self.kind == "map":
            return phantom.membrane(self.shape, self.seed, box)
        rendered = phantom.render(self.shape, self.seed, box)
        return rendered.em if self.kind == "image" else rendered.neurites

    def files(self) -> tuple[Path, ...]:
        """None."""
        return ()


def open_phantom(shape: Triple | None, seed: int, kind: Kind) -> PhantomSource:
    """Raises DcanError without a shape of positive sizes."""
    if shape is None or len(shape) != 3 or min(shape) < 1:
        raise DcanError(f"phantom has shape {shape}: give sections, rows and columns, 1 or more")
    return PhantomSource(shape, seed, kind)
