"""The onnx engine: an exported policy in onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from ...envs import CheckpointError
from ...envs.errors import refusing
from .exported import ExportedEngine, Graph, load_exported

TYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8}


def load_onnx_engine(folder: Path, threads: int = 1) -> ExportedEngine:
    """Return the engine of a folder with an export of format onnx."""
    return load_exported("onnx", folder, load_graph, threads)


def load_graph(path: Path, threads: int) -> Graph:
    """Return the graph of an ONNX file, on so many threads, which do not spin in between."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    with refusing(CheckpointError, f"onnxruntime cannot load {path}", path):
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    arguments = session.get_inputs()
    names = [argument.name for argument in arguments]
    types = [TYPES[argument.type] for argument in arguments]

    def compute(inputs: Sequence[np.ndarray]) -> np.ndarray:
        given = {}
        for name, dtype, array in zip(names, types, inputs, strict=True):
            given[name] = np.ascontiguousarray(array, dtype)
        return np.asarray(session.run(None, given)[0])

    return compute
