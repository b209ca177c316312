"""Measurements against other tools, on this machine; nothing here is part of what is installed."""
