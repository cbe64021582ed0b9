"""Who acts in a run: a policy that is served to the control process, or recorded actions."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...demos.store import DemoStore
from ...envs import ConfigError, Spec
from ...envs.agent import require_reach
from ...envs.atomic_files import writing
from ...envs.cameras.rings import RING_SECONDS
from ...envs.control.control_config import ControlConfig, PolicyActor
from ...envs.hardware.registry import is_driver
from ...envs.safety.limits import read_limits
from ..engines.loading import load_engine
from ..engines.remote import is_address
from ..policy_folder import find_policy
from .alarm import scores_chunks
from .inference_config import InferenceConfig
from .run_config import RunConfig


def acting(
    config: RunConfig, cameras: tuple[str, ...]
) -> tuple[ControlConfig, InferenceConfig | None]:
    """Return what the control process is told, and which policy is served to it."""
    control = ControlConfig(
        robot=config.robot,
        options=config.options,
        limits=read_limits(config.limits),
        limits_file=config.limits,
        unlimited=tuple(config.unlimited),
        watchdog=config.watchdog,
        priority=config.priority,
        calibrate=config.calibrate,
    )
    if config.calibrate and not config.policy:
        return control, None
    if config.actions:
        spec = DemoStore.open(config.actions).spec
        watchdog = replace(config.watchdog, action_seconds=math.inf)
        return _facing(replace(control, watchdog=watchdog), spec), None
    return _served(config, control, cameras)


def _served(
    config: RunConfig, control: ControlConfig, cameras: tuple[str, ...]
) -> tuple[ControlConfig, InferenceConfig | None]:
    loaded = load_engine(config.policy, config.engine)
    spec = loaded.spec
    shape = loaded.shape
    delay = shape.actuation_delay if config.actuation_delay is None else config.actuation_delay
    require_reach(shape.horizon, shape.action_steps, delay, spec.policy_hz)
    taken = tuple(name for name in cameras if name in spec.images)
    _require_kept(taken, (shape.pictures - 1) / spec.policy_hz)
    acting = PolicyActor(
        observation_steps=shape.observation_steps,
        action_steps=shape.action_steps,
        pictures=shape.pictures,
        prefix_length=shape.longest_prefix,
        patience=shape.horizon / spec.policy_hz,
        actuation_delay=delay,
        agreement=shape.agreement,
        horizon=shape.horizon,
        side=shape.side,
        cameras=taken,
    )
    policy = config.policy if is_address(config.policy) else str(find_policy(config.policy))
    inference = InferenceConfig(policy, loaded.name, config.threads, monitor=scores_chunks(config))
    return _facing(replace(control, policy=acting), spec), inference


def _require_kept(cameras: tuple[str, ...], seconds: float) -> None:
    if cameras and seconds > RING_SECONDS / 2:
        raise ConfigError(
            f"this policy looks {seconds:g} s back, and cameras keep the pictures of the last "
            f"{RING_SECONDS:g} s"
        )


def _facing(control: ControlConfig, spec: Spec) -> ControlConfig:
    """Return the same with the Spec of what acts; a simulated task gets the cameras that it has."""
    options = dict(control.options)
    if spec.images and not is_driver(control.robot):
        options.setdefault("cameras", list(spec.images))
    return replace(control, spec=spec.to_json(), options=options)


def write_recorded_actions(config: RunConfig, folder: Path) -> Path:
    """Write recorded actions to where the control process finds them."""
    path = (folder / "actions.npy").resolve()
    with writing(path):
        np.save(path, DemoStore.open(config.actions).episode(config.episode).data["action"])
    return path
