"""Loops and verbs: the only room that awaits, and only on ports."""
