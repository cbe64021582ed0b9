"""Exported policies: what lies beside policy.json, and what runs it; nothing here needs torch.

An export is a description, `chunk.<format>.json`, and the files that it names with their hashes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from ...envs import CheckpointError, ConfigError, Spec
from ...envs.atomic_files import write_file
from ...envs.errors import refusing
from ...envs.schema import from_plain, to_plain
from ...envs.tables import read_json
from ..ensemble_folder import find_members
from ..policy_folder import MODEL, load_spec, read_meta
from .engine import ChunkShape, describe_chunks

VERSION = 2
ONNX = "onnx"  # format of a graph for onnxruntime or OpenVINO
CPP = "cpp"  # format of a C++ source with its weights
Graph = Callable[[Sequence[np.ndarray]], np.ndarray]  # inputs in their order to the one output


@dataclass(frozen=True)
class Export:
    """How a policy was exported."""

    sampler: dict[str, Any]  # that draws the chunks, as policy.json has it
    config: dict[str, Any]  # of the policy
    fields: dict[str, list[Any]]  # what the policy observes and commands, as `describe_fields` does
    steps: int  # of the sampler
    noises: int  # arrays of noise that it draws
    weights: str  # sha256 of model.safetensors
    chunk: str  # the file that computes a chunk
    cameras: dict[str, str]  # the file that encodes a picture of each camera
    files: dict[str, str]  # sha256 of every file
    max_error: float  # largest distance from eager that was seen, as a share of the action's range
    checked: int  # observations on which it was seen
    version: int = VERSION

    def shape(self, spec: Spec) -> ChunkShape:
        """Return the shape of the chunks; spec: of the policy."""
        return describe_chunks(self.config, spec, self.noises)


def description(format: str) -> str:
    """Return the name of the file that describes an export."""
    return f"chunk.{format}.json"


def has_export(folder: Path, format: str, sampler: Mapping[str, Any] | None = None) -> bool:
    """Return whether a folder has an export of this format, and of this sampler if one is given."""
    path = folder / description(format)
    if not path.is_file():
        return False
    if sampler is None:
        return True
    found = read_json(path, CheckpointError)
    return isinstance(found, dict) and found.get("sampler") == _without_tuples(sampler)


def _without_tuples(plain: Any) -> Any:
    """Return plain data as it comes back from JSON."""
    return json.loads(json.dumps(plain))


def describe_fields(spec: Spec, config: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return what of a Spec decides what is computed; limits and names of units may change."""
    described: dict[str, list[Any]] = {}
    for group in ("observations", "actions"):
        described[group] = []
        for key, field in getattr(spec, group).items():
            measured = field.measured_by if config.get("from_measured") else ""
            facts = [key, field.kind, list(field.shape), field.relative, measured]
            described[group].append(facts)
    return described


def write_export(folder: Path, format: str, export: Export) -> None:
    """Write the description of an export whose files lie in the folder."""
    write_file(folder / description(format), json.dumps(to_plain(export), indent=1).encode())


def read_export(folder: Path, format: str) -> Export:
    """Return the description of an export whose files are whole and belong to the policy.

    Raises CheckpointError, which names the file and what is wrong with it.
    """
    path = folder / description(format)
    if not path.is_file():
        raise CheckpointError(
            f"{folder} has no {path.name}: fewstep export policy={folder} format={format}"
        )
    plain = read_json(path, CheckpointError)
    if not isinstance(plain, dict) or plain.get("version") != VERSION:
        raise CheckpointError(f"{path} is not of version {VERSION}: export the policy again")
    with refusing(CheckpointError, f"{path} describes no export", path):
        export = from_plain(Export, plain, path.name)
    spec = load_spec(folder)
    if export.config != read_meta(folder)["config"]:
        raise CheckpointError(f"{path} is of another policy than policy.json: export it again")
    if export.fields != _without_tuples(describe_fields(spec, export.config)):
        raise CheckpointError(f"{path} is of other fields than policy.json: export it again")
    with refusing(CheckpointError, f"{path} describes no policy", path):
        export.shape(spec)
    if min(export.steps, export.noises) < 1 or set(export.cameras) != set(spec.images):
        raise CheckpointError(f"{path} is of another policy than policy.json: export it again")
    if (folder / MODEL).is_file() and hash_file(folder / MODEL) != export.weights:
        raise CheckpointError(f"{path} is of other weights than {MODEL}: export the policy again")
    for name in [export.chunk, *export.cameras.values()]:
        if name not in export.files:
            raise CheckpointError(f"{path} does not list {name}")
    for name in export.files:
        if Path(name).name != name:
            raise CheckpointError(f"{path} names a file outside of its folder: {name}")
    for name, expected in export.files.items():
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder / name} is missing: export the policy again")
        if hash_file(folder / name) != expected:
            raise CheckpointError(f"{folder / name} is damaged: export the policy again")
    return export


def find_steps(folder: Path) -> int:
    """Return the steps of the sampler that a policy was exported with."""
    return _read_any(folder).steps


