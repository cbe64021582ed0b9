"""From names to engines: the closed table of engines, and which of them can be used here."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...envs import CheckpointError, FewstepError, FewstepWarning, Spec
from ...envs.errors import pick
from ...envs.schema import to_plain
from ..ensemble_folder import find_members
from ..policy_folder import META, MODEL, load_spec
from .cache import cache_folder
from .cpp import find_compiler
from .engine import Engine
from .ensemble import Ensemble
from .exported import CPP, ONNX, has_export, hash_file, hash_weights, read_export
from .remote import RemoteEngine, is_address

if TYPE_CHECKING:  # with torch, which exported policies go without
    from ..diffusion.samplers import Sampler

FASTEST = "fastest"


def load_engine(
    policy: Path | str,
    engine: str = "eager",
    sampler: Sampler | None = None,
    device: str = "cpu",
    threads: int = 0,
) -> Engine:
    """Return an engine, ready to act, for a run folder, a policy of the package, or a server.

    Args:
        policy: The folder, a name, or ws://host:port, whose server decides all that follows.
        engine: A name of ENGINES, or "fastest" for the first one whose files and libraries are
            there and sound; what is left out for another reason is warned of.
        sampler: How chunks are drawn, by default as the policy says. Where the folder has no export
            for it one is made, which needs torch, and kept in the user's cache.
        device: Of eager and compiled networks, as torch names it.
        threads: Of the CPU; torch is left as it is where that is 0.

    Raises:
        ConfigError: There is no such engine.
        CheckpointError: There is no sound policy.
        ProtocolError: There is no server.
    """
    if is_address(policy):
        return RemoteEngine(str(policy))
    require_engine(engine)
    members = find_members(policy)

    def load_all(name: str) -> Engine:
        engines = [ENGINES[name](folder, sampler, device, threads) for folder in members]
        return Ensemble(engines) if len(engines) > 1 else engines[0]

    if engine != FASTEST:
        return load_all(engine)
    for name in _find_ready(members):
        try:
            return load_all(name)
        except FewstepError as error:
            warnings.warn(f"the {name} engine is left out: {error}", FewstepWarning, stacklevel=2)
    raise CheckpointError(f"no engine can compute the policy in {members[0]} here")


def find_weights(policy: Path | str) -> str:
    """Return the sha256 of a policy's weights, wherever it is computed."""
    if is_address(policy):
        return RemoteEngine(str(policy)).weights
    return hash_weights(policy)


def find_spec_of(policy: Path | str) -> Spec:
    """Return the Spec of a policy, wherever it is computed."""
    return _served_spec(str(policy)) if is_address(policy) else load_spec(policy)


@cache
def _served_spec(address: str) -> Spec:
    return RemoteEngine(address).spec


def require_engine(name: str) -> None:
    """Raise ConfigError, which lists what is valid, for a name that stands for no engine."""
    pick({**ENGINES, FASTEST: None}, name, "engine")


def engines_here(folder: Path) -> list[str]:
    """Return the engines that a policy can have here, the fastest first.

    compiled is left out: its first chunk takes a minute. Raises CheckpointError where there is
    none.
    """
    can_export = (folder / MODEL).is_file() and find_spec("torch") and find_spec("onnxscript")
    found = []
    for name, (format, is_installed) in NEEDED.items():
        has_files = has_export(folder, format) if format else (folder / MODEL).is_file()
        if (has_files or can_export) and is_installed():
            found.append(name)
    if found:
        return found
    raise CheckpointError(
        f"{folder} has nothing that can be computed here: it needs {MODEL} and fewstep[train], or "
        "an export and a C++ compiler, fewstep[openvino] or fewstep[onnx]"
    )


def possible_exports() -> list[str]:
    """Return the formats that a policy can be exported to here."""
    formats = []
    if find_spec("onnxscript") and find_spec("onnxruntime"):
        formats.append(ONNX)
    if find_compiler():
        formats.append(CPP)
    return formats


def _find_ready(members: Sequence[Path]) -> list[str]:
    """Return the engines that need no export made: of trainings with weights at least eager."""
    ready = []
    for name in engines_here(members[0]):
        format, _ = NEEDED[name]
        if not format or all(has_export(folder, format) for folder in members):
            ready.append(name)
    return ready


def find_export(folder: Path, format: str, sampler: Sampler | None) -> Path:
    """Return a folder with an export of a policy for this sampler, making one where there is none.

    It is made in the user's cache, which may be deleted at any time.
    """
    plain = None if sampler is None else to_plain(sampler)
    if has_export(folder, format, plain):
        return folder
    if not (folder / MODEL).is_file():
        if has_export(folder, format):
            raise CheckpointError(f"{folder} was exported for another sampler, and has no {MODEL}")
        return folder  # whose engine says what is missing
    described = json.dumps([hash_file(folder / META), hash_file(folder / MODEL), plain, format])
    cached = cache_folder("exports") / sha256(described.encode()).hexdigest()[:24]
    try:
        read_export(cached, format)
    except FewstepError:  # none is there, or it is damaged
        from .export import export_policy

        if has_export(cached, format):
            (cached / META).unlink(missing_ok=True)  # it may be what is damaged
        export_policy(folder, cached, format, sampler)
    return cached


def _load_eager(folder: Path, sampler: Sampler | None, device: str, threads: int) -> Engine:
    from ..checkpoint import load_policy
    from .eager import EagerEngine

    _set_torch_threads(threads)
    return EagerEngine(load_policy(folder, device), sampler)


def _load_compiled(folder: Path, sampler: Sampler | None, device: str, threads: int) -> Engine:
    from ..checkpoint import load_policy
    from .compiled import CompiledEngine

    _set_torch_threads(threads)
    return CompiledEngine(load_policy(folder, device), sampler)


def _set_torch_threads(threads: int) -> None:
    import torch

    if threads:
        torch.set_num_threads(threads)


def _load_onnx(folder: Path, sampler: Sampler | None, device: str, threads: int) -> Engine:
    from .onnx import load_onnx_engine

    return load_onnx_engine(find_export(folder, ONNX, sampler), threads or 1)


def _load_openvino(folder: Path, sampler: Sampler | None, device: str, threads: int) -> Engine:
    from .openvino import load_openvino_engine

    return load_openvino_engine(find_export(folder, ONNX, sampler), threads or 1)


def _load_cpp(folder: Path, sampler: Sampler | None, device: str, threads: int) -> Engine:
    from .cpp import load_cpp_engine

    return load_cpp_engine(find_export(folder, CPP, sampler), threads or 1)


LoadEngine = Callable[[Path, Any, str, int], Engine]
ENGINES: dict[str, LoadEngine] = {
    "eager": _load_eager,
    "compiled": _load_compiled,
    "onnx": _load_onnx,
    "openvino": _load_openvino,
    "cpp": _load_cpp,
}
NEEDED: dict[str, tuple[str, Callable[[], object]]] = {
    # the export (or none) of each engine that starts at once, and whether it can run here; the
    # fastest first
    "cpp": (CPP, find_compiler),
    "openvino": (ONNX, lambda: find_spec("openvino")),
    "onnx": (ONNX, lambda: find_spec("onnxruntime")),
    "eager": ("", lambda: find_spec("torch")),
}
