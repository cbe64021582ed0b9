"""Curves of a store as a page draws them: which there are, and their numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...envs import Field, Spec
from ..episode import ACTION, TIME
from ..store import DemoStore


def numbers(spec: Spec) -> dict[str, Field]:
    """What is observed, but images."""
    return spec.states


def panels(spec: Spec) -> list[dict[str, Any]]:
    """A curve for every element; its numbers of observed and commanded series, where it has them, are as in `curves`.

    What is commanded shares the panel of what measures it.
    """
    fields = numbers(spec)
    at = dict(
        zip(
            fields,
            np.cumsum([0, *(field.size for field in fields.values())]).tolist(),
            strict=False,
        )
    )
    first, both, alone = sum(field.size for field in fields.values()), {}, []
    for key, part in spec.slices().items():
        field, by = spec.actions[key], spec.actions[key].measured_by
        if by in fields and by not in both and field.unit == fields[by].unit:
            both[by] = _elements(by, fields[by], at[by], first + part.start, field.names)
        else:
            alone += _elements(
                key,
                field,
                None,
                first + part.start,
                title=f"{ACTION} {key}" if key != ACTION else key,
            )
    rest = [
        panel for key in fields if key not in both for panel in _elements(key, fields[key], at[key])
    ]
    time = _elements("time between frames", Field((1,), "ms"), first + spec.action_size)
    return [*(panel for group in both.values() for panel in group), *alone, *rest, *time]


def _elements(
    key: str, field: Field, observed: int | None, commanded: int | None = None,
    more: tuple[str, ...] = (), title: str = "",
) -> list[dict[str, Any]]:  # fmt: skip
    called = (
        field.names or more or (tuple(map(str, range(field.size))) if field.size > 1 else ("",))
    )
    places = [{"observed": observed, "commanded": commanded} for _ in called]
    return [
        {"field": title or key, "name": name, "unit": field.unit, "kind": field.kind}
        | {group: None if start is None else start + i for group, start in place.items()}
        for i, (name, place) in enumerate(zip(called, places, strict=True))
    ]


def starts(store: DemoStore) -> list[list[float | None]]:
    """The first frames of all episodes: a list for each observed series of `panels`."""
    if not len(store) or not numbers(store.spec):
        return []
    first = store.ends - np.diff(store.ends, prepend=0)
    return plain(np.hstack([_flat(store.array(key)[first]) for key in numbers(store.spec)]).T)


def curves(store: DemoStore, start: int, stop: int, points: int) -> dict[str, Any]:
    """All series of these frames; where they are more than `points`, the lowest and highest of `step` frames."""
    parts = [_flat(store.array(key, start, stop)) for key in [*numbers(store.spec), ACTION]]
    between = 1000 * np.diff(store.array(TIME, start, stop), prepend=np.nan)[:, None]  # ms
    step = -(-(stop - start) // max(points, 1))
    return {"step": step, "series": plain(extremes(np.hstack([*parts, between]), step).T)}


def extremes(values: np.ndarray, step: int) -> np.ndarray:
    """(2 * ceil(T / step), K) lowest and highest in turn of every `step` of T frames; all of them where it is 1."""
    if step <= 1:
        return values
    begins = np.arange(0, len(values), step)
    both = np.minimum.reduceat(values, begins), np.maximum.reduceat(values, begins)
    return np.stack(both, axis=1).reshape(2 * len(begins), -1)


def plain(values: np.ndarray) -> Any:
    """Numbers for JSON, six digits of each; None for what is none."""
    if values.ndim > 1:
        return [plain(row) for row in values]
    return [float(f"{x:.6g}") if np.isfinite(x) else None for x in values.tolist()]


def _flat(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1)


def clock(store: DemoStore) -> dict[str, list[float | None]]:
    """Length and rate of each episode by its time stamps."""
    if not len(store):
        return {"seconds": [], "rate": []}
    time, frames = store.array(TIME), np.diff(store.ends, prepend=0)
    with np.errstate(all="ignore"):
        seconds = time[store.ends - 1] - time[store.ends - frames]
        return {
            "seconds": plain(seconds),
            "rate": plain(np.where(seconds > 0, (frames - 1) / seconds, np.nan)),
        }
