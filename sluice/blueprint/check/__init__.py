"""Check what only the whole site shows, and give advice."""
