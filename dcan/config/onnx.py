"""The section `model.onnx`: what a network of the user's own reads and gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, StrictInt

from dcan.config.volumes import Strict

if TYPE_CHECKING:
    from dcan.config.model import Config
    from dcan.config.networks import Prediction

ENDING = ".onnx"


class Onnx(Strict):
    """What a network in ONNX reads and gives; the file itself does not say it."""

    halo: Annotated[StrictInt, Field(ge=0, le=1024)]
    """The most pixels between an output pixel and one that it depends on; it is believed."""
    multiple: Annotated[StrictInt, Field(ge=1, le=1024)] = 8
    """Pixels that it pools into one: tile and halo of `prediction` are multiples of it."""
    normalisation: Literal["section-mean-deviation", "zero-one", "none"]
    """Of what it reads: mean 0 and deviation 1 of the section, 0..1 by the dtype, or raw."""
    output: Literal["probability", "sigmoid", "softmax"]
    """What its values still need to be probabilities: nothing, or one of the two functions."""
    channel: Annotated[StrictInt, Field(ge=0, le=65535)] | None = None
    """The channel that is used, from 0; null: there is one."""
    white: Literal["membrane", "neurite"] = "membrane"
    """What high values of that channel mean."""


def agree_on_onnx(config: Config) -> None:
    """An ONNX network and its description come together, and it is run as it can be.

    Raises ValueError; the message begins with a key.
    """
    weights, onnx = config.model.weights, config.model.onnx
    if (config.training.start_from or "").endswith(ENDING):
        raise ValueError(
            f"training.start_from is {config.training.start_from!r}: a training starts from "
            "weights of this package (.safetensors): give those, or null"
        )
    if onnx is None:
        if (weights or "").endswith(ENDING):
            raise ValueError(
                f"model.weights is {weights!r}, and model.onnx is null: say there what the "
                "network reads and gives (halo, normalisation, output)"
            )
        return
    if weights is None:
        raise ValueError(
            "model.onnx describes a network, and model.weights is null: name the .onnx file or a "
            "folder of them, or remove model.onnx"
        )
    _agree_on_prediction(config.prediction, onnx)


def _agree_on_prediction(given: Prediction, onnx: Onnx) -> None:
    for key, value, possible in (
        ("backend", given.backend, ("auto",)),
        ("precision", given.precision, ("auto", "float32")),
    ):
        if value not in possible:
            raise ValueError(
                f"prediction.{key} is {value}, and model.onnx a network that onnxruntime computes "
                f"in float32: give {' or '.join(possible)}"
            )
    for key, pixels in (("tile", given.tile), ("halo", given.halo)):
        if pixels % onnx.multiple:
            raise ValueError(
                f"prediction.{key} is {pixels}: the network pools {onnx.multiple} pixels into one "
                f"(model.onnx.multiple), give a multiple of {onnx.multiple}"
            )
    if given.halo < onnx.halo:
        raise ValueError(
            f"prediction.halo is {given.halo}: the network reads {onnx.halo} pixels around a tile "
            f"(model.onnx.halo), give {onnx.halo} or more"
        )
