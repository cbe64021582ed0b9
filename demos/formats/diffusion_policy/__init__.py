"""Replay buffers of Diffusion Policy and UMI, read and written."""
