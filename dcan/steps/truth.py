"""The labelled sections that the network is trained, chosen and calibrated on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcan.config.model import TrainingVolume, bounds
from dcan.errors import DcanError
from dcan.geometry import Box, Triple
from dcan.net.normalise import histogram, section_table
from dcan.steps.ingest import section_histogram
from dcan.steps.labels import left_out, target_of, tissue_sections
from dcan.steps.probe import check_truth
from dcan.steps.sources import opened
from dcan.steps.vouching import Progress, check_inputs, vouch, working
from dcan.steps.workspace import Workspace
from dcan.storage.receipts import Entry
from dcan.storage.tables import read_table
from dcan.storage.volumes import Store, array_metadata, put_metadata

Section2D = NDArray[Any]


@dataclass(frozen=True)
class Labelled:
    """One labelled section: raw image, its normalisation, its target; arrays (y, x).

    `volume`, `z`: its training volume and section. `sha256`: see `fingerprint_of`.
    """

    volume: int
    z: int
    sha256: str
    em: Section2D
    table: NDArray[np.float32]
    target: NDArray[np.uint8]


def fingerprint_of(em: Section2D) -> str:
    """SHA-256 of a section's dtype, shape and pixels: tells whether it was trained on."""
    head = f"{em.dtype.str} {em.shape[0]} {em.shape[1]} ".encode()
    return hashlib.sha256(head + np.ascontiguousarray(em).tobytes()).hexdigest()


Reader = tuple[Triple, Callable[[Box], Section2D], Callable[[int], NDArray[np.int64]]]


def _em(space: Workspace, number: int) -> Reader:
    """Shape, reader and section histograms of the image of a training volume."""
    if space.config.training.volumes is None:
        store = Store(space.root, "em.ome.zarr/0")
        return store.shape, store.read, lambda z: section_histogram(space, z)
    source = opened(space.config, f"training.{number}")
    _, height, width = source.shape
    return (
        source.shape,
        source.read,
        lambda z: histogram(source.read(Box((z, 0, 0), (z + 1, height, width)))[0]),
    )


def _gather(space: Workspace, number: int, volume: TrainingVolume) -> dict[str, Any]:
    """Copy the labelled sections of one training volume into its arrays."""
    own = space.config.training.volumes is None
    role = "truth" if own else f"training.{number}.truth"
    labels = opened(space.config, role)
    shape, read, counts = _em(space, number)
    key = "truth" if own else f"training.volumes.{number}.truth"
    check_truth(volume.truth, labels.shape, shape, key)
    z0, y0, x0 = volume.truth.offset
    _, height, width = labels.shape
    sections = tissue_sections(space, volume, (height, width))
    size: Triple = (len(sections), height, width)
    stores = {}
    objects = []
    for name, dtype in (("em", str(read(Box((0, 0, 0), (1, 1, 1))).dtype)), ("target", "uint8")):
        path = f"training.zarr/{number}/{name}"
        objects.append(
            put_metadata(space.root, path, array_metadata(size, dtype, (1, height, width), 0, 1))
        )
        stores[name] = Store(space.root, path)
    tables: dict[str, NDArray[Any]] = {}
    hashes = []
    for index, z in enumerate(sections):
        em = read(Box((z, y0, x0), (z + 1, y0 + height, x0 + width)))
        truth = labels.read(Box((z - z0, 0, 0), (z - z0 + 1, height, width)))
        row = Box((index, 0, 0), (index + 1, height, width))
        objects += stores["em"].write(row, em)
        objects += stores["target"].write(row, target_of(space, volume, z, truth[0])[None])
        tables[f"{index}.table"] = section_table(counts(z))
        hashes.append(fingerprint_of(em[0]))
    return {
        "sections": sections,
        "hashes": hashes,
        "objects": objects,
        "tables": tables,
    }


