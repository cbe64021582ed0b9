"""Encoders: normalised observation history -> condition features; a closed table of names."""
