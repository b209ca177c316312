"""Prefect's API behind the Orchestrator port."""
