"""The settings of a verb as a table.

Key, default, unit and meaning, read from the comments beside the fields.

A field's comment stands at the end of its line, or on the lines above it, and begins with the unit
in brackets where there is one: `seconds: float = 60.0  # [s] of an episode, at most`.
"""

from __future__ import annotations

import ast
import inspect
import io
import re
import textwrap
import tokenize
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache
from importlib.resources import files
from typing import Any, get_args, get_type_hints

from omegaconf import MISSING as REQUIRED
from rich.console import Console
from rich.table import Table

KEYS = {"task.options": "task_options"}  # keys that are no fields, with the fields they stand for
NEEDED = "required"  # in place of a default
UNIT = re.compile(r"\[([^\]]+)\] *")


@dataclass(frozen=True)
class Setting:
    """A row of the table."""

    key: str
    default: str
    unit: str
    meaning: str


def print_help(console: Console, verb: str, settings_type: type) -> None:
    """Print what a verb does and a table of its settings."""
    console.print(f"fewstep {verb} [key=value ...]\n", markup=False)
    for paragraph in inspect.cleandoc(settings_type.__doc__ or "").split("\n\n"):
        console.print(" ".join(paragraph.split()) + "\n", markup=False)
    rows = sorted(settings_of(settings_type), key=lambda row: row.default != NEEDED)
    if verb == "train":
        rows.append(Setting("recipe", "", "", f"settings for a task: {', '.join(recipes())}"))
    has_units = any(row.unit for row in rows)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("key", no_wrap=True)
    table.add_column("default", overflow="fold")
    if has_units:
        table.add_column("unit", no_wrap=True)
    table.add_column("meaning", ratio=1)
    for row in rows:
        cells = [row.key, row.default, row.unit, row.meaning]
        if not has_units:
            del cells[2]
        table.add_row(*map(_as_it_is, cells))
    console.print(table)


def recipes() -> list[str]:
    """Return the names of the recipes that come with the package."""
    folder = files("fewstep.configs") / "recipe"
    found = [path.name.removesuffix(".yaml") for path in folder.iterdir()]
    return sorted(found)


def settings_of(settings_type: type, prefix: str = "") -> Iterator[Setting]:
    """Yield all settings of a dataclass, those of nested dataclasses with dotted keys."""
    comments = field_comments(settings_type)
    hints = get_type_hints(settings_type)
    for field in fields(settings_type):
        key = _key_of(prefix + field.name)
        if is_dataclass(hints[field.name]):
            yield from settings_of(hints[field.name], f"{key}.")
            continue
        comment = comments.get(field.name, "")
        unit = UNIT.match(comment)
        meaning = comment[unit.end() :] if unit else comment
        meaning += _keys_of_a_table(hints[field.name])
        yield Setting(key, _default(field), unit[1] if unit else "", meaning)


def _key_of(name: str) -> str:
    """Return what a user types for a field."""
    for key, field_name in KEYS.items():
        if name == field_name:
            return key
    return name


def field_comments(settings_type: type) -> dict[str, str]:
    """Return the comments of a dataclass's fields, inherited ones included."""
    comments: dict[str, str] = {}
    for ancestor in reversed(settings_type.__mro__):
        if is_dataclass(ancestor):
            comments.update(_own_comments(ancestor))
    return comments


@cache
def _own_comments(settings_type: type) -> dict[str, str]:
    source = textwrap.dedent(inspect.getsource(settings_type))
    alone, trailing = _comments_by_line(source)
    definition = ast.parse(source).body[0]
    assert isinstance(definition, ast.ClassDef)
    comments = {}
    for statement in definition.body:
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        words: list[str] = []
        line = statement.lineno - 1
        while line in alone:
            words.insert(0, alone[line])
            line -= 1
        last = statement.end_lineno or statement.lineno
        if last in trailing:
            words.append(trailing[last])
        comments[statement.target.id] = " ".join(words)
    return comments


def _comments_by_line(source: str) -> tuple[dict[int, str], dict[int, str]]:
    """Return comments that have a line of their own, and those that end one, by line number."""
    alone: dict[int, str] = {}
    trailing: dict[int, str] = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            kind = trailing if token.line[: token.start[1]].strip() else alone
            kind[token.start[0]] = token.string.lstrip("# ")
    return alone, trailing


def _default(field: Field[Any]) -> str:
    value = field.default
    if field.default_factory is not MISSING:
        value = field.default_factory()
    if value == REQUIRED:
        return NEEDED
    if value is None or value == "" or value is MISSING:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{','.join(str(element) for element in value)}]"
    return str(value)


def _keys_of_a_table(hint: Any) -> str:
    """Name the keys of a setting that is a table or nothing."""
    for part in get_args(hint):
        if is_dataclass(part):
            return f"; a table {{{', '.join(field.name for field in fields(part))}}}"
    return ""


def _as_it_is(text: str) -> str:
    """Escape brackets, which rich would take for markup."""
    return text.replace("[", r"\[")
