"""The live page beside a run, and what its buttons do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ....envs import Spec
from ....envs.cameras.page import tile_of
from ....envs.cameras.rings import PictureRing
from ....envs.control.control_config import ControlConfig
from ..run_config import Log, RunConfig
from ..supervisor import Supervisor
from ..takeover import TakeoverDevice
from .live_feed import LATE_BINS, LiveFeed, describe_elements
from .live_page import LivePage

BUTTONS = ("hold", "rearm", "stop")
TAKEOVER_BUTTONS = ("take", "give")


class Buttons:
    """Holds and leaves a fault at once; a run is ended by who plays its episodes, within a look.

    rest: the order that ends what is under way; takeover: the device that takes the robot. An
    episode begins with a person at the terminal alone: no button does that.
    """

    def __init__(self, supervisor: Supervisor, rest: str, takeover: TakeoverDevice | None) -> None:
        self._supervisor = supervisor
        self._rest = rest
        self._takeover = takeover
        self._ends = False

    def press(self, button: str) -> None:
        """Press one of BUTTONS or TAKEOVER_BUTTONS."""
        self._supervisor.run_log.note("pressed", button=button)
        if button in TAKEOVER_BUTTONS:
            if self._takeover:
                self._takeover.taken = button == "take"
            return
        self._ends = self._ends or button == "stop"
        self._supervisor.held = self._supervisor.held or button != "rearm"
        self._supervisor.order("rearm" if button == "rearm" else self._rest)

    def look(self) -> None:
        """End the run as Ctrl-C does, once that was pressed."""
        if self._ends:
            raise KeyboardInterrupt


class RunFeed:
    """What the page of a run shows: its log as it grows, and cameras beside the robot.

    press: is called, on a thread of the page, with one of `buttons`.
    """

    def __init__(
        self,
        log: LiveFeed,
        title: str,
        rings: Mapping[str, PictureRing],
        press: Callable[[str], None],
        buttons: Sequence[str],
    ) -> None:
        self.news = log.news
        self._rings = rings
        self._press = press
        self._greeting = {
            "title": title,
            "elements": describe_elements(log.spec),
            "late_bins": LATE_BINS,
            "cameras": list(rings),
            "buttons": buttons,
        }

    def greet(self) -> dict[str, Any]:
        """Return the run's title, what it commands, and which buttons there are."""
        return self._greeting

    def hear(self, message: Mapping[str, Any]) -> None:
        """Press the button that was pressed on the page."""
        if message["press"] in self._greeting["buttons"]:
            self._press(message["press"])

    def pictures(self) -> list[np.ndarray]:
        """Return the newest picture of each camera at the size of a tile."""
        return [tile_of(ring) for ring in self._rings.values()]


@contextmanager
def showing(
    config: RunConfig,
    supervisor: Supervisor,
    control: ControlConfig,
    spec: Spec,
    takeover: TakeoverDevice | None,
    log: Log,
) -> Iterator[None]:
    """Serve the page of the run, where one is wanted."""
    if not config.page:
        yield
        return
    feed = LiveFeed(Path(config.out), spec, control.policy.horizon if control.policy else 0)
    rings = supervisor.cameras.rings if supervisor.cameras else {}
    buttons = Buttons(supervisor, "disarm" if config.shadow else "hold", takeover)
    title = f"{config.policy or config.actions or 'calibration'} on {config.robot}"
    shown = [button for button in BUTTONS if button != "rearm" or not config.shadow]
    if takeover:
        shown += TAKEOVER_BUTTONS
    page = LivePage(RunFeed(feed, title, rings, buttons.press, shown), config.port)
    supervisor.on_poll.append(buttons.look)
    log(f"open {page.address} to see the run, hold it or end it", "info")
    try:
        yield
    finally:
        supervisor.on_poll.remove(buttons.look)
        page.close()
