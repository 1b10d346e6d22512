"""Figures for jupyter_server's own `/metrics`."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from .hub import Hub

__all__ = ["HubCollector"]


class HubCollector(Collector):
    """Reads the hub's counters when somebody asks: counting costs the hot path an addition each."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub

    def collect(self) -> Iterator[Metric]:
        stats = self.hub.stats
        yield GaugeMetricFamily("jupyter_sse_connections", "Open reader connections.", stats.connections)
        running = GaugeMetricFamily(
            "jupyter_sse_streams", "Streams held in memory, by kind and status.", labels=["kind", "status"]
        )
        lag = 0
        counted: dict[tuple[str, str], int] = {}
        for channel in list(self.hub.channels.values()):
            if channel.exists:
                lag += channel.accepted - channel.last
                key = (channel.kind or "unknown", "ended" if channel.ended else "running")
                counted[key] = counted.get(key, 0) + 1
        for labels, count in counted.items():
            running.add_metric(labels, count)
        yield running
        yield GaugeMetricFamily("jupyter_sse_append_queue_events", "Events on their way into the log.", lag)
        for name, text, value in (
            ("appended_events", "Events committed to the log.", stats.appended),
            ("appended_bytes", "Bytes of events committed to the log.", stats.appended_bytes),
            ("delivered_events", "Events delivered, counted once for each reader.", stats.delivered),
            ("delivered_bytes", "Bytes sent to readers.", stats.delivered_bytes),
            ("reconnects", "Connections that resumed after a cursor.", stats.reconnects),
            ("dropped_readers", "Readers cut because they were too slow.", stats.dropped),
            ("heartbeat_failures", "Heartbeats that found a reader not taking bytes.", stats.heartbeat_failures),
            ("ended_streams", "Streams that have ended.", stats.ended),
            ("calls", "Calls of users' endpoints.", stats.calls),
            ("stream_seconds", "Seconds that ended streams took, summed up.", stats.seconds),
        ):
            yield CounterMetricFamily(f"jupyter_sse_{name}", text, value)
        errors = CounterMetricFamily("jupyter_sse_errors", "Errors, by code.", labels=["code"])
        for code, count in stats.errors.items():
            errors.add_metric([code], count)
        yield errors
