"""Demonstrations: one definition of an episode, from recording to training windows.

No torch in what is named here.
"""

from .episode import Episode
from .recording.recorder import Recorder, record
from .store import DemoStore

__all__ = ["DemoStore", "Episode", "Recorder", "record"]
