"""Figures of published training runs, one CSV a run, with their provenance."""
