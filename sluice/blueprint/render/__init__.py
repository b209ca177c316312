"""Render templates for one Subscriber, and settings as text that people read."""
