"""``sluice up``: the embedded Prefect server and workers, in the foreground."""

from __future__ import annotations

import click

from cli.session import Session, out, say, session

DEFAULT_PORT = 4200


@click.command()
@click.option(
    "--port", type=click.IntRange(1, 65535), default=DEFAULT_PORT, show_default=True, help="Port of Prefect's API and UI, on loopback."
)
@session
def up(session: Session, port: int) -> None:
    """Run Prefect for this site, in the foreground.

    A server and workers, on loopback, with SQLite. Applies the site first, then prints a line for each run that begins or ends. Ctrl-C
    ends it; the next run continues what was under way.
    """
    site = session.site
    from infra.orchestrator import embedded

    embedded.up(site, port=port, say=say, tell=out)
