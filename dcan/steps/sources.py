"""The sources that a configuration names; imports nothing heavy, the workflow asks for hints."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from dcan.config import Config, Phantom, SourcePath
from dcan.config.model import Source as SourceValue
from dcan.config.values import NAME
from dcan.errors import DcanError
from dcan.storage.sources import Kind, Source, SourceSpec, hint, open_source

MODELS = Path(__file__).parents[2] / "models"
"""Where the networks lie that a name stands for."""
CALIBRATION = ".calibration.json"
"""How the calibration beside weights in `models/` ends."""


def spec(value: SourceValue, phantom: Phantom | None, key: str) -> SourceSpec:
    """The source that a configuration value means; `key` names it in errors."""
    if isinstance(value, SourcePath):
        return SourceSpec(value.path, value.dataset, key=key)
    if value == "phantom" and phantom is not None:
        return SourceSpec(value, shape=phantom.shape, seed=phantom.seed, key=key)
    return SourceSpec(value, key=key)


def sources(config: Config) -> Iterator[tuple[str, SourceSpec, Kind]]:
    """Every source of a configuration: its role, its place, and what it holds."""
    phantom = config.phantom
    yield "volume", spec(config.volume.source, phantom, "volume.source"), "image"
    if config.volume.mask is not None:
        yield "mask", spec(config.volume.mask, phantom, "volume.mask"), "mask"
    if config.truth:
        yield "truth", spec(config.truth.source, phantom, "truth.source"), "labels"
    if config.membrane:
        yield "membrane", spec(config.membrane.source, phantom, "membrane.source"), "map"
    for number, volume in enumerate(config.training.volumes or []):
        key = f"training.volumes.{number}"
        yield f"training.{number}", spec(volume.source, phantom, f"{key}.source"), "image"
        labels = spec(volume.truth.source, phantom, f"{key}.truth.source")
        yield f"training.{number}.truth", labels, "labels"


def hints(config: Config) -> dict[str, str]:
    """Cheap identities of the sources: where one changes, the probe looks at the bytes again."""
    return {role: hint(place) for role, place, _ in sources(config)}


def named_path(named: str, key: str, ending: str) -> Path:
    """The path that the value of a key names, or of the file of that name in `models/`.

    Raises DcanError: it is the name of both, or the system refuses to look.
    """
    path, ready = Path(named), MODELS / f"{named}{ending}"
    try:
        here = path.exists()
    except OSError as error:
        raise DcanError(f"{key} is {named!r}: {error.strerror}: give another path") from None
    if not re.fullmatch(NAME, named) or not ready.is_file():
        return path
    if here:
        raise DcanError(
            f"{key} is {named!r}: that names a network in models/, and {path.absolute()} too: "
            f"give ./{named} for what is here, or rename it"
        )
    return ready


def given_files(config: Config) -> dict[str, list[tuple[str, int, int]]]:
    """Name, size and time of the files of weights and calibrations that a configuration names.

    Where one changes, the stages that take them look at the content again.

    Raises DcanError: see `named_path`.
    """
    weights = ".onnx" if config.model.onnx else ".safetensors"
    named = (
        ("model.weights", config.model.weights, weights),
        ("training.start_from", config.training.start_from, ".safetensors"),
        ("segmentation.calibration", config.segmentation.calibration, CALIBRATION),
    )
    return {
        key: list(_stated(named_path(value, key, ending)))
        for key, value, ending in named
        if value is not None
    }


def _stated(path: Path) -> Iterator[tuple[str, int, int]]:
    files = sorted(path.glob("*.*")) if path.is_dir() else [path]
    for file in files:
        if file.is_file() and file.suffix in (".safetensors", ".onnx", ".json"):
            stat = file.stat()
            yield file.name, stat.st_size, stat.st_mtime_ns


def place_of(config: Config, role: str) -> tuple[SourceSpec, Kind]:
    """Where the source of a role is, and what it holds. Raises DcanError for an unknown role."""
    for name, place, kind in sources(config):
        if name == role:
            return place, kind
    raise DcanError(f"no source is configured as {role}: add it to the configuration")


def opened(config: Config, role: str) -> Source:
    """The source of a role, open."""
    return open_source(*place_of(config, role))


_kept_open = lru_cache(maxsize=4)(open_source)


def kept_open(config: Config, role: str) -> Source:
    """The source of a role, one for all blocks of this process."""
    return _kept_open(*place_of(config, role))
