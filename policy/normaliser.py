"""Normaliser: robot units to about [-1, 1] and back, field by field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Generator, Tensor, nn

from ..envs import ConfigError, DataError, Field, Spec
from .field_codes import contract_field, expand_field
from .field_widths import FARTHEST, WIDTH, encoded_width, find_measured

NARROWEST = 0.02  # share of its field's widest range that an element's range counts as at least
# A chunk may leave the range of the demonstrated actions by 5 % of half of it, no further.
FARTHEST_ACTION = 1.05
BLOCK = 2**16  # frames that are looked at together, so that no copy of all of them is made


class Normaliser(nn.Module):
    """Min-max to [-1, 1] per element; its statistics are buffers, so they are part of a checkpoint.

    The statistics of the state fields stand end to end in the order of the Spec; images pass by.
    Angles and quaternions are expanded first (see field_codes). An element whose range is at most
    1e-6 + 1e-5 of its magnitude counts as constant: it encodes to 0 and decodes to its constant.
    One that hardly moves beside the others of its field is not blown up: its range counts as
    NARROWEST of the widest. Observations are clipped to FARTHEST, so that a step beside the
    demonstrations does not look like another world.

    With a `horizon`, what is learnt of a chunk is how far its actions lie from what is measured at
    the latest observation, where something measures them, so that holding still is 0. Differences
    grow with the time ahead, and each step has a scale of its own.
    """

    def __init__(self, spec: Spec, horizon: int = 0) -> None:
        super().__init__()
        self.spec = spec
        self.horizon = horizon
        self._places = {
            "observation": place_fields(spec.states),
            "action": place_fields(spec.actions),
        }
        for group, places in self._places.items():
            size = max((place.stop for place in places.values()), default=0)
            self.register_buffer(f"{group}_low", -torch.ones(size))
            self.register_buffer(f"{group}_high", torch.ones(size))
        self.measured = find_measured(spec) if horizon else ()
        if horizon:
            if not self.measured:
                raise ConfigError(
                    "from_measured needs an action that is measured by a state which is learnt "
                    "from; `fewstep spec` shows and sets measured_by"
                )
            self.register_buffer("difference_scale", torch.ones(horizon, self.action_size))

    @classmethod
    def fit(
        cls, spec: Spec, data: Mapping[str, np.ndarray], ends: np.ndarray, horizon: int = 0
    ) -> Normaliser:
        """Return the statistics of data[key] (N, ...) and data["action"] (N, A).

        ends: (E,), where the episodes end. Raises DataError with key, episode and frame where a
        number is NaN or infinite, or a quaternion has no length.
        """
        normaliser = cls(spec, horizon)
        for key, field in spec.states.items():
            normaliser._fit_field("observation", key, field, key, data[key], ends)
        for key, place in spec.slices().items():
            values = data["action"][:, place]
            normaliser._fit_field("action", key, spec.actions[key], "action", values, ends)
        if horizon:
            normaliser._fit_differences(data, ends)
        return normaliser

    def refit(self, data: Mapping[str, np.ndarray], ends: np.ndarray) -> Normaliser:
        """Return the statistics of other data, of the same kind as these; see `fit`."""
        return Normaliser.fit(self.spec, data, ends, self.horizon)

    def difference_scales(self, horizon: int) -> Tensor:
        """Return by what differences are divided (horizon, action_size), 1 where there are none."""
        if self.horizon:
            return self.get_buffer("difference_scale")
        return torch.ones(horizon, self.action_size)

    @property
    def observation_size(self) -> int:
        """Return D, the encoded numbers of all state fields of one observation."""
        return len(self.get_buffer("observation_low"))

    @property
    def action_size(self) -> int:
        """Return the encoded numbers per action."""
        return len(self.get_buffer("action_low"))

    def encode_observations(self, obs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return obs[key] (..., *shape), in robot units, as (..., width); images as they are."""
        encoded: dict[str, Tensor] = {}
        for key in self.spec.observations:
            is_state = key in self._places["observation"]
            encoded[key] = self._encode_state(key, obs[key]) if is_state else obs[key]
        return encoded

    def draw_states(self, shape: tuple[int, ...], generator: Generator) -> dict[str, Tensor]:
        """Return states (*shape, ...), in robot units, evenly from the range that was fitted."""
        drawn: dict[str, Tensor] = {}
        low = self.get_buffer("observation_low")
        high = self.get_buffer("observation_high")
        for key, place in self._places["observation"].items():
            field = self.spec.observations[key]
            u = torch.rand(*shape, encoded_width(field), generator=generator)
            x = low[place] + u * (high - low)[place]
            drawn[key] = contract_field(field, x).reshape(*shape, *field.shape)
        return drawn

    def encode_states(self, obs: Mapping[str, Tensor]) -> Tensor:
        """Return all state fields of obs[key] (..., *shape), encoded and end to end, (..., D)."""
        places = self._places["observation"]
        return torch.cat([self._encode_state(key, obs[key]) for key in places], -1)

    def _encode_state(self, key: str, values: Tensor) -> Tensor:
        """Return a state (..., *shape), in robot units, as (..., width)."""
        field = self.spec.observations[key]
        expanded = expand_field(field, _flatten(field, values))
        return self._scale("observation", key, expanded).clamp(-FARTHEST, FARTHEST)

    def encode_chunks(self, actions: Tensor, obs: Mapping[str, Tensor]) -> Tensor:
        """Return chunks (B, H, A), in robot units, as what is learnt: (B, H, action_size).

        obs[key]: (B, O, ...), in robot units; differences are taken from the latest.
        """
        encoded = self.encode_actions(actions)
        if not self.horizon:
            return encoded
        scale = self.get_buffer("difference_scale")
        difference = encoded - self._encode_measured(obs)
        return torch.where(scale > 0, difference / torch.where(scale > 0, scale, 1), 0)

    def decode_chunks(self, x: Tensor, obs: Mapping[str, Tensor]) -> Tensor:
        """Return what is learnt, x (B, H, action_size), as chunks (B, H, A) in robot units.

        They leave the range of the demonstrated actions by 5 % of half of it at most.
        """
        if self.horizon:
            x = x * self.get_buffer("difference_scale") + self._encode_measured(obs)
        return self.decode_actions(x.clamp(-FARTHEST_ACTION, FARTHEST_ACTION))

    def _encode_measured(self, obs: Mapping[str, Tensor]) -> Tensor:
        """Return the latest measurement of each action, encoded (B, 1, action_size).

        It is 0 for actions that are no differences.
        """
        parts: list[Tensor] = []
        for key, field in self.spec.actions.items():
            if key in self.measured:
                latest = _flatten(field, obs[field.measured_by][:, -1:])
                parts.append(self._scale("action", key, expand_field(field, latest)))
            else:
                anything = next(iter(obs.values()))
                zeros = torch.zeros(len(anything), 1, encoded_width(field), device=anything.device)
                parts.append(zeros)
        return torch.cat(parts, -1)

    def encode_actions(self, actions: Tensor) -> Tensor:
        """Return actions (..., A), in robot units, encoded: (..., action_size)."""
        parts: list[Tensor] = []
        for key, place in self.spec.slices().items():
            expanded = expand_field(self.spec.actions[key], actions[..., place])
            parts.append(self._scale("action", key, expanded))
        return torch.cat(parts, -1)

    def decode_actions(self, x: Tensor) -> Tensor:
        """Return encoded actions x (..., action_size) in robot units: (..., A)."""
        low = self.get_buffer("action_low")
        high = self.get_buffer("action_high")
        x = (x + 1) / 2 * (high - low) + low
        parts: list[Tensor] = []
        for key, place in self._places["action"].items():
            parts.append(contract_field(self.spec.actions[key], x[..., place]))
        return torch.cat(parts, -1)

    def _scale(self, group: str, key: str, x: Tensor) -> Tensor:
        """Return the expanded field x (..., width) scaled to [-1, 1], 0 where it is constant."""
        place = self._places[group][key]
        low = self.get_buffer(f"{group}_low")[place]
        span = self.get_buffer(f"{group}_high")[place] - low
        return torch.where(span > 0, 2 * (x - low) / torch.where(span > 0, span, 1) - 1, 0)

    def _fit_differences(self, data: Mapping[str, np.ndarray], ends: np.ndarray) -> None:
        """Set the scale of differences: twice their root mean square, for each step ahead."""
        squares = torch.zeros(self.horizon, self.action_size, dtype=torch.float64)
        for first, block in _blocks(data["action"]):
            here = np.arange(first, first + len(block))
            last = ends[np.searchsorted(ends, here, side="right")] - 1
            latest = {}
            for key in {self.spec.actions[key].measured_by for key in self.measured}:
                latest[key] = torch.from_numpy(data[key][here])[:, None]
            measured = self._encode_measured(latest)[:, 0]
            for ahead in range(self.horizon):
                then = np.minimum(here + ahead, last)
                actions = self.encode_actions(torch.from_numpy(data["action"][then]))
                squares[ahead] += (actions - measured).square().sum(0)
        scale = self.get_buffer("difference_scale")
        for key in self.measured:
            place = self._places["action"][key]
            scale[:, place] = 2 * (squares[:, place] / len(data["action"])).sqrt().float()

    def _fit_field(
        self, group: str, key: str, field: Field, array: str, values: np.ndarray, ends: np.ndarray
    ) -> None:
        """Set the statistics of one field from its values (N, ...), a part of the named array."""
        low, high = measure_range(field, array, values, ends)
        place = self._places[group][key]
        self.get_buffer(f"{group}_low")[place] = low
        self.get_buffer(f"{group}_high")[place] = high


