"""How late the ticks of `fewstep run` are while a policy infers all the time.

`python tests/benchmarks/lateness.py [seconds] [hz]`: a simulated arm of 7 joints, an untrained
network of the default size that is asked for a chunk eight times a second; the same from two
cameras of 640x480 at 30 Hz, which are films of MJPEG; with SCHED_FIFO and without.
"""

import sys
import tempfile
from pathlib import Path

import av
import numpy as np
import torch

from fewstep.envs.cameras.camera_config import CameraConfig, with_cameras
from fewstep.envs.cameras.simulated_camera import SimulatedCamera
from fewstep.envs.control.log_reading import read_ticks
from fewstep.envs.hardware.registry import make_live
from fewstep.policy.checkpoint import save_policy
from fewstep.policy.cli.main import main as cli
from fewstep.policy.diffusion.samplers import Sampler
from fewstep.policy.policy import Policy, PolicyConfig

SIZE = (480, 640)  # of a camera's pictures
RATE = 60.0  # Hz of the policy, which executes 8 actions of a chunk


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 600.0
    hz = float(sys.argv[2]) if len(sys.argv) > 2 else 500.0
    with tempfile.TemporaryDirectory() as folder:
        film = make_film(Path(folder, "film.avi"))
        print("| cameras | scheduling | ticks | p50 us | p99 us | max us | missed | inference ms |")
        print("|---|---|---|---|---|---|---|---|")
        for sizes in ({}, {"front": SIZE, "wrist": SIZE}):
            policy = make_policy(Path(folder, f"policy{len(sizes)}"), hz, sizes)
            for priority in (50, 0):
                out = Path(folder, f"{len(sizes)}-{priority}")
                settings = [f"policy={policy}", "robot=simulated", "unattended=true", f"out={out}"]
                settings += [f"seconds={seconds}", f"priority={priority}"]
                settings += [f"options.hz={hz}", f"options.policy_hz={RATE}"]
                if sizes:
                    given = ", ".join(f"{name}: '{film}'" for name in sizes)
                    settings.append(f"cameras={{{given}}}")
                if cli(["run", *settings]):
                    raise SystemExit("the run failed")
                scheduling = "SCHED_FIFO 50" if priority else "default"
                report(read_ticks(out), hz, f"{len(sizes)} | {scheduling}")


def make_policy(path: Path, hz: float, sizes: dict[str, tuple[int, int]]) -> Path:
    """Write an untrained policy that looks at cameras of these sizes."""
    torch.manual_seed(0)
    arm = make_live("simulated", {"hz": hz, "policy_hz": RATE}).spec
    sampler = Sampler(network_evaluations=3 if sizes else 10)
    save_policy(Policy(with_cameras(arm, sizes), PolicyConfig(sampler=sampler)), path, {})
    return path


def make_film(path: Path) -> Path:
    """Write ten seconds of a camera's pictures, as a camera would send them."""
    camera = SimulatedCamera(CameraConfig("simulated", hz=1000))
    noise = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=30)
        stream.width, stream.height, stream.pix_fmt = SIZE[1], SIZE[0], "yuvj422p"
        for _ in range(300):
            _, picture = camera.read()
            grainy = picture // 2 + noise.integers(0, 16, picture.shape, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grainy)))
        container.mux(stream.encode())
    return path


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
