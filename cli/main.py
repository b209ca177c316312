"""``sluice``: the entry point. Each noun has one file; Prefect and everything else heavy is imported by the command that needs it."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version

import click

from cli.agent import agent
from cli.cancel import cancel
from cli.doctor import doctor
from cli.examples import add_examples
from cli.failures import EXIT_CODES, Terminated, report
from cli.ledger import ledger
from cli.plan import apply, plan
from cli.release import release
from cli.revisions import revisions
from cli.runs import build, distribute, extract, refresh, send, sign, verify
from cli.session import DEFAULT_SITE, Session, site_directory
from cli.show import show
from cli.site import init, validate
from cli.status import status, why
from cli.store import store
from cli.subscriber import subscriber
from cli.ted import ted
from cli.terminal import drop_unwritten, settle
from cli.trust import trust
from cli.up import up


class Commands(click.Group):
    """Lists its commands in the order of a site's life, and the exit codes after them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, "subscriber" if cmd_name == "subscribers" else cmd_name)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), meaning) for code, meaning in EXIT_CODES])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.option(
    "--site",
    "site",
    metavar="DIR",
    envvar="SLUICE_SITE",
    show_envvar=True,
    help=f"The site: a directory of blueprints. [default: {DEFAULT_SITE}]",
)
@click.option("--verbose", "-v", is_flag=True, help="Show Prefect's own log too.")
@click.option("--no-color", is_flag=True, help="No colours, as with NO_COLOR.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(version("sluice"), prog_name="sluice", message="%(prog)s %(version)s")
@click.pass_context
def sluice(ctx: click.Context, site: str | None, verbose: bool, no_color: bool, debug: bool) -> None:
    """Distribute software and files from Distributors to Subscribers, as Prefect flows.

    Every command that reads takes --json, every one that changes something --dry-run. No terminal is needed: results go to
    stdout, progress to stderr.
    """
    if no_color:
        os.environ["NO_COLOR"] = "1"
    ctx.obj = Session(site_directory(site or DEFAULT_SITE), verbose=verbose, debug=debug)


for _command in (
    *(init, validate, plan, apply, up),
    *(build, sign, send, extract, distribute, verify, refresh, cancel, release),
    *(status, why, show, revisions, ted, store),
    *(doctor, ledger, trust, subscriber, agent),
):
    sluice.add_command(_command)
add_examples(sluice)


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code. Errors become messages; none is raised."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    try:
        result = sluice.main(args=list(arguments), prog_name="sluice", standalone_mode=False)
    except BaseException as error:  # noqa: BLE001 - the last seam: report() tells expected from unexpected, and signals from both
        if isinstance(error, SystemExit) and not isinstance(error, Terminated):
            return error.code if isinstance(error.code, int) else 1
        return report(error, as_json="--json" in options, debug="--debug" in options)
    return result if isinstance(result, int) else 0


def _raise_terminated(_number: int, _frame: object) -> None:
    raise Terminated


def main() -> None:
    """Run as the console script. SIGTERM, or a terminal that is closed, ends it as Ctrl-C does: with everything that was started for it."""
    signal.signal(signal.SIGTERM, _raise_terminated)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it
        signal.signal(signal.SIGHUP, lambda _number, _frame: signal.raise_signal(signal.SIGTERM))  # within a run that is Prefect's
    settle()
    code = run(sys.argv[1:])
    drop_unwritten()
    gc.freeze()  # the system takes all memory back: a last search for cycles in it would cost a tenth of a second
    sys.exit(code)


if __name__ == "__main__":
    main()
