"""What a policy server is told."""

from __future__ import annotations

from dataclasses import dataclass

from ....envs import ConfigError
from ....envs.web.address import require_port


@dataclass(frozen=True)
class ServeConfig:
    """What is served, to whom, and how."""

    policy: str  # a run folder, an exported one, or a policy that comes with the package
    engine: str = "fastest"  # what computes the chunks; by default the fastest that is there
    network_evaluations: int = 0  # of a chunk, 0 for the policy's own number
    host: str = "127.0.0.1"  # the address to listen at; any other than this needs a key
    port: int = 8000  # to listen at, 0 for any that is free
    # the file of the key that clients have to show; by default FEWSTEP_API_KEY of the environment
    key_file: str = ""
    # how clients call what the policy observes: libero, droid, aloha, ur5, or a YAML file
    # {layout: {our key: their key}}; by default as the policy does
    layout: str = ""
    # requests that are computed together, always as many places; 0 for what suits the engine
    batch: int = 0
    threads: int = 1  # of the CPU
    device: str = "cpu"  # of an eager or compiled network
    page: bool = True  # serve a page that shows who asks and what is answered
    page_port: int = 0  # of the page, on this machine only; 0 takes any


def require_sound(config: ServeConfig) -> None:
    """Raise ConfigError where a number cannot be."""
    require_port(config.port)
    require_port(config.page_port)
    if config.batch < 0 or config.network_evaluations < 0:
        raise ConfigError(
            f"batch and network_evaluations must be 0 or more, not {config.batch} and "
            f"{config.network_evaluations}"
        )
    if config.threads < 1:
        raise ConfigError(f"threads must be at least 1, not {config.threads}")
