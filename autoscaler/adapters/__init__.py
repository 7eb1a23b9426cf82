"""Edges; each translates and nothing else."""
