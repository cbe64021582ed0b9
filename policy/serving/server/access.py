"""Access: who may ask a server, by a key that both ends know."""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping
from pathlib import Path

from ....envs import ConfigError
from ....envs.errors import refusing
from ....envs.web.address import MACHINE
from ...engines.remote import VARIABLE

LOOPBACK = (*MACHINE, "::1")
SHORTEST = 16  # characters of a key


def read_key(key_file: str) -> str:
    """Return the key of a file, by default that of the environment; "" where there is none.

    Raises ConfigError for one that can be guessed.
    """
    if key_file:
        with refusing(ConfigError, f"{key_file} cannot be read", key_file):
            key = Path(key_file).read_text(encoding="utf-8").strip()
        where = key_file
    else:
        key = os.environ.get(VARIABLE, "").strip()
        where = VARIABLE
        if not key:
            return ""
    if len(key) < SHORTEST or not key.isascii() or not key.isprintable():
        raise ConfigError(
            f"{where}: a key has at least {SHORTEST} printable characters; "
            "`openssl rand -hex 32` makes one"
        )
    return key


def require_key(host: str, key: str) -> None:
    """Raise ConfigError where others than this machine could ask, and nothing keeps them out."""
    if not key and host not in LOOPBACK:
        raise ConfigError(
            f"host={host} lets other machines ask: give a key, key_file=... or {VARIABLE} of the "
            f"environment; without one it is 127.0.0.1 only"
        )


def shows_key(headers: Mapping[str, str], key: str) -> bool:
    """Return whether a request's headers show the key, in a time that tells nothing of it."""
    given = headers.get("Authorization", "")
    shown = given.partition(" ")[2] if given.startswith(("Api-Key ", "Bearer ")) else ""
    return hmac.compare_digest(shown.encode(errors="replace"), key.encode())
