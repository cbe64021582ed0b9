"""The files of a LeRobot dataset: inside its folder, and read in parts that fit the memory."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import Formatter
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ....envs import DataError, caps
from ....envs.caps import require_ratio
from ....envs.errors import names, refusing
from ....envs.files import require_plain

ROWS = 512  # of parquet that are read at once, fewer where they are large
TEXTS = "BYTE_ARRAY"


def fill_template(folder: Path, template: Any, **values: Any) -> Path:
    """Return the file that a template such as data/chunk-{chunk_index:03d}.parquet names.

    DataError where that leaves `folder`, or the template asks for more than a number or a name.
    """
    if not isinstance(template, str):
        raise DataError(f"{folder} says of a path that it is {template!r}")
    for _, field, form, conversion in Formatter().parse(template):
        plain = field in values and not conversion and re.fullmatch(r"(0?\d\d?d)?", form or "")
        if field is not None and not plain:
            raise DataError(
                f"{folder} has a path {template!r}; valid fields: {names(values)}, also as in :03d"
            )
    file = folder / template.format(**values)
    if not file.is_relative_to(folder) or ".." in file.relative_to(folder).parts:
        raise DataError(f"{folder} has a path {template!r}, which leads out of it")
    require_plain(file, folder)
    return file


def read_batches(file: Path, widths: Mapping[str, int]) -> Iterator[pa.RecordBatch]:
    """Yield some rows at a time. widths: the columns to read, and the numbers a row may have."""
    with refusing(DataError, f"cannot read {file} as parquet", file):
        parquet = pq.ParquetFile(file)
        columns = parquet.schema_arrow.names
        missing = widths.keys() - set(columns)
        if missing:
            raise DataError(f"{file} lacks {names(missing)}; it has {names(columns)}")
        rows = _rows_at_once(file, parquet.metadata, widths)
        yield from parquet.iter_batches(rows, columns=list(widths))


def _rows_at_once(file: Path, about: pq.FileMetaData, widths: Mapping[str, int]) -> int:
    """Return how many rows to read at once, after a look at what all columns say of their size."""
    largest = 1
    for group_number in range(about.num_row_groups):
        group = about.row_group(group_number)
        for column_number in range(group.num_columns):
            column = group.column(column_number)
            largest = max(largest, _value_size(file, column, group.num_rows, widths))
    return min(max(4 * caps.FREE // largest, 1), ROWS)


def _value_size(
    file: Path, column: pq.ColumnChunkMetaData, rows: int, widths: Mapping[str, int]
) -> int:
    """Return how many bytes one value of a column may have, 1 where that does not matter.

    DataError where the column is too large for its file, or has more numbers than it may.
    """
    where = f"{file}, {column.path_in_schema}"
    require_ratio(column.total_uncompressed_size, column.total_compressed_size, where)
    width = _column_width(column.path_in_schema, widths)
    if width is None:
        return 1
    if column.physical_type == TEXTS:
        return column.total_uncompressed_size  # one value may be all
    if column.num_values > max(width, 1) * rows:
        raise DataError(f"{where} has {column.num_values} numbers in {rows} rows of {width}")
    return 1


def _column_width(place: str, widths: Mapping[str, int]) -> int | None:
    for key, width in widths.items():
        if place == key or place.startswith(f"{key}."):
            return width
    return None
