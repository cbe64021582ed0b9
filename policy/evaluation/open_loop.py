"""Open-loop evaluation: predicted chunks beside what was recorded; it needs no simulator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...demos.store import DemoStore
from ...demos.windows import Windows
from ...envs import ConfigError, DataError
from ...envs.versions import versions
from ..checkpoint import load_policy, require_match
from ..diffusion.objectives import SINGLE_STEP
from ..diffusion.samplers import Sampler, require_fit
from ..engines.loading import load_engine
from ..policy import Policy
from ..training.caching.mapped_arrays import map_arrays
from .action_error import ActionError
from .episode_errors import EpisodeErrors, compare_errors, summarise_errors
from .held_out import HELD_OUT, HeldOut, find_held_out
from .prediction import HistoryReader, make_asked_windows, predict_chunks
from .references import hold_chunks, nearest_chunks

EVALUATIONS = (1, 2, 3, 10)  # network evaluations that are compared by default


@dataclass(frozen=True)
class OpenLoop:
    """What came of an open-loop evaluation, and what its page is drawn from."""

    content: dict[str, Any]  # of open_loop.json
    policy: Policy
    reader: HistoryReader  # of the recorded observations
    windows: Windows  # W, one per moment at which the policy was asked
    recorded: np.ndarray  # (N, A) all actions of the store
    predicted: np.ndarray  # (W, H, A) by the result `content["own"]`


def evaluate_open_loop(
    policy: Path | str,
    data: Path | str,
    samplers: Sequence[Sampler] = (),
    *,
    episodes: int | None = None,
    engine: str = "eager",
    seed: int = 0,
    on_windows: Callable[[int, int], None] = lambda done, total: None,
) -> OpenLoop:
    """Predict the chunks of held-out episodes and set them against the recorded actions.

    The policy is asked at every `action_steps`-th frame of an episode, as on a robot. Raises
    CheckpointError where the demonstrations do not fit the policy, DataError where they are
    damaged, and ConfigError for settings that mean nothing.

    Args:
        policy: A run folder, or a policy that comes with the package.
        data: A store of demonstrations.
        samplers: How chunks are drawn, a result each; by default those of `default_samplers`.
        episodes: How many are used at most, the first ones; by default all held-out ones.
        engine: What computes the chunks.
        seed: Of the noise.
        on_windows: Is told how many windows are predicted, and of how many.
    """
    _require_sense(episodes, seed)
    loaded = load_policy(policy)
    store = DemoStore.open(data)
    store.require()
    require_match(loaded, store.spec, f"the demonstrations at {data}")
    arrays = map_arrays(store, [*loaded.spec.states, "action"])
    fitted = loaded.normaliser.refit(arrays, store.ends)  # refuses what is no number
    held_out = find_held_out(policy, loaded, store, fitted)
    chosen = list(samplers) or default_samplers(loaded, loaded.config.drawn_by)
    engines = [load_engine(policy, engine, sampler) for sampler in chosen]
    used = held_out.episodes[:episodes]
    windows = make_asked_windows(store.ends, used, loaded.config)
    reader = HistoryReader(store, loaded.seen, arrays, loaded.config.encoders.images.frames)
    numbers = store.numbers[np.searchsorted(store.ends, windows.frames, side="right")]
    predicted = predict_chunks(engines, reader, windows, numbers, seed, on_windows)
    own = _find_own(chosen, loaded.config.drawn_by)
    asked = {"policy": str(policy), "data": str(data), "seed": seed, "engine": engine, "own": own}
    described = _describe(loaded, store, held_out, used, windows)
    compared = _compare(loaded, store, held_out, arrays, windows, chosen, predicted)
    content = asked | described | compared
    return OpenLoop(content, loaded, reader, windows, arrays["action"], predicted[own])


def default_samplers(policy: Policy, base: Sampler) -> list[Sampler]:
    """Return a sampler at each of EVALUATIONS and at its own number, as far as it can be used.

    A policy that is made for a single evaluation has no other.
    """
    if policy.config.objective in SINGLE_STEP:
        return [base]
    samplers: list[Sampler] = []
    for count in sorted({*EVALUATIONS, base.cost}):
        sampler = base.at(count)
        try:
            require_fit(sampler, policy.path, policy.objective.prediction_type)
        except ConfigError:
            continue
        samplers.append(sampler)
    return samplers


def _require_sense(episodes: int | None, seed: int) -> None:
    if episodes is not None and episodes < 1:
        raise ConfigError(f"episodes must be at least 1, not {episodes}")
    if seed < 0:
        raise ConfigError(f"seed must not be negative, as {seed} is")


def _find_own(samplers: Sequence[Sampler], own: Sampler) -> int:
    """Return which sampler draws as the policy does by itself, the first where none does."""
    for index, sampler in enumerate(samplers):
        if (sampler.step, sampler.grid()) == (own.step, own.grid()):
            return index
    return 0


def _describe(
    policy: Policy, store: DemoStore, held_out: HeldOut, used: np.ndarray, windows: Windows
) -> dict[str, Any]:
    """Return what is measured on; episodes have the numbers that `fewstep view` shows."""
    return {
        "versions": versions(),
        "episodes": len(used),
        "numbers": store.numbers[used].tolist(),
        "available": len(held_out.episodes),
        "status": held_out.status,
        "note": held_out.note,
        "windows": len(windows),
        "action_steps": policy.config.action_steps,
        "horizon": policy.config.horizon,
        "policy_hz": policy.spec.policy_hz,
    }


def _compare(
    policy: Policy,
    store: DemoStore,
    held_out: HeldOut,
    arrays: Mapping[str, np.ndarray],
    windows: Windows,
    samplers: Sequence[Sampler],
    predicted: Sequence[np.ndarray],
) -> dict[str, Any]:
    """Return results of predicted chunks, (W, H, A) for each sampler, and the references."""
    actions = arrays["action"]
    measure = ActionError.fit(policy.spec, actions)
    if not measure.counted.any():
        raise DataError(f"{store.path}: no recorded action ever changes, so none can be missed")
    why_not = _why_no_nearest(policy, held_out)
    known = {"hold": hold_chunks(store, actions, windows)}
    if not why_not:
        known["nearest"] = nearest_chunks(policy, store.ends, arrays, held_out.episodes, windows)
    steps = policy.config.action_steps
    ends = np.unique(windows.ends)
    numbers = store.numbers[np.searchsorted(store.ends, ends)].tolist()
    references: dict[str, Any] = {"hold": None, "nearest": None}
    others: dict[str, EpisodeErrors] = {}
    for name, chunks in known.items():
        others[name] = EpisodeErrors.sum_up(measure, windows, chunks, actions)
        references[name] = summarise_errors(others[name], steps, numbers)
    results = []
    for sampler, chunks in zip(samplers, predicted, strict=True):
        errors = EpisodeErrors.sum_up(measure, windows, chunks, actions)
        row: dict[str, Any] = {
            "network_evaluations": sampler.cost,
            "sampler": asdict(sampler) | {"times": list(sampler.grid())},
            **summarise_errors(errors, steps, numbers),
        }
        for name in references:
            other = others.get(name)
            row[f"minus_{name}"] = compare_errors(errors, other, steps) if other else None
        results.append(row)
    return {"results": results, "references": references, "no_nearest": why_not}


def _why_no_nearest(policy: Policy, held_out: HeldOut) -> str:
    """Return why there is no nearest demonstrated chunk to compare with, or nothing."""
    if not policy.spec.states:
        return "the policy sees no states, by which the nearest situation would be found"
    if held_out.status != HELD_OUT:
        return "no other episodes of these demonstrations are known to have been trained on"
    return ""
