"""Exporting a policy, so that it runs without torch."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from ...envs import CheckpointError, ConfigError
from ...envs.atomic_files import write_file, writing
from ...envs.errors import pick
from ...envs.schema import to_plain
from ..checkpoint import load_policy
from ..diffusion.samplers import Sampler
from ..policy import Policy
from ..policy_folder import META, MODEL, find_policy, read_meta
from .checking import MOST_ERROR, OBSERVATIONS, ROUNDING, measure_error
from .cpp import HEADER, SOURCE, load_cpp_engine, render_source
from .cpp_export import write_weights
from .eager import shape_of
from .engine import Engine
from .exported import (
    CPP,
    ONNX,
    Export,
    describe_fields,
    description,
    has_export,
    hash_file,
    write_export,
)
from .graph import CameraGraph, ChunkGraph
from .program import build_program

OPSET = 18  # later ones keep GroupNorm whole, which onnxruntime computes more slowly


def export_policy(
    policy: Path | str, out: Path | str = "", format: str = ONNX, sampler: Sampler | None = None
) -> Export:
    """Write what runs a policy without torch, and return how it was checked.

    Args:
        policy: A run folder, or a policy that comes with the package; of several trainings the
            first.
        out: A folder that gets a copy of its policy.json, or has it; by default the run folder.
        format: One of FORMATS.
        sampler: By default the policy's own.

    Raises:
        ConfigError: `out` draws its chunks in another way.
        CheckpointError: The export is further from the eager engine than MOST_ERROR of the range of
            an action, and than rounding explains, or `out` holds another policy.
    """
    pick(FORMATS, format, "format of an export")
    source = find_policy(policy)
    target = Path(out) if out else source
    _require_same(source, target)
    loaded = load_policy(source)
    chosen = sampler or loaded.config.drawn_by
    _require_one_sampler(target, loaded, chosen, format)
    with writing(target):
        target.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as name:
        scratch = Path(name)
        export = _write(source, loaded, chosen, format, scratch)
        export = replace(export, max_error=_check(policy, loaded, chosen, format, scratch))
        (target / description(format)).unlink(missing_ok=True)  # else it tells of other files
        for file in [META, *export.files]:
            write_file(target / file, (scratch / file).read_bytes())
        write_export(target, format, export)
    return export


def _write(source: Path, policy: Policy, sampler: Sampler, format: str, folder: Path) -> Export:
    """Write an export into an empty folder, and return its description, not checked yet."""
    (folder / META).write_bytes((source / META).read_bytes())
    config = read_meta(source)["config"]
    chunk = FORMATS[format][0](policy, sampler, folder)
    cameras = _write_cameras(policy, folder)
    files = {path.name: hash_file(path) for path in folder.iterdir() if path.name != META}
    export = Export(
        sampler=to_plain(sampler),
        config=config,
        fields=describe_fields(policy.spec, config),
        steps=len(sampler.grid()) - 1,
        noises=sampler.noises,
        weights=hash_file(source / MODEL),
        chunk=chunk,
        cameras=cameras,
        files=files,
        max_error=0.0,
        checked=OBSERVATIONS,
    )
    write_export(folder, format, export)
    return export


def _check(name: Path | str, policy: Policy, sampler: Sampler, format: str, folder: Path) -> float:
    """Return how far an export is from the eager engine; CheckpointError where that is too far."""
    engine = FORMATS[format][1](folder)
    error, rounding = measure_error(policy, sampler, engine)
    most = max(MOST_ERROR, ROUNDING * rounding)
    if not error <= most:
        raise CheckpointError(
            f"the export of {name} is off by {error:.2g} of the range of an action, more than "
            f"{most:.2g}: it is not written"
        )
    return error


def _require_same(source: Path, target: Path) -> None:
    """Raise CheckpointError where the target has the policy.json of another policy."""
    path = target / META
    if path.is_file() and read_meta(target) != read_meta(source):
        raise CheckpointError(f"{path} is of another policy than {source}: choose another out=")


def _require_one_sampler(target: Path, policy: Policy, sampler: Sampler, format: str) -> None:
    """Raise ConfigError where chunks of one folder would be drawn in two ways."""
    if (target / MODEL).is_file() and sampler != policy.config.drawn_by:
        raise ConfigError(f"{target} draws its chunks in another way: choose another out=")
    plain = to_plain(sampler)
    for other in FORMATS:
        if other != format and has_export(target, other) and not has_export(target, other, plain):
            raise ConfigError(
                f"{target / description(other)} draws its chunks in another way: "
                "choose another out="
            )


def _write_onnx(policy: Policy, sampler: Sampler, folder: Path) -> str:
    """Write the graph of a policy's chunks, and return the name of its file."""
    graph = ChunkGraph(policy, sampler)
    chunk = "chunk.onnx"
    _trace(graph, graph.example(), graph.input_names(), folder / chunk)
    return chunk


def _load_onnx(folder: Path) -> Engine:
    from .onnx import load_onnx_engine  # with onnxruntime, which the other format goes without

    return load_onnx_engine(folder)


def _write_cpp(policy: Policy, sampler: Sampler, folder: Path) -> str:
    """Write source, header and weights of a policy's chunks, and return the name of the weights."""
    config = to_plain(policy.config)
    shape = shape_of(policy, sampler)
    program = build_program(policy.spec, config, shape)
    steps = len(sampler.grid()) - 1
    source = render_source(policy.spec, config, shape, steps, program)
    (folder / SOURCE.name).write_text(source)
    (folder / HEADER.name).write_text(HEADER.read_text())
    weights = "chunk.bin"
    write_weights(policy, sampler, program, folder / weights)
    return weights


def _write_cameras(policy: Policy, folder: Path) -> dict[str, str]:
    """Write the graph of each camera's encoder, and return the names of their files."""
    cameras: dict[str, str] = {}
    for index, camera in enumerate(policy.spec.images):
        encoder = CameraGraph(policy, camera)
        cameras[camera] = f"camera_{index}.onnx"
        _trace(encoder, encoder.example(), ["picture"], folder / cameras[camera])
    return cameras


def _trace(
    module: nn.Module, example: tuple[torch.Tensor, ...], names: list[str], path: Path
) -> None:
    with _quiet():
        program = torch.onnx.export(
            module.eval(),
            example,
            dynamo=True,
            opset_version=OPSET,
            input_names=names,
            verbose=False,
        )
    assert program is not None
    program.save(path)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks on libraries that nobody needs from the terminal."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


FORMATS = {ONNX: (_write_onnx, _load_onnx), CPP: (_write_cpp, load_cpp_engine)}
