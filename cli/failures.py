"""Report an error: one clear message (or JSON), and an exit code from ``sluice/errors.py``.

With ``--json`` an error is one JSON document on stdout, where the result would have been::

    {"error": {"code": "NotFoundError", "message": "...", "remedy": "...", "exit": 2}}

``SiteError`` has ``"errors"``: one object for each, with ``file``, ``line`` and ``path`` too. Usage errors have the code ``UsageError``.
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import traceback
from collections.abc import Iterable
from typing import Any

import click

from cli.session import emit, say
from sluice.errors import BlueprintError, SiteError, SluiceError, StoreError, error_from_code
from sluice.rules.names_on_disk import shown_path
from sluice.rules.wording import counted, printable

SOME_FAILED = 1
"""Exit code if several things failed for different reasons."""
USAGE = 2
CHANGES = 13
"""Exit code of ``plan --exit-code`` if there is something to apply."""
UNEXPECTED = 70
"""A fault of Sluice itself, or of this machine (EX_SOFTWARE)."""
INTERRUPTED = 130
"""As shells report SIGINT."""
TERMINATED = 143
"""As shells report SIGTERM."""

EXIT_CODES = (
    (0, "everything was done, or there was nothing to do"),
    (1, "something failed, or several things failed for different reasons"),
    (2, "wrong usage, or no such Distribution, Subscriber, Channel, revision"),
    (3, "the site's blueprints have errors"),
    (4, "trust: signed by an unknown key, replayed, expired, tampered with or truncated"),
    (5, "the store of revisions: locked, damaged, no space; or files of this machine that cannot be read or written"),
    (6, "a source cannot be read or distributed"),
    (7, "the connection to a Subscriber: unreachable, host key, login, agent"),
    (8, "the extraction on a Subscriber"),
    (9, "a group distribution is not in a state for that"),
    (10, "the ledger cannot be read or written"),
    (11, "Prefect cannot be reached, or refuses"),
    (12, "a mail could not be handed to its server"),
    (CHANGES, "`plan --exit-code`: `apply` would change something in Prefect"),
    (14, "it would delete something, and nobody agreed: on a terminal it asks, elsewhere give --yes; nothing was changed"),
    (15, "`--reviewed`: `apply` would change something that the reviewed plan doesn't say; nothing was changed"),
    (UNEXPECTED, "an unexpected error; the message says where its traceback is"),
    (INTERRUPTED, "interrupted"),
    (TERMINATED, "terminated"),
)


_RIGHTS = "run it as the account that owns the Distributor's working directory, or name a directory that this account may write to"
_REMEDIES = {
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: "name a directory on a file system that isn't mounted read-only",
    errno.ENOSPC: "make room there: for bytes (`df`), or for files (`df -i`)",
    errno.EDQUOT: "make room there, or raise this account's quota",
}
_FILE_ERRORS = frozenset({*_REMEDIES, errno.EIO, errno.EFBIG})
"""Errors of files, even if the system doesn't name one, as in a write."""


class Terminated(SystemExit):
    """SIGTERM arrived. An event loop swallows whatever else its callbacks raise."""


def worst_exit(codes: Iterable[str]) -> int:
    """Return the exit code of a run with these errors (their names on the wire): 0 for none, else theirs if it is the same."""
    found = {error_from_code(code, "").exit_code for code in codes}
    if not found:
        return 0
    return found.pop() if len(found) == 1 else SOME_FAILED


def report(error: BaseException, *, as_json: bool, debug: bool) -> int:
    """Print an error, and return the exit code."""
    if debug and not isinstance(error, click.ClickException):
        say(_traceback(error))
    if isinstance(error, click.ClickException):
        return _report_usage(error, as_json=as_json)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        say("sluice: interrupted; every step may be repeated")
        return INTERRUPTED
    # Within a flow run Prefect handles the signal and raises a class of its own, which must not be imported for this.
    if isinstance(error, Terminated) or type(error).__name__ == "TerminationSignal":
        say("sluice: terminated; every step may be repeated")
        return TERMINATED
    if isinstance(error, OSError):
        error = _file_error(error) or error
    if isinstance(error, SluiceError):
        if as_json:
            emit({"error": error_json(error)})
        else:
            say(_message(error))
        return error.exit_code
    return _report_unexpected(error, as_json=as_json)


def error_json(error: SluiceError) -> dict[str, Any]:
    """Make the JSON of an error."""
    found: dict[str, Any] = {"code": error.code, "message": str(error.message), "remedy": error.remedy, "exit": error.exit_code}
    if isinstance(error, SiteError):
        found["message"] = f"{counted(len(error.errors), 'error')} in the site"
        found["errors"] = [error_json(e) for e in error.errors]
    if isinstance(error, BlueprintError):
        found |= {"file": error.file, "line": error.line, "path": error.path}
    return found


def _file_error(error: OSError) -> StoreError | None:
    """Turn an error of the system about a file into a StoreError; None if it isn't about a file."""
    if isinstance(error, ConnectionError) or (error.filename is None and error.errno not in _FILE_ERRORS):
        return None
    remedy = _REMEDIES.get(
        error.errno or 0, "check that path and its disk, or run it again with `sluice --debug` to see where it was needed"
    )
    return StoreError(f"{_path(error)}: {error.strerror or error}", remedy=remedy)


def _path(error: OSError) -> str:
    if error.filename is None:
        return "a file of this machine"
    return shown_path(os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else str(error.filename))


def _message(error: SluiceError) -> str:
    if isinstance(error, SiteError):
        return f"{error}\nsluice: {counted(len(error.errors), 'error')} in the site"
    if isinstance(error, BlueprintError):
        return str(error)
    return f"sluice: {error}"


def _report_usage(error: click.ClickException, *, as_json: bool) -> int:
    message = _usage_message(error)
    if as_json:
        emit({"error": {"code": "UsageError", "message": message, "remedy": "see --help", "exit": USAGE}})
        return USAGE
    if isinstance(error, click.UsageError) and error.ctx is not None:
        say(f"sluice: {message}\nSee `{error.ctx.command_path} --help`.")
    else:
        say(f"sluice: {message}")
    return USAGE


def _usage_message(error: click.ClickException) -> str:
    """Return Click's message; of a ``--to`` for a command that takes Subscribers as arguments say that, and suggest no similar name."""
    if isinstance(error, click.NoSuchOption) and error.option_name == "--to" and error.ctx is not None:
        taken = [p.make_metavar(error.ctx) for p in error.ctx.command.params if isinstance(p, click.Argument)]
        named = next((metavar for metavar in taken if "SUBSCRIBER" in metavar), "")
        if named:
            return f"No such option '--to': Subscribers are arguments here: `{error.ctx.command_path} {named}`"
    return error.format_message()


def _traceback(error: BaseException) -> str:
    return printable("".join(traceback.format_exception(error)).rstrip(), keep="\n")


def _report_unexpected(error: BaseException, *, as_json: bool) -> int:
    what = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    try:
        handle, path = tempfile.mkstemp(prefix="sluice-traceback-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(f"{' '.join(sys.version.split())}\n{_traceback(error)}\n")
        remedy = f"the traceback is in {path}; please report it"
    except OSError:
        remedy = "run it again with `sluice --debug` to see the traceback"
    if as_json:
        emit({"error": {"code": "UnexpectedError", "message": what, "remedy": remedy, "exit": UNEXPECTED}})
    else:
        say(f"sluice: an unexpected error: {what}: {remedy}")
    return UNEXPECTED
