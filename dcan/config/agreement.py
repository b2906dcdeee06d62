"""Rules that hold between keys and can be checked before any data is opened.

Each raises ValueError; the message begins with a key, seen from the section that is checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dcan.config.searching import FUSION
from dcan.config.values import bounds, within

if TYPE_CHECKING:
    from dcan.config.model import Config
    from dcan.config.networks import Model, Training
    from dcan.config.volumes import Evaluation, Source, TrainingVolume, Truth

PHANTOM = ("phantom", None)


def _place(source: Source) -> tuple[str, str | None]:
    return (source, None) if isinstance(source, str) else (source.path, source.dataset)


def agree_on_truth(truth: Truth) -> None:
    """Sections, their validation, the place of the labels and their kind fit together."""
    inside, kept_back = bounds(truth.sections), truth.validated()
    if len(inside) < 2 and kept_back:
        raise ValueError(
            f'sections is "{truth.sections}", one section: training keeps some back for '
            "validation, give two or more, or validation: none"
        )
    if kept_back == inside or not within(kept_back, inside):
        raise ValueError(
            f'validation is "{truth.validation}", not a part of sections "{truth.sections}": '
            "name sections of that range and leave some to train on"
        )
    if inside.start < truth.offset[0]:
        raise ValueError(
            f'sections is "{truth.sections}", but the labels begin at section '
            f"{truth.offset[0]} (offset): name sections of the volume from there on"
        )
    if _place(truth.source) == PHANTOM and truth.kind != "neurites":
        raise ValueError(f'kind is "{truth.kind}", but the phantom has ids: give neurites')


def agree(config: Config) -> None:
    """The sections of the configuration fit together."""
    _agree_on_phantom(config)
    if config.evaluation:
        _agree_on_evaluation(config, config.evaluation)
    if config.training.folds == 1:
        _agree_on_training(config)
    else:
        _agree_on_folds(config)
    _agree_on_membrane(config)
    _agree_on_model(config.model)
    _agree_on_losses(config.training)


def _agree_on_losses(training: Training) -> None:
    """The weight of the heads' own losses falls to its floor, and from no lower."""
    start, floor = training.discount_start, training.discount_floor
    if training.auxiliary and start < floor:
        raise ValueError(
            f"training.discount_start is {start}, below discount_floor, {floor}: give a floor that "
            "is no higher"
        )


def _agree_on_model(model: Model) -> None:
    """What shapes the heads says nothing of a network without heads."""
    if model.kind == "dcan":
        return
    for key in ("heads", "head", "inner", "deconvolution"):
        default = type(model).model_fields[key].default
        if getattr(model, key) != default:
            raise ValueError(
                f"model.{key} is {getattr(model, key)!r}, but a network of model.kind {model.kind} "
                "has no heads: remove the key"
            )


def _agree_on_membrane(config: Config) -> None:
    """Where a map is given no network has a part."""
    if config.membrane is None:
        return
    for key, given in (
        ("model.weights", config.model.weights),
        ("training.volumes", config.training.volumes),
    ):
        if given is not None:
            raise ValueError(
                f"membrane gives a map and {key} a network to make one: remove one of the two"
            )


def _agree_on_phantom(config: Config) -> None:
    """What the phantom's shape says about sections is known before it is made."""
    if config.volume.mask is not None and _place(config.volume.mask) == PHANTOM:
        raise ValueError("volume.mask is phantom, which is tissue throughout: name a file, or null")
    named = [config.volume.source, *([config.truth.source] if config.truth else [])]
    named += [config.membrane.source] if config.membrane else []
    for volume in config.training.volumes or []:
        named += [volume.source, volume.truth.source]
    if config.phantom is None:
        if PHANTOM in map(_place, named):
            raise ValueError(
                "phantom is null, but a source is phantom: add "
                "phantom: {shape: [24, 768, 768], seed: 0}"
            )
    elif _place(config.volume.source) == PHANTOM:
        if config.volume.shape not in (None, config.phantom.shape):
            raise ValueError(
                f"volume.shape is {list(config.volume.shape)}, but phantom.shape is "
                f"{list(config.phantom.shape)}: remove volume.shape"
            )
        _agree_on_depth(config, config.phantom.shape[0])


