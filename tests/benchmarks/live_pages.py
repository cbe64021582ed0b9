"""How late the ticks of `fewstep run` are while its page is looked at.

`python tests/benchmarks/live_pages.py [seconds] [hz] [pages]`: the arm and the policy of
lateness.py, by turns with no page open and with ten, three times each; a page is a client that
reads all that it is sent. Without real-time priority, too.
"""

import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from lateness import make_policy, report
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from fewstep.envs.control.log_reading import read_ticks


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    hz = float(sys.argv[2]) if len(sys.argv) > 2 else 500.0
    pages = int(sys.argv[3]) if len(sys.argv) > 3 else 10
    with tempfile.TemporaryDirectory() as folder:
        policy = make_policy(Path(folder, "policy"), hz, {})
        print("| pages | scheduling | ticks | p50 us | p99 us | max us | missed | inference ms |")
        print("|---|---|---|---|---|---|---|---|")
        for turn in range(3):
            for priority in (50, 0):
                for count in (0, pages):
                    out = Path(folder, f"{turn}-{priority}-{count}")
                    read = run(policy, out, seconds, hz, priority, count)
                    scheduling = "SCHED_FIFO 50" if priority else "default"
                    report(read_ticks(out), hz, f"{count} ({read} messages) | {scheduling}")


def run(policy: Path, out: Path, seconds: float, hz: float, priority: int, pages: int) -> int:
    """Run for so long with so many pages open, and return how many messages they have read."""
    command = [sys.executable, "-m", "fewstep.policy.cli.main", "run", f"policy={policy}"]
    command += ["robot=simulated", "unattended=true", f"out={out}", f"seconds={seconds}"]
    command += [f"priority={priority}", f"options.hz={hz}", "options.policy_hz=60"]
    counts: list[int] = []
    said = out.with_suffix(".said")
    with said.open("w") as stdout:
        process = subprocess.Popen(command, stdout=stdout)
    while not (found := re.search(r"open (http://\S+)", said.read_text())):
        time.sleep(0.1)
    readers = [threading.Thread(target=read, args=(found[1], counts)) for _ in range(pages)]
    for reader in readers:
        reader.start()
    if process.wait():
        raise SystemExit("the run failed")
    for reader in readers:
        reader.join()
    return sum(counts)


def read(address: str, counts: list[int]) -> None:
    """Read what a page is sent until the run has ended."""
    count = 0
    origin = address.rsplit("/", 2)[0]
    try:
        with connect(address.replace("http", "ws") + "hand", origin=origin) as page:
            while True:
                page.recv()
                count += 1
    except ConnectionClosed:
        counts.append(count)


if __name__ == "__main__":
    main()
