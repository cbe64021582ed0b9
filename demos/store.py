"""DemoStore: episodes end to end in a zarr folder; the one dataset format that everything else reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr

from ..envs import DataError, Spec, incompatibilities
from ..envs.atomic_files import lock, new_folder
from ..envs.errors import names, pick, refusing
from .episode import Column, Episode, columns
from .storage.atomic_store import AtomicStore
from .storage.curation import Marks
from .storage.images import CHUNK, ENCODINGS, Blobs, EncodedImages, encoded
from .storage.store_header import FORMAT, VERSION, read_head, read_spec
from .storage.zarr_layout import SLACK
from .storage.zarr_store import create, find, opened, read, reading, sync, write

ENDS, SUCCESS = "meta/episode_ends", "meta/success"
BYTES, PLACES = "bytes", "ends"  # of the images of a field
TOGETHER = 64  # pictures that are written at once


class DemoStore:
    """E episodes of N frames in all: `data/<key>` (N, ...), `meta/episode_ends` (E,), `meta/success` (E,; -1 unknown).

    Images are compressed one by one: `data/<key>/bytes` end to end, `data/<key>/ends` (N,) where each ends.
    An append counts from the moment its episode's end is written, its last write. What a killed writer leaves behind
    lies past the last end: never read, and overwritten by the next append. One process may write, any may read.

    numbers (E,): of the episodes as they were recorded; who reads does not see those that are marked as deleted.
    """

    def __init__(self, path: Path, mode: Literal["r", "a"], deleted: bool = False) -> None:
        attributes = read_head(path)
        self.path, self.spec, self.provenance = (
            path,
            read_spec(path, attributes),
            attributes["provenance"],
        )
        self.images = attributes["images"]  # how they are encoded
        pick(ENCODINGS, self.images, "encoding of images")
        self._release = (
            lock(self, path / "zarr.json") if mode == "a" else None
        )  # no append replaces this file
        self._group = opened(path, mode)
        self._ends = self._committed()  # before the arrays, which a writer grows first
        self.marks = Marks.read(path)
        gone = self.marks.deleted if mode == "r" and not deleted else ()
        self.numbers = np.array([i for i in range(len(self._ends)) if i not in gone], int)
        self.ends = np.cumsum(np.diff(self._ends, prepend=0)[self.numbers])
        self._columns = columns(self.spec)
        self._pictures = set(self.spec.images)
        numbers = {
            key: column for key, column in self._columns.items() if key not in self._pictures
        }
        self._arrays = {key: self._array(f"data/{key}", column) for key, column in numbers.items()}

    @classmethod
    def create(
        cls,
        path: str | Path,
        spec: Spec,
        provenance: Mapping[str, Any] | None = None,
        images: str = "lossless",
    ) -> DemoStore:
        """A new, empty store, open for appending.

        provenance: JSON values: where the data comes from, its licence. images: "jpeg" or "lossless".
        """
        pick(ENCODINGS, images, "encoding of images")
        head = {
            "format": FORMAT,
            "version": VERSION,
            "spec": spec.to_json(),
            "provenance": dict(provenance or {}),
        }
        head["images"] = images
        try:
            head = json.loads(json.dumps(head, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise DataError(f"provenance and Spec must be plain JSON values: {error}") from error
        with new_folder(Path(path)) as folder:
            group = zarr.create_group(AtomicStore(folder), attributes=head)
            for key, column in columns(spec).items():
                if key in spec.images:
                    group.create_array(
                        f"data/{key}/{BYTES}",
                        shape=(0,),
                        dtype="uint8",
                        chunks=(CHUNK,),
                        compressors=None,
                    )
                    create(group, f"data/{key}/{PLACES}", Column((), np.dtype("int64")))
                else:
                    create(group, f"data/{key}", column)
            create(group, SUCCESS, Column((), np.dtype("int8")))
            create(group, ENDS, Column((), np.dtype("int64")))
        return cls(Path(path), "a")

    @classmethod
    def open(
        cls, path: str | Path, mode: Literal["r", "a"] = "r", deleted: bool = False
    ) -> DemoStore:
        """An existing store, to read ("r") or to append to ("a").

        A reader sees the episodes that were there when it opened the store; deleted: those that are marked so, too.
        """
        with refusing(DataError, f"cannot read {path}", path):
            return cls(Path(path), mode, deleted)

    def close(self) -> None:
        """Let others append; may be called again."""
        if self._release is not None:
            self._release()

    def __enter__(self) -> DemoStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def frames(self) -> int:
        """N, the frames of all episodes."""
        return int(self.ends[-1]) if len(self) else 0

    @property
    def _recorded(self) -> int:
        """Frames of all episodes, deleted or not."""
        return int(self._ends[-1]) if len(self._ends) else 0

    @property
    def success(self) -> list[bool | None]:
        """(E,) how each episode ended; None where nobody judged it."""
        said = self._read(self._array(SUCCESS), 0, len(self._ends))
        found = {i: None if s < 0 else bool(s) for i, s in enumerate(said)} | dict(
            self.marks.success
        )
        return [found[int(i)] for i in self.numbers]

    def require(self) -> None:
        """Raise DataError where no episode is seen."""
        if len(self._ends) and not len(self):
            raise DataError(
                f"{self.path} holds no episodes but deleted ones; `fewstep view` brings them back"
            )
        if not len(self):
            raise DataError(f"{self.path} holds no episodes yet; record some with `fewstep record`")

    @property
    def size(self) -> str:
        """How much is seen, in words; a writer sees deleted episodes as well."""
        gone = len(self.marks.deleted.intersection(self.numbers.tolist()))
        return f"{len(self)} episodes, {self.frames} frames" + (
            f", {gone} of the episodes deleted" if gone else ""
        )

    @reading
    def array(self, key: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Frames from start up to, not including, stop (None: all that follow) of one array, (frames, ...)."""
        if key not in self._columns:
            raise DataError(f"{self.path} has no array {key!r}; valid: {names(self._columns)}")
        self.require()
        start, stop, _ = slice(start, stop).indices(self.frames)
        if key in self._pictures:
            return np.asarray(self.pictures(key)[start:stop])
        parts = [
            self._read(self._arrays[key], a, b) for a, b in self._places(start, max(start, stop))
        ]
        return np.concatenate(parts) if len(parts) != 1 else parts[0]

    @reading
    def pictures(self, key: str) -> EncodedImages:
        """All images of a field; those that are indexed are read and decoded, no others."""
        ends = self._read(self._array(f"data/{key}/{PLACES}"), 0, self._recorded)
        if (np.diff(ends, prepend=0) <= 0).any() or len(ends) < self._recorded:
            raise DataError(f"{self.path} is damaged: data/{key}/{PLACES} does not grow")
        most = (
            2 * self.spec.observations[key].size + SLACK
        )  # what cannot be compressed becomes larger
        if np.diff(ends, prepend=0).max(initial=0) > most:
            raise DataError(
                f"{self.path} is damaged: data/{key}/{PLACES} has a picture of more than {most} bytes"
            )
        bounds = np.stack([np.concatenate([[0], ends[:-1]]), ends], 1)
        seen = [bounds[a:b] for a, b in self._places(0, self.frames)]
        blobs = Blobs(
            self.path / "data" / key / BYTES, np.concatenate(seen) if seen else bounds[:0]
        )
        return EncodedImages(
            blobs, self.spec.observations[key].shape, self.images, f"{self.path}, {key}"
        )

    @reading
    def episode(self, index: int) -> Episode:
        """One episode, its images as EncodedImages; negative indices count from the last."""
        if not -len(self) <= index < len(self):
            raise DataError(f"{self.path} has no episode {index}: it holds {len(self)}")
        start, stop = np.concatenate([[0], self.ends])[index % len(self) :][:2]
        data: dict[str, Any] = {key: self.array(key, int(start), int(stop)) for key in self._arrays}
        data |= {key: self.pictures(key)[int(start) : int(stop)] for key in self._pictures}
        return Episode(data, self.spec, self.success[index])

    def append(self, *episodes: Episode) -> None:
        """Add episodes, all or none; observations that the store's Spec does not name are left out."""
        if self._release is None or not self._release.alive:
            raise DataError(
                f'{self.path} is not open for appending: use DemoStore.open(path, mode="a")'
            )
        for episode in episodes:
            if wrong := incompatibilities(self.spec, episode.spec):
                raise DataError(f"the episode does not fit {self.path}: {'; '.join(wrong)}")
            if len(episode) == 0:
                raise DataError("an episode without frames cannot be stored")
        try:
            if episodes:
                self._append(episodes)
        except OSError as error:
            raise DataError(
                f"could not append to {self.path}: {error.strerror or error}; "
                f"nothing was added, all {len(self)} from before are safe"
            ) from error

    def _append(self, episodes: Sequence[Episode]) -> None:
        ends = self.frames + np.cumsum([len(episode) for episode in episodes])
        for key, array in self._arrays.items():
            write(array, self.frames, np.concatenate([episode.data[key] for episode in episodes]))
        for key in self._pictures:
            self._append_pictures(
                key, (part for e in episodes for part in encoded(e.data[key], self.images))
            )
        success = np.array([-1 if e.success is None else int(e.success) for e in episodes])
        write(self._array(SUCCESS), len(self), success)
        sync(self._group)
        write(self._array(ENDS), len(self), ends)
        sync(self._group)
        self.ends = self._ends = np.append(self.ends, ends)
        self.numbers = np.arange(len(self.ends))

    def _append_pictures(self, key: str, parts: Iterator[bytes]) -> None:
        """Some at a time: all pictures of a long episode may not fit the memory."""
        ends, content = self._array(f"data/{key}/{PLACES}"), self._array(f"data/{key}/{BYTES}")
        at = [int(self._read(ends, self.frames - 1, self.frames)[0]) if self.frames else 0]
        while some := list(islice(parts, TOGETHER)):
            write(content, at[-1], np.frombuffer(b"".join(some), np.uint8))
            at += (at[-1] + np.cumsum([len(part) for part in some])).tolist()
        write(ends, self.frames, np.array(at[1:]))

    def _places(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Where frames `start` to `stop` of the episodes that are seen lie among those of all; one place at least."""
        if len(self.numbers) == len(self._ends):
            return [(start, stop)]
        begins, aside = np.concatenate([[0], self.ends[:-1]]), self._ends[self.numbers] - self.ends
        first, last = np.searchsorted(self.ends, start, side="right"), np.searchsorted(begins, stop)
        out = [
            (max(start, begins[k]) + aside[k], min(stop, self.ends[k]) + aside[k])
            for k in range(first, last)
        ]
        return [(int(a), int(b)) for a, b in out] or [(0, 0)]

    def _committed(self) -> np.ndarray:
        ends = self._read(self._array(ENDS), 0, None)
        ends = ends[
            np.cumprod(ends > 0) > 0
        ]  # a writer killed between growing this array and filling it leaves zeros
        if (np.diff(ends) <= 0).any():
            raise DataError(f"{self.path} is damaged: its episode ends do not grow")
        return ends

    def _read(self, array: zarr.Array, start: int, stop: int | None) -> np.ndarray:
        return read(self.path, array, start, stop)

    def _array(self, name: str, column: Column | None = None) -> zarr.Array:
        array = find(self.path, self._group, name)
        if column and (
            array.shape[1:] != column.shape
            or array.shape[0] < self._recorded
            or array.dtype != column.dtype
        ):
            raise DataError(
                f"{self.path} is damaged: {name} is {array.shape} {array.dtype}, not as its Spec says"
            )
        return array
