"""Source: a foreign dataset while it is read, and the one way in which it becomes a store."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np

from ...envs import DataError, Spec
from ...envs.atomic_files import new_folder
from ...envs.errors import refusing
from ..episode import Episode, columns
from ..store import DemoStore

TOGETHER = (
    2**22
)  # bytes of small episodes that are appended at once: each append waits for the disk


@dataclass(frozen=True)
class Choice:
    """What to take of a dataset.

    keys: observations that are no images, None for all; cameras: images, None for all; hz: rate of the frames [Hz],
    0 for what the dataset says; fields: a YAML file that maps topics to fields, for logs; images: how the store shall
    encode them, "" for JPEG where they are videos, else lossless.
    """

    keys: tuple[str, ...] | None = None
    cameras: tuple[str, ...] | None = None
    hz: float = 0.0
    fields: str = ""
    images: str = ""


@dataclass(frozen=True)
class Source:
    """A Spec, where the data comes from, the episodes, read one after the other, and how to encode their images."""

    spec: Spec
    notes: Mapping[str, Any]
    episodes: Iterable[Episode]
    images: str = "lossless"


Read = Callable[..., Iterator[Source]]
SafeRead = Callable[..., AbstractContextManager[Source]]


def reader(name: str) -> Callable[[Read], SafeRead]:
    """Make a context manager of a function that yields the one Source at a path, its first argument.

    name: of the format. Whatever it raises, then or while episodes are read, becomes a DataError
    that names the path.
    """

    def decorate(read: Read) -> SafeRead:
        @contextmanager
        @wraps(read)
        def safely(path: Path, *arguments: Any, **more: Any) -> Iterator[Source]:
            what = f"cannot read {path} as {name}"
            with ExitStack() as stack:
                with refusing(DataError, what, path):
                    found = stack.enter_context(contextmanager(read)(path, *arguments, **more))
                    _require_storable(found)
                yield replace(found, episodes=_safely(found.episodes, what, path))

        return safely

    return decorate


def _require_storable(source: Source) -> None:
    """Raise where a store cannot have these fields or these notes."""
    columns(source.spec)
    if not isinstance(source.notes, Mapping):
        raise DataError(f"its provenance must be a table, not {source.notes!r:.50}")
    json.dumps(dict(source.notes), allow_nan=False)


def _safely(episodes: Iterable[Episode], what: str, path: Path) -> Iterator[Episode]:
    rest = iter(episodes)
    while True:
        with refusing(DataError, what, path):
            episode = next(rest, None)
        if episode is None:
            return
        yield episode


def observing(spec: Spec, keys: Iterable[str]) -> Spec:
    """The same Spec with these observations only; what measured an action and is left out measures nothing."""
    kept = {k: spec.observations[k] for k in keys}
    actions = {
        k: f if f.measured_by in kept else replace(f, measured_by="")
        for k, f in spec.actions.items()
    }
    return replace(spec, observations=kept, actions=actions)


def save(source: Source, out: str | Path) -> None:
    """Write a DemoStore at `out`; a failure leaves nothing there."""
    with (
        new_folder(Path(out)) as folder,
        DemoStore.create(folder, source.spec, source.notes, source.images) as store,
    ):
        for batch in _batches(source.episodes):
            store.append(*batch)


def _batches(episodes: Iterable[Episode]) -> Iterator[list[Episode]]:
    batch, size = [], 0
    for episode in episodes:
        batch.append(episode)
        size += sum(
            int(np.prod(values.shape)) * values.dtype.itemsize for values in episode.data.values()
        )
        if size > TOGETHER:
            yield batch
            batch, size = [], 0
    yield batch
