"""A policy's network as a list of matrix products, for the C++ source; nothing here needs torch.

Every layer reads rows of one array of activations and writes rows of another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from ...envs import CheckpointError, ConfigError, Spec
from ...envs.schema import from_plain
from ..field_widths import encoded_width
from ..networks.unet_config import UnetConfig
from .engine import ChunkShape

PLAIN, MISH, NORM = range(3)  # what becomes of a product; after NORM there is Mish, too
CODE, FILM, INPUT, OUTPUT = range(4)  # activations that the source reads or writes itself


@dataclass(frozen=True)
class Operation:
    """Rows of `to` from rows of `source`: by a layer, or as they are.

    layer: its name among the modules of a policy, empty to copy. Row t of the product begins at row
    first + step t of the source and is written to row to_first + to_step t, from `column` on.
    """

    layer: str
    source: int
    to: int
    count: int  # rows
    k: int  # numbers of a row that the layer takes, 0 to copy
    n: int  # numbers of a row that come out
    first: int = 0
    step: int = 1
    to_first: int = 0
    to_step: int = 1
    column: int = 0
    finish: int = PLAIN
    film: int = -1  # where its scales begin, then its shifts; -1 for none
    skip: int = -1  # activations that are added; -1 for none

    def numbers(self) -> list[int]:
        """Return what the source is told, in the order of its struct."""
        return [value for name, value in vars(self).items() if name != "layer"]


@dataclass
class Program:
    """The operations of a policy, and the activations (rows, channels) between them."""

    rows: list[tuple[int, int]] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    once: int = 0  # operations that run once per observation, the first ones
    films: int = 0  # numbers of FiLM

    def add_rows(self, count: int, channels: int) -> int:
        """Return the number of new activations."""
        self.rows.append((count, channels))
        return len(self.rows) - 1

    def apply(self, layer: str, source: int, k: int, n: int, **more: int) -> int:
        """Add an operation that makes as many rows as its source has; return their number."""
        count = self.rows[source][0]
        to = self.add_rows(count, n)
        self.operations.append(Operation(layer, source, to, count, k, n, **more))
        return to


def build_program(spec: Spec, config: Mapping[str, Any], shape: ChunkShape) -> Program:
    """Return the operations of a policy; config: as policy.json has it.

    Raises CheckpointError where no network has such settings.
    """
    program = Program()
    try:
        net = from_plain(UnetConfig, config["net"], "net")
        net.require_horizon(shape.horizon)
    except ConfigError as error:
        raise CheckpointError(f"policy.json describes no network: {error}") from error
    condition = net.condition
    encoded = sum(encoded_width(action) for action in spec.actions.values())
    inputs = encoded + net.prefix
    observed = shape.observation_steps * sum(encoded_width(s) for s in spec.states.values())
    observed += shape.pictures * len(spec.images) * config["encoders"]["images"]["features"]
    code = program.add_rows(1, observed)
    film = program.add_rows(1, 0)  # its size is known at the end
    first = program.add_rows(shape.horizon, inputs)
    output = program.add_rows(shape.horizon, encoded)
    assert (code, film, first, output) == (CODE, FILM, INPUT, OUTPUT)
    hidden = program.apply("encoder.layers.0", CODE, observed, condition, finish=MISH)
    features = program.apply("encoder.layers.2", hidden, condition, condition, finish=MISH)
    place = len(program.operations)
    _add_network(program, net.channels, net.kernel, encoded)
    observation = Operation("net.film_observation", features, FILM, 1, condition, program.films)
    program.operations.insert(place, observation)
    program.once = place + 1
    program.rows[FILM] = (1, program.films)
    return program


def _add_network(program: Program, channels: Sequence[int], kernel: int, encoded: int) -> None:
    """Add the U-Net from INPUT to OUTPUT."""
    y = INPUT
    skips: list[int] = []
    for level, outputs in enumerate(channels):
        y = _add_blocks(program, f"net.down.{level}", y, outputs, kernel, encoded)
        skips.append(y)
        if level + 1 < len(channels):
            y = _shrink(program, f"net.shrink.{level}", y, outputs)
    y = _add_blocks(program, "net.middle", y, channels[-1], kernel, encoded)
    for index, (before, after) in enumerate(pairwise(reversed(channels))):
        both = program.add_rows(program.rows[y][0], 2 * before)
        for column, part in ((0, y), (before, skips[-1 - index])):
            count = program.rows[part][0]
            copied = Operation("", part, both, count, 0, before, column=column)
            program.operations.append(copied)
        y = _add_blocks(program, f"net.up.{index}", both, after, kernel, encoded)
        y = _grow(program, f"net.grow.{index}", y, after)
    y = _convolve(program, "net.last", y, channels[0], kernel)
    count = program.rows[y][0]
    program.operations.append(Operation("net.out", y, OUTPUT, count, channels[0], encoded))


def _add_blocks(
    program: Program, name: str, source: int, outputs: int, kernel: int, encoded: int
) -> int:
    y = source
    for index in range(2):
        block = f"{name}.{index}"
        inputs = program.rows[y][1]
        film = program.films
        program.films += 2 * outputs
        hidden = _convolve(program, f"{block}.first", y, outputs, kernel, film=film)
        # A mask beside the actions must not be passed on, so there a skip has weights as well.
        has_weights = inputs != outputs or (y == INPUT and inputs > encoded)
        skip = program.apply(f"{block}.skip", y, inputs, outputs) if has_weights else y
        y = _convolve(program, f"{block}.second", hidden, outputs, kernel, skip=skip)
    return y


def _convolve(
    program: Program, name: str, source: int, outputs: int, kernel: int, **more: int
) -> int:
    k = kernel * program.rows[source][1]
    return program.apply(name, source, k, outputs, first=-(kernel // 2), finish=NORM, **more)


def _shrink(program: Program, name: str, source: int, channels: int) -> int:
    """Add a convolution of kernel 3 and stride 2."""
    count = program.rows[source][0] // 2
    to = program.add_rows(count, channels)
    program.operations.append(
        Operation(name, source, to, count, 3 * channels, channels, first=-1, step=2)
    )
    return to


def _grow(program: Program, name: str, source: int, channels: int) -> int:
    """Add a transposed convolution of kernel 4 and stride 2: its even rows, then its odd ones."""
    count = program.rows[source][0]
    to = program.add_rows(2 * count, channels)
    for odd in range(2):
        rows = {"first": odd - 1, "to_first": odd, "to_step": 2}
        program.operations.append(
            Operation(name, source, to, count, 2 * channels, channels, **rows)
        )
    return to
