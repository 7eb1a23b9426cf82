"""Aodh's database, read and written where it lies."""

from autoscaler.adapters.aodh.database import Database

__all__ = ["Database"]
