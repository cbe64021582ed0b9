"""Curves of a store as a page draws them: which there are, and their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...envs import Field, Spec
from ..episode import ACTION, TIME
from ..store import DemoStore


def panels(spec: Spec) -> list[dict[str, Any]]:
    """Return a panel for every element that is drawn.

    Its numbers of observed and commanded series, where it has them, are as in `curves`. What is
    commanded shares the panel of what measures it.
    """
    first_observed, first_commanded = _count_series(spec.states)
    shared: dict[str, list[dict[str, Any]]] = {}
    commanded_only: list[dict[str, Any]] = []
    for key, part in spec.slices().items():
        field = spec.actions[key]
        measured_by = field.measured_by
        series = first_commanded + part.start
        if measured_by not in shared and _shows_same(field, spec.states.get(measured_by)):
            measured = spec.states[measured_by]
            names = measured.names or field.names
            observed = first_observed[measured_by]
            shared[measured_by] = _field_panels(measured_by, measured, names, observed, series)
        else:
            title = key if key == ACTION else f"{ACTION} {key}"
            commanded_only += _field_panels(title, field, field.names, None, series)
    result: list[dict[str, Any]] = []
    for group in shared.values():
        result += group
    result += commanded_only
    for key, field in spec.states.items():
        if key not in shared:
            result += _field_panels(key, field, field.names, first_observed[key], None)
    interval = Field((1,), "ms")
    interval_series = first_commanded + spec.action_size
    return result + _field_panels("time between frames", interval, (), interval_series, None)


def _count_series(fields: Mapping[str, Field]) -> tuple[dict[str, int], int]:
    """Return the number of each field's first series, and that of the first one after them."""
    first: dict[str, int] = {}
    count = 0
    for key, field in fields.items():
        first[key] = count
        count += field.size
    return first, count


def _shows_same(action: Field, measured: Field | None) -> bool:
    """Return whether an action can share the panel of what measures it."""
    return measured is not None and action.unit == measured.unit


def _field_panels(
    title: str, field: Field, names: tuple[str, ...], observed: int | None, commanded: int | None
) -> list[dict[str, Any]]:
    """Return a panel for each element of a field; observed, commanded: numbers of first series."""
    if not names:
        names = tuple(str(element) for element in range(field.size)) if field.size > 1 else ("",)
    result = []
    for element, name in enumerate(names):
        panel = {
            "field": title,
            "name": name,
            "unit": field.unit,
            "kind": field.kind,
            "observed": None if observed is None else observed + element,
            "commanded": None if commanded is None else commanded + element,
        }
        result.append(panel)
    return result


def starts(store: DemoStore) -> list[list[float | None]]:
    """Return the first frames of all episodes: a list for each observed series of `panels`."""
    states = store.spec.states
    if not len(store) or not states:
        return []
    first_frames = store.ends - np.diff(store.ends, prepend=0)
    columns = [_flatten(store.array(key)[first_frames]) for key in states]
    return to_json_numbers(np.hstack(columns).T)


def curves(store: DemoStore, start: int, stop: int, points: int) -> dict[str, Any]:
    """Return all series of frames start to stop.

    Where they are more than `points`, they are the lowest and highest of every `step` frames.
    """
    columns = [_flatten(store.array(key, start, stop)) for key in [*store.spec.states, ACTION]]
    time = store.array(TIME, start, stop)
    interval = 1000 * np.diff(time, prepend=np.nan)[:, None]  # ms
    frames = stop - start
    step = -(-frames // max(points, 1))  # rounded up
    series = extremes(np.hstack([*columns, interval]), step)
    return {"step": step, "series": to_json_numbers(series.T)}


def extremes(values: np.ndarray, step: int) -> np.ndarray:
    """Return the lowest and highest in turn of every `step` of T frames, (2 * ceil(T / step), K).

    All of `values` (T, K) where step is 1.
    """
    if step <= 1:
        return values
    begins = np.arange(0, len(values), step)
    lowest = np.minimum.reduceat(values, begins)
    highest = np.maximum.reduceat(values, begins)
    return np.stack([lowest, highest], axis=1).reshape(2 * len(begins), -1)


def lengths_and_rates(store: DemoStore) -> dict[str, list[float | None]]:
    """Return the length [s] and rate [Hz] of each episode by its time stamps."""
    if not len(store):
        return {"seconds": [], "rate": []}
    time = store.array(TIME)
    frames = np.diff(store.ends, prepend=0)
    with np.errstate(all="ignore"):
        seconds = time[store.ends - 1] - time[store.ends - frames]
        rate = np.where(seconds > 0, (frames - 1) / seconds, np.nan)
    return {"seconds": to_json_numbers(seconds), "rate": to_json_numbers(rate)}


def to_json_numbers(values: np.ndarray) -> Any:
    """Return numbers for JSON, six digits of each; None for what is none."""
    if values.ndim > 1:
        return [to_json_numbers(row) for row in values]
    return [float(f"{number:.6g}") if np.isfinite(number) else None for number in values.tolist()]


def _flatten(values: np.ndarray) -> np.ndarray:
    """Return (T, K) of (T, ...)."""
    return values.reshape(len(values), -1)
