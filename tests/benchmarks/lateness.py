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
    seconds, hz = (float(x) for x in [*sys.argv[1:], 600, 500][:2])
    options = {"hz": hz, "policy_hz": RATE}
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        spec = make_live("simulated", options).spec
        save_policy(
            Policy(spec, PolicyConfig(sampler=Sampler(network_evaluations=10))),
            Path(folder, "policy"),
            {},
        )
        print(
            "| scheduling | ticks | p50 us | p99 us | max us | missed | inference ms |\n|---|---|---|---|---|---|---|"
        )
        for priority in (50, 0):
            out = Path(folder, str(priority))
            settings = [
                f"policy={folder}/policy",
                "robot=simulated",
                "unattended=true",
                f"out={out}",
            ]
            settings += [f"seconds={seconds}", f"priority={priority}"]
            if cli(
                ["run", *settings, *(f"+options.{key}={value}" for key, value in options.items())]
            ):
                raise SystemExit("the run failed")
            report(read_ticks(out), hz, "SCHED_FIFO 50" if priority else "default")


def report(t: np.ndarray, hz: float, name: str) -> None:
    """Print a row: ticks that were missed are those that the clock skipped."""
    late = 1e6 * t["lateness"]
    missed = round((t["time"][-1] - t["time"][0]) * hz) + 1 - len(t)
    figures = (f"{x:.0f}" for x in (np.median(late), np.percentile(late, 99), late.max()))
    print(
        f"| {name} | {len(t)} | {' | '.join(figures)} | {missed} | {1e3 * np.median(t['inference']):.1f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
