"""Read the log of a run: how punctual the loop was, how long chunks took, and what was said.

Every `fewstep run` leaves such a folder. Run `python docs/examples/read_a_log.py out/run`.
"""

import json
import sys
from pathlib import Path

import numpy as np

from fewstep.envs.control.log_reading import latencies, read_ticks


def main(folder: Path) -> None:
    """Print what somebody who stood beside the arm would want to know."""
    ticks = read_ticks(folder)  # one record per tick in which the policy acted
    lateness = np.percentile(ticks["lateness"], [50, 99, 100]) * 1e6
    print(f"{len(ticks)} ticks of {len(np.unique(ticks['episode']))} episodes")
    print("late by p50 {:.0f}, p99 {:.0f}, at most {:.0f} us".format(*lateness))
    chunks = np.percentile(latencies(folder), [50, 99]) * 1e3
    print("a chunk took p50 {:.0f}, p99 {:.0f} ms".format(*chunks))
    changed = ticks["wanted"] - ticks["limited"]
    print(f"limits changed an action by at most {np.nanmax(np.abs(changed)):.3f}")
    for line in (folder / "events.jsonl").read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        print(event["event"], event.get("text", event.get("success", "")))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out/run"))