def place_fields(fields: Mapping[str, Field]) -> dict[str, slice]:
    """Return where each field lies once they are expanded and laid end to end."""
    places: dict[str, slice] = {}
    start = 0
    for key, field in fields.items():
        places[key] = slice(start, start + encoded_width(field))
        start = places[key].stop
    return places


def measure_range(
    field: Field, array: str, values: np.ndarray, ends: np.ndarray
) -> tuple[Tensor, Tensor]:
    """Return lowest and highest value (width,) by which a field's values (N, ...) are normalised.

    Raises DataError, naming the array, where a value is no number.
    """
    if field.kind in WIDTH:
        for first, block in _blocks(values):
            _require_sound(field, array, block, first, ends)
        return torch.tensor(-1.0), torch.tensor(1.0)
    low = torch.full((encoded_width(field),), torch.inf)
    high = torch.full((encoded_width(field),), -torch.inf)
    for first, block in _blocks(values):
        _require_sound(field, array, block, first, ends)
        x = expand_field(field, _flatten(field, torch.as_tensor(np.array(block))))
        low = torch.minimum(low, x.amin(0))
        high = torch.maximum(high, x.amax(0))
    return _widen(low, high)


def _widen(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return the range of a field with narrow elements widened and constant ones without width."""
    span = high - low
    constant = span <= 1e-6 + 1e-5 * torch.maximum(low.abs(), high.abs())
    missing = (NARROWEST * span.amax() - span).clamp(min=0) / 2
    return torch.where(constant, low, low - missing), torch.where(constant, low, high + missing)


def _blocks(values: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    for first in range(0, len(values), BLOCK):
        yield first, values[first : first + BLOCK]


def _flatten(field: Field, x: Tensor) -> Tensor:
    return x.reshape(*x.shape[: x.ndim - len(field.shape)], field.size)


def _require_sound(
    field: Field, array: str, block: np.ndarray, first: int, ends: np.ndarray
) -> None:
    """Raise DataError with the first frame of a block that is no number or no rotation."""
    rows = block.reshape(len(block), -1)
    bad = ~np.isfinite(rows).all(1)
    trouble = "is not finite"
    if field.kind == "quaternion" and not bad.any():
        bad = ~rows.any(1)
        trouble = "is no rotation"
    if not bad.any():
        return
    frame = first + int(bad.argmax())
    episode = int(np.searchsorted(ends, frame, side="right"))
    start = int(ends[episode - 1]) if episode else 0
    raise DataError(
        f"{array!r} {trouble} in episode {episode}, frame {frame - start}: run `fewstep check`"
    )
