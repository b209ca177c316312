"""``sluice agent build``: make bundles that hold everything an agent needs except Python itself."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import click

from cli.hosts import bundle_directory
from cli.session import Session, dry_run_option, emit, json_option, out, say, session
from cli.tables import size

LOCK_FILE = "requirements.lock"


@click.group()
def agent() -> None:
    """Make agent bundles."""


@agent.command("build")
@click.option("--python", "python", metavar="X.Y", default="", help="Python of the hosts. [default: this one]")
@click.option("--arch", "machine", metavar="ARCH", default="", help="Machine of the hosts, as `uname -m` prints it. [default: this one]")
@click.option("--libc", type=click.Choice(["glibc", "musl"]), default=None, help="C library of the hosts. [default: this machine's]")
@dry_run_option
@json_option
@session
def agent_build(session: Session, python: str, machine: str, libc: str | None, dry_run: bool, as_json: bool) -> None:
    """Make the agent bundle for a kind of host.

    For this Python and machine it is made from the packages installed here, without any network. For another, pip fetches the
    wheels that requirements.lock pins. `sluice subscriber bootstrap` makes the first kind by itself.
    """
    from infra.hosts.agent_bundle import Platform, build_from_index, build_from_installed

    directory = bundle_directory(session)
    here = Platform.current()
    target = Platform(_python(python) or here.python, machine or platform.machine(), libc or here.libc)
    if dry_run:
        out(f"would make {directory / target.file_name} for {target}")
        return
    say(f"making the agent bundle for {target}")
    bundle = build_from_installed(directory) if target == here else build_from_index(directory, target, lock=_lock_file())
    if as_json:
        emit({"path": str(bundle.path), "platform": str(bundle.platform), "sha256": bundle.digest, "bytes": bundle.size})
    else:
        out(f"{bundle.path}  {size(bundle.size)}  SHA-256 {bundle.digest}")


def _python(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    match = re.fullmatch(r"(\d)\.(\d{1,2})", text)
    if match is None:
        raise click.BadParameter(f"{text!r} is not a version of Python such as 3.12", param_hint="--python")
    return int(match[1]), int(match[2])


def _lock_file() -> Path:
    import cli

    found = Path(next(iter(cli.__path__))).parent / LOCK_FILE
    if not found.is_file():
        from sluice.errors import NotFoundError

        raise NotFoundError(
            f"there is no {found}, which pins the packages of a bundle for another Python",
            remedy="run it where Sluice is installed from its repository",
        )
    return found
