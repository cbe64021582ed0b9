"""What a server says of its policy: the first message that a client gets."""

from __future__ import annotations

from typing import Any

from ....envs.pictures import as_seen
from ....envs.schema import to_plain
from ...engines.engine import Engine
from .layout import Layout

SERVER = "fewstep"
PROTOCOL = 1  # what a message may say beside its observation, and a reply beside its actions


def describe(engine: Engine, layout: Layout, weights: str) -> dict[str, Any]:
    """Return the metadata of a policy.

    weights: the SHA-256 of the policy's numbers. Clients of openpi ignore what they do not know.
    "spec", "shape" and "sampler" are what a client of ours plans with.
    """
    spec, shape = engine.spec, engine.shape
    observation = {}
    for ours, theirs in layout.keys.items():
        field = as_seen(spec, shape.side).observations[ours]
        described = {"shape": list(field.shape), "dtype": field.dtype.name, "unit": field.unit}
        if len(theirs) == 1:
            observation[theirs[0]] = described
        else:
            observation[" + ".join(theirs)] = described
    return {
        "server": SERVER,
        "protocol": PROTOCOL,
        "action_horizon": shape.horizon,
        "action_steps": shape.action_steps,
        "actuation_delay": shape.actuation_delay,
        "action_names": spec.element_names(),
        "units": spec.element_units(),
        "dt": 1 / spec.policy_hz,
        "observation": observation,
        "layout": {ours: list(theirs) for ours, theirs in layout.keys.items()},
        "observation_steps": shape.observation_steps,
        "prefix": shape.longest_prefix,
        "weights": weights,
        "engine": engine.name,
        "spec": spec.to_json(),
        "shape": to_plain(shape),
        "sampler": dict(engine.sampler),
    }
