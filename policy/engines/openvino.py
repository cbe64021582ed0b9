"""The openvino engine: the same ONNX files in OpenVINO."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import openvino

from ...envs import CheckpointError
from ...envs.errors import refusing
from .exported import ExportedEngine, Graph, load_exported


def load_openvino_engine(folder: Path, threads: int = 1) -> ExportedEngine:
    """Return the engine of a folder with an export of format onnx."""
    return load_exported("openvino", folder, load_graph, threads)


def load_graph(path: Path, threads: int) -> Graph:
    """Return the graph of an ONNX file, in single precision and on so many threads."""
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",  # by default bf16 where the CPU has it: off by 5 %
        "ENABLE_CPU_PINNING": False,  # the control process may have that core
    }
    with refusing(CheckpointError, f"openvino cannot load {path}", path):
        model = openvino.Core().compile_model(str(path), "CPU", settings)
    request = model.create_infer_request()
    tensors = []
    for index, argument in enumerate(model.inputs):
        tensor = openvino.Tensor(argument.element_type, argument.shape)
        request.set_input_tensor(index, tensor)
        tensors.append(tensor)

    def compute(inputs: Sequence[np.ndarray]) -> np.ndarray:
        for tensor, array in zip(tensors, inputs, strict=True):
            tensor.data[...] = array  # in place: a call allocates nothing
        request.infer()
        return request.get_output_tensor(0).data.copy()

    return compute
