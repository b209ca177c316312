"""Find the Prefect server without importing Prefect, before it reads its settings.

The order is: ``PREFECT_API_URL``, then the active profile of ``prefect profile``, then the server that
``sluice up`` runs for this site, whose address is in the site's state directory.
"""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from sluice.durable import make_directory, replace_atomically
from sluice.errors import OrchestratorError

LOOPBACK = "127.0.0.1"
STATE_FILE = "server.json"
HEALTH_TIMEOUT = 5.0
"""Seconds a server has to answer its health probe."""


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """A Prefect server. ``pids`` are those of its processes if ``sluice up`` runs it."""

    api_url: str
    pids: tuple[int, ...] = ()

    @property
    def ui_url(self) -> str:
        """The address of the UI."""
        return self.api_url.removesuffix("/api")


def state_directory(site_directory: Path) -> Path:
    """Return the directory for the database, logs and address of a site's server: ``SLUICE_STATE``, or one of the user's for each site.

    It is apart from the site's own directory, which is somebody's checkout. Links in the site's path count as they are written, so that
    it stays when a link is switched to the site's next release.
    """
    if named := os.environ.get("SLUICE_STATE"):
        return Path(named).absolute()
    base = os.environ.get("XDG_STATE_HOME") or str(_home() / ".local" / "state")
    absolute = site_directory.absolute()
    short = hashlib.sha256(str(absolute).encode()).hexdigest()[:8]
    return Path(base) / "sluice" / f"{absolute.name}-{short}"


def make_state(directory: Path) -> None:
    """Create a directory of a site's state. Raises OrchestratorError, NoSpaceError."""
    try:
        make_directory(directory)
    except OSError as error:
        raise OrchestratorError(
            f"{directory}, for this site's Prefect server, can't be made: {error.filename}: {error.strerror}",
            remedy="set SLUICE_STATE to a directory in which this account may write",
        ) from error


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError as error:  # HOME is unset, and the account is in no list
        raise OrchestratorError("this account has no home directory", remedy="set HOME, or SLUICE_STATE and PREFECT_HOME") from error


def prefect_home(state: Path) -> Path:
    """Return PREFECT_HOME of a site's own server and of the processes that talk to it."""
    return state / "prefect"


def write_address(state: Path, address: ServerAddress) -> None:
    """Write the address, so that commands find the server."""
    make_state(state)
    replace_atomically(state / STATE_FILE, json.dumps(asdict(address)).encode())


def read_address(state: Path) -> ServerAddress | None:
    """Return the address that was written last, whether or not anything answers there."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads((state / STATE_FILE).read_bytes())
        return ServerAddress(str(found["api_url"]), tuple(int(pid) for pid in found["pids"]))
    return None


def forget_address(state: Path) -> None:
    """Remove the address of a server that ends."""
    (state / STATE_FILE).unlink(missing_ok=True)


def is_on_loopback(url: str) -> bool:
    """Whether a URL names this machine by its loopback address."""
    with suppress(ValueError):
        host = urlsplit(url).hostname or ""
        return host == "localhost" or host.endswith(".localhost") or ip_address(host).is_loopback
    return False


def is_detour(variable: str, value: str) -> bool:
    """Whether a variable of the environment leads HTTP clients another way than the direct one, or to certificates that aren't there."""
    if variable in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        return not os.path.exists(value)
    return variable.lower().endswith("_proxy")


@contextmanager
def reached_directly(api_url: str) -> Iterator[None]:
    """Have HTTP clients that are made within the context reach a server on loopback without proxies; another one as the user has set."""
    hidden = {name: value for name, value in os.environ.items() if is_detour(name, value)} if is_on_loopback(api_url) else {}
    for name in hidden:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(hidden)


def is_healthy(api_url: str) -> bool:
    """Whether a Prefect server answers at this address."""
    if not api_url.startswith(("http://", "https://")):
        return False
    try:
        with reached_directly(api_url):
            opener = urllib.request.build_opener()  # reads the proxies
        with opener.open(f"{api_url}/health", timeout=HEALTH_TIMEOUT) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def configured_url() -> str | None:
    """Return the address in the environment or else in the active profile of Prefect; None if neither names a server."""
    if url := os.environ.get("PREFECT_API_URL"):
        return url
    home = Path(os.environ.get("PREFECT_HOME") or _home() / ".prefect").expanduser()
    with suppress(OSError, tomllib.TOMLDecodeError, AttributeError, KeyError):
        profiles = tomllib.loads((home / "profiles.toml").read_text(encoding="utf-8"))
        active = os.environ.get("PREFECT_PROFILE") or profiles["active"]
        url = profiles["profiles"][active].get("PREFECT_API_URL")
        return url if isinstance(url, str) else None
    return None


def running_server(site_directory: Path) -> ServerAddress | None:
    """Return the server to talk to, without starting one: the configured one, or that of ``sluice up`` if it answers."""
    if url := configured_url():
        return ServerAddress(url)
    address = read_address(state_directory(site_directory))
    return address if address is not None and is_healthy(address.api_url) else None
