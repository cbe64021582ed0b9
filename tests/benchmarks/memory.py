"""Memory of training on many demonstrations: `python tests/benchmarks/memory.py [FRAMES [STORE]]`.

Prints the peak of anonymous memory, which is what cannot be given back to the system while a
process needs it, above what the process took before; and how long a batch takes. STORE is made
where there is none.
"""

import re
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch

from fewstep.demos import DemoStore, Episode
from fewstep.envs import Field, Spec
from fewstep.policy.policy import PolicyConfig
from fewstep.policy.training.dataset import read_dataset

SIZE = 60  # numbers of an observation
EPISODE = 50_000  # frames
SPEC = Spec({"state": Field((SIZE,), "m")}, {"action": Field((7,), "rad")}, policy_hz=100)
BATCHES, BATCH = 200, 256


class Peak:
    """The largest anonymous memory of this process [MB], looked at every few milliseconds."""

    def __enter__(self) -> "Peak":
        self._before = read_anonymous()
        self.megabytes = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.005):
            self.megabytes = max(self.megabytes, read_anonymous() - self._before)


def read_anonymous() -> float:
    """Return the anonymous memory of this process [MB]."""
    found = re.search(r"RssAnon:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) / 1024


def write_store(path: Path, frames: int) -> None:
    """Write a store of random walks."""
    rng = np.random.default_rng(0)
    with DemoStore.create(path, SPEC) as store:
        for _ in range(frames // EPISODE):
            data = {
                "state": np.cumsum(rng.normal(size=(EPISODE, SIZE)), 0),
                "action": rng.normal(size=(EPISODE, 7)),
                "time": np.arange(EPISODE) / 100,
            }
            store.append(Episode(data, SPEC))


def measure(path: Path) -> None:
    """Print the peaks of reading and of sampling."""
    with Peak() as peak:
        began = time.perf_counter()
        dataset = read_dataset(path, PolicyConfig(), torch.device("cpu"), held_out=0.04)
        seconds = time.perf_counter() - began
    print(f"read {len(dataset.train)} windows in {seconds:.1f} s: peak {peak.megabytes:.0f} MB")
    generator = torch.Generator().manual_seed(0)
    with Peak() as peak:
        began = time.perf_counter()
        for _ in range(BATCHES):
            rows = torch.randint(len(dataset.train), (BATCH,), generator=generator)
            dataset.train.batch(rows)
        milliseconds = 1e3 * (time.perf_counter() - began) / BATCHES
    print(f"a batch of {BATCH}: {milliseconds:.2f} ms, peak {peak.megabytes:.0f} MB more")


def main() -> None:
    """Make a store where there is none, and measure."""
    frames = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(folder) / "demos"
        if not path.exists():
            write_store(path, frames)
        measure(path)


if __name__ == "__main__":
    main()
