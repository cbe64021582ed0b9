"""The YAML file that says which topics of a bag become which fields."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ....envs import ConfigError, DataError
from ....envs.schema import from_plain
from ....envs.tables import read_table


@dataclass(frozen=True)
class FieldEntry:
    """One field: a topic, where its numbers are, and what they mean.

    value: dotted path to the numbers in a message; empty for a camera, or a message that is nothing
    but numbers. size: (height, width) to which images are resized; empty keeps them. The rest is as
    in Field.
    names: also picks and orders the numbers of a message that names them, as JointState does.
    kind: empty for image, quaternion or linear, whatever the message holds.
    """

    topic: str
    value: str = ""
    size: tuple[int, ...] = ()
    unit: str = ""
    kind: str = ""
    names: tuple[str, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    measured_by: str = ""
    velocity: tuple[float, ...] = ()
    acceleration: tuple[float, ...] = ()


@dataclass(frozen=True)
class FieldsFile:
    """The whole file. hz: rate to which everything is resampled [Hz], 0 where it does not say."""

    hz: float = 0.0
    observations: dict[str, Any] = field(default_factory=dict)  # of FieldEntry
    actions: dict[str, Any] = field(default_factory=dict)


def read_fields_file(path: Path) -> FieldsFile:
    """Read such a file; DataError says what is wrong with it."""
    given = read_table(path, "fields", DataError)
    try:
        tables = from_plain(FieldsFile, given)
        observations = _read_entries(tables.observations, "observations")
        actions = _read_entries(tables.actions, "actions")
    except ConfigError as error:
        raise DataError(f"{path} is no YAML file of fields: {error}") from error
    return FieldsFile(tables.hz, observations, actions)


def _read_entries(table: Mapping[Any, Any], group: str) -> dict[str, FieldEntry]:
    entries = {}
    for key, given in table.items():
        entries[str(key)] = _read_entry(given, f"{group}.{key}")
    return entries


def _read_entry(given: Any, where: str) -> FieldEntry:
    entry = from_plain(FieldEntry, given, where)
    if entry.size and (len(entry.size) != 2 or min(entry.size) < 1):
        raise ConfigError(f"{where}.size must be [height, width] in pixels, not {list(entry.size)}")
    return entry
