"""Training: one loop, read from top to bottom.

Killed at any moment and started again, it ends in the same weights.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from ...envs import ConfigError
from ...envs.atomic_files import only_writer
from ...envs.interrupts import Interrupt
from ...envs.schema import to_plain
from ..checkpoint import load_policy, require_match
from ..ensemble_folder import require_alone
from ..networks.encoders.weights import describe_weights
from ..policy import Policy, PolicyConfig
from .caching.image_cache import cache_folder
from .config import TrainConfig
from .dataset import Dataset, OnFrames, Samples, read_dataset, with_maps
from .emphasis import RowDraw
from .log import Log
from .processor import torch_threads
from .resume import RESUME, resume_run, save_run
from .state import TrainState

SAVING = 0.02  # share of the time that may go into saving an unfinished run
HeldOutMeasure = Callable[[Policy, Samples], float]  # what is measured of held-out samples


def train(
    data: Path | str,
    out: Path | str,
    config: TrainConfig,
    *,
    start: Path | str | None = None,
    device: str = "cpu",
    report: Callable[[dict[str, float]], None] = lambda row: None,
    on_frames: OnFrames = lambda camera, done, total: None,
    log: Callable[[str], None] = lambda line: None,
    held_out_error: HeldOutMeasure | None = None,
) -> Policy:
    """Train on the demonstrations at `data`, and leave policy and log in `out`.

    start: a policy to continue from, which must fit the data and keeps its shape and statistics;
    with net.prefix it learns to go on from a prefix. report: is given every row of the log.
    on_frames: is told camera, done and total while pictures are cached. log: is told what a person
    should know. held_out_error: is asked wherever the held-out loss is measured, with the averaged
    weights in place, and must draw nothing from a global stream. An unfinished run in `out` goes on
    where it was saved; an interrupt saves it, a second one gives up at once. DataError where
    another training writes into `out`.
    """
    origin = {"data": str(data)}
    begun = _load_begun(start, config)
    if begun is not None:
        origin["start"] = str(start)
    config = replace(config, model=_fit_to_weights(config) if begun is None else begun.config)
    with only_writer(Path(out)):
        dataset = read_dataset(
            data,
            config.model,
            torch.device(device),
            states=config.states,
            cameras=config.cameras,
            known=None if begun is None else begun.spec,
            held_out=config.held_out,
            seed=config.seed,
            emphasis=config.emphasis,
            on_frames=on_frames,
            log=log,
        )
        if begun is None:
            policy = _make_policy(dataset, config)
        else:
            policy = _go_on_from(begun, dataset, data)
        policy.to(device)
        if config.weights and not config.weights_rate:
            dataset = _see_maps(dataset, Path(data), policy, config, on_frames)
        return fit(policy, dataset, Path(out), config, origin, report, held_out_error)


def _go_on_from(begun: Policy, dataset: Dataset, data: Path | str) -> Policy:
    """Return a policy that is there already, ready to learn more."""
    require_match(begun, dataset.spec, f"the demonstrations at {data}")
    return begun.requires_grad_(True).train()


def _see_maps(
    dataset: Dataset, data: Path, policy: Policy, config: TrainConfig, on_frames: OnFrames
) -> Dataset:
    """Return the dataset with what frozen backbones make of its pictures, kept beside the store."""
    folder = cache_folder(data)
    return with_maps(dataset, folder, policy.encoder, config.augment, config.views, on_frames)


def _load_begun(start: Path | str | None, config: TrainConfig) -> Policy | None:
    """Load a policy to go on with; ConfigError where there are other weights to begin with."""
    if start is None:
        return None
    if config.weights:
        raise ConfigError("weights= is for a new policy: policy= has weights of its own")
    require_alone(start, "going on with a training")
    begun = load_policy(start)
    return begun.with_prefix() if config.model.net.prefix else begun


def fit(
    policy: Policy,
    dataset: Dataset,
    out: Path,
    config: TrainConfig,
    origin: Mapping[str, Any],
    report: Callable[[dict[str, float]], None] = lambda row: None,
    held_out_error: HeldOutMeasure | None = None,
) -> Policy:
    """Train a policy on what it is given, and return it as it was written.

    origin: plain values that go into its provenance and mark the run. report and held_out_error: as
    `train` says.
    """
    state = TrainState(policy, config)
    fingerprint = _make_fingerprint(dataset, config, origin)
    step, threads_so_far = resume_run(state, out, fingerprint)
    if config.compile:
        state.policy.net.compile()
    count = threads_so_far or config.threads or state.fastest_threads(dataset)
    run_log = Log(out, step, report)
    with closing(run_log), torch_threads(count), Interrupt() as interrupt:
        _loop(
            state,
            dataset,
            step,
            run_log,
            interrupt,
            lambda step: save_run(state, out, step, fingerprint),
            held_out_error,
        )
    provenance = {
        **origin,
        "windows": len(dataset.train),
        "cpu_seconds": run_log.cpu_seconds,
        "threads": count,
        "device": str(state.device),
        "bfloat16": state.in_bfloat16,
        "train": to_plain(config),
    }
    state.write_policy(out, provenance)
    (out / RESUME).unlink(missing_ok=True)
    return load_policy(out, str(state.device))


def _loop(
    state: TrainState,
    dataset: Dataset,
    step: int,
    log: Log,
    interrupt: Interrupt,
    save_at: Callable[[int], None],
    held_out_error: HeldOutMeasure | None,
) -> None:
    config = state.config
    first_logged = step + 10  # early, to say how long it will take
    saved = time.monotonic()
    pause = config.save_seconds
    generator = Generator(state.device)
    row_draw = RowDraw(len(dataset.train), dataset.weights, state.device)
    while step < config.steps:
        # The draws of a step are its own, so that there is no stream to save.
        generator.manual_seed(config.seed * 1_000_000_007 + step)
        rows = row_draw.draw(config.batch, generator)
        loss = state.take_step(dataset.train.batch(rows, generator), generator, step)
        step += 1
        if step % config.log_every == 0 or step in (first_logged, config.steps):
            _require_finite(loss, step)
            validated = step % (10 * config.log_every) == 0 or step == config.steps
            measured = _validate(state, dataset, held_out_error) if validated else {}
            log.write(step, loss.item(), state.learning_rate(step), measured)
        stop = interrupt.asked
        if stop or time.monotonic() - saved > pause:
            _require_finite(loss, step)
            began = time.monotonic()
            save_at(step)
            saved = time.monotonic()
            if pause:
                pause = max(config.save_seconds, (saved - began) / SAVING)
        if stop:
            raise KeyboardInterrupt


def _validate(
    state: TrainState, dataset: Dataset, held_out_error: HeldOutMeasure | None
) -> dict[str, float]:
    """Return what is measured of held-out episodes, by its name in the log."""
    if dataset.held_out is None:
        return {}
    measured = {"held_out_loss": state.measure_held_out_loss(dataset.held_out)}
    if held_out_error is not None:
        with state.averaged_weights():
            measured["held_out_error"] = held_out_error(state.policy, dataset.held_out)
    return measured


def _require_finite(loss: Tensor, step: int) -> None:
    if not loss.isfinite():
        raise ConfigError(
            f"the loss is no number any more at step {step}: a lower lr= may help, in another out="
        )


def _make_policy(dataset: Dataset, config: TrainConfig) -> Policy:
    """Return a fresh policy, whose weights the seed alone decides."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        policy = Policy(dataset.spec, config.model, dataset.normaliser)
    if config.weights:
        if not dataset.spec.images:
            raise ConfigError("weights= is for cameras, and none is learnt from")
        policy.encoder.load_backbones(config.weights)
    return policy


def _fit_to_weights(config: TrainConfig) -> PolicyConfig:
    """Return the policy's description, with pictures seen as weights from a file expect them."""
    if not config.weights:
        return config.model
    images = describe_weights(config.weights, config.model.encoders.images)
    return replace(config.model, encoders=replace(config.model.encoders, images=images))


def _make_fingerprint(dataset: Dataset, config: TrainConfig, origin: Mapping[str, Any]) -> str:
    """Return what must not change between the parts of one run."""
    shapes = {key: list(shape) for key, shape in dataset.shapes.items()}
    parts = [to_plain(config), origin, shapes, dataset.spec.to_json()]
    return json.dumps(parts, sort_keys=True)
