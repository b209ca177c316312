"""Adapters of the Filesystem port. This file imports nothing: the agent passes through it."""
