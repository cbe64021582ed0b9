"""How late the ticks of `fewstep run` are while a policy infers all the time.

`python tests/benchmarks/lateness.py [seconds] [hz]`: a simulated arm of 7 joints, an untrained
network of the default size that is asked for a chunk eight times a second, with SCHED_FIFO and
without.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from fewstep.envs.control.telemetry import read_ticks
from fewstep.envs.hardware.registry import make_live
from fewstep.policy.checkpoint import save_policy
from fewstep.policy.cli.main import main as cli
from fewstep.policy.diffusion.samplers import Sampler
from fewstep.policy.policy import Policy, PolicyConfig

RATE = 60.0  # Hz of the policy, which executes 8 actions of a chunk


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 600.0
    hz = float(sys.argv[2]) if len(sys.argv) > 2 else 500.0
    options = {"hz": hz, "policy_hz": RATE}
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        spec = make_live("simulated", options).spec
        save_policy(
            Policy(spec, PolicyConfig(sampler=Sampler(network_evaluations=10))),
            Path(folder, "policy"),
            {},
        )
        print("| scheduling | ticks | p50 us | p99 us | max us | missed | inference ms |")
        print("|---|---|---|---|---|---|---|")
        for priority in (50, 0):
            out = Path(folder, str(priority))
            settings = [
                f"policy={folder}/policy",
                "robot=simulated",
                "unattended=true",
                f"out={out}",
            ]
            settings += [f"seconds={seconds}", f"priority={priority}"]
            settings += [f"options.hz={hz}", f"options.policy_hz={RATE}"]
            if cli(["run", *settings]):
                raise SystemExit("the run failed")
            report(read_ticks(out), hz, "SCHED_FIFO 50" if priority else "default")


def report(ticks: np.ndarray, hz: float, name: str) -> None:
    """Print a row: ticks that were missed are those that the clock skipped."""
    late = 1e6 * ticks["lateness"]
    missed = round((ticks["time"][-1] - ticks["time"][0]) * hz) + 1 - len(ticks)
    cells = [name, str(len(ticks))]
    for value in (np.median(late), np.percentile(late, 99), late.max()):
        cells.append(f"{value:.0f}")
    cells += [str(missed), f"{1e3 * np.median(ticks['inference']):.1f}"]
    print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
