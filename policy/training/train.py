"""Training: one loop, read from top to bottom. Killed at any moment and started again, it ends in the same weights."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Generator, Tensor

from ...envs import ConfigError
from ...envs.atomic_files import write_file
from ...envs.schema import to_plain
from ..checkpoint import load_policy, read_tensors, require_match, save_policy
from ..policy import Policy, PolicyConfig
from ..policy_folder import require_unused
from .dataset import Data, read_data
from .interrupt import Interrupt
from .log import Log
from .threads import fastest, threads

RESUME = "resume.safetensors"


@dataclass(frozen=True)
class TrainConfig:
    """How to train."""

    steps: int = 20_000  # of the optimiser
    batch: int = 256  # windows per step
    lr: float = 1e-3  # learning rate at its peak, after the warm-up and before a cosine to zero
    warmup: int = 500  # [steps] over which the learning rate rises from zero
    weight_decay: float = 1e-5  # of AdamW
    clip: float = 1.0  # largest norm of the gradient
    ema: float = 0.999  # decay of the averaged weights, which become the policy
    held_out: float = 0.04  # share of episodes that are not trained on but measure the loss
    seed: int = 0  # of all that is drawn
    save_seconds: float = 60.0  # [s] between two saves of the unfinished run
    log_every: int = 100  # [steps] between two rows of the log
    compile: bool = False  # the network with torch.compile
    threads: int = 0  # of the CPU; 0 tries which is fastest here; last bits depend on it
    model: PolicyConfig = field(default_factory=PolicyConfig)  # what is trained

    def __post_init__(self) -> None:
        for name, least in {"steps": 1, "batch": 1, "log_every": 1, "threads": 0}.items():
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}, not {getattr(self, name)}")


class TrainState:
    """What changes while training: weights, their average, the optimiser. Saved whole in one file."""

    def __init__(self, policy: Policy, config: TrainConfig) -> None:
        from diffusers.optimization import (
            get_cosine_schedule_with_warmup,
        )  # here: it imports slowly
        from diffusers.training_utils import EMAModel

        self.policy, self.config = policy, config
        self.device = next(policy.parameters()).device
        self.weights = list(policy.parameters())
        self.optimiser = torch.optim.AdamW(
            self.weights,
            lr=config.lr,
            betas=(0.95, 0.999),
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.factor = get_cosine_schedule_with_warmup(
            self.optimiser, config.warmup, config.steps
        ).lr_lambdas[0]
        self.ema = EMAModel(
            self.weights, decay=config.ema, use_ema_warmup=True, power=0.75, foreach=True
        )

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        return self.config.lr * self.factor(step)

    def update(self, batch: Mapping[str, Tensor], generator: Generator, step: int) -> Tensor:
        """One step of the optimiser; returns the loss ()."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(step)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            loss = self.policy.loss(batch, generator).mean()
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.weights, self.config.clip)
        self.optimiser.step()
        self.ema.step(self.weights)
        return loss.detach()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The averaged weights in place of the trained ones."""
        self.ema.store(self.weights)
        self.ema.copy_to(self.weights)
        try:
            yield
        finally:
            self.ema.restore(self.weights)

    @torch.no_grad()
    def validate(self, data: Data) -> float:
        """Loss of the averaged weights on held-out episodes, with the same noise every time."""
        if data.held_out is None:
            return float("nan")
        rows = torch.arange(min(2048, len(data.held_out[0])), device=self.device)
        batch, generator = data.batch(rows, data.held_out), Generator(self.device).manual_seed(0)
        with self.averaged():
            return self.policy.loss(batch, generator).mean().item()

    def export(self, out: Path, provenance: Mapping[str, Any]) -> None:
        """Write the averaged weights as a policy."""
        with self.averaged():
            save_policy(self.policy, out, provenance)

    def fastest_threads(self, data: Data) -> int:
        """Threads with which a step takes the least time here; tries the first batch, and leaves no trace."""
        rows = torch.arange(self.config.batch, device=self.device) % len(data.train[0])
        batch = data.batch(rows, data.train)

        def work() -> None:
            self.policy.loss(batch, Generator(self.device).manual_seed(0)).mean().backward()
            self.optimiser.zero_grad()

        return 1 if self.device.type != "cpu" else fastest(work, os.cpu_count() or 1)

    def save(self, out: Path, step: int, fingerprint: str) -> None:
        """Write all that the rest of the run depends on."""
        adam = {
            f"adam.{i}.{k}": v
            for i, s in self.optimiser.state_dict()["state"].items()
            for k, v in s.items()
        }
        tensors = {f"model.{k}": v for k, v in self.policy.state_dict().items()} | adam
        tensors |= {f"ema.{i}": v for i, v in enumerate(self.ema.shadow_params)}
        meta = {
            "step": str(step),
            "fingerprint": fingerprint,
            "threads": str(torch.get_num_threads()),
        }
        content = save({k: v.cpu() for k, v in tensors.items()}, meta)
        write_file(out / RESUME, content)

    def resume(self, out: Path, fingerprint: str) -> tuple[int, int]:
        """Take up an unfinished run in `out`, where there is one.

        Returns the step to go on from and the threads that it used so far, since rounding depends on them; 0 for none.
        """
        if not (out / RESUME).exists():
            require_unused(out)
            return 0, 0
        tensors = read_tensors(out / RESUME)
        with safe_open(out / RESUME, "pt") as file:
            meta = file.metadata() or {}
        if meta.get("fingerprint") != fingerprint:
            raise ConfigError(
                f"{out} holds an unfinished run with other settings: choose another out=, or remove it"
            )
        self.policy.load_state_dict(
            {k[6:]: v for k, v in tensors.items() if k.startswith("model.")}
        )
        state: dict[int, dict[str, Tensor]] = {}
        for key in (k for k in tensors if k.startswith("adam.")):
            _, i, name = key.split(".")
            state.setdefault(int(i), {})[name] = tensors[key]
        self.optimiser.load_state_dict(self.optimiser.state_dict() | {"state": state})
        self.ema.shadow_params = [
            tensors[f"ema.{i}"].to(self.device) for i in range(len(self.weights))
        ]
        self.ema.optimization_step = int(meta["step"])
        return int(meta["step"]), int(meta["threads"])


def train(
    data: Path | str,
    out: Path | str,
    config: TrainConfig,
    *,
    start: Path | str | None = None,
    device: str = "cpu",
    report: Callable[[dict[str, float]], None] = lambda row: None,
) -> Policy:
    """Train on the demonstrations at `data`, leaving policy, log and, until it is done, resume state in `out`.

    start: a policy to continue from, which must fit the data and keeps its shape and statistics; with net.prefix it
    learns to go on from a prefix. report: hears every row of the log. An unfinished run in `out` goes on where
    it was saved; an interrupt saves it, a second one gives up at once.
    """
    out = Path(out)
    begun = None if start is None else _continued(load_policy(start), config)
    config = config if begun is None else replace(config, model=begun.config)
    demos = read_data(
        data, config.model, torch.device(device), held_out=config.held_out, seed=config.seed
    )
    policy = _begin(demos, config, begun).to(device)
    origin = {"data": str(data)} | ({} if start is None else {"start": str(start)})
    return fit(policy, demos, out, config, origin, report)


def fit(
    policy: Policy,
    demos: Data,
    out: Path,
    config: TrainConfig,
    origin: Mapping[str, Any],
    report: Callable[[dict[str, float]], None] = lambda row: None,
) -> Policy:
    """Train `policy` on what it is given; `origin`, plain values, goes into its provenance and marks the run."""
    state, mark = TrainState(policy, config), _fingerprint(demos, config, origin)
    step, used = state.resume(out, mark)
    if config.compile:
        state.policy.net.compile()
    count = used or config.threads or state.fastest_threads(demos)
    log = Log(out, step, report)
    with closing(log), threads(count), Interrupt() as interrupt:
        _loop(state, demos, step, log, interrupt, lambda step: state.save(out, step, mark))
    cost = {"windows": len(demos.train[0]), "cpu_seconds": log.cpu_seconds, "threads": count}
    state.export(out, {**origin, **cost, "device": str(state.device), "train": to_plain(config)})
    (out / RESUME).unlink(missing_ok=True)
    return load_policy(out, str(state.device))


def _loop(
    state: TrainState,
    demos: Data,
    step: int,
    log: Log,
    interrupt: Interrupt,
    save_at: Callable[[int], None],
) -> None:
    config, first, saved = state.config, step, time.monotonic()
    generator = Generator(state.device)
    while step < config.steps:
        generator.manual_seed(
            config.seed * 1_000_000_007 + step
        )  # a step's draws are its own: no stream to save
        rows = torch.randint(
            len(demos.train[0]), (config.batch,), generator=generator, device=state.device
        )
        loss = state.update(demos.batch(rows, demos.train), generator, step)
        step += 1
        if step % config.log_every == 0 or step in (first + 10, config.steps):
            _require_finite(loss, step)
            checked = step % (10 * config.log_every) == 0 or step == config.steps
            log.write(
                step, loss.item(), state.rate(step), state.validate(demos) if checked else math.nan
            )
        if (stop := interrupt.asked) or time.monotonic() - saved > config.save_seconds:
            _require_finite(loss, step)
            save_at(step)
            saved = time.monotonic()
        if stop:
            raise KeyboardInterrupt


def _require_finite(loss: Tensor, step: int) -> None:
    if not loss.isfinite():
        raise ConfigError(
            f"the loss is no number any more at step {step}: a lower lr= may help, in another out="
        )


def _begin(demos: Data, config: TrainConfig, begun: Policy | None) -> Policy:
    if begun is not None:
        require_match(begun, demos.spec)
        return begun.requires_grad_(True).train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Policy(demos.spec, config.model, demos.normaliser)


def _continued(policy: Policy, config: TrainConfig) -> Policy:
    return policy.with_prefix() if config.model.net.prefix else policy


def _fingerprint(demos: Data, config: TrainConfig, origin: Mapping[str, Any]) -> str:
    """What must not change between the parts of one run."""
    shape = {k: list(v.shape) for k, v in demos.arrays.items()}
    return json.dumps([to_plain(config), origin, shape, demos.spec.to_json()], sort_keys=True)
