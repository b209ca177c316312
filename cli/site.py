"""``sluice init`` and ``sluice validate``: a site's files."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from cli.session import Session, dry_run_option, emit, json_option, now, out, say, session, site_directory
from cli.trust import make_keys
from sluice.rules.wording import counted


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@dry_run_option
def init(directory: Path, dry_run: bool) -> None:
    """Write a new site, commented, and make its keys.

    It has one of each document and runs as it is. Nothing that exists is replaced. The keys are its Distributor's, in the
    Distributor's working directory.
    """
    from sluice.blueprint import load_site
    from sluice.blueprint.start import in_the_way, init_site

    if found := in_the_way(directory):
        raise click.UsageError(f"{directory} has {found} already: name a new directory, or add to that site by hand; nothing was written")
    if dry_run:
        out(f"would write a site into {directory} and make the keys of its Distributor")
        return
    for path in init_site(directory):
        out(f"wrote {path}")
    for distributor in load_site(directory).distributors.values():
        make_keys(distributor)
    say(_next_steps(directory))


@click.command()
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path())
@json_option
@session
@click.pass_context
def validate(ctx: click.Context, session: Session, directory: str | None, as_json: bool) -> None:
    """Report every error of the site at once.

    Each is a line: file:line: path: problem: remedy. Advice names settings that work as written and are likely mistakes; it fails nothing.
    DIR is the site, if --site doesn't name it. The files of keys and the client configurations that it names are
    looked at too.
    """
    from infra.transports.login_files import login_files
    from sluice.blueprint.check.advice import advice
    from sluice.blueprint.load import site_error

    if directory is not None:
        if ctx.find_root().get_parameter_source("site") is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError("the site is named twice: by --site and as DIR")
        session = Session(site_directory(directory), verbose=session.verbose, debug=session.debug)
    site, errors = session.judged()
    faults, advised = login_files(site)
    if errors or faults:
        for each in [] if as_json else advised:
            out(str(each))
        raise site_error([*errors, *faults])
    advised = sorted([*advice(site, now()), *advised], key=lambda each: (each.file, each.line, each.path))
    found = {
        "distributors": len(site.distributors),
        "subscribers": len(site.subscribers),
        "channels": len(site.channels),
        "distributions": len(site.distributions),
    }
    if as_json:
        emit({"site": site.directory, **found, "advice": [asdict(each) for each in advised]})
    else:
        for each in advised:
            out(str(each))
        numbers = ", ".join(counted(number, kind[:-1].capitalize()) for kind, number in found.items())
        out(f"{site.directory}: no errors in {numbers}")


def _next_steps(directory: Path) -> str:
    site = "" if str(directory) == "blueprints" else f" --site {directory}"
    commands = [f"  sluice{site} {words}" for words in ("validate", "subscriber bootstrap --all", "distribute NAME", "up")]
    return "\n".join(["", "Next:", f"  edit the files in {directory}: each says what it is for", *commands])
