"""A verb is found by name and runs with the settings that a command line gives it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any, Protocol

from rich.console import Console

from ...envs import ConfigError, FewstepError, FewstepWarning
from ...envs.errors import names
from .extras import extra_of
from .help import print_help
from .overrides import nearest, settings_from
from .verbs import VERBS


class Run(Protocol):
    """What a verb does with its settings; returns the exit code."""

    def __call__(self, settings: Any, console: Console) -> int:
        """Run the verb."""
        ...


@dataclass(frozen=True)
class Verb:
    """A verb: its name, the dataclass of its settings, and what runs them."""

    name: str
    settings: type
    run: Run


def run_command(name: str, arguments: Sequence[str]) -> int:
    """Run a verb with Hydra overrides, and return its exit code; errors are printed, not raised."""
    console = Console(highlight=False)
    errors = Console(stderr=True, highlight=False)
    with warnings.catch_warnings():
        warnings.showwarning = partial(_show_warning, errors, set(), warnings.showwarning)
        try:
            return _run(name, arguments, console)
        except ConfigError as error:
            _show_error(errors, error)
            return 2
        except FewstepError as error:
            _show_error(errors, error)
            return 1
        except KeyboardInterrupt:
            errors.print("stopped")
            return 130


def _run(name: str, arguments: Sequence[str], console: Console) -> int:
    try:
        verb = load(name)
        if "-h" in arguments or "--help" in arguments:
            print_help(console, verb.name, verb.settings)
            return 0
        return verb.run(settings_from(verb.name, verb.settings, arguments), console)
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        extra = extra_of(library)
        if not extra:
            raise
        raise FewstepError(
            f"`fewstep {name}` needs {library}, which is not installed: "
            f"pip install 'fewstep[{extra}]'"
        ) from error


def load(name: str) -> Verb:
    """Import a verb by name; ConfigError lists them all."""
    if name not in VERBS:
        raise ConfigError(f"unknown verb {name!r}{nearest(name, VERBS)}; valid: {names(VERBS)}")
    module_name = "import_" if name == "import" else name
    module = import_module(f"{__package__}.{module_name}")
    return Verb(name, getattr(module, f"{name.capitalize()}Settings"), module.run)


def _show_error(errors: Console, error: FewstepError) -> None:
    errors.print(f"fewstep: {error}", style="red", markup=False, soft_wrap=True)


def _show_warning(
    errors: Console,
    told: set[str],
    others: Any,
    message: Any,
    category: type[Warning],
    *where: Any,
) -> None:
    """Show a warning of ours once and in plain words, and others as Python does.

    Python forgets what it has shown when a library changes its filters.
    """
    if not issubclass(category, FewstepWarning):
        return others(message, category, *where)
    if str(message) not in told:
        told.add(str(message))
        errors.print(f"fewstep: {message}", style="yellow", markup=False, soft_wrap=True)
