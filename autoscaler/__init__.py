"""An event-driven alarm and autoscaling controller."""

__version__ = "0.1.0"
