"""`fewstep spec`: what a store or a policy says about its fields, and changing it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from ...demos.spec_editing import edit_store_spec
from ...demos.store import DemoStore
from ...envs import ConfigError, Field, Spec
from ...envs.spec_edits import edit_spec, propose_changes
from ...envs.tables import read_table
from ..ensemble_folder import find_members
from ..policy_folder import load_spec, write_spec
from .printing import say

ENTRIES = {  # columns, where any field has something in them
    "measured by": "measured_by",
    "low": "low",
    "high": "high",
    "velocity": "velocity",
    "acceleration": "acceleration",
    "names": "names",
}


@dataclass(frozen=True)
class SpecSettings:
    """Show what a store or a policy says about its fields, and change it.

    Imports often know neither units nor limits, nor which state measures an action. Without set=
    nothing is changed; what the names suggest is proposed as a command.
    """

    data: str = ""  # a store of demonstrations
    policy: str = ""  # a run folder, in place of data
    # a table {observations or actions: {field: {unit, names, low, high, velocity, acceleration,
    # measured_by, kind, relative}}}, or a YAML file of such; a number stands for all elements
    set: Any = None


def run(settings: SpecSettings, console: Console) -> int:
    """Show the fields, changed where that is asked for, and propose what is missing."""
    if bool(settings.data) == bool(settings.policy):
        raise ConfigError("`fewstep spec` needs either data=... or policy=...")
    spec = _change(settings) if settings.set is not None else _read(settings)
    console.print(_table("observations", spec.observations))
    console.print(_table("actions", spec.actions))
    rates = f"policy_hz {spec.policy_hz:g}, command_hz {spec.command_hz:g}"
    say(console, rates)
    where = f"data={settings.data}" if settings.data else f"policy={settings.policy}"
    say_proposal(console, spec, where)
    return 0


def say_proposal(console: Console, spec: Spec, where: str) -> None:
    """Say which command takes what the names suggest about a Spec that lies at `where`."""
    proposed = propose_changes(spec)
    if proposed:
        say(console, "names suggest what measures an action; to take it:")
        say(console, f"  fewstep spec {where} 'set={_in_one_line(proposed)}'")


def _read(settings: SpecSettings) -> Spec:
    return DemoStore.open(settings.data).spec if settings.data else load_spec(settings.policy)


def _change(settings: SpecSettings) -> Spec:
    changes = settings.set
    if isinstance(changes, str):
        changes = read_table(changes, "changes of a Spec")
    if not isinstance(changes, dict):
        raise ConfigError(f"set must be a table, or a YAML file of one, not {changes!r}")
    if settings.data:
        return edit_store_spec(Path(settings.data), changes)
    edited = edit_spec(load_spec(settings.policy), changes)
    for member in find_members(settings.policy):
        write_spec(member, edited)
    return edited


def _table(title: str, fields: Mapping[str, Field]) -> Table:
    """Return a row for each field, and a column for everything that any of them says."""
    columns: dict[str, list[str]] = {
        title: list(fields),
        "shape": ["×".join(map(str, field.shape)) for field in fields.values()],
        "kind": [_kind(field) for field in fields.values()],
        "unit": [field.unit or "?" for field in fields.values()],
    }
    for header, entry in ENTRIES.items():
        cells = [_cell(getattr(field, entry)) for field in fields.values()]
        if any(cells):
            columns[header] = cells
    table = Table(box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    for header in columns:
        table.add_column(header, no_wrap=header != "names", overflow="fold")
    for row in zip(*columns.values(), strict=True):
        table.add_row(*row)
    return table


def _kind(field: Field) -> str:
    return f"{field.kind}, relative" if field.relative else field.kind


def _cell(value: str | Sequence[float] | Sequence[str]) -> str:
    if isinstance(value, str):
        return value
    if value and isinstance(value[0], str):
        return ", ".join(map(str, value))
    return _numbers([float(number) for number in value])


def _numbers(values: Sequence[float]) -> str:
    """Return one number where all are the same, else all of them."""
    if len(set(values)) == 1:
        return f"{values[0]:g}"
    return " ".join(f"{value:g}" for value in values)


def _in_one_line(changes: dict[str, Any]) -> str:
    """Return a table as Hydra's command line takes it."""
    if isinstance(changes, dict):
        inner = ", ".join(f"{key}: {_in_one_line(value)}" for key, value in changes.items())
        return f"{{{inner}}}"
    return str(changes)
