"""How the agent is called on a Subscriber (docs/formats.md sections 6 and 7): the one home of its place and its command line."""

from __future__ import annotations

from pathlib import PurePosixPath

NOT_FOUND = 127
"""Exit status of a shell whose command isn't there."""
NOT_EXECUTABLE = 126


def launcher(working_directory: PurePosixPath) -> PurePosixPath:
    """Where bootstrap puts what starts the agent."""
    return working_directory / "agent" / "sluice-agent"


def serve_command(working_directory: PurePosixPath) -> list[str]:
    """Starts a conversation over stdin and stdout."""
    return agent_command(working_directory, "serve")


def agent_command(working_directory: PurePosixPath, verb: str, *arguments: str) -> list[str]:
    """Any of the agent's commands on this working directory."""
    return [str(launcher(working_directory)), verb, "--directory", str(working_directory), *arguments]
