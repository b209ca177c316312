"""How the agent is started on a Subscriber (docs/formats.md sections 6 and 7): the one home of its path and its command line."""

from __future__ import annotations

from pathlib import PurePosixPath

from sluice.errors import AgentMissingError

NOT_FOUND = 127
"""Exit status of a shell that doesn't find the command."""
NOT_EXECUTABLE = 126


def launcher(working_directory: PurePosixPath) -> PurePosixPath:
    """Return the path of the launcher that bootstrap installs."""
    return working_directory / "agent" / "sluice-agent"


def serve_command(working_directory: PurePosixPath) -> list[str]:
    """Return the command that begins a conversation over stdin and stdout."""
    return agent_command(working_directory, "serve")


def agent_command(working_directory: PurePosixPath, verb: str, *arguments: str) -> list[str]:
    """Return one of the agent's commands for this working directory."""
    return [str(launcher(working_directory)), verb, "--directory", str(working_directory), *arguments]


def agent_missing(peer: str, name: str, why: str, *, is_there: bool = False) -> AgentMissingError:
    """Return the error of a Subscriber on which no agent can be started; ``peer`` names it with its address.

    Args:
        is_there: The launcher is there and may not be run: because of its mode, or because its file system is mounted noexec.
    """
    remedy = f"run: sluice subscriber bootstrap {name}" + (", which says whether it is mounted noexec" if is_there else "")
    return AgentMissingError(f"{peer}: no agent can be started: {why}", remedy=remedy)
