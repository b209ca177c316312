"""Render templates for one Subscriber, and settings as text for people."""
