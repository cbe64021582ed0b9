"""Learning, and the network behind an Agent."""

from .checkpoint import load_policy, save_policy
from .diffusion.samplers import Sampler
from .engines.loading import load_engine
from .policy import Policy, PolicyConfig
from .serving.runners import InlineRunner, make_agent

__all__ = [
    "InlineRunner",
    "Policy",
    "PolicyConfig",
    "Sampler",
    "load_engine",
    "load_policy",
    "make_agent",
    "save_policy",
]
