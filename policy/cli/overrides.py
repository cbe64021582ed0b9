"""Hydra overrides become the dataclass of a verb's settings."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from typing import Any, TypeVar, cast, get_origin, get_type_hints

from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from ...envs import ConfigError
from ...envs.errors import names
from ...envs.schema import from_plain
from .help import KEYS, recipes, settings_of

# Hydra's own advice leads nowhere here.
ADVICE = re.compile(" (?:To append to your config|Config search path:|See https://hydra)")

Settings = TypeVar("Settings")


def settings_from(verb: str, settings_type: type[Settings], overrides: Sequence[str]) -> Settings:
    """Return the verb's dataclass with the overrides applied.

    ConfigError lists the keys, nested ones too, where one is unknown.
    """
    for override in overrides:
        require_known_key(verb, settings_type, override)
        if override.startswith("recipe="):
            require_recipe(override.partition("=")[2])
    node = _defaults(settings_type)
    if verb == "train":
        node["defaults"] = ["_self_", {"recipe": None}]
    ConfigStore.instance().store(name=verb, node=node)
    for_hydra = [_for_hydra(settings_type, override) for override in overrides]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with initialize_config_module("fewstep.configs", version_base=None):
                config = compose(verb, for_hydra)
        missing = [key for key in config if OmegaConf.is_missing(config, key)]
        plain = None if missing else OmegaConf.to_container(config, resolve=True)
    except Exception as error:  # Hydra's own errors, OmegaConf's, and Python's where keys are odd
        reason = ADVICE.split(" ".join(str(error).split()))[0]
        raise ConfigError(reason) from error
    if missing:
        needed = " ".join(f"{key}=..." for key in missing)
        raise ConfigError(f"`fewstep {verb}` needs {needed}")
    try:
        return from_plain(settings_type, plain)
    except ConfigError as error:
        raise ConfigError(_with_keys(str(error))) from error


def part_of(settings: Any, kind: type[Settings]) -> Settings:
    """Return the part of a verb's settings that the library knows, as its own dataclass."""
    known: dict[str, Any] = {}
    for setting in fields(cast(Any, kind)):
        known[setting.name] = getattr(settings, setting.name)
    return kind(**known)


def refuse_settings(settings: Any, useless: Iterable[str], reason: str) -> None:
    """Raise ConfigError, which begins with the reason, where any of these settings is given."""
    given = given_settings(settings)
    found = [name.replace("task_", "task.") for name in useless if name in given]
    if found:
        raise ConfigError(f"{reason}: leave out {names(found)}")


def given_settings(settings: Any) -> dict[str, Any]:
    """Return the settings of a verb that are not the default ones."""
    given: dict[str, Any] = {}
    for setting in fields(settings):
        value = getattr(settings, setting.name)
        made = setting.default_factory
        if value != (setting.default if made is MISSING else made()):
            given[setting.name] = value
    return given


def require_known_key(verb: str, settings_type: type, override: str) -> None:
    """Raise ConfigError for what is no `key=value`, and for a key that the verb does not have."""
    key, equals, _ = override.partition("=")
    key = key.lstrip("+~")
    if not equals:
        reason = f"{override!r} is no key=value"
    elif key.startswith("-"):
        reason = f"write {override.lstrip('-')}, without dashes"
    elif is_key(verb, settings_type, key):
        return
    else:
        reason = f"unknown key {key!r}{nearest(key, keys_of(verb, settings_type))}"
    valid = ", ".join(keys_of(verb, settings_type))
    raise ConfigError(f"{reason}\nkeys of `fewstep {verb}`: {valid}")


def keys_of(verb: str, settings_type: type) -> list[str]:
    """Return all keys of a verb, those of nested settings with dots."""
    keys = [setting.key for setting in settings_of(settings_type)]
    if verb == "train":
        keys.append("recipe")
    return keys


def is_key(verb: str, settings_type: type, key: str) -> bool:
    """Whether a verb has this key: a setting, a table of settings, or an entry of a dictionary."""
    for known in keys_of(verb, settings_type):
        if key == known or known.startswith(f"{key}."):
            return True
        if key.startswith(f"{known}.") and is_dictionary(settings_type, _with_field(known)):
            return True
    return False


def is_dictionary(settings_type: type, key: str) -> bool:
    """Whether the setting at a dotted key is a dictionary, whose entries have any names."""
    name, _, rest = key.partition(".")
    hint = get_type_hints(settings_type).get(name)
    if rest and is_dataclass(hint):
        return is_dictionary(hint, rest)  # pyright: ignore[reportArgumentType]
    return get_origin(hint) is dict


def require_recipe(name: str) -> None:
    """Raise ConfigError for a recipe that does not come with the package."""
    if name not in recipes():
        close = nearest(name, recipes())
        raise ConfigError(f"unknown recipe {name!r}{close}; valid: {', '.join(recipes())}")


def nearest(given: str, valid: Iterable[str]) -> str:
    """Return a question about the nearest valid name, or nothing where none is near."""
    close = get_close_matches(given, list(valid), 1)
    return f" (did you mean {close[0]}?)" if close else ""


def _for_hydra(settings_type: type, override: str) -> str:
    """Write an override as Hydra's grammar wants it.

    A text is quoted, which may hold ü, brackets and commas, as paths do; what stands in a
    dictionary is added.
    """
    override = _with_field(override)
    key, equals, value = override.partition("=")
    if not equals or key.startswith(("+", "~")):
        return override
    if is_dictionary(settings_type, key.partition(".")[0]):
        return f"++{override}"
    is_quoted = value[:1] in ("'", '"')
    if is_quoted or get_type_hints(settings_type).get(key) is not str:
        return override
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", value)
    final_backslashes = escaped[len(escaped.rstrip("\\")) :]
    return f"{key}='{escaped}{final_backslashes}'"


def _with_field(override: str) -> str:
    """Put the name of the field where a key with a dot belongs to a flat one."""
    for key, name in KEYS.items():
        override = re.sub(rf"^(\+*){re.escape(key)}(?=[.=]|$)", rf"\1{name}", override)
    return override


def _with_keys(message: str) -> str:
    """Return what was said about fields with the keys that a user types."""
    for key, name in KEYS.items():
        message = message.replace(name, key)
    return message


def _defaults(settings_type: type) -> dict[str, Any]:
    """Return the settings as plain values: OmegaConf refuses to change frozen dataclasses."""
    structured = OmegaConf.structured(settings_type)
    return cast(dict[str, Any], OmegaConf.to_container(structured))
