"""How a policy answers an Agent: runners, the inference process and the supervisor of a run."""
