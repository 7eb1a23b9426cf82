"""YAML text -> domain values, and Aodh's stored form of alarms to and from them. No I/O but the program's own files.

An alarm's type is one of :data:`autoscaler.declarations.reading.TYPES`.
"""

from autoscaler.declarations.advice import rate_note, warnings
from autoscaler.declarations.definitions import alarm_of, definition_of
from autoscaler.declarations.documents import Origin
from autoscaler.declarations.generation import Declarations
from autoscaler.declarations.loading import dump, load, parse

__all__ = ["Declarations", "Origin", "alarm_of", "definition_of", "dump", "load", "parse", "rate_note", "warnings"]
