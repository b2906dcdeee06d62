"""Networks in ONNX for tests: this package's, and graphs of a few operators."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from dcan.net.model import Architecture
from dcan.net.networks import build

Shape = Sequence[int | str | None]
WINDOW: Shape = (1, 1, "y", "x")


def exported(architecture: Architecture, weights: dict[str, torch.Tensor]) -> bytes:
    """The fused maps of a network of this package, (1, 2, y, x), for windows of any size."""
    model = build(architecture)
    model.load_state_dict(weights)
    forward = model.forward
    model.forward = lambda em: forward(em)[0]  # type: ignore[method-assign, assignment]
    stream = io.BytesIO()
    sides = {2: "y", 3: "x"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the other exporter wants a package of its own
        torch.onnx.export(
            model,
            (torch.zeros(1, 1, 64, 64),),
            stream,
            dynamo=False,
            input_names=["em"],
            output_names=["maps"],
            dynamic_axes={"em": sides, "maps": sides},
        )
    return stream.getvalue()


def model_of(
    nodes: Sequence[onnx.NodeProto],
    tensors: Sequence[onnx.TensorProto] = (),
    inputs: Sequence[Shape] = (WINDOW,),
    outputs: int = 1,
    dtypes: tuple[int, int] = (TensorProto.FLOAT, TensorProto.FLOAT),
) -> onnx.ModelProto:
    """A graph from `em`, `em1` .. to `maps`, `maps1` .."""

    def named(name: str, count: int) -> list[str]:
        return [f"{name}{i or ''}" for i in range(count)]

    graph = helper.make_graph(
        list(nodes),
        "graph",
        [
            helper.make_tensor_value_info(name, dtypes[0], shape)
            for name, shape in zip(named("em", len(inputs)), inputs, strict=True)
        ],
        [helper.make_tensor_value_info(name, dtypes[1], None) for name in named("maps", outputs)],
        list(tensors),
    )
    domains = {node.domain for node in nodes}
    opsets = [helper.make_opsetid(domain, 17 if not domain else 1) for domain in domains | {""}]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def node(operator: str, *inputs: str, to: str = "maps", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, list(inputs), [to], **attributes)


def tensor(name: str, values: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values), name)


def filtered(kernels: np.ndarray, biases: Any = None) -> bytes:
    """One convolution: kernels (channels, side, side), as many maps."""
    channels, side, _ = kernels.shape
    given = [
        tensor("kernels", kernels[:, None].astype(np.float32)),
        tensor("biases", np.float32(biases if biases is not None else np.zeros(channels))),
    ]
    pads = [side // 2] * 4
    convolution = node("Conv", "em", "kernels", "biases", pads=pads)
    return bytes(model_of([convolution], given).SerializeToString())
