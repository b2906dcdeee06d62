"""Networks computed by OpenVINO, on CPUs: an extra of the package, `dcan[openvino]`.

The graph is written down operation by operation: OpenVINO's own conversion reports each use
over the network.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import openvino as ov
import torch
from openvino import opset13 as ops
from torch import Tensor, fx, nn

from dcan.net.members import Member
from dcan.net.model import MEMBRANE, Architecture, check_window
from dcan.net.networks import build

PRECISIONS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}


class OpenVinoMember:
    """A network of this package, compiled for each shape of window that comes.

    One stream: a window is computed by all `threads` at once, as by torch.
    """

    def __init__(
        self,
        architecture: Architecture,
        weights: Mapping[str, Tensor],
        precision: str = "float32",
        threads: int = 2,
    ) -> None:
        network = build(architecture)
        network.load_state_dict(weights)
        tracer = fx.Tracer(autowrap_functions=(check_window,))  # it looks at the shape
        self._graph = fx.GraphModule(network, tracer.trace(network))
        self._settings = {
            "INFERENCE_PRECISION_HINT": PRECISIONS[precision],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._ready: dict[tuple[int, ...], ov.InferRequest] = {}
        self._lock = threading.Lock()

    def __call__(self, em: Tensor) -> Tensor:
        """See `Member`."""
        with self._lock:
            shape = tuple(em.shape)
            if shape not in self._ready:
                model = _model(self._graph, shape)
                compiled = ov.Core().compile_model(model, "CPU", self._settings)
                self._ready[shape] = compiled.create_infer_request()
            found = self._ready[shape].infer([em.contiguous().numpy()])[0]
            return torch.from_numpy(np.array(found[0, MEMBRANE], np.float32))


def openvino_members(
    architecture: Architecture,
    ensemble: Sequence[Mapping[str, Tensor]],
    precision: str = "float32",
    threads: int = 2,
) -> list[Member]:
    """Every network of an ensemble, computed by OpenVINO."""
    return [OpenVinoMember(architecture, weights, precision, threads) for weights in ensemble]


def _model(graph: fx.GraphModule, shape: tuple[int, ...]) -> ov.Model:
    """The softmax of the fused maps of a traced network, for windows of one shape."""
    em = ops.parameter(shape, np.float32)
    made: dict[Any, Any] = {}
    for node in graph.graph.nodes:
        given: tuple[Any, ...] = node.args
        if node.op == "placeholder":
            made[node] = em
        elif node.op == "output":
            fused, _ = given[0]
            return ov.Model([ops.softmax(made[fused], 1)], [em], "dcan")
        elif node.op == "call_module":
            made[node] = _layer(graph.get_submodule(str(node.target)), made[given[0]])
        elif node.target is not check_window:
            made[node] = _operation(getattr(node.target, "__name__", ""), given, made)
    raise ValueError("the network has no output")


def _operation(name: str, given: tuple[Any, ...], made: Mapping[Any, Any]) -> Any:
    """A function that a network calls outside of its layers."""
    if name == "relu":
        return ops.relu(made[given[0]])
    if name == "add":
        return ops.add(made[given[0]], made[given[1]])
    if name == "cat":
        return ops.concat([made[each] for each in given[0]], given[1])
    raise ValueError(f"operation {name!r} is not known to the OpenVINO backend")


def _layer(layer: nn.Module, seen: Any) -> Any:
    """A layer of a network over what it sees."""
    if isinstance(layer, nn.ReLU):
        return ops.relu(seen)
    if isinstance(layer, nn.MaxPool2d):
        pool = partial(ops.max_pool, dilations=(1, 1), pads_begin=(0, 0), pads_end=(0, 0))
        return pool(seen, strides=(2, 2), kernel_shape=(2, 2)).output(0)
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        weights, bias = (each.detach().numpy() for each in layer.parameters())
        made = ops.convolution if isinstance(layer, nn.Conv2d) else ops.convolution_backprop_data
        pads, kernel = list(layer.padding), ops.constant(weights)
        settings = {"strides": list(layer.stride), "pads_begin": pads, "pads_end": pads}
        found = made(seen, kernel, dilations=[1, 1], **settings)
        return ops.add(found, ops.constant(bias[None, :, None, None]))
    raise ValueError(f"layer {type(layer).__name__} is not known to the OpenVINO backend")
