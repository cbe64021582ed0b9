"""How an array of zarr lies on disk, read from its description before zarr reads anything."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from ...envs import DataError, caps
from ...envs.caps import require_room
from ...envs.errors import names, refusing
from .codecs import COMPRESSORS, Decode, zstd_size

TEXT = ("vlen-utf8", "vlen-bytes")  # filters of text, which is listed and never decoded
NUMBERS = {
    "int8": "<i1",
    "int16": "<i2",
    "int32": "<i4",
    "int64": "<i8",
    "uint8": "<u1",
    "uint16": "<u2",
    "uint32": "<u4",
    "uint64": "<u8",
    "float16": "<f2",
    "float32": "<f4",
    "float64": "<f8",
    "bool": "|b1",
}
SLACK = 2**16  # bytes that compression may add, besides an eighth
OTHER = "|V1"  # in place of what is no number: zarr lists such arrays, and nothing reads them


@dataclass(frozen=True)
class Layout:
    """How chunks lie on disk.

    shape, dtype: of one chunk; decode: from the bytes of its file to its numbers, None where they
    are the same; v3: of zarr format 3, which zarr itself decodes once it is checked.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    decode: Decode | None
    v3: bool = False

    @property
    def size(self) -> int:
        """Bytes of a chunk in memory."""
        return prod(self.shape) * self.dtype.itemsize

    @property
    def max_file_size(self) -> int:
        """Bytes that a chunk may take on disk: what cannot be compressed becomes larger."""
        return self.size + self.size // 8 + SLACK

    def decode_chunk(self, content: bytes, where: str) -> Any:
        """Return the bytes of the numbers of a chunk."""
        require_room(self.size, len(content), where)
        if self.decode is None and len(content) != self.size:
            raise ValueError(f"{len(content)} bytes in place of {self.size}")
        if self.decode is None:
            return content
        found = self.decode(content, self.shape, self.dtype)
        if isinstance(found, np.ndarray):
            return np.ascontiguousarray(found).view(np.uint8).ravel()
        return found


def parse_description(content: bytes, where: str) -> dict[str, Any]:
    """Return a description in JSON; where: how an error begins."""
    with refusing(DataError, where):
        if len(content) > caps.JSON:
            raise ValueError(f"it has more than {caps.JSON} bytes")
        found = json.loads(content)
        if not isinstance(found, dict):
            raise ValueError(f"expected a table, not {found!r:.50}")
        return found


def strip_codecs(content: bytes, where: str) -> tuple[Layout, bytes]:
    """Return the layout of an array of zarr v2, and its description without codecs.

    What zarr gets is decoded already. DataError names a codec that is not in COMPRESSORS, and a
    filter.
    """
    about = parse_description(content, where)
    compressor = about.get("compressor")
    filters = about.get("filters") or []
    with refusing(DataError, where):
        unknown = []
        for filter_about in filters:
            if filter_about.get("id") not in TEXT:
                unknown.append(filter_about.get("id"))
        if unknown:
            raise DataError(f"{where}: filter {names(unknown)} is not read; valid: none")
        decode = None if compressor is None else _pick(COMPRESSORS, compressor["id"], where)
        number = not filters and re.fullmatch(r"[<>|][fiub][1248]", str(about["dtype"]))
        dtype = np.dtype(about["dtype"] if number else OTHER)
        layout = Layout(_whole(about["chunks"]), dtype, decode)
        _whole(about["shape"])
    if not number and not re.fullmatch(r"[<>|][US]\d+", str(about["dtype"])):
        about["dtype"] = OTHER
    plain = {"compressor": None, "filters": None, "fill_value": None, "zarr_format": 2}
    return layout, json.dumps(about | plain).encode()


def require_ours(content: bytes, where: str) -> Layout | None:
    """Return the layout of an array in a store of ours, None for a group.

    DataError for what no fewstep has written.
    """
    about = parse_description(content, where)
    if about.get("zarr_format") != 3:
        raise DataError(f"{where}: it is of zarr format {about.get('zarr_format')!r:.50} and not 3")
    if about.get("node_type") == "group":
        if about.get("consolidated_metadata"):
            raise DataError(f"{where}: consolidated metadata is not read")
        return None
    with refusing(DataError, where):
        codecs = [codec["name"] for codec in about["codecs"]]
        if codecs not in (["bytes"], ["bytes", "zstd"]):
            raise DataError(
                f"{where}: codecs {', '.join(map(str, codecs))} are not read; "
                "valid: bytes, then zstd"
            )
        if about["codecs"][0].get("configuration", {}).get("endian", "little") != "little":
            raise DataError(f"{where}: only little endian is read")
        if about.get("storage_transformers"):
            raise DataError(f"{where}: storage transformers are not read")
        dtype = np.dtype(_pick(NUMBERS, about["data_type"], where))
        if (
            about["chunk_grid"]["name"] != "regular"
            or about["chunk_key_encoding"]["name"] != "default"
        ):
            raise DataError(f"{where}: only regular chunks with the usual names are read")
        _whole(about["shape"])
        shape = _whole(about["chunk_grid"]["configuration"]["chunk_shape"])
        if 0 in shape:
            raise ValueError(f"no chunk can have the shape {shape}")
    return Layout(shape, dtype, None if len(codecs) == 1 else COMPRESSORS["zstd"], v3=True)


def require_chunk(layout: Layout, content: bytes, where: str) -> None:
    """Raise DataError where a chunk of ours would decode to more than its array says."""
    require_room(layout.size, len(content), where)
    with refusing(DataError, where):
        said = zstd_size(content) if layout.decode else len(content)
        if said != layout.size:
            raise ValueError(f"it holds {said} bytes in place of {layout.size}")


def _whole(given: Any) -> tuple[int, ...]:
    if not isinstance(given, list):
        raise ValueError(f"{given!r:.50} is no shape")
    for length in given:
        if type(length) is not int or not 0 <= length < 2**63:
            raise ValueError(f"{given!r:.50} is no shape")
    return tuple(given)


def _pick(table: Mapping[str, Any], name: Any, where: str) -> Any:
    if not isinstance(name, str) or name not in table:
        raise DataError(f"{where}: {name!r:.50} is not read; valid: {names(table)}")
    return table[name]
