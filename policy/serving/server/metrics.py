"""What a server counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        registry = self._registry
        self.clients = Gauge("fewstep_clients", "Clients that are connected.", registry=registry)
        self.chunks = Counter("fewstep_chunks", "Chunks that were sent.", registry=registry)
        self.superseded = Counter(
            "fewstep_superseded", "Requests that a newer one replaced.", registry=registry
        )
        self.refused = Counter(
            "fewstep_refused", "Messages and connections that were refused.", registry=registry
        )
        self.inference = Histogram(
            "fewstep_inference_seconds",
            "Time to compute a batch of chunks.",
            buckets=SECONDS,
            registry=registry,
        )
        self.total = Histogram(
            "fewstep_total_seconds",
            "Time from a message to its reply.",
            buckets=SECONDS,
            registry=registry,
        )

    def text(self) -> str:
        """Return all of it, as Prometheus reads it."""
        return generate_latest(self._registry).decode()
