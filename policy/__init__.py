"""Learning, and the network behind an Agent."""

from .checkpoint import load_policy, save_policy
from .diffusion.samplers import Sampler
from .policy import Policy, PolicyConfig
from .serving.runners import InlineRunner, agent

__all__ = [
    "InlineRunner",
    "Policy",
    "PolicyConfig",
    "Sampler",
    "agent",
    "load_policy",
    "save_policy",
]
