"""What was observed: measures, windows and aggregates. Pure."""
