"""When `fewstep view` first paints: `PYTHONPATH=tests python tests/benchmarks/view.py [times]`.

1,000 episodes of 200 frames with a camera of 96x96; headless Chromium, a new one each time, on
loopback.
"""

import sys
import tempfile
from pathlib import Path
from threading import Thread

import numpy as np
from chromium import browser, until

from fewstep.demos import DemoStore, Episode
from fewstep.demos.viewer.server import Server
from fewstep.envs import Field, Spec

EPISODES, FRAMES = 1000, 200
SPEC = Spec(
    {"joints": Field((7,), "rad"), "camera": Field((96, 96, 3), kind="image")},
    {"joints": Field((7,), "rad", measured_by="joints")},
    10,
)
PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
DRAWN = "document.readyState === 'complete' && values.length ? performance.now() : 0"


def main() -> None:
    times = int([*sys.argv[1:], 9][0])
    with tempfile.TemporaryDirectory() as folder:
        path = store(Path(folder, "demos"))
        with Server(path) as server:
            Thread(target=server.serve_forever, daemon=True).start()
            seen = np.array([look(server.url, Path(folder, str(i))) for i in range(times)])
            server.shutdown()
    for name, ms in zip(("first paint", "curves of the first episode"), seen.T, strict=True):
        print(
            f"{name}: median {np.median(ms):.0f} ms, {ms.min():.0f} to {ms.max():.0f}, {times} times"
        )


def store(path: Path) -> Path:
    """Smooth random motions, and noise before the camera, which is the most that a picture can
    weigh.
    """
    rng = np.random.default_rng(0)
    with DemoStore.create(path, SPEC) as store:
        for number in range(EPISODES):
            q = np.cumsum(rng.normal(size=(FRAMES, 7)), axis=0) / 50
            pictures = rng.integers(0, 255, (FRAMES, 96, 96, 3), np.uint8)
            data = {"joints": q, "camera": pictures, "action": q, "time": np.arange(FRAMES) / 10}
            store.append(Episode(data, SPEC, number % 3 > 0))
    return path


def look(url: str, profile: Path) -> tuple[float, float]:
    with browser(profile) as tab:
        tab.call("Page.navigate", url=url)
        paint = until(
            lambda: tab.run(f"(() => {{ try {{ return {PAINT}; }} catch {{ return 0; }} }})()"), 20
        )
        drawn = until(
            lambda: tab.run(f"(() => {{ try {{ return {DRAWN}; }} catch {{ return 0; }} }})()"), 20
        )
        return paint, drawn


if __name__ == "__main__":
    main()
