"""The live page beside a run, and what its buttons do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ....envs import Spec
from ....envs.control.control_config import ControlConfig
from ..run_config import Log, RunConfig
from ..supervisor import Supervisor
from ..takeover import TakeoverDevice
from .live_feed import LiveFeed
from .live_page import LivePage


class Buttons:
    """Holds and arms at once; a run is ended by who plays its episodes, within a look.

    rest: the order that ends what is under way; takeover: the device that takes the robot. An
    episode begins with a person at the terminal alone: no button does that.
    """

    def __init__(self, supervisor: Supervisor, rest: str, takeover: TakeoverDevice | None) -> None:
        self._supervisor = supervisor
        self._rest = rest
        self._takeover = takeover
        self._ends = False

    def press(self, button: str) -> None:
        """Press "hold", "arm", "stop" or "take"."""
        self._supervisor.run_log.note("pressed", button=button)
        if button == "take":
            if self._takeover:
                self._takeover.toggle()
            return
        self._ends = self._ends or button == "stop"
        self._supervisor.held = self._supervisor.held or button != "arm"
        self._supervisor.order("arm" if button == "arm" else self._rest)

    def look(self) -> None:
        """End the run as Ctrl-C does, once that was pressed."""
        if self._ends:
            raise KeyboardInterrupt


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
    page = LivePage(feed, title, rings, config.port, buttons.press, takeover is not None)
    supervisor.on_poll.append(buttons.look)
    log(f"open {page.address} to see the run, hold it or end it", "info")
    try:
        yield
    finally:
        supervisor.on_poll.remove(buttons.look)
        page.close()
