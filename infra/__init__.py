"""The outside world behind the domain's ports. This file imports nothing: the agent passes through it."""
