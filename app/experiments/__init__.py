"""Runs and sweeps that decide what a diagnosis left open: what to change, what it costs, and what came of it."""
