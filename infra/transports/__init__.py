"""Adapters of the Transport port. This file imports nothing: the agent imports it too."""
