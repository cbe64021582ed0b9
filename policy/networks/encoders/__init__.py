"""Encoders: observation history -> condition features."""
