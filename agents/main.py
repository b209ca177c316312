"""The ``sluice-agent`` command. Starts fast: a subcommand imports only what it needs, and ``hello`` next to nothing."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from agents.working_directory import WorkingDirectory
from sluice.errors import SluiceError

DEFAULT_DIRECTORY = "/var/lib/sluice"
ROOT_MAX = 5_000_000
"""Bytes of a trust root."""


def main(arguments: list[str] | None = None) -> int:
    """Run one subcommand. Returns the exit code of ``sluice/errors.py``'s table, 0 if nothing is wrong."""
    if sys.getfilesystemencoding() != "utf-8":
        # File names are UTF-8 whatever the login's locale says.
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606 - ourselves
    options = _parser().parse_args(arguments)
    os.umask(0o077)
    try:
        return _dispatch(options, Path(options.directory))
    except SluiceError as error:
        sys.stderr.write(f"sluice-agent: {error}\n")
        return error.exit_code


def _dispatch(options: argparse.Namespace, path: Path) -> int:
    if options.command == "init":
        from agents.init import init

        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        WorkingDirectory(path)
        sys.stdout.buffer.write(init(path, options.name))
        return 0
    directory = WorkingDirectory(path)
    if options.command == "serve":
        from agents.serve import serve

        return serve(directory)
    if options.command == "trust":
        from agents.init import trust

        trust(path, options.distributor, sys.stdin.buffer.read(ROOT_MAX))
        return 0
    from agents.run import run, status

    return status(directory, as_json=options.json) if options.command == "status" else run(directory)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sluice-agent", description="Receives and extracts Distributions on a Subscriber.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in (
        ("serve", "a conversation with a Distributor or parent over stdin and stdout"),
        ("run", "finish or undo the extractions of a killed agent"),
        ("status", "list the revisions that are held and extracted here"),
        ("init", "make this Subscriber's name and receipt key; prints the public key"),
        ("trust", "trust a Distributor: its root is read from stdin"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--directory", default=DEFAULT_DIRECTORY, help=f"the working directory (default {DEFAULT_DIRECTORY})")
        if name == "status":
            command.add_argument("--json", action="store_true", help="for programs")
        elif name == "init":
            command.add_argument("--name", required=True, help="of this Subscriber")
        elif name == "trust":
            command.add_argument("--distributor", required=True, help="its name")
    return parser


if __name__ == "__main__":
    sys.exit(main())
