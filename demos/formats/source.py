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
from ..episode import Episode, array_formats
from ..store import DemoStore

BATCH_BYTES = 2**22  # of small episodes that are appended at once: each append waits for the disk


@dataclass(frozen=True)
class Source:
    """A foreign dataset while it is read.

    notes: where the data comes from; episodes: read one after the other, `count` in all; images:
    how the store keeps them.
    """

    spec: Spec
    notes: Mapping[str, Any]
    episodes: Iterable[Episode]
    count: int
    images: str = "lossless"


Read = Callable[..., Iterator[Source]]
SafeRead = Callable[..., AbstractContextManager[Source]]
Progress = Callable[[int, int], None]  # is told how many episodes are done, and of how many


def ignore_progress(done: int, total: int) -> None:
    """Tell nobody."""


def reader(name: str) -> Callable[[Read], SafeRead]:
    """Make a context manager of a function that yields the one Source at a path.

    The path is its first argument.

    name: of the format. Whatever it raises, then or while episodes are read, becomes a DataError
    that names the path.
    """

    def decorate(read: Read) -> SafeRead:
        @contextmanager
        @wraps(read)
        def read_safely(path: Path, *arguments: Any, **more: Any) -> Iterator[Source]:
            what = f"cannot read {path} as {name}"
            with ExitStack() as stack:
                with refusing(DataError, what, path):
                    source = stack.enter_context(contextmanager(read)(path, *arguments, **more))
                    _require_storable(source)
                yield replace(source, episodes=_iterate_safely(source.episodes, what, path))

        return read_safely

    return decorate


def _require_storable(source: Source) -> None:
    """Raise where a store cannot have these fields or these notes."""
    array_formats(source.spec)
    if not isinstance(source.notes, Mapping):
        raise DataError(f"its provenance must be a table, not {source.notes!r:.50}")
    json.dumps(dict(source.notes), allow_nan=False)


def _iterate_safely(episodes: Iterable[Episode], what: str, path: Path) -> Iterator[Episode]:
    rest = iter(episodes)
    while True:
        with refusing(DataError, what, path):
            episode = next(rest, None)
        if episode is None:
            return
        yield episode


def select_observations(spec: Spec, keys: Iterable[str]) -> Spec:
    """Return the same Spec with these observations only.

    An action whose measurement is left out is measured by nothing.
    """
    kept = {key: spec.observations[key] for key in keys}
    actions = {}
    for key, field in spec.actions.items():
        measured = field.measured_by in kept
        actions[key] = field if measured else replace(field, measured_by="")
    return replace(spec, observations=kept, actions=actions)


def save(source: Source, out: str | Path, progress: Progress = ignore_progress) -> None:
    """Write a DemoStore at `out`; a failure leaves nothing there."""
    done = 0
    with (
        new_folder(Path(out)) as folder,
        DemoStore.create(folder, source.spec, source.notes, source.images) as store,
    ):
        for batch in _batches(source.episodes):
            store.append(*batch)
            done += len(batch)
            progress(done, source.count)


def _batches(episodes: Iterable[Episode]) -> Iterator[list[Episode]]:
    batch: list[Episode] = []
    size = 0
    for episode in episodes:
        batch.append(episode)
        for values in episode.data.values():
            size += int(np.prod(values.shape)) * values.dtype.itemsize
        if size > BATCH_BYTES:
            yield batch
            batch = []
            size = 0
    yield batch
