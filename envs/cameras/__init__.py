"""Cameras, each in a process of its own, whose pictures others find in shared memory."""
