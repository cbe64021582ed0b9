"""Tables that people and programs write: YAML and JSON, of bounded size, depth and values."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from . import caps
from .errors import ConfigError, DataError, FewstepError, refusing
from .files import read_plain


def read_table(
    path: Path | str, what: str = "settings", kind: type[FewstepError] = ConfigError
) -> dict[str, Any]:
    """The table in a YAML file; `kind` names the file, and why it is no YAML file of `what`."""
    path = Path(path)
    with refusing(kind, f"{path} is no YAML file of {what}"):
        text = read_plain(path, caps.YAML, kind).decode()
        require_small(text)
        table = OmegaConf.to_container(OmegaConf.create(text))
        if not isinstance(table, dict):
            raise ValueError(f"expected a table, not {table!r}")
        json.dumps(table)  # raises for what is no plain value, and for thousands of digits
        return table  # pyright: ignore[reportReturnType]


def read_json(
    path: Path | str, kind: type[FewstepError] = DataError, inside: Path | None = None
) -> Any:
    """What a JSON file holds; `kind` names the file, FileNotFoundError passes."""
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
