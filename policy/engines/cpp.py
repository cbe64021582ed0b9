"""The cpp engine: a C++ source of the whole chunk, compiled where it runs.

What is compiled is the source that comes with the package, for the shapes that a policy.json
describes; no code that lies in a policy's folder is ever run.
"""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ...envs import CheckpointError, ConfigError, Field, Spec
from ...envs.atomic_files import write_file
from ..field_widths import find_measured
from ..policy_folder import load_spec
from .cache import cache_folder
from .engine import ChunkShape
from .exported import (
    CPP,
    Export,
    ExportedEngine,
    Graph,
    hash_file,
    load_cameras,
    read_export,
)
from .program import Program, build_program

SOURCE = Path(__file__).parent / "source" / "chunk.cpp"
HEADER = Path(__file__).parent / "source" / "chunk.h"
KINDS = {"linear": "LINEAR", "discrete": "LINEAR", "angle": "ANGLE", "quaternion": "QUATERNION"}
FLAGS = ("-std=c++17", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-shared", "-fPIC")
COMPILE_SECONDS = 120.0  # after which a compiler is given up
CPU_LINES = ("model name", "flags", "Features", "CPU part")  # of /proc/cpuinfo


def render_source(
    spec: Spec, config: Mapping[str, Any], shape: ChunkShape, steps: int, program: Program
) -> str:
    """Return the source for a policy: its constants, then what is the same for all.

    config: as policy.json has it; steps: of the sampler.
    """
    numbers = {
        "OBSERVATION_STEPS": shape.observation_steps,
        "PICTURE_NUMBERS": shape.pictures * len(spec.images) * _features(config),
        "HORIZON": shape.horizon,
        "PREFIX": int(shape.takes_prefix),
        "GROUPS": config["net"]["groups"],
        "PAD": max(1, config["net"]["kernel"] // 2),
        "STEPS": steps,
        "NOISES": shape.noise[0],
        "ONCE": program.once,
    }
    states = list(spec.states)
    described = [_describe(field, -1) for field in spec.states.values()]
    differences = find_measured(spec) if config.get("from_measured") else ()
    actions = []
    for key, field in spec.actions.items():
        measured_by = states.index(field.measured_by) if key in differences else -1
        actions.append(_describe(field, measured_by))
    arrays = {
        "Field STATE_FIELDS": described or [["LINEAR", 0, -1]],  # C++ has no empty arrays
        "Field ACTION_FIELDS": actions,
        "Shape ROWS": program.rows,
        "Operation OPERATIONS": [operation.numbers() for operation in program.operations],
    }
    lines = [f"constexpr int {name} = {int(value)};" for name, value in numbers.items()]
    for name, rows in arrays.items():
        lines.append(f"constexpr {name}[] = {{{', '.join(map(_braced, rows))}}};")
    return SOURCE.read_text().replace("// CONSTANTS", "\n".join(lines))


def _describe(field: Field, measured_by: int) -> list[str | int]:
    return [KINDS[field.kind], field.size, measured_by]


def _braced(values: Iterable[str | int]) -> str:
    return "{" + ", ".join(map(str, values)) + "}"


def _features(config: Mapping[str, Any]) -> int:
    """Return the numbers that a picture becomes."""
    return config["encoders"]["images"]["features"]


def find_compiler() -> str | None:
    """Return a C++ compiler of this machine: $CXX, g++ or clang++."""
    chosen = os.environ.get("CXX")
    for name in [chosen] if chosen else ["g++", "clang++"]:
        found = shutil.which(name)
        if found:
            return found
    return None


def compile_source(source: str) -> Path:
    """Return the library that a source becomes on this machine; it is compiled once.

    Raises ConfigError where there is no compiler, or it fails.
    """
    compiler = find_compiler()
    if compiler is None:
        chosen = os.environ.get("CXX")
        reason = f"CXX={chosen} is no program here" if chosen else "there is no g++ nor clang++"
        raise ConfigError(f"the cpp engine needs a C++ compiler, and {reason}")
    native = "-march=native" if platform.machine() in ("x86_64", "AMD64") else "-mcpu=native"
    version = _call_compiler([compiler, "--version"])
    parts = [source.encode(), version, _describe_processor(), *map(str.encode, (*FLAGS, native))]
    library = cache_folder("compiled") / f"{sha256(b'|'.join(parts)).hexdigest()[:24]}.so"
    seal = library.with_suffix(".sha256")  # a library that is cut off would end the process
    if library.is_file() and seal.is_file() and seal.read_text() == hash_file(library):
        return library
    with TemporaryDirectory() as folder:
        built = Path(folder, "chunk.so")
        command = [compiler, *FLAGS, native, f"-I{HEADER.parent}", "-x", "c++", "-"]
        _call_compiler([*command, "-o", str(built)], source.encode())
        if not built.is_file():
            raise ConfigError(f"{compiler} has compiled nothing: is it a C++ compiler?")
        write_file(library, built.read_bytes())
        write_file(seal, hash_file(built).encode())
    return library


def _call_compiler(command: Sequence[str], source: bytes = b"") -> bytes:
    """Return what a compiler says; ConfigError where it fails or does not end."""
    try:
        done = subprocess.run(
            command, input=source, capture_output=True, timeout=COMPILE_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"{command[0]} cannot compile the policy's source: {error}") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["it says nothing"]
        raise ConfigError(f"{command[0]} cannot compile the policy's source: {said[0][:300]}")
    return done.stdout


def _describe_processor() -> bytes:
    """Return what tells apart processors for which other code would be made."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor().encode()
    kept = {line for line in lines if line.split(":")[0].strip() in CPU_LINES}
    return "\n".join(sorted(kept)).encode()


def load_cpp_engine(folder: Path, threads: int = 1) -> ExportedEngine:
    """Return the engine of a folder with an export of format cpp; a chunk takes one thread.

    threads: of the image encoders, which onnxruntime computes.
    """
    export = read_export(folder, CPP)
    spec = load_spec(folder)
    shape = export.shape(spec)
    program = build_program(spec, export.config, shape)
    source = render_source(spec, export.config, shape, export.steps, program)
    chunk = _open_chunk(compile_source(source), folder / export.chunk, spec, export)
    cameras: dict[str, Graph] = {}
    if export.cameras:
        from .onnx import load_graph

        cameras = load_cameras(folder, export, load_graph, threads)
    return ExportedEngine("cpp", folder, export, chunk, cameras)


def _open_chunk(library: Path, weights: Path, spec: Spec, export: Export) -> Graph:
    """Return what computes a chunk, as the graph of an onnx export does."""
    functions = ctypes.CDLL(str(library))
    functions.fewstep_chunk_open.restype = ctypes.c_void_p
    address = functions.fewstep_chunk_open(os.fsencode(weights))
    if not address:
        raise CheckpointError(f"{weights} does not belong to the policy: export it again")
    context = ctypes.c_void_p(address)
    shape = export.shape(spec)
    sizes = [shape.observation_steps * field.size for field in spec.states.values()]
    sizes += [shape.pictures * _features(export.config)] * len(spec.images)
    observation = np.zeros(sum(sizes), np.float32)
    noise = np.zeros(shape.noise, np.float32)
    prefix = np.zeros((shape.horizon, spec.action_size), np.float32)
    actions = np.zeros((1, shape.horizon, spec.action_size), np.float32)
    parts = np.split(observation, np.cumsum(sizes)[:-1])  # views, filled in place
    pointers = [_pointer(array) for array in (observation, noise, prefix, actions)]

    def compute(inputs: Sequence[np.ndarray]) -> np.ndarray:
        for part, array in zip(parts, inputs, strict=False):
            part[...] = array.reshape(-1)
        noise[...] = inputs[len(parts)][:, 0]
        length = 0
        if shape.takes_prefix:
            prefix[...] = inputs[-2][0]
            length = int(inputs[-1][0])
        functions.fewstep_chunk_predict(context, *pointers[:3], length, pointers[3])
        return actions.copy()

    return compute


def _pointer(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
