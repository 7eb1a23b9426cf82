"""The HTTP API of a running controller."""

from autoscaler.api.app import create_app

__all__ = ["create_app"]
