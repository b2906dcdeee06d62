"""The place of one volume's results, and the fingerprints of its stages."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dcan.config import Config, load, own, planned
from dcan.errors import DcanError
from dcan.geometry import Box, Grid, Triple, share
from dcan.storage.receipts import Ledger, Receipt, digest

MEMBRANE_ABSENT = 255  # where there is no tissue; also the membrane store's fill value


@dataclass(frozen=True)
class Part:
    """Part `index` of `count`: the share of a stage's blocks that one job takes."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Part:
        """From `index/count`, as on the command line."""
        index, _, count = text.partition("/")
        if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
            raise DcanError(f"--batch {text}: give INDEX/COUNT with 0 <= INDEX < COUNT")
        return cls(int(index), int(count))


@dataclass(frozen=True)
class Workspace:
    """A configuration and the folder `<output>/<name>` that its results go to; picklable."""

    config: Config
    root: Path

    @classmethod
    def open(cls, path: str | Path) -> Workspace:
        """The workspace of a configuration file."""
        return cls.of(load(path))

    @classmethod
    def of(cls, config: Config) -> Workspace:
        """The workspace of a configuration."""
        return cls(config, Path(config.output).absolute() / config.volume.name)

    def on_threads(self) -> Workspace:
        """This workspace, with blocks on the threads of the job whatever scheduler there is."""
        engine = self.config.engine.model_copy(update={"scheduler": None})
        return Workspace(self.config.model_copy(update={"engine": engine}), self.root)

    def receipt(self, stage: str) -> Receipt:
        """The receipt of a stage; raises DcanError when there is none that holds."""
        path = self.root / "receipts" / f"{stage}.json"
        if not path.exists():
            raise DcanError(
                f"stage {stage} of {self.config.volume.name} is not done (no {path}): run "
                "snakemake, which runs the stages in order"
            )
        return Receipt.read(path)

    def identity(self, stage: str) -> str:
        """What the stages after this one depend on; raises DcanError as `receipt` does."""
        return self.receipt(stage).identity

    @cached_property
    def probe(self) -> dict[str, Any]:
        """What the probe found: shape, dtype, sources with their identities."""
        return dict(self.receipt("probe").values)

    @property
    def shape(self) -> Triple:
        """Voxels of the volume along (z, y, x)."""
        depth, height, width = self.probe["shape"]
        return depth, height, width

    def piece_of(self, role: str) -> Triple:
        """The voxels of a source that are decoded at once."""
        depth, height, width = self.found_of(role).get("piece", (1, 1, 1))
        return depth, height, width

    def itemsize_of(self, role: str) -> int:
        """Bytes of a voxel of a source."""
        return int(np.dtype(self.found_of(role)["dtype"]).itemsize)

    @property
    def grid(self) -> Grid:
        """The blocks of the volume."""
        return Grid(self.shape, self.config.blocks.within(self.shape))

    def blocks(self, part: Part) -> list[Box]:
        """The write boxes of a part of the blocks, in raster order."""
        every = list(self.grid)
        return [every[i] for i in share(len(every), part.index, part.count)]

    @cached_property
    def missing(self) -> frozenset[int]:
        """Sections without tissue: declared, or left empty by the mask."""
        declared = frozenset(self.config.volume.missing)
        if self.config.volume.mask is None:
            return declared
        return declared.union(self.found_of("mask")["empty"])

    @cached_property
    def present(self) -> list[int]:
        """Sections with tissue, ascending."""
        return [z for z in range(self.shape[0]) if z not in self.missing]

    @property
    def learned(self) -> frozenset[str] | None:
        """Hashes of the sections that the networks were trained on; none for a given map.

        None: the networks do not say.
        """
        if self.config.membrane:
            return frozenset()
        sections = self.receipt("train").values["sections"]
        return None if sections is None else frozenset(sections)

    def chosen(self) -> dict[str, Any]:
        """The calibrated sigma, depth, w_f, t, and the values of linking."""
        return dict(self.receipt("calibrate").values["chosen"])

    def found_of(self, role: str) -> dict[str, Any]:
        """What the probe has found of a source: `mask`, `truth`, `membrane`.

        Raises DcanError where the configuration has named it since.
        """
        found: dict[str, Any] | None = self.probe["sources"].get(role)
        if found is None:
            raise DcanError(f"the probe has not looked at the {role}: run snakemake")
        return found

    def _sources(self, roles: tuple[str, ...]) -> dict[str, str]:
        found: dict[str, Any] = self.probe["sources"]
        return {
            role: entry["content"] for role, entry in found.items() if role.split(".")[0] in roles
        }

    def fingerprint(self, stage: str, without: str | None = None, /, **extra: object) -> str:
        """What the result of a stage depends on; see `dcan.config.stages`.

        `without` names a section of the configuration that a part of the stage does not use.
        Raises DcanError for a stage that the configuration leaves nothing to do.
        """
        stages = planned(self.config)
        if stage not in stages:
            raise DcanError(
                f"stage {stage} has nothing to do for {self.config.volume.name}: change its "
                f"configuration, or leave the stage out ({', '.join(stages)} run)"
            )
        spec = stages[stage]
        chosen = self.chosen() if spec.chosen else {}
        return digest(
            {
                "stage": stage,
                "version": spec.version,
                "values": {
                    key: value
                    for key, value in own(self.config, stage).items()
                    if key.partition(".")[0] != without
                },
                "chosen": {name: chosen[name] for name in spec.chosen},
                "sources": self._sources(spec.sources) if spec.sources else {},
                "after": {name: self.identity(name) for name in spec.after},
                "extra": extra,
            }
        )

    def ledger(self, stage: str, **extra: object) -> Ledger:
        """The ledger of a stage under its present fingerprint."""
        return Ledger(self.root, stage, self.fingerprint(stage, **extra))
