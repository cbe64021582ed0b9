"""Simulated tasks and their experts, as robots whose clock is the simulation.

MuJoCo is used in here only.
"""
