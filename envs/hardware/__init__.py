"""Robots that are driven in real time, found by name."""
