"""Engines: how a chunk is computed. Everything that acts goes through one of them."""
