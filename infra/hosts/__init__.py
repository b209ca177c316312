"""Subscribers as hosts: bundles of the agent, the administrator's login, bootstrap and check."""
