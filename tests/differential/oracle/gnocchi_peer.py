"""Gnocchi's processing of measures and its answers, without its storage and its HTTP server.

What gnocchi.storage does with a batch of new measures, and gnocchi.rest with a query, done with gnocchi's own
carbonara and rest.aggregates; answers go through gnocchi's JSON and back.
"""

import json
from types import SimpleNamespace

import numpy as np
from gnocchi import carbonara, utils
from gnocchi import json as gnocchi_json
from gnocchi.rest.aggregates import processor


def timespan(seconds):
    return np.timedelta64(int(seconds * 1_000_000_000), "ns")


def timeseries(points):
    """Points as gnocchi holds them; times to the microsecond, as ISO timestamps carry them."""
    times = [np.datetime64(round(time * 1_000_000), "us").astype("datetime64[ns]") for time, _ in points]
    return carbonara.make_timeseries(times, [value for _, value in points])


class Metric:
    """One metric whose archive policy has one granularity and these aggregation methods."""

    def __init__(self, granularity, methods):
        self.granularity = timespan(granularity)
        self.aggregates = {
            method: carbonara.AggregatedTimeSerie(carbonara.Aggregation(method, self.granularity, None))
            for method in methods
        }
        back_window = 1 if any(method.startswith("rate:") for method in methods) else 0
        self.raw = carbonara.BoundTimeSerie(block_size=self.granularity, back_window=back_window)

    def process(self, points):
        """New measures, in order of arrival: what gnocchi-metricd does with each batch of them."""
        batch = {}
        for time, value in points:
            if time in batch:
                self._process(batch)
                batch = {}
            batch[time] = value
        if batch:
            self._process(batch)

    def _process(self, batch):
        measures = np.sort(timeseries(list(batch.items())), order="timestamps")
        self.raw.set_values(measures, before_truncate_callback=lambda bound: self._aggregate(bound, measures))

    def _aggregate(self, bound, measures):
        oldest = max(bound.first, measures["timestamps"][0])
        grouped = bound.group_serie(self.granularity, carbonara.round_timestamp(oldest, self.granularity))
        for stored in self.aggregates.values():
            stored.merge(carbonara.AggregatedTimeSerie.from_grouped_serie(grouped, stored.aggregation))

    def measures(self, method, start, stop):
        """GET .../measures."""
        fetched = self.aggregates[method].fetch(start, stop)
        return over_the_wire([(time, self.granularity, value) for time, value in fetched])


def aggregated(metrics, method, stored, start, stop):
    """POST /v1/aggregates of ["aggregate", method, ["metric", name, stored]] over ``metrics``, needed_overlap 0."""
    reference = SimpleNamespace(lookup_key=["metric", stored], name="metric", aggregation=stored, resource=None)
    answer = processor.aggregated(
        [(reference, metric.aggregates[stored].fetch(start, stop)) for metric in metrics],
        ["aggregate", method, ["metric", "metric", stored]],
        from_timestamp=start,
        to_timestamp=stop,
        needed_percent_of_overlap=0,
    )
    return over_the_wire(answer["aggregated"])


def over_the_wire(rows):
    return json.loads(gnocchi_json.dumps(rows))


def instant(text):
    """A start or stop as a client sends it."""
    return utils.to_timestamp(text)
