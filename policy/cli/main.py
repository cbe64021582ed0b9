"""`fewstep <verb> [key=value ...]`: Hydra overrides of one dataclass per verb."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from importlib import import_module
from importlib.metadata import version
from inspect import cleandoc
from typing import Any, cast, get_type_hints

from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf
from rich.console import Console

from ...envs import ConfigError, FewstepError, FewstepWarning
from ...envs.errors import names
from ...envs.schema import from_plain

VERBS = {  # verb: module, settings and function in it
    "demo": ("demo", "Demo", "demo"),
    "record": ("record", "Record", "record"),
    "import": ("import_", "Import", "import_"),
    "export": ("export", "Export", "export"),
    "check": ("check", "Check", "check"),
    "view": ("view", "View", "view"),
    "train": ("train", "Train", "train"),
    "distill": ("distill", "Distill", "distill"),
    "evaluate": ("evaluate", "Evaluate", "evaluate"),
    "tune": ("tune", "Tune", "tune"),
    "run": ("run", "Run", "run"),
    "bench": ("bench", "Bench", "bench"),
}
# Hydra's own advice leads nowhere here.
ADVICE = re.compile(" (?:To append to your config|Config search path:|See https://hydra)")


@dataclass(frozen=True)
class Verb:
    """A verb's settings and what runs them; the first line of the settings' docstring is its help."""

    settings: type
    run: Any

    @property
    def help(self) -> str:
        """One line."""
        return (self.settings.__doc__ or "").splitlines()[0]


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point: 0 for success, 1 for findings or failure, 2 for a wrong command line, 130 after Ctrl-C."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    console, errors = Console(highlight=False), Console(stderr=True, highlight=False)
    with warnings.catch_warnings():
        warnings.showwarning = partial(_warned, errors, warnings.showwarning)
        return _run(arguments, console, errors)


def _run(arguments: list[str], console: Console, errors: Console) -> int:
    try:
        if not arguments or arguments[0] in ("-h", "--help", "help"):
            _overview(console)
            return 0
        if arguments[0] == "--version":
            console.print(version("fewstep"))
            return 0
        verb, rest = load(arguments[0]), arguments[1:]
        if {"-h", "--help"} & set(rest):
            _usage(console, arguments[0], verb)
            return 0
        return verb.run(settings(arguments[0], verb, rest), console) or 0
    except ConfigError as error:
        errors.print(f"fewstep: {error}", style="red", markup=False, soft_wrap=True)
        return 2
    except FewstepError as error:
        errors.print(f"fewstep: {error}", style="red", markup=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        errors.print("stopped")
        return 130


def _warned(
    errors: Console, others: Any, message: Any, category: type[Warning], *where: Any
) -> None:
    """Show a warning of ours in plain words, and others as Python does."""
    if not issubclass(category, FewstepWarning):
        return others(message, category, *where)
    errors.print(f"fewstep: {message}", style="yellow", markup=False, soft_wrap=True)


def load(name: str) -> Verb:
    """A verb by name; ConfigError lists them all."""
    if name not in VERBS:
        raise ConfigError(f"unknown verb {name!r}; valid: {names(VERBS)}")
    module, config, function = VERBS[name]
    try:
        loaded = import_module(f"fewstep.policy.cli.{module}")
    except ModuleNotFoundError as error:
        raise FewstepError(f"{error.name} is not installed: pip install 'fewstep[all]'") from error
    return Verb(getattr(loaded, config), getattr(loaded, function))


def settings(name: str, verb: Verb, overrides: Sequence[str]) -> Any:
    """The verb's dataclass with the overrides applied; ConfigError lists the valid keys where one is unknown."""
    node = _defaults(verb)
    if name == "train":
        node["defaults"] = ["_self_", {"recipe": None}]
    ConfigStore.instance().store(name=name, node=node)
    try:
        with (
            warnings.catch_warnings(),
            initialize_config_module("fewstep.configs", version_base=None),
        ):
            warnings.simplefilter("ignore")
            config = compose(name, [_literal(verb.settings, override) for override in overrides])
        if missing := [k for k in config if OmegaConf.is_missing(config, k)]:
            raise ConfigError(f"`fewstep {name}` needs " + " ".join(f"{k}=..." for k in missing))
        plain = OmegaConf.to_container(config, resolve=True)
    except FewstepError:
        raise
    except (
        Exception
    ) as error:  # Hydra raises errors of its own, of OmegaConf and of Python where keys are odd
        valid = ", ".join(f.name for f in fields(verb.settings))
        said = ADVICE.split(" ".join(str(error).split()))[0]
        raise ConfigError(f"{said}\nkeys of `fewstep {name}`: {valid}") from error
    return from_plain(verb.settings, plain)


def _literal(config: type, override: str) -> str:
    """A text in quotes: Hydra's grammar has no ü, brackets or commas outside of them, and paths have."""
    key, given, value = override.partition("=")
    if not given or value[:1] in ("'", '"') or get_type_hints(config).get(key) is not str:
        return override
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", value)
    ending = escaped[len(escaped.rstrip("\\")) :]
    return f"{key}='{escaped}{ending}'"


def _overview(console: Console) -> None:
    console.print(
        "fewstep <verb> [key=value ...]     fewstep <verb> --help shows the keys\n", markup=False
    )
    for name in VERBS:
        console.print(f"  {name:9} {load(name).help}", markup=False, soft_wrap=True)


def _usage(console: Console, name: str, verb: Verb) -> None:
    console.print(
        f"fewstep {name} [key=value ...]\n\n{cleandoc(verb.settings.__doc__ or '')}\n",
        markup=False,
        soft_wrap=True,
    )
    console.print("Keys and defaults (??? must be given):\n", markup=False)
    console.print(OmegaConf.to_yaml(_defaults(verb)), markup=False)


def _defaults(verb: Verb) -> dict[str, Any]:
    """The settings as plain values: OmegaConf refuses to change frozen dataclasses."""
    return cast(dict[str, Any], OmegaConf.to_container(OmegaConf.structured(verb.settings)))


if __name__ == "__main__":
    sys.exit(main())
