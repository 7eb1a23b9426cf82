"""Aodh's v2 API, for clients that do not know that Aodh is gone."""

from autoscaler.api.v2.options import Options, Trusts
from autoscaler.api.v2.paths import router

__all__ = ["Options", "Trusts", "router"]
