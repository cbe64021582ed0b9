"""Engines against eager PyTorch, the textbook and the floor of this machine, for three sizes of network.

python tests/benchmarks/engines.py [calls]

Two evaluations, one thread, batch 1, alternating rounds in one process. The weights are random: what is computed does not depend
on them. A second run finds the exports in the cache.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from fewstep.policy.checkpoint import load_policy, save_policy
from fewstep.policy.evaluation.bench import bench
from fewstep.policy.policy import Policy

CHANNELS = ((32, 64, 128), (64, 128, 256), (256, 512, 1024))


def main() -> None:
    """Measure and print."""
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    known = load_policy("pusht")
    print(
        "| parameters | engine | median ms | p99 | eager / | 100 evaluations / | floor x | error |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for channels in CHANNELS:
        torch.manual_seed(0)
        net = replace(known.config.net, channels=channels)
        policy = Policy(known.spec, replace(known.config, net=net), known.normaliser)
        fewer = max(20, calls * CHANNELS[0][0] // channels[0])
        with tempfile.TemporaryDirectory() as folder:
            save_policy(policy, Path(folder), {})
            result = bench(folder, network_evaluations=(2,), calls=fewer)
        rows = {row["engine"]: row for row in result["rows"]}
        for engine in ("cpp", "openvino", "onnx", "eager"):
            row = rows[engine]
            median = row["median_ms"]
            cells = [
                f"{result['parameters'] / 1e6:.2g} M",
                engine,
                f"{median:.3g}",
                f"{row['p99_ms']:.3g}",
            ]
            cells += [
                f"{rows['eager']['median_ms'] / median:.1f}",
                f"{rows['textbook']['median_ms'] / median:.0f}",
            ]
            cells += [f"{median / row['floor_ms']:.2f}", f"{row['error']:.0e}"]
            print("| " + " | ".join(cells) + " |", flush=True)
        floor = result["floor"]
        print(
            f"{floor['weights'] / 1e6:.1f} MB at {floor['bandwidth'] / 1e9:.0f} GB/s, {floor['operations'] / 1e6:.0f} MFLOP"
            f" at {floor['rate'] / 1e9:.0f} GFLOP/s an evaluation",
            flush=True,
        )


if __name__ == "__main__":
    main()
