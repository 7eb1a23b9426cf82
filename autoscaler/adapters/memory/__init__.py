"""Adapters that keep everything in memory, for replay, simulation and tests."""

from __future__ import annotations

from autoscaler.adapters.memory.store import MemoryStore

__all__ = ["MemoryStore"]
