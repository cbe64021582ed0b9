"""Tables that people and programs write: YAML and JSON, of bounded size, depth and values."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from . import caps
from .errors import ConfigError, DataError, FewstepError, refusing
from .files import read_plain

FLOAT = "tag:yaml.org,2002:float"
MERGE = "tag:yaml.org,2002:merge"
TIMESTAMP = "tag:yaml.org,2002:timestamp"
# YAML 1.1 wants a point, and a sign in the exponent.
EXPONENT = re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$")


class TableLoader(yaml.SafeLoader):
    """Reads YAML without repeated keys; numbers may have an exponent without a point, as JSON's."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a table; ValueError where a key stands in it twice."""
        seen = set()
        for key, _ in node.value:
            if key.tag == MERGE or not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise ValueError(f"it has {key.value!r} twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


TableLoader.add_implicit_resolver(FLOAT, EXPONENT, list("-+0123456789"))
TableLoader.add_constructor(TIMESTAMP, yaml.SafeLoader.construct_yaml_str)  # a date is a text


def read_table(
    path: Path | str, what: str = "settings", kind: type[FewstepError] = ConfigError
) -> dict[str, Any]:
    """Return the table in a YAML file of `what`; `kind` names the file, and why it is none."""
    path = Path(path)
    if not path.exists():
        raise kind(f"there is no file {path} of {what}")
    with refusing(kind, f"{path} is no YAML file of {what}"):
        text = read_plain(path, caps.YAML, kind).decode()
        require_small(text)
        table = yaml.load(text, Loader=TableLoader)
        if table is None:
            return {}
        if not isinstance(table, dict):
            raise ValueError(f"expected a table, not {table!r}")
        json.dumps(table)  # raises for what is no plain value, and for thousands of digits
        return table


def read_json(
    path: Path | str, kind: type[FewstepError] = DataError, inside: Path | None = None
) -> Any:
    """Return what a JSON file holds; `kind` names the file, FileNotFoundError passes."""
    content = read_plain(Path(path), caps.JSON, kind, inside)
    with refusing(kind, f"cannot read {path} as JSON"):
        return json.loads(content)


def require_small(text: str, most: int = caps.YAML_VALUES) -> None:
    """Raise ValueError where YAML has too many values or levels.

    Aliases count as often as they are used.
    """
    sizes: Counter[str | None] = Counter()  # of what has an anchor
    open_: list[tuple[str | None, int]] = []  # the collections around: anchor, and values before it
    count = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        match event:
            case yaml.CollectionStartEvent():
                open_.append((event.anchor, count))
                count += 1
            case yaml.CollectionEndEvent():
                anchor, before = open_.pop()
                sizes[anchor] = count - before
            case yaml.ScalarEvent():
                sizes[event.anchor] = 1
                count += 1
            case yaml.AliasEvent():
                if any(anchor == event.anchor for anchor, _ in open_):
                    raise ValueError(f"*{event.anchor} holds itself")
                count += sizes[event.anchor]
        if count > most or len(open_) > caps.YAML_DEPTH:
            told = f"{most} values and {caps.YAML_DEPTH} levels"
            raise ValueError(f"it is larger than {told}, aliases counted as often as they are used")
