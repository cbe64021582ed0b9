"""CPU time of a training step as a ratio to plain flow matching.

`python tests/benchmarks/cost.py DEMOS [rounds]`.
"""

import sys
import time

import torch

from fewstep.policy.policy import Policy, PolicyConfig
from fewstep.policy.training.config import TrainConfig
from fewstep.policy.training.dataset import read_dataset
from fewstep.policy.training.state import TrainState

OBJECTIVES = ("flow", "flow_atoms", "regression", "v", "eps")
BATCH, STEPS = 256, 5


def main() -> None:
    """Print the median over rounds in which every objective takes its turn."""
    torch.set_num_threads(1)
    data = read_dataset(sys.argv[1], PolicyConfig(), torch.device("cpu"))
    runs = {o: started(o, data.spec, data.normaliser) for o in OBJECTIVES}
    spent: dict[str, list[float]] = {o: [] for o in OBJECTIVES}
    for k in range(int(sys.argv[2]) if len(sys.argv) > 2 else 10):
        for objective, run in runs.items():
            began = time.process_time()
            for i in range(STEPS):
                generator = torch.Generator().manual_seed(STEPS * k + i)
                rows = torch.randint(len(data.train), (BATCH,), generator=generator)
                run.take_step(data.train.batch(rows), generator, i)
            spent[objective].append(time.process_time() - began)
    for objective, times in spent.items():
        ratios = torch.tensor(times) / torch.tensor(spent["flow"])
        print(f"| {objective} | {ratios.median():.2f} |")


def started(objective: str, spec, normaliser) -> TrainState:
    """A fresh run of the default network."""
    policy = Policy(spec, PolicyConfig(objective=objective), normaliser)
    return TrainState(policy, TrainConfig(model=policy.config))


if __name__ == "__main__":
    main()
