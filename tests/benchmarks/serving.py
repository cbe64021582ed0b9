"""What a policy server stands: requests a second with many robots, and what is no request.

`python tests/benchmarks/serving.py speed [POLICY ...]`: 1, 8 and 32 robots, each asking as soon as
it is answered, for policies (by default the shipped one and one of random weights with two
cameras); the fastest engine and eager. `python tests/benchmarks/serving.py fuzz [MESSAGES]`: sound
messages with wrong bytes in them, while an honest client must get its answers.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from fewstep.envs import Field, Spec
from fewstep.envs.web.array_maps import pack, unpack
from fewstep.policy import Policy, PolicyConfig, save_policy
from fewstep.policy.engines.export import export_policy
from fewstep.policy.policy_folder import find_policy

ROBOTS = (1, 8, 32)
SECONDS = 5.0
FLOODS = 4  # connections that send what is no request


@contextmanager
def served(policy: Path | str, *options: str) -> Iterator[str]:
    """Serve a policy in a process of its own; yields its address."""
    command = [
        sys.executable,
        "-m",
        "fewstep.policy.cli.main",
        "serve",
        f"policy={policy}",
        "port=0",
    ]
    server = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        line = next(line for line in server.stdout if "ws://" in line)
        os.set_blocking(server.stdout.fileno(), False)
        yield line.split()[0]
        assert server.poll() is None, "the server has ended"
    finally:
        server.terminate()
        server.wait()


def exported(folder: Path, policy: Path | str) -> Path:
    """Return a copy of a policy beside its exports."""
    for format in ("onnx", "cpp"):
        export_policy(policy, folder, format)
    return folder


def with_cameras(folder: Path) -> Path:
    """Write a policy of random weights with a state of seven joints and two cameras."""
    camera = Field((96, 96, 3), kind="image")
    joints = Field((7,), "rad")
    spec = Spec({"joints": joints, "front": camera, "wrist": camera}, {"joints": joints}, 10.0)
    torch.manual_seed(0)
    save_policy(Policy(spec, PolicyConfig()), folder, {})
    return folder


def observation(told: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return an observation as a server describes it."""
    rng = np.random.default_rng(0)
    content = {}
    for key, field in told["observation"].items():
        drawn = rng.uniform(0, 255, field["shape"])
        content[key] = drawn.astype(field["dtype"])
    return content


async def ask_for(address: str, seconds: float) -> list[float]:
    """Ask again and again; return how long each answer took [ms]."""
    taken = []
    async with connect(address, compression=None, max_size=None) as connection:
        message = pack(observation(unpack(await receive(connection))))
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            began = time.perf_counter()
            await connection.send(message)
            assert "actions" in unpack(await receive(connection))
            taken.append(1e3 * (time.perf_counter() - began))
    return taken


async def receive(connection: ClientConnection) -> bytes:
    """Return the next message."""
    message = await connection.recv()
    assert isinstance(message, bytes), message
    return message


def speed(policies: list[str]) -> None:
    """Print requests a second, and how long they take."""
    with tempfile.TemporaryDirectory() as folder:
        named: dict[str, Path | str] = {policy: policy for policy in policies}
        if not named:
            named["pusht"] = exported(Path(folder) / "pusht", find_policy("pusht"))
            random = with_cameras(Path(folder) / "random")
            named["two cameras"] = exported(Path(folder) / "cameras", random)
        print("| policy | engine | robots | requests a second | p50 ms | p99 ms |")
        print("|---|---|---|---|---|---|")
        for name, policy in named.items():
            for engine in ("fastest", "eager"):
                if engine == "eager" and name == "two cameras":
                    policy = Path(folder) / "random"
                if engine == "eager" and name == "pusht":
                    policy = "pusht"
                with served(policy, f"engine={engine}") as address:
                    for robots in ROBOTS:
                        print(asyncio.run(measure(name, engine, address, robots)), flush=True)


async def measure(name: str, engine: str, address: str, robots: int) -> str:
    """Return a row for so many robots at once."""
    taken = await asyncio.gather(*(ask_for(address, SECONDS) for _ in range(robots)))
    every = np.concatenate(taken)
    median, worst = np.percentile(every, [50, 99])
    rate = len(every) / SECONDS
    return f"| {name} | {engine} | {robots} | {rate:.0f} | {median:.2f} | {worst:.2f} |"


async def flood(address: str, messages: int, seed: int) -> None:
    """Send sound messages with wrong bytes, cut short, or as text; come again when sent away."""
    rng = np.random.default_rng(seed)
    sent = 0
    while sent < messages:
        try:
            async with connect(address, compression=None, max_size=None) as connection:
                sound = bytearray(pack(observation(unpack(await receive(connection)))))
                while sent < messages:
                    sent += 1
                    await connection.send(spoilt(sound, rng))
                    await connection.recv()
        except ConnectionClosed:
            continue


def spoilt(sound: bytearray, rng: np.random.Generator) -> bytes | str:
    """Return a message with something wrong."""
    message = bytearray(sound)
    for _ in range(rng.integers(1, 8)):
        message[rng.integers(min(len(message), 400))] = rng.integers(256)
    kind = rng.integers(10)
    if kind == 0:
        return bytes(message[: rng.integers(len(message))])
    if kind == 1:
        return "text"
    return bytes(message)


async def withstand(address: str, messages: int) -> None:
    """Flood a server while an honest client asks it."""
    floods = [
        asyncio.create_task(flood(address, messages // FLOODS, seed)) for seed in range(FLOODS)
    ]
    taken: list[float] = []
    while not all(task.done() for task in floods):
        taken += await ask_for(address, 2.0)
    await asyncio.gather(*floods)
    print(f"{messages} spoilt messages; an honest client got {len(taken)} answers, p50 and p99 ms:")
    print(np.percentile(taken, [50, 99]).round(2))


def main() -> None:
    """Measure what is asked for."""
    kind, *rest = sys.argv[1:]
    if kind == "speed":
        speed(rest)
        return
    with served("pusht", "engine=eager") as address:
        asyncio.run(withstand(address, int(rest[0]) if rest else 100_000))


if __name__ == "__main__":
    main()
