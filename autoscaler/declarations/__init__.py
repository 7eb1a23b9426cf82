"""YAML text -> domain values. No I/O.

An alarm's type is one of ``threshold``, ``aggregation``, ``gnocchi_resources_threshold`` and
``gnocchi_aggregation_by_resources_threshold``.
"""

from autoscaler.declarations.advice import warnings
from autoscaler.declarations.documents import Origin
from autoscaler.declarations.generation import Declarations
from autoscaler.declarations.loading import dump, load, parse

__all__ = ["Declarations", "Origin", "dump", "load", "parse", "warnings"]
