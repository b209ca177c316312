"""The environment that Prefect reads: in this process while it talks to a server, and in those that ``sluice up`` starts.

A site's own server is reached without proxies and set up by us alone: of the user's ``PREFECT_*`` variables and profile it is given what
keeps it closed and what it logs, nothing that would move its database or change its runs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

from infra.orchestrator.server_address import LOOPBACK, is_detour, is_on_loopback, prefect_home, reached_directly
from sluice.distributor.plan.deployments import HEARTBEAT_SECONDS, TAG

CERTIFICATES = "PREFECT_API_SSL_CERT_FILE"
NOBODY = Path(__file__).with_name("nobody.pem")
"""The authorities for a server of this machine that speaks no TLS: Prefect reads them for each of the dozen connections of a run."""
WORKER_QUERY_SECONDS = 2
"""Interval in which a worker asks for runs: a person waits for them."""
USERS = ("PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING", "PREFECT_LOGGING_")
"""How settings begin that stay as the user has them."""


def server_environment(state: Path, port: int) -> dict[str, str]:
    """Return the environment of a site's own server: settings that make it private and quiet."""
    return _inherited() | {
        "PREFECT_HOME": str(prefect_home(state)),
        "PREFECT_SERVER_API_HOST": LOOPBACK,
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_UI_API_URL": f"http://{LOOPBACK}:{port}/api",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        # Several flow runs write at once; a writer waits this long for the others.
        "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
    }


def brief_settings(is_migrated: bool) -> dict[str, str]:
    """Return what a server for one command leaves out, because its run doesn't need it and the server of ``sluice up`` does it.

    Args:
        is_migrated: Its database needs no migration.
    """
    return {
        "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": str(not is_migrated),
        "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
        # Else all collections are imported to see whether there are new blocks, although none is registered.
        "PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",
    }


def worker_environment(state: Path, api_url: str, site_directory: Path) -> dict[str, str]:
    """Return a worker's environment, which its flow runs inherit: it alone tells them the site's directory.

    Links in that stay, so that each run reads the site to which they point then.
    """
    environment = _inherited() | {
        "PREFECT_HOME": str(prefect_home(state)),
        "PREFECT_API_URL": api_url,
        CERTIFICATES: _certificates(api_url),
        "SLUICE_SITE": str(site_directory.absolute()),
        "SLUICE_STATE": str(state),
        "PREFECT_WORKER_QUERY_SECONDS": str(WORKER_QUERY_SECONDS),
        "PREFECT_WORKER_WEBSERVER_HOST": LOOPBACK,
        # A worker would create /tmp/runner_storage, which another user's worker then couldn't use.
        "TMPDIR": str(state / "tmp"),
        "DO_NOT_TRACK": "1",
    }
    if secret := os.environ.get("PREFECT_SERVER_API_AUTH_STRING"):
        environment.setdefault("PREFECT_API_AUTH_STRING", secret)
    return environment


@contextmanager
def addressed(api_url: str, *, own: Path | None = None) -> Iterator[None]:
    """Send the runs of this process to a server, whether Prefect, which reads the environment on import, was imported before or not.

    They carry Sluice's tag and give signs of life as those of workers do, so that one whose process dies is marked as crashed too.

    Args:
        own: The state directory of the server if it is a site's own.
    """
    before = dict(os.environ)
    if own is not None:
        for name in [name for name in os.environ if _is_hidden(name)]:
            del os.environ[name]
        os.environ["PREFECT_HOME"] = str(prefect_home(own))
        os.environ["PREFECT_CLIENT_CSRF_SUPPORT_ENABLED"] = "false"  # the server wants no token, which each client would ask for
    os.environ["PREFECT_API_URL"] = api_url
    if api_url.startswith("http:"):
        os.environ[CERTIFICATES] = _certificates(api_url)
    os.environ.setdefault("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", str(HEARTBEAT_SECONDS))
    try:
        with ExitStack() as stack:
            stack.enter_context(reached_directly(api_url))
            with nullcontext() if own is None else _elsewhere():
                stack.enter_context(prefect_settings(api_url))
            from prefect import tags

            stack.enter_context(tags(TAG))
            yield
    finally:
        for name in [name for name in {*before, *os.environ} if name.startswith("PREFECT_")]:
            os.environ.pop(name, None)
            if name in before:
                os.environ[name] = before[name]


@contextmanager
def prefect_settings(api_url: str) -> Iterator[None]:
    """Point Prefect's client in this process, imported before or now, to a server."""
    with reached_directly(api_url):
        from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_SSL_CERT_FILE, PREFECT_API_URL, temporary_settings

        secret = os.environ.get("PREFECT_API_AUTH_STRING") or os.environ.get("PREFECT_SERVER_API_AUTH_STRING")
        updates = {PREFECT_API_URL: api_url} | ({PREFECT_API_AUTH_STRING: secret} if secret else {})
        updates |= {PREFECT_API_SSL_CERT_FILE: _certificates(api_url)} if api_url.startswith("http:") else {}
        with temporary_settings(updates=updates):
            yield


def _certificates(api_url: str) -> str:
    """Return the file of authorities for a URL without TLS; empty, Prefect doesn't open the user's SSL_CERT_FILE."""
    return str(NOBODY) if is_on_loopback(api_url) else ""


@contextmanager
def _elsewhere() -> Iterator[None]:
    """Stand in another directory than the user's while Prefect reads its settings: it also looks for .env and prefect.toml there."""
    here = os.open(".", os.O_PATH | os.O_CLOEXEC)
    try:
        os.chdir("/")
        yield
    finally:
        os.fchdir(here)
        os.close(here)


def _inherited() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not _is_hidden(name) and not is_detour(name, value)}


def _is_hidden(variable: str) -> bool:
    return variable.startswith("PREFECT_") and not variable.startswith(USERS)
