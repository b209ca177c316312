"""Prefect flows, one file each: order and fan-out, nothing else."""
