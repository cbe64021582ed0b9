"""Learning, and the network behind an Agent.

A name is imported when it is used, since some parts need no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checkpoint import load_policy, save_policy
    from .diffusion.samplers import Sampler
    from .engines.loading import load_engine
    from .policy import Policy, PolicyConfig
    from .policy_folder import load_spec
    from .serving.runners import InlineRunner, make_agent

__all__ = [
    "InlineRunner",
    "Policy",
    "PolicyConfig",
    "Sampler",
    "load_engine",
    "load_policy",
    "load_spec",
    "make_agent",
    "save_policy",
]

MODULES = {
    "InlineRunner": "serving.runners",
    "Policy": "policy",
    "PolicyConfig": "policy",
    "Sampler": "diffusion.samplers",
    "load_engine": "engines.loading",
    "load_policy": "checkpoint",
    "load_spec": "policy_folder",
    "make_agent": "serving.runners",
    "save_policy": "checkpoint",
}


def __getattr__(name: str) -> Any:
    """Import the module that holds a public name."""
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{MODULES[name]}"), name)