def _agree_on_depth(config: Config, depth: int) -> None:
    if config.volume.missing and config.volume.missing[-1] >= depth:
        raise ValueError(
            f"volume.missing names section {config.volume.missing[-1]}, but phantom.shape has "
            f"{depth} sections: name some from 0 to {depth - 1}"
        )
    for key, given in (("truth", config.truth), ("evaluation", config.evaluation)):
        if given and bounds(given.sections).stop > depth:
            raise ValueError(
                f'{key}.sections is "{given.sections}", but phantom.shape has {depth} sections: '
                f"end at {depth}"
            )


def _agree_on_evaluation(config: Config, evaluation: Evaluation) -> None:
    """Sections that are scored have labels and tissue, and nothing was chosen on them."""
    given, scored = f'evaluation.sections is "{evaluation.sections}"', bounds(evaluation.sections)
    if config.truth is None:
        raise ValueError(
            f"{given} but truth is null: give the truth of those sections, or set evaluation to "
            "null"
        )
    if scored.start < config.truth.offset[0]:
        raise ValueError(
            f"{given}, but the labels begin at section {config.truth.offset[0]} (truth.offset): "
            "name sections of the volume from there on"
        )
    if not _tissue([scored], config.volume.missing):
        raise ValueError(f"{given}, all of them in volume.missing: name some with tissue")
    for key, sections in _learnt(config):
        both = range(
            max(scored.start, bounds(sections).start), min(scored.stop, bounds(sections).stop)
        )
        if both:
            raise ValueError(
                f'{given} and {key} is "{sections}", which share section {both.start}: held-out '
                "sections must not be trained on, make the ranges disjoint"
            )


def _learnt(config: Config) -> Iterator[tuple[str, str]]:
    """The sections of this volume that training or calibration may see, by key."""
    if config.truth:
        yield "truth.sections", config.truth.sections
    for number, volume in enumerate(config.training.volumes or []):
        if _place(volume.source) == _place(config.volume.source):
            yield f"training.volumes.{number}.truth.sections", volume.truth.sections


def _agree_on_training(config: Config) -> None:
    """Of all labelled sections some with tissue are left on both sides of the split.

    Where nothing is to be kept back, what would be calibrated on it is given.
    """
    volumes = config.trained_on()
    key = "truth" if config.training.volumes is None else "training.volumes"
    sides = {"train on": _trained, "validate on": _kept_back}
    if all(volume.truth.validation == "none" for volume in volumes):
        del sides["validate on"]
        _agree_on_fusion(config, f"{key} has validation none")
    for what, sections in sides.items():
        if volumes and not any(_tissue(sections(v), v.missing) for v in volumes):
            raise ValueError(
                f"{key} leaves no section with tissue to {what}: give other sections, or another "
                "validation (missing sections do not count)"
            )


def _agree_on_fusion(config: Config, why: str) -> None:
    """Nothing of the fusion is left to a calibration that has no sections."""
    given = config.segmentation
    names = [name for name in FUSION if getattr(given, name) == "auto"]
    if config.trained_on() and names and given.calibration == "auto":
        raise ValueError(
            f"segmentation.{names[0]} is auto and {why}, which leaves no sections to calibrate on: "
            "give a value, or name a calibration in segmentation.calibration"
        )


def _agree_on_folds(config: Config) -> None:
    """Each fold has a section with tissue, and a network that leaves it out."""
    folds, members = config.training.folds, config.training.members
    volumes = config.trained_on()
    trains = config.model.weights is None and config.membrane is None
    if trains and members % folds:
        raise ValueError(
            f"training.folds is {folds} and training.members {members}: each fold is left out by "
            "equally many members, give a multiple of folds"
        )
    key = "truth" if config.training.volumes is None else "training.volumes"
    for volume in volumes:
        if volume.truth.validation is not None:
            raise ValueError(
                f'training.folds is {folds} and {key} has validation "{volume.truth.validation}": '
                "with folds each section is kept back from some member, remove validation"
            )
    held = sum(_tissue([bounds(v.truth.sections)], v.missing) for v in volumes)
    if volumes and held < folds:
        raise ValueError(
            f"training.folds is {folds}, but {key} has {held} labelled sections with tissue: give "
            "at most as many folds"
        )


def _trained(volume: TrainingVolume) -> list[range]:
    inside, kept_back = bounds(volume.truth.sections), volume.truth.validated()
    return [range(inside.start, kept_back.start), range(kept_back.stop, inside.stop)]


def _kept_back(volume: TrainingVolume) -> list[range]:
    return [volume.truth.validated()]


def _tissue(sections: list[range], missing: list[int]) -> int:
    """How many sections are not missing; a range may be far longer than any volume."""
    return sum(map(len, sections)) - sum(z in part for part in sections for z in missing)
