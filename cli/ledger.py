"""``sluice ledger copy``: move the reporting database, for example from SQLite to PostgreSQL.

``--json``: ``{"source", "target", "copied", "tables": [{"table", "rows", "digest"}]}``; ``copied`` is false in a dry run, and if an earlier
copy had done it.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict

import click

from cli.session import Session, dry_run_option, emit, json_option, now, out, say, session
from cli.tables import table
from sluice.errors import LedgerError, StoreLockedError
from sluice.rules.wording import counted

ROWS_BETWEEN = 100_000
"""Rows of a table between two lines of progress."""


@click.group()
def ledger() -> None:
    """Move the reporting database."""


@ledger.command("copy")
@click.argument("source")
@click.argument("target")
@dry_run_option
@json_option
@session
def ledger_copy(session: Session, source: str, target: str, dry_run: bool, as_json: bool) -> None:
    """Copy a whole ledger to an empty one, and verify it row by row.

    SOURCE and TARGET are files or postgresql://USER@HOST/DATABASE; leave the password to PGPASSFILE. Stop `sluice up` and the workers
    first. The source stays as it is, the target gets everything or nothing; it may be repeated.
    """
    from infra.ledger.copying import copy_ledger

    def progress(name: str, done: int, total: int) -> None:
        if done == total or done % ROWS_BETWEEN == 0:
            say(f"{name}: {done} of {counted(total, 'row')}")

    with ExitStack() as stack:
        _keep_up_out(session, stack)
        copied = copy_ledger(source, target, now=now(), dry_run=dry_run, progress=progress)
    is_done = not (dry_run or copied.was_there)
    if as_json:
        emit({"source": copied.source, "target": copied.target, "copied": is_done, "tables": [asdict(each) for each in copied.tables]})
        return
    out(table(["table", "rows", "sha-256"], [[t.table, str(t.rows), t.digest[:16]] for t in copied.tables], right={"rows"}))
    if dry_run and not copied.was_there:
        out(f"would copy {copied.source} to {copied.target}")
        return
    out(f"{copied.target} {'was equal already' if copied.was_there else 'is equal, row by row'}; {copied.source} is as it was")
    out("Now set SLUICE_LEDGER to the target for the workers and for commands, start the workers, and run `sluice doctor`.")


def _keep_up_out(session: Session, stack: ExitStack) -> None:
    """Refuse if this site's `sluice up` runs, and let none start meanwhile."""
    from infra.orchestrator.server_address import state_directory
    from sluice.durable import locked

    lock = state_directory(session.directory) / "up.lock"
    if lock.exists():
        try:
            stack.enter_context(locked(lock, what="the embedded server"))
        except StoreLockedError:
            raise LedgerError(f"`sluice up` runs for {session.directory}", remedy="end it with Ctrl-C, then repeat") from None
