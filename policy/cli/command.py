"""A command line becomes the settings of a verb, and the verb runs: Hydra overrides of one dataclass."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any, Protocol, cast, get_origin, get_type_hints

from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf
from rich.console import Console

from ...envs import ConfigError, FewstepError, FewstepWarning
from ...envs.errors import names
from ...envs.schema import from_plain
from .help import KEYS, print_help, settings_of
from .main import VERBS

# Hydra's own advice leads nowhere here.
ADVICE = re.compile(" (?:To append to your config|Config search path:|See https://hydra)")
EXTRAS = {  # what brings a library that is not there
    "torch": "train",
    "safetensors": "train",
    "diffusers": "train",
    "einops": "train",
    "tensorboard": "train",
}


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
        warnings.showwarning = partial(_show_warning, errors, warnings.showwarning)
        try:
            verb = load(name)
            if "-h" in arguments or "--help" in arguments:
                print_help(console, verb.name, verb.settings)
                return 0
            return verb.run(settings_from(verb, arguments), console)
        except ConfigError as error:
            _show_error(errors, error)
            return 2
        except FewstepError as error:
            _show_error(errors, error)
            return 1
        except KeyboardInterrupt:
            errors.print("stopped")
            return 130


def load(name: str) -> Verb:
    """Import a verb by name; ConfigError lists them all."""
    if name not in VERBS:
        raise ConfigError(f"unknown verb {name!r}; valid: {names(VERBS)}")
    module_name = "import_" if name == "import" else name
    try:
        module = import_module(f"{__package__}.{module_name}")
    except ModuleNotFoundError as error:
        raise _missing_library(name, error) from error
    return Verb(name, getattr(module, f"{name.capitalize()}Settings"), module.run)


def _missing_library(verb: str, error: ModuleNotFoundError) -> FewstepError:
    library = (error.name or "").partition(".")[0]
    extra = EXTRAS.get(library, "all")
    return FewstepError(
        f"`fewstep {verb}` needs {library}, which is not installed: pip install 'fewstep[{extra}]'"
    )


def settings_from(verb: Verb, overrides: Sequence[str]) -> Any:
    """Return the verb's dataclass with the overrides applied; ConfigError lists the keys where one is unknown."""
    node = _defaults(verb)
    if verb.name == "train":
        node["defaults"] = ["_self_", {"recipe": None}]
    ConfigStore.instance().store(name=verb.name, node=node)
    quoted: list[str] = []
    for override in overrides:
        named = _opened(verb.settings, _field_of(override))
        quoted.append(_quoted(verb.settings, named))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with initialize_config_module("fewstep.configs", version_base=None):
                config = compose(verb.name, quoted)
        missing = [key for key in config if OmegaConf.is_missing(config, key)]
        plain = None if missing else OmegaConf.to_container(config, resolve=True)
    except Exception as error:  # Hydra's own errors, OmegaConf's, and Python's where keys are odd
        reason = ADVICE.split(" ".join(str(error).split()))[0]
        keys = ", ".join(setting.key for setting in settings_of(verb.settings))
        raise ConfigError(f"{reason}\nkeys of `fewstep {verb.name}`: {keys}") from error
    if missing:
        needed = " ".join(f"{key}=..." for key in missing)
        raise ConfigError(f"`fewstep {verb.name}` needs {needed}")
    try:
        return from_plain(verb.settings, plain)
    except ConfigError as error:
        raise ConfigError(_with_keys(str(error))) from error


def _field_of(override: str) -> str:
    """Return an override with the name of its field: a key with a dot may belong to a flat one."""
    for key, name in KEYS.items():
        override = re.sub(rf"^(\+*){re.escape(key)}(?=[.=])", rf"\1{name}", override)
    return override


def _with_keys(message: str) -> str:
    """Return what was said about fields with the keys that a user types."""
    for key, name in KEYS.items():
        message = message.replace(name, key)
    return message


def _opened(settings_type: type, override: str) -> str:
    """Let a table without keys of its own take any: Hydra wants "++" before what is not there yet."""
    name = re.split("[.=]", override)[0]
    hint = get_type_hints(settings_type).get(name)
    return f"++{override}" if get_origin(hint) is dict else override


def _quoted(settings_type: type, override: str) -> str:
    """Quote a text: Hydra's grammar has no ü, brackets or commas outside of quotes, and paths have."""
    key, equals, value = override.partition("=")
    is_quoted = value[:1] in ("'", '"')
    if not equals or is_quoted or get_type_hints(settings_type).get(key) is not str:
        return override
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", value)
    final_backslashes = escaped[len(escaped.rstrip("\\")) :]
    return f"{key}='{escaped}{final_backslashes}'"


def _defaults(verb: Verb) -> dict[str, Any]:
    """Return the settings as plain values: OmegaConf refuses to change frozen dataclasses."""
    structured = OmegaConf.structured(verb.settings)
    return cast(dict[str, Any], OmegaConf.to_container(structured))


def _show_error(errors: Console, error: FewstepError) -> None:
    errors.print(f"fewstep: {error}", style="red", markup=False, soft_wrap=True)


def _show_warning(
    errors: Console, others: Any, message: Any, category: type[Warning], *where: Any
) -> None:
    """Show a warning of ours in plain words, and others as Python does."""
    if not issubclass(category, FewstepWarning):
        return others(message, category, *where)
    errors.print(f"fewstep: {message}", style="yellow", markup=False, soft_wrap=True)