def _fold(space: Workspace, found: list[dict[str, Any]]) -> None:
    """Say which fold a section belongs to: runs of consecutive ones; None: it is in none.

    Neighbouring sections are alike, so folds are no mixture of them.
    """
    folds = space.config.training.folds
    kept = [
        set(space.config.kept_back(volume)).intersection(held["sections"])
        for volume, held in zip(space.config.trained_on(), found, strict=True)
    ]
    count, place = sum(map(len, kept)), 0
    for volume, back in zip(found, kept, strict=True):
        volume["folds"] = []
        for z in volume["sections"]:
            volume["folds"].append(place * folds // count if z in back else None)
            place += z in back


def _refuse_bare(space: Workspace, found: list[dict[str, Any]]) -> None:
    """Raise DcanError when the mask leaves a side of the split, or a fold, without a section."""
    folds = space.config.training.folds
    wanted = {0: "validate on", None: "train on"} if folds == 1 else dict.fromkeys(range(folds))
    if not any(space.config.kept_back(volume) for volume in space.config.trained_on()):
        del wanted[0]
    held = {fold for volume in found for fold in volume["folds"]}
    for fold, what in wanted.items():
        if fold not in held:
            raise DcanError(
                "volume.mask leaves no tissue in the labels of the sections to "
                f"{what or f'make {folds} folds of'}: label others, or mend the mask"
            )


def refuse_evaluated(space: Workspace, chosen_on: Collection[str], key: str) -> None:
    """Raise DcanError when a section that values are chosen on is one to be evaluated.

    `chosen_on`: hashes, so that the same pixels are known in whatever volume they are.
    """
    truth, evaluation = space.config.truth, space.config.evaluation
    if truth is None or evaluation is None or not chosen_on:
        return
    _, y, x = truth.offset
    _, height, width = space.found_of("truth")["shape"]
    em = opened(space.config, "volume")
    for z in bounds(evaluation.sections):
        box = Box((z, y, x), (z + 1, y + height, x + width))
        if fingerprint_of(em.read(box)[0]) in chosen_on:
            raise DcanError(
                f'evaluation.sections is "{evaluation.sections}", and values were chosen on the '
                f"pixels of section {z} ({key}): evaluate others, or calibrate on others"
            )


def truth(space: Workspace) -> None:
    """Bring the labelled sections together, with targets and normalisation."""
    volumes = space.config.trained_on()
    if not volumes:
        raise DcanError(
            "there is nothing to train on: give truth or training.volumes, or name ready weights "
            "in model.weights"
        )
    with working(space, "truth"):
        if space.config.training.volumes is None:
            check_inputs(space, "survey", "ingest")
        ledger = space.ledger("truth", **left_out(space))
        ledger.begin()
        done = ledger.entries()
        found = []
        progress = Progress("truth", len(volumes))
        with ledger.attempt() as (journal, pack):
            for number, volume in enumerate(volumes):
                gathered = _gather(space, number, volume)
                entry = Entry(
                    str(number), tuple(gathered.pop("objects")), pack.append(gathered.pop("tables"))
                )
                journal.append(entry)
                done[entry.key] = entry
                found.append(gathered)
                progress(number + 1)
        _fold(space, found)
        _refuse_bare(space, found)
        kept_back = hashes(found, lambda fold: fold is not None)
        refuse_evaluated(space, kept_back, "validation")
        entries = [done[str(number)] for number in range(len(volumes))]
        vouch(space, "truth", ledger.fingerprint, {"volumes": found}, entries=entries)


def labelled(space: Workspace, kept: Callable[[int | None], bool]) -> Iterator[Labelled]:
    """The labelled sections of all training volumes whose fold is `kept`, in a fixed order."""
    receipt = space.receipt("truth")
    for number, (entry, volume) in enumerate(
        zip(receipt.entries, receipt.values["volumes"], strict=True)
    ):
        em, targets = (
            Store(space.root, f"training.zarr/{number}/{name}") for name in ("em", "target")
        )
        _, height, width = em.shape
        if entry.table is None:
            raise DcanError("the receipt of truth names no table: run `dcan verify --repair`")
        tables = read_table(space.root, entry.table)
        for index, (z, fold) in enumerate(zip(volume["sections"], volume["folds"], strict=True)):
            if kept(fold):
                row = Box((index, 0, 0), (index + 1, height, width))
                yield Labelled(
                    volume=number,
                    z=z,
                    sha256=volume["hashes"][index],
                    em=em.read(row)[0],
                    table=tables[f"{index}.table"].astype(np.float32),
                    target=targets.read(row)[0],
                )


def hashes(volumes: list[dict[str, Any]], kept: Callable[[int | None], bool]) -> tuple[str, ...]:
    """The hashes of the sections that `labelled` gives, from truth's record of the volumes."""
    return tuple(
        sha256
        for volume in volumes
        for sha256, fold in zip(volume["hashes"], volume["folds"], strict=True)
        if kept(fold)
    )
