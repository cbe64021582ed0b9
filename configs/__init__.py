"""Hydra YAML: differences only; defaults live in dataclasses beside the code."""
