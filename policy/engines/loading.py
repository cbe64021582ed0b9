"""From a name to an engine: the closed table of engines."""

from __future__ import annotations

from pathlib import Path

from ...envs.errors import pick
from ..checkpoint import load_policy
from ..diffusion.samplers import Sampler
from .eager import EagerEngine
from .engine import Engine

ENGINES = {"eager": EagerEngine}


def load_engine(
    policy: Path | str, engine: str = "eager", sampler: Sampler | None = None, device: str = "cpu"
) -> Engine:
    """Return an engine, ready to act, for a run folder or a policy that comes with the package.

    engine: a name of ENGINES; sampler: by default the policy's own; device: of the network, as
    torch names it. Raises ConfigError for an unknown engine and CheckpointError where there is no
    sound policy.
    """
    make_engine = pick(ENGINES, engine, "engine")
    return make_engine(load_policy(policy, device), sampler)
