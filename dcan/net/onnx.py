"""Networks in ONNX, computed by onnxruntime: an extra of the package, `dcan[onnx]`."""

from __future__ import annotations

import os
import re

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dcan.config.onnx import Onnx
from dcan.errors import DcanError

# From 1.29 on it reports names and hashes of networks to its maker and gives the user a number,
# unless this is said before it is loaded.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as state

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
FAULTS = (
    *(state.EPFail, state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf),
    *(state.NoSuchFile, state.NotImplemented, state.RuntimeException),
    *(RuntimeError, ValueError),  # its other exceptions, and names that are no text
)
FLOAT = "tensor(float)"
OUTSIDE = 1e-3  # how far rounding may carry a probability out of 0..1


def version_on(device: str) -> str:
    """The version of the onnxruntime that computes on such a device here.

    Raises DcanError: the device is a GPU, and it computes on CPUs alone.
    """
    if device == "cuda" and CUDA not in onnxruntime.get_available_providers():
        raise DcanError(
            "prediction.device is cuda here, and the onnxruntime that is installed computes on "
            "CPUs alone: install onnxruntime-gpu in its place, or give device: cpu"
        )
    return str(onnxruntime.__version__)


class OnnxMember:
    """A network in ONNX, of which `given` says what it reads and gives.

    `name`: what errors call it. `content`: its file's bytes, with nothing in other files.
    `side`: pixels of the windows that come. Onnxruntime runs no operators but its own, and is
    told to compute the same bits each time: algorithms are not chosen by timing, no TF32.

    Raises DcanError: it does not take windows of one channel in float32 of that side, it gives
    more than one output or not the channel that `given` says, or onnxruntime cannot take it.
    """

    def __init__(
        self, name: str, content: bytes, given: Onnx, side: int, *, device: str, threads: int
    ) -> None:
        self._name, self._given = name, given
        self._session = _session(name, content, torch.device(device), threads)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1:
            raise DcanError(
                f"network {name} has {len(inputs)} inputs and {len(outputs)} outputs: export one "
                "with one of each"
            )
        _check_input(name, inputs[0].type, inputs[0].shape, side)
        if outputs[0].type != FLOAT:
            raise DcanError(f"network {name} gives {outputs[0].type}: export one of float32")
        self._input = inputs[0].name
        _, channels = (*outputs[0].shape, None, None)[:2]
        if isinstance(channels, int):
            self._channel(channels)

    def __call__(self, em: Tensor) -> Tensor:
        """See `Member`.

        Raises DcanError: the network cannot be run, or gives maps of another shape, or values
        outside 0..1 that `given` calls probabilities. MemoryError: it takes more than there is.
        """
        maps = self._run(em.cpu().numpy())
        if maps.ndim != 4 or maps.shape[0] != 1 or maps.shape[2:] != em.shape[2:]:
            raise DcanError(
                f"network {self._name} makes {list(maps.shape)} of a window of {list(em.shape)}: "
                "export one that gives maps (1, channels, y, x) as large as the window"
            )
        channel = self._channel(maps.shape[1])
        p = self._probability(torch.from_numpy(maps), channel)  # (h, w)
        return (p if self._given.white == "membrane" else 1 - p).to(em.device)

    def _run(self, em: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            maps: NDArray[np.float32] = self._session.run(None, {self._input: em})[0]
        except FAULTS as error:
            if re.search("failed to alloc|bad.alloc", str(error), re.IGNORECASE):
                raise MemoryError(_said(error)) from None
            raise DcanError(
                f"network {self._name} cannot be run on a window of {em.shape[2]} pixels "
                f"({_said(error)}): mend model.onnx.multiple, or export it anew"
            ) from None
        return maps

    def _channel(self, channels: int) -> int:
        """The channel to use, of as many."""
        given = self._given
        if channels == 1 and given.output == "softmax":
            raise DcanError(
                f"model.onnx.output is softmax and network {self._name} has one channel, of which "
                "that is 1 everywhere: give sigmoid"
            )
        if given.channel is None and channels == 1:
            return 0
        if given.channel is None or given.channel >= channels:
            raise DcanError(
                f"model.onnx.channel is {'null' if given.channel is None else given.channel} and "
                f"network {self._name} has {channels} channels: give one of 0 to {channels - 1}"
            )
        return given.channel

    def _probability(self, maps: Tensor, channel: int) -> Tensor:
        """Of the channel, (h, w), from maps (1, c, h, w)."""
        if self._given.output == "softmax":
            return torch.softmax(maps, 1)[0, channel]
        found = maps[0, channel]
        if self._given.output == "sigmoid":
            return torch.sigmoid(found)
        outside = found[(found < -OUTSIDE) | (found > 1 + OUTSIDE)]
        if outside.numel():
            raise DcanError(
                f"network {self._name} gives {outside[0].item():g} where model.onnx.output is "
                "probability, 0 to 1: give sigmoid or softmax"
            )
        return found


def _session(
    name: str, content: bytes, device: torch.device, threads: int
) -> onnxruntime.InferenceSession:
    """A network ready on a device; an operation that CUDA has not is computed by the CPU.

    Raises DcanError: onnxruntime does not know it, or cannot use the device.
    """
    providers: list[str | tuple[str, dict[str, str]]] = [CPU]
    if device.type == "cuda":
        settings = {"device_id": str(device.index or 0), "use_tf32": "0"}
        providers = [(CUDA, {**settings, "cudnn_conv_algo_search": "HEURISTIC"}), CPU]
    # What it does by itself where a device cannot be used is to compute on another; and the
    # environment can let a network's file change the options.
    only = {"enable_fallback": 0, "read_config_from_model": 0}
    try:
        session = onnxruntime.InferenceSession(content, _options(threads), providers, **only)
    except (*FAULTS, MemoryError) as error:
        raise DcanError(
            f"network {name}: {_said(error)}: restore the file, or export it anew"
        ) from None
    if device.type == "cuda" and CUDA not in session.get_providers():
        raise DcanError(
            f"network {name}: onnxruntime cannot use {device}: install an onnxruntime-gpu for this "
            "machine's CUDA, or give prediction.device cpu"
        )
    return session


def _options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    options.log_severity_level = 4  # what goes wrong is raised
    # A thread that waits for the next layer leaves its core to those that read blocks.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Its other format may come with files of its own.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    return options


def _said(error: Exception) -> str:
    """The beginning of what onnxruntime says, without its numbers of errors, as one line."""
    text = re.sub(r"^(\[ONNXRuntimeError\] : \d+ : \w+ : )", "", str(error))[:200]
    shown = "".join(sign if sign.isprintable() else " " for sign in text)
    return shown.strip(" .:") or type(error).__name__


def _check_input(name: str, dtype: str, shape: list[int | str | None], side: int) -> None:
    """Refuse a network that does not take windows (1, 1, side, side) in float32."""
    sizes = [size if isinstance(size, int) and size > 0 else None for size in shape]
    if dtype != FLOAT or len(sizes) != 4 or not {*sizes[:2]} <= {None, 1}:
        raise DcanError(
            f"network {name} reads {dtype} {shape}: export one that reads a window (1, 1, y, x) "
            "of one section in float32"
        )
    fixed = [size for size in sizes[2:] if size not in (None, side)]
    if fixed:
        raise DcanError(
            f"network {name} reads windows of {shape[2]} x {shape[3]} pixels alone, and "
            f"prediction.tile and twice prediction.halo are {side}: give a tile of {fixed[0]} less "
            "twice the halo, or export it for any size"
        )
