"""A training step against the plain loop of `textbook.py`, at three sizes of network, and where its time goes.

python tests/benchmarks/training.py DEMOS [steps [compile]]

256 windows a step, one thread, CPU seconds, median of alternating steps in one process. With `compile` the smallest network is
compiled as well, which takes minutes.
"""

import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator

import torch
from textbook import Pairs, Unet, training
from torch.profiler import ProfilerActivity, profile

from fewstep.policy.networks.temporal_unet import UnetConfig
from fewstep.policy.policy import Policy, PolicyConfig
from fewstep.policy.training.config import TrainConfig
from fewstep.policy.training.dataset import Dataset, read_dataset
from fewstep.policy.training.processor import multiplies_in_bfloat16
from fewstep.policy.training.state import TrainState

CHANNELS = ((32, 64, 128), (64, 128, 256), (256, 512, 1024))
BATCH = 256
GROUPS = {  # parts of operators' names, and what they are in the profile
    "ConvolutionBackward": "convolutions back",
    "onvolution": "convolutions",
    "roup_norm": "GroupNorm",
    "GroupNorm": "GroupNorm",
    "Mish": "Mish",
    "ddmm": "FiLM and encoder",
    "AdamW": "optimiser and average",
    "_foreach": "optimiser and average",
}


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    data = read_dataset(sys.argv[1], PolicyConfig(), torch.device("cpu"))
    print("| parameters | loop | ms a step | plain / |\n|---|---|---|---|")
    for channels in CHANNELS:
        loops, parameters = make_loops(
            data, channels, "compile" in sys.argv and channels == CHANNELS[0]
        )
        taken = measure(loops, max(3, steps * CHANNELS[0][0] // channels[0]))
        for name, seconds in taken.items():
            ratio = taken["plain"] / seconds
            print(
                f"| {parameters / 1e6:.2g} M | {name} | {1e3 * seconds:.0f} | {ratio:.2f} |",
                flush=True,
            )
        for name in ("float32", "bfloat16"):
            if name in loops:
                print_profile(name, loops[name])


def make_loops(data: Dataset, channels: tuple[int, ...], compiles: bool) -> tuple[dict, int]:
    """Return what takes a step, by name, and the number of our weights."""
    loops: dict[str, Callable[[], object]] = {"plain": plain_loop(data, channels)}
    parameters = 0
    for in_bfloat16 in (False, True) if multiplies_in_bfloat16(torch.device("cpu")) else (False,):
        for compiled in (False, True) if compiles else (False,):
            name = ("bfloat16" if in_bfloat16 else "float32") + ", compiled" * compiled
            model = PolicyConfig(net=UnetConfig(channels=channels))
            policy = Policy(data.spec, model, data.normaliser)
            state = TrainState(policy, TrainConfig(model=model, bfloat16=in_bfloat16))
            if compiled:
                policy.net.compile()
            parameters = sum(weight.numel() for weight in policy.parameters())
            loops[name] = our_loop(state, data)
    return loops, parameters


def plain_loop(data: Dataset, channels: tuple[int, ...]) -> Callable[[], object]:
    """Return one step of the plain loop on the same windows."""
    batch = data.train.batch(torch.arange(len(data.train)))
    encoded = data.normaliser.encode_observations(batch)
    observed = torch.cat([encoded[key].flatten(1) for key in data.spec.states], -1)
    actions = data.normaliser.encode_chunks(batch["action"], batch)
    net = Unet(actions.shape[-1], observed.shape[-1], channels)
    steps: Iterator[None] = training(net, Pairs(observed, actions), BATCH)
    return lambda: next(steps)


def our_loop(state: TrainState, data: Dataset) -> Callable[[], object]:
    """Return one step of ours."""
    generator = torch.Generator()

    def step() -> float:
        rows = torch.randint(len(data.train), (BATCH,), generator=generator)
        return state.take_step(data.train.batch(rows, generator), generator, 1000).item()

    return step


def measure(loops: dict[str, Callable[[], object]], steps: int) -> dict[str, float]:
    """Return the median CPU seconds of a step, after one that does not count."""
    taken = defaultdict(list)
    for index in range(steps + 1):
        for name, step in loops.items():
            began = time.process_time()
            step()
            if index:
                taken[name].append(time.process_time() - began)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def print_profile(name: str, step: Callable[[], object]) -> None:
    """Print which share of a step goes where."""
    with profile(activities=[ProfilerActivity.CPU]) as found:
        step()
    spent: dict[str, float] = defaultdict(float)
    for event in found.events():
        spent[group_of(event)] += event.self_cpu_time_total
    total = sum(spent.values())
    parts = sorted(spent, key=lambda part: -spent[part])
    said = ", ".join(f"{part} {100 * spent[part] / total:.0f} %" for part in parts)
    print(f"{name}: {said}", flush=True)


def group_of(event) -> str:
    """Return the group of the outermost operator that an event belongs to."""
    group = "the rest"
    while event is not None:
        for part, of in GROUPS.items():
            if part in event.name:
                group = of
                break
        event = event.cpu_parent
    return group


if __name__ == "__main__":
    main()
