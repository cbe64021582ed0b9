"""Learning, and the network behind an Agent."""

from .checkpoint import load_policy, save_policy
from .policy import Policy, PolicyConfig
from .runner import Inline, agent
from .samplers import Sampler

__all__ = ["Inline", "Policy", "PolicyConfig", "Sampler", "agent", "load_policy", "save_policy"]
