"""Distillation: a student gives in one network evaluation what its teacher needs many for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Generator, Tensor

from ...envs import ConfigError
from ...envs.atomic_files import only_writer
from ..checkpoint import load_policy, require_match
from ..diffusion.objectives import SINGLE_STEP
from ..diffusion.samplers import Sampler
from ..ensemble_folder import require_alone
from ..policy import Policy
from ..policy_folder import require_unused
from .config import TrainConfig
from .dataset import Dataset, Samples, TensorSamples, read_dataset
from .processor import torch_threads
from .train import fit

LABELLED_TOGETHER = 256  # chunks that the teacher makes in one batch


@dataclass(frozen=True)
class LabelConfig:
    """How a teacher labels observations."""

    copies: int = 12  # labels per observation, each from noise of its own
    perturb: float = 0.1  # [standard deviations] shift of the observation in every other copy
    network_evaluations: int = 10  # of the teacher, per label

    def __post_init__(self) -> None:
        if self.copies < 1:
            raise ConfigError(f"copies must be at least 1, not {self.copies}")
        if not 0 <= self.perturb < math.inf:
            raise ConfigError(f"perturb must be 0 or more and finite, not {self.perturb}")


def distill(
    policy: Path | str,
    data: Path | str,
    out: Path | str,
    labels: LabelConfig,
    config: TrainConfig,
    device: str = "cpu",
    report: Callable[[dict[str, float]], None] = lambda row: None,
    log: Callable[[str], None] = lambda line: None,
) -> Policy:
    """Train a student to map noise and observation to its teacher's chunk, from the same weights.

    After Luhman and Luhman 2021 (arXiv 2101.02388). Labels come without noise on the way, so that a
    noise has one answer.

    policy: the teacher's run folder. data: demonstrations, of which only the observations are used.
    out: the student's folder. config: its model is not used, since the student has its teacher's
    shape. report: is given every row of the log. log: is told what a person should know. Raises
    ConfigError where the teacher is asked once per chunk already, or `out` holds a policy,
    DataError where another process writes there.
    """
    out = Path(out)
    require_unused(out)
    require_alone(policy, "distill")
    teacher = load_policy(policy, device)
    if teacher.config.objective in SINGLE_STEP:
        raise ConfigError(f"{policy} is asked once per chunk already: there is nothing to distill")
    with only_writer(out):
        labelled = _label(teacher, data, labels, config, log)
        model = replace(teacher.config, objective="one_step", path="", sampler=None)
        student = Policy(teacher.spec, model, teacher.normaliser).to(device)
        student.load_state_dict(teacher.state_dict())
        origin = {"teacher": str(policy), "data": str(data), "labels": asdict(labels)}
        return fit(student.train(), labelled, out, replace(config, model=model), origin, report)


def _label(
    teacher: Policy,
    data: Path | str,
    labels: LabelConfig,
    config: TrainConfig,
    log: Callable[[str], None],
) -> Dataset:
    """Return the demonstrations with the teacher's chunks in place of the demonstrated ones."""
    device = teacher.device
    with torch_threads(config.threads or 1):
        demonstrations = read_dataset(data, teacher.config, device, known=teacher.spec, log=log)
        require_match(teacher, demonstrations.spec, f"the demonstrations at {data}")
        generator = Generator(device).manual_seed(config.seed)
        return label_windows(teacher, demonstrations, labels, generator)


def label_windows(
    teacher: Policy, dataset: Dataset, labels: LabelConfig, generator: Generator
) -> Dataset:
    """Return the windows with the teacher's chunks in place of the demonstrated ones.

    "noise" is what each chunk came from. They all lie in memory.
    """
    clip = teacher.config.drawn_by.clip
    sampler = Sampler(network_evaluations=labels.network_evaluations, clip=clip)
    copies: list[Mapping[str, Tensor]] = []
    for index in range(labels.copies):
        perturb = labels.perturb * (index % 2)
        copies.append(_label_once(teacher, dataset.train, sampler, perturb, generator))
    arrays: dict[str, Tensor] = {}
    for key in copies[0]:
        arrays[key] = torch.cat([copy[key] for copy in copies])
    shapes = {key: tuple(tensor.shape) for key, tensor in arrays.items()}
    return Dataset(teacher.spec, teacher.normaliser, TensorSamples(arrays), None, shapes)


def _label_once(
    teacher: Policy, samples: Samples, sampler: Sampler, perturb: float, generator: Generator
) -> Mapping[str, Tensor]:
    rows = torch.arange(len(samples), device=generator.device)
    obs = _read_observations(teacher, samples, rows)
    for key in teacher.spec.states:
        obs[key] = _shift(obs[key], perturb, generator)
    shape = (len(rows), teacher.config.horizon, teacher.noise_size)
    noise = torch.randn(shape, generator=generator, device=generator.device)
    chunks: list[Tensor] = []
    for part in rows.split(LABELLED_TOGETHER):
        seen = {key: history[part] for key, history in obs.items()}
        chunks.append(teacher.act(seen, noise[None, part], sampler=sampler))
    return {**obs, "action": torch.cat(chunks), "noise": noise}


@torch.no_grad()
def _read_observations(teacher: Policy, samples: Samples, rows: Tensor) -> dict[str, Tensor]:
    """Return the histories of all samples, of pictures their features: the encoder stays as it is.

    Pictures themselves might not fit the memory.
    """
    parts: dict[str, list[Tensor]] = {key: [] for key in teacher.spec.observations}
    for some in rows.split(LABELLED_TOGETHER):
        batch = samples.batch(some)
        for camera in teacher.spec.images:
            batch[camera] = teacher.encoder.look(camera, batch[camera])
        for key, found in parts.items():
            found.append(batch[key])
    return {key: torch.cat(found) for key, found in parts.items()}


def _shift(x: Tensor, amount: float, generator: Generator) -> Tensor:
    """Return every history of x (W, O, ...) moved as a whole.

    amount: in standard deviations of each element.
    """
    if not amount:
        return x
    by = torch.randn(x[:, :1].shape, generator=generator, device=generator.device)
    return x + amount * x.flatten(0, 1).std(0) * by
