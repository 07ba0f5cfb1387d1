"""Experiments on how neurons learn: one run, and whole sweeps of runs."""
