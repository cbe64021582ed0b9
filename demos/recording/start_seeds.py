"""Which start seeds were tried for a store, so that recording in parts repeats none."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

from ...envs import DataError, FewstepWarning
from ...envs.atomic_files import replace
from ...envs.seeds import DEMONSTRATION_SEEDS
from ...envs.tables import read_json
from ..store import DemoStore

FILE = "starts.json"  # in a store, beside its arrays
ALL = 2**31  # as often as any `repeats` asks for


@dataclass(frozen=True)
class Tried:
    """The start that was tried last."""

    seed: int  # the highest that was tried
    times: int  # how often
    episodes: int  # how many the store holds once this counts


@dataclass(frozen=True)
class Start:
    """Where an episode starts: the seed, and how often this start was shown before."""

    seed: int | None  # None where the robot draws no start
    repetition: int = 0


def starts_from(first: int, repeats: int = 1, shown: int = 0) -> Iterator[Start]:
    """Yield starts from seed `first` on, each `repeats` times; of the first, `shown` are done."""
    for index in count(shown):
        yield Start(first + index // repeats, index % repeats)


class Starts:
    """Notes which start seeds of demonstrations were tried for a store.

    What lies outside of DEMONSTRATION_SEEDS is not counted.

    A start is noted before its episode is appended, together with the number of episodes that there
    are then. A recording that is killed in between finds one less, and tries that start again.
    """

    def __init__(self, store: DemoStore) -> None:
        self._store = store
        self._file = store.path / FILE

    def next(self, repeats: int = 1) -> tuple[int, int]:
        """Return the seed to go on with, and how often it was shown, of `repeats` times."""
        last = self._find_last()
        seed = last.seed
        shown = last.times
        if shown >= repeats:
            seed += 1
            shown = 0
        if seed not in DEMONSTRATION_SEEDS:
            raise DataError(
                f"{self._store.path}: every start seed below {DEMONSTRATION_SEEDS.stop} was tried; "
                "name one with seed="
            )
        return seed, shown

    def go_on(self, repeats: int = 1) -> Iterator[Start]:
        """Yield starts, each `repeats` times, from where the last recording stopped."""
        first, shown = self.next(repeats)
        yield from starts_from(first, repeats, shown)

    def tried(self, seed: int, kept: bool) -> None:
        """Note that a start was tried; kept: its episode is about to be appended."""
        last = self._find_last()
        if seed not in DEMONSTRATION_SEEDS or seed < last.seed:
            return
        times = last.times + 1 if seed == last.seed else 1
        _write(self._file, Tried(seed, times, len(self._store) + kept))

    def _find_last(self) -> Tried:
        """Return what was tried last and counts."""
        recorded = len(self._store)
        last = _read(self._file)
        if last is None:  # an old store: as many starts may have failed as were kept
            return Tried(DEMONSTRATION_SEEDS.start + 2 * recorded - 1, ALL, recorded)
        if last.episodes > recorded:
            return Tried(last.seed, last.times - 1, recorded)
        return last


def next_seed(store: DemoStore, first: int) -> Callable[[], int]:
    """Return what gives the start seed of the next episode.

    first: one after the other from this one on; where it is negative, one after those that were
    tried.
    """
    if first < 0:
        return lambda: Starts(store).next()[0]
    given = count(first)
    return lambda: next(given)


def _read(file: Path) -> Tried | None:
    try:
        found = read_json(file, inside=file.parent)
        tried = Tried(**found)
        for value in found.values():
            if type(value) is not int or value < 0:
                raise ValueError("its values must be numbers")
        return tried
    except FileNotFoundError:
        return None
    except (DataError, ValueError, TypeError, AttributeError) as error:
        said = f"{file} is damaged: {error}; the next start seed is a guess"
        warnings.warn(said, FewstepWarning, stacklevel=5)
        return None


def _write(file: Path, tried: Tried) -> None:
    try:
        replace(file, json.dumps(asdict(tried)).encode())
    except OSError as error:
        raise DataError(f"could not write {file}: {error.strerror or error}") from error
