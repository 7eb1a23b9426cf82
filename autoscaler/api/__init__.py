"""The HTTP API of a running controller."""

from autoscaler.api.app import Readiness, create_app

__all__ = ["Readiness", "create_app"]