def hash_weights(policy: Path | str) -> str:
    """Return the sha256 of a policy's weights, or of those that it was exported from.

    Where it is several trainings it is that of their hashes.
    """
    hashes = [_hash_one(member) for member in find_members(policy)]
    return hashes[0] if len(hashes) == 1 else sha256("".join(hashes).encode()).hexdigest()


def _hash_one(folder: Path) -> str:
    if (folder / MODEL).is_file():
        return hash_file(folder / MODEL)
    return _read_any(folder).weights


def _read_any(folder: Path) -> Export:
    """Return the description of any export of a policy."""
    for format in (ONNX, CPP):
        if has_export(folder, format):
            return read_export(folder, format)
    raise CheckpointError(f"{folder} has no export, nor weights that can be used here")


def hash_file(path: Path) -> str:
    """Return the sha256 of a file."""
    return sha256(path.read_bytes()).hexdigest()


LoadGraph = Callable[[Path, int], Graph]  # a file and threads to what computes it


def load_exported(name: str, folder: Path, load_graph: LoadGraph, threads: int) -> ExportedEngine:
    """Return the engine of this name for a folder with an export of format onnx."""
    export = read_export(folder, ONNX)
    cameras = load_cameras(folder, export, load_graph, threads)
    return ExportedEngine(name, folder, export, load_graph(folder / export.chunk, threads), cameras)


def load_cameras(
    folder: Path, export: Export, load_graph: LoadGraph, threads: int
) -> dict[str, Graph]:
    """Return what encodes a picture of each camera."""
    cameras: dict[str, Graph] = {}
    for camera, file in export.cameras.items():
        cameras[camera] = load_graph(folder / file, threads)
    return cameras


class ExportedEngine:
    """An Engine over graphs that take one observation at a time.

    name: of the engine; chunk: takes what ChunkGraph does; cameras: take a picture (1, h, w, 3).
    """

    batches = False

    def __init__(
        self, name: str, folder: Path, export: Export, chunk: Graph, cameras: Mapping[str, Graph]
    ) -> None:
        self.name = name
        self._spec = load_spec(folder)
        self._shape = export.shape(self._spec)
        self.sampler: Mapping[str, Any] = export.sampler  # that draws a chunk
        self._chunk = chunk
        self._cameras = cameras

    @property
    def spec(self) -> Spec:
        """Return what the policy observes and commands."""
        return self._spec

    @property
    def shape(self) -> ChunkShape:
        """Return what it is asked with, and what comes back."""
        return self._shape

    def predict(
        self,
        obs: Mapping[str, np.ndarray],
        noise: np.ndarray,
        prefix: np.ndarray | None = None,
        prefix_length: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return chunks (B, H, A) in robot units, as `Engine.predict` says, one after the other."""
        if (prefix is None) != (prefix_length is None):
            raise ConfigError("prefix and prefix_length come together")
        if prefix is not None and not self._shape.takes_prefix:
            raise ConfigError("this network takes no prefix: train with net.prefix=true")
        chunks: list[np.ndarray] = []
        for row in range(noise.shape[1]):
            one = slice(row, row + 1)
            if not self._can_answer(obs, one):
                unknown = (1, self._shape.horizon, self._spec.action_size)
                chunks.append(np.full(unknown, np.nan, np.float32))
                continue
            inputs = [obs[key][one] for key in self._spec.states]
            inputs += [self._features(camera, obs[camera][row]) for camera in self._spec.images]
            inputs.append(noise[:, one])
            if self._shape.takes_prefix:
                inputs += self._prefix(prefix, prefix_length, one)
            chunks.append(self._chunk(inputs))
        return np.concatenate(chunks)

    def _can_answer(self, obs: Mapping[str, np.ndarray], one: slice) -> bool:
        """Say whether eager answers with numbers; some graphs would clip what is none to one."""
        for key, field in self._spec.states.items():
            values = obs[key][one]
            turns = field.kind in ("angle", "quaternion")  # which have no infinite ones
            if not np.isfinite(values).all() if turns else np.isnan(values).any():
                return False
            if field.kind == "quaternion" and not values.any(-1).all():
                return False
        return True

    def look(self, obs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the features of pictures in their place, as `Engine.look` says."""
        looked = dict(obs)
        for camera in self._spec.images:
            features = [self._features(camera, pictures) for pictures in obs[camera]]
            looked[camera] = np.concatenate(features)
        return looked

    def _features(self, camera: str, pictures: np.ndarray) -> np.ndarray:
        """Return the features (1, P, F) of pictures (P, h, w, 3), or of their features (P, F)."""
        if pictures.ndim == 2:
            return pictures[None]
        encode = self._cameras[camera]
        return np.stack([encode([picture[None]]) for picture in pictures], 1)

    def _prefix(
        self, prefix: np.ndarray | None, prefix_length: np.ndarray | None, one: slice
    ) -> list[np.ndarray]:
        if prefix is None or prefix_length is None:
            return [
                np.zeros((1, self._shape.horizon, self._spec.action_size), np.float32),
                np.zeros(1, np.float32),
            ]
        return [prefix[one], prefix_length[one]]
