"""Measure Sluice against other tools on this machine; nothing here is installed."""
