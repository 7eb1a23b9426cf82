"""What gnocchi makes of series: within each, and across several."""

import json
import sys

import numpy as np
from gnocchi import carbonara
from gnocchi.rest.aggregates import operations
from gnocchi_peer import Metric, timeseries, timespan


def rows(stored):
    return [[float(carbonara.datetime64_to_epoch(time)), float(value)] for time, value in stored]


def of_whole_series(points, granularity, methods):
    """Each method over a series that is there at once."""
    grouped = carbonara.TimeSerie(timeseries(points)).group_serie(timespan(granularity))
    return {
        method: rows(
            carbonara.AggregatedTimeSerie.from_grouped_serie(
                grouped, carbonara.Aggregation(method, timespan(granularity), None)
            )
        )
        for method in methods
    }


def granule_by_granule(points, granularity, methods):
    """Each method over a series whose measures are processed a granule at a time."""
    metric = Metric(granularity, methods)
    for index in sorted({int(time // granularity) for time, _ in points}):
        metric.process([point for point in points if int(point[0] // granularity) == index])
    return {method: rows(metric.aggregates[method]) for method in methods}


def across(grid, methods):
    """Each method across the series of a grid of granules; None in the grid is a series without a value."""
    values = np.full((len(grid[0]), len(grid)), np.nan)
    for granule, row in enumerate(grid):
        for series, value in enumerate(row):
            if value is not None:
                values[series][granule] = value
    return {method: [each.item() for each in operations.AGG_MAP[method](values.T, axis=1)] for method in methods}


KINDS = {"whole": of_whole_series, "granules": granule_by_granule, "across": across}
json.dump([KINDS[case.pop("kind")](**case) for case in json.load(sys.stdin)], sys.stdout)
