"""`fewstep serve`: a policy for the clients of openpi, over a WebSocket."""

from __future__ import annotations

from dataclasses import dataclass, fields

from omegaconf import MISSING
from rich.console import Console

from ..serving.server.config import ServeConfig
from ..serving.server.serve import serve_policy
from .printing import say


@dataclass(frozen=True)
class ServeSettings(ServeConfig):
    """Serve a policy to robots on this or other machines; openpi's clients can ask it.

    It moves nothing itself: limits and watchdogs are the client's.
    """

    policy: str = MISSING  # a run folder, an exported one, or a policy that comes with the package


def run(settings: ServeSettings, console: Console) -> int:
    """Serve until Ctrl-C."""
    config = ServeConfig(
        **{each.name: getattr(settings, each.name) for each in fields(ServeConfig)}
    )
    serve_policy(config, lambda text: say(console, text))
    return 0
