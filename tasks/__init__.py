"""Prefect tasks, one file per step: retries, limits, logging and artifacts around one operation."""
