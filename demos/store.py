"""DemoStore: episodes end to end in a zarr folder, the one dataset format that all else reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr

from ..envs import DataError, Spec, incompatibilities
from ..envs.atomic_files import new_folder
from ..envs.errors import names, pick, refusing
from ..envs.locks import lock
from .episode import ArrayFormat, Episode, array_formats
from .storage.atomic_store import AtomicStore
from .storage.curation import read_curation
from .storage.frame_sources import FrameSources
from .storage.image_arrays import arrays_of_images
from .storage.images import ENCODINGS, EncodedImages, encode_all
from .storage.store_header import make_header, read_header, read_spec
from .storage.visible_episodes import VisibleEpisodes
from .storage.zarr_store import (
    create_array,
    find_array,
    names_store,
    open_group,
    read_frames,
    sync_group,
    write_end,
)

ENDS = "meta/episode_ends"
SUCCESS = "meta/success"
UNJUDGED = -1  # in meta/success, beside 0 and 1


class DemoStore:
    """E episodes of N frames in all.

    `data/<key>` (N, ...), `meta/episode_ends` (E,), `meta/success` (E,; -1 unknown), and where it
    was said `meta/source` (N,), who acted. Images are compressed one by one: `data/<key>/bytes` end
    to end, `data/<key>/ends` (N,) where each ends.

    An append counts from the moment its episode's end is written, its last write. What a killed
    writer leaves behind lies past the last end: never read, and overwritten by the next append. One
    process may write, any may read.
    """

    def __init__(self, path: Path, mode: Literal["r", "a"], deleted: bool = False) -> None:
        header = read_header(path)
        self.path = path
        self.spec = read_spec(path, header)
        self.provenance: dict[str, Any] = header["provenance"]
        self.images: str = header["images"]  # how they are encoded
        pick(ENCODINGS, self.images, "encoding of images")
        self._release = None
        if mode == "a":
            self._release = lock(self, path / "zarr.json")  # no append replaces this file
        self._group = open_group(path, mode)
        self._recorded_ends = self._read_ends()  # before the arrays, which a writer grows first
        self.curation = read_curation(path)
        hides = mode == "r" and not deleted
        self._visible = VisibleEpisodes(
            self._recorded_ends, self.curation.deleted if hides else frozenset()
        )
        self._formats = array_formats(self.spec)
        self._images = arrays_of_images(path, self._group, self.spec, self.images)
        self._sources = FrameSources(path, self._group)
        self._arrays: dict[str, zarr.Array] = {}
        for key, array_format in self._formats.items():
            if key not in self._images:
                self._arrays[key] = self._find_array(f"data/{key}", array_format)

    @classmethod
    def create(
        cls,
        path: str | Path,
        spec: Spec,
        provenance: Mapping[str, Any] | None = None,
        images: str = "lossless",
    ) -> DemoStore:
        """Make a new, empty store, open for appending.

        provenance: JSON values: where the data comes from, its licence.
        images: "jpeg" or "lossless".
        """
        pick(ENCODINGS, images, "encoding of images")
        header = make_header(spec, provenance or {}, images)
        with new_folder(Path(path)) as folder:
            group = zarr.create_group(AtomicStore(folder), attributes=header)
            image_arrays = arrays_of_images(folder, group, spec, images)
            for key, array_format in array_formats(spec).items():
                if key in image_arrays:
                    image_arrays[key].create()
                else:
                    create_array(group, f"data/{key}", array_format)
            create_array(group, SUCCESS, ArrayFormat((), np.dtype("int8")))
            create_array(group, ENDS, ArrayFormat((), np.dtype("int64")))
        return cls(Path(path), "a")

    @classmethod
    def open(
        cls, path: str | Path, mode: Literal["r", "a"] = "r", deleted: bool = False
    ) -> DemoStore:
        """Open an existing store, to read ("r") or to append to ("a").

        A reader sees the episodes that were there when it opened the store.
        deleted: a reader sees deleted ones too; who appends always does.
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
    def numbers(self) -> np.ndarray:
        """(E,) which of the recorded episodes are seen: for a reader, those not deleted."""
        return self._visible.numbers

    @property
    def ends(self) -> np.ndarray:
        """(E,) the frame after the last of each episode."""
        return self._visible.ends

    @property
    def frames(self) -> int:
        """N, the frames of all episodes."""
        return _last(self.ends)

    @property
    def success(self) -> list[bool | None]:
        """(E,) how each episode ended; None where nobody judged it."""
        recorded = self._read(self._find_array(SUCCESS), 0, len(self._recorded_ends))
        judged: list[bool | None] = []
        for number in self.numbers.tolist():
            at_recording = None if recorded[number] < 0 else bool(recorded[number])
            judged.append(self.curation.success.get(number, at_recording))
        return judged

    def require(self) -> None:
        """Raise DataError where no episode is seen."""
        if len(self):
            return
        if len(self._recorded_ends):
            raise DataError(
                f"{self.path} holds no episodes but deleted ones; `fewstep view` brings them back"
            )
        raise DataError(f"{self.path} holds no episodes yet; record some with `fewstep record`")

    @property
    def size(self) -> str:
        """How much is seen, in words; a writer sees deleted episodes as well."""
        words = f"{len(self)} episodes, {self.frames} frames"
        deleted = self.curation.deleted.intersection(self.numbers.tolist())
        if deleted:
            words += f", {len(deleted)} of the episodes deleted"
        return words

    @names_store
    def array(self, key: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Read frames (stop - start, ...) of one array; stop None: all that follow."""
        if key not in self._formats:
            raise DataError(f"{self.path} has no array {key!r}; valid: {names(self._formats)}")
        self.require()
        start, stop, _ = slice(start, stop).indices(self.frames)
        if key in self._images:
            return np.asarray(self.pictures(key)[start:stop])
        parts: list[np.ndarray] = []
        for first, last in self._visible.recorded_ranges(start, max(start, stop)):
            parts.append(self._read(self._arrays[key], first, last))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    @names_store
    def sources(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Read who acted at frames (stop - start,), by the number in SOURCES, 0 where unknown."""
        start, stop, _ = slice(start, stop).indices(self.frames)
        return self._sources.read(self._visible.recorded_ranges(start, max(start, stop)))

    @names_store
    def pictures(self, key: str) -> EncodedImages:
        """Return all images of a field; those that are indexed are read and decoded, no others."""
        ranges = self._visible.recorded_ranges(0, self.frames)
        return self._images[key].open(_last(self._recorded_ends), ranges)

    @names_store
    def episode(self, index: int) -> Episode:
        """Return one episode, its images as EncodedImages; negative indices count from the last."""
        if not -len(self) <= index < len(self):
            raise DataError(f"{self.path} has no episode {index}: it holds {len(self)}")
        position = index % len(self)
        start = int(self.ends[position - 1]) if position else 0
        stop = int(self.ends[position])
        data: dict[str, Any] = {}
        for key in self._arrays:
            data[key] = self.array(key, start, stop)
        for key in self._images:
            data[key] = self.pictures(key)[start:stop]
        source = self.sources(start, stop)
        return Episode(data, self.spec, self.success[index], source if source.any() else None)

    def append(self, *episodes: Episode) -> None:
        """Add episodes, all or none, without observations that the store's Spec does not name."""
        if self._release is None or not self._release.alive:
            raise DataError(
                f'{self.path} is not open for appending: use DemoStore.open(path, mode="a")'
            )
        for episode in episodes:
            self._require_fitting(episode)
        try:
            if episodes:
                self._append(episodes)
        except OSError as error:
            raise DataError(
                f"could not append to {self.path}: {error.strerror or error}; "
                f"nothing was added, all {len(self)} from before are safe"
            ) from error

    def _require_fitting(self, episode: Episode) -> None:
        wrong = incompatibilities(self.spec, episode.spec)
        if wrong:
            raise DataError(f"the episode does not fit {self.path}: {'; '.join(wrong)}")
        if len(episode) == 0:
            raise DataError("an episode without frames cannot be stored")

    def _append(self, episodes: Sequence[Episode]) -> None:
        for key, array in self._arrays.items():
            values = np.concatenate([episode.data[key] for episode in episodes])
            write_end(array, self.frames, values)
        for key, image_arrays in self._images.items():
            image_arrays.append(self.frames, self._encoded_images(episodes, key))
        self._sources.append(self.frames, episodes)
        success = [_stored_judgement(episode) for episode in episodes]
        write_end(self._find_array(SUCCESS), len(self), np.array(success))
        sync_group(self._group)
        ends = self.frames + np.cumsum([len(episode) for episode in episodes])
        write_end(self._find_array(ENDS), len(self), ends)
        sync_group(self._group)
        self._recorded_ends = np.append(self._recorded_ends, ends)
        self._visible = VisibleEpisodes(self._recorded_ends)

    def _encoded_images(self, episodes: Sequence[Episode], key: str) -> Iterator[bytes]:
        for episode in episodes:
            yield from encode_all(episode.data[key], self.images)

    def _read_ends(self) -> np.ndarray:
        """Read where the episodes end that were appended completely."""
        ends = self._read(self._find_array(ENDS), 0, None)
        # A writer killed between growing this array and filling it leaves zeros.
        is_written = np.cumprod(ends > 0) > 0
        ends = ends[is_written]
        if (np.diff(ends) <= 0).any():
            raise DataError(f"{self.path} is damaged: its episode ends do not grow")
        return ends

    def _read(self, array: zarr.Array, start: int, stop: int | None) -> np.ndarray:
        return read_frames(self.path, array, start, stop)

    def _find_array(self, name: str, array_format: ArrayFormat | None = None) -> zarr.Array:
        array = find_array(self.path, self._group, name)
        if array_format is None:
            return array
        fits = array.shape[1:] == array_format.shape and array.dtype == array_format.dtype
        if not fits or array.shape[0] < _last(self._recorded_ends):
            raise DataError(
                f"{self.path} is damaged: "
                f"{name} is {array.shape} {array.dtype}, not as its Spec says"
            )
        return array


def _stored_judgement(episode: Episode) -> int:
    return UNJUDGED if episode.success is None else int(episode.success)


def _last(ends: np.ndarray) -> int:
    """Return how many frames episodes have that end so."""
    return int(ends[-1]) if len(ends) else 0
