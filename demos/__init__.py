"""Demonstrations: one definition of an episode, from recording to training windows."""
