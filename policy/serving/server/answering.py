"""Answering: a thread that owns the engine and answers those who wait, some at a time."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from dataclasses import dataclass

import numpy as np

from ....envs import FewstepError
from ....envs.chunk import Chunk
from ...engines.engine import Engine
from ..runners import answer
from .session import Asked

BATCH = 8  # places of a batch, where the engine computes them at once

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answered:
    """A chunk, and how long it took to compute [s]."""

    chunk: Chunk
    seconds: float


@dataclass(frozen=True)
class _Waiting:
    asked: Asked
    answered: asyncio.Future[Answered]
    loop: asyncio.AbstractEventLoop


class Answering:
    """Answers in the order of asking, in batches that always have the same size.

    So a chunk does not depend on who else asks. `batch` 0 is what suits the engine: one for those
    that compute a row after the other.
    """

    def __init__(self, engine: Engine, batch: int = 0) -> None:
        self._engine = engine
        self.batch = batch or (BATCH if engine.batches else 1)
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, daemon=True, name="answering")
        self._thread.start()

    async def ask(self, asked: Asked) -> Answered:
        """Return the chunk, once it is computed; FewstepError where the policy cannot."""
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Answered] = loop.create_future()
        with self._changed:
            self._waiting.append(_Waiting(asked, answered, loop))
            self._changed.notify()
        return await answered

    def close(self) -> None:
        """Answer nobody any more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join()
        for waiting in self._waiting:
            _settle(waiting, FewstepError("the server ends"))

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._is_closed:
                    self._changed.wait()
                if self._is_closed:
                    return
                taken = self._take()
            if taken:
                self._answer(taken)

    def _take(self) -> list[_Waiting]:
        """Take those who have waited longest, and have not hung up."""
        taken = []
        while self._waiting and len(taken) < self.batch:
            waiting = self._waiting.popleft()
            if not waiting.answered.cancelled():
                taken.append(waiting)
        return taken

    def _answer(self, taken: list[_Waiting]) -> None:
        requests = [waiting.asked.request for waiting in taken]
        noises = {}
        for place, waiting in enumerate(taken):
            if waiting.asked.noise is not None:
                noises[place] = waiting.asked.noise
        free = [None] * (self.batch - len(taken))
        began = time.perf_counter()
        try:
            chunks = answer(self._engine, [*requests, *free], noises)
        except Exception as error:
            if not isinstance(error, FewstepError):
                logger.exception("the policy failed")
                error = FewstepError("the policy failed; the server's log says why")
            for waiting in taken:
                _settle(waiting, error)
            return
        seconds = time.perf_counter() - began
        for waiting, chunk in zip(taken, chunks, strict=False):
            if chunk is None or not np.isfinite(chunk.actions).all():
                _settle(waiting, FewstepError("the chunk holds what is no number"))
            else:
                _settle(waiting, Answered(chunk, seconds))


def _settle(waiting: _Waiting, result: Answered | Exception) -> None:
    """Hand a result to the loop of whoever waits, unless they are gone."""

    def deliver() -> None:
        if waiting.answered.done():
            return
        if isinstance(result, Exception):
            waiting.answered.set_exception(result)
        else:
            waiting.answered.set_result(result)

    if not waiting.loop.is_closed():
        waiting.loop.call_soon_threadsafe(deliver)
