"""Parse addresses, host keys and paths of a blueprint. Only their form is checked here."""

from __future__ import annotations

import base64
import os
import re
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from sluice.blueprint.author_error import AuthorError
from sluice.blueprint.schema.values import bare_host
from sluice.model.site import Address

HOST_KEY_TYPES = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
)
_SSH = re.compile(r"ssh://(?:(?P<user>[^/]*)@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^:/@\[\]]*)(?::(?P<port>[0-9]*))?(?P<rest>/.*)?")
_BARE = re.compile(r"(?:ssh\s+)?(?P<user>[\w.-]+@)?(?P<host>[\w.-]+(?::[0-9]+)?)")
"""A host without ``ssh://``, as it is given to ssh."""
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_USER = re.compile(r"[^\s\x00-\x1f\x7f-][^\x00-\x1f\x7f]{0,255}")
"""Also of a domain: CORP\\user, user@example.org, corp+user; other signs percent-encoded. SSH alone sees it, no shell does."""


def site_path(text: str, directory: Path) -> PurePosixPath:
    """Parse a path on the Distributor's own machine: absolute, or relative to the site directory; it is normalised.

    Raises:
        AuthorError: It begins with ``~`` or contains a template.
    """
    _check_ends(text)
    if text.startswith("~"):
        raise AuthorError("~ is not expanded", "write the path in full, or relative to the site directory")
    if "{{" in text:
        raise AuthorError("must not contain {{ }}: variables belong to Subscribers", "write the path itself")
    return PurePosixPath(os.path.normpath(os.path.join(os.path.abspath(directory), text)))


def _check_ends(text: str) -> None:
    if text != text.strip():
        raise AuthorError("begins or ends with a space", "leave the space out")


def absolute_path(text: str) -> PurePosixPath:
    """Parse a path on another machine: absolute and without ``..``; AuthorError otherwise."""
    _check_ends(text)
    if "{{" in text:
        raise AuthorError("must not contain {{ }}", "write the path itself")
    if not text.startswith("/"):
        raise AuthorError(f"{text!r} is not an absolute path", "begin it with /")
    if ".." in text.split("/"):
        raise AuthorError(f"{text!r} contains ..", "write the path without ..")
    return PurePosixPath(os.path.normpath(text))


def parse_address(text: str, directory: Path, *, has_config: bool = False) -> Address:
    """Parse ``ssh://user@host:port`` or ``local:/directory``; AuthorError for anything else.

    Args:
        has_config: An OpenSSH client configuration may supply the user and the port that are left out.
    """
    if text.startswith("local:"):
        path = text.removeprefix("local:")
        if not path or path.startswith("//"):
            raise AuthorError(f"{text!r} names no directory", "write local: and a directory, such as local:/srv/target")
        return Address("local", path=str(site_path(path, directory)))
    match = _SSH.fullmatch(text)
    if match is None:
        bare = _BARE.fullmatch(text)
        written = f"ssh://{bare['user'] or 'user@'}{bare['host']}" if bare else "ssh://user@host:port"
        raise AuthorError(f"{text!r} is not an address", f"write {written} or local:/directory")
    if match["rest"]:
        of_user = "; write a / of the user's name as %2F" if "@" in match["rest"] else ""
        raise AuthorError(f"{text!r} contains a path", f"end it after host and port; directories are keys of their own{of_user}")
    user = match["user"]
    if user and ":" in user:
        raise AuthorError(
            "the address contains a password", "remove it, identity: names a private key; write a colon of the user's name as %3A"
        )
    user = user and unquote(user)
    if (not user and not has_config) or (user is not None and _USER.fullmatch(user) is None):
        raise AuthorError(f"{text!r} names no user", "write ssh://user@host:port")
    written = match["host"].lower()
    host = bare_host(written)
    if host == written and _HOST.fullmatch(host) is None:
        raise AuthorError(f"{text!r} names no host", "write ssh://user@host:port")
    if match["port"] is not None and not 1 <= int(match["port"] or 0) <= 65535:
        raise AuthorError(f"{match['port']!r} is not a port", "write a number from 1 to 65535, or leave it out for 22")
    left_out = 0 if has_config else 22
    return Address("ssh", host=host, port=int(match["port"] or left_out), user=user or "")


def host_key(text: str) -> str:
    """Parse ``type base64``, dropping a comment; AuthorError if the type is unknown or the base64 isn't such a key."""
    kind, _, rest = text.strip().partition(" ")
    encoded = rest.strip().split(" ")[0]
    if kind not in HOST_KEY_TYPES:
        raise AuthorError(
            f"{kind!r} is not a type of host key", f"write what ssh-keyscan prints after the host; types are {', '.join(HOST_KEY_TYPES)}"
        )
    try:
        blob = base64.b64decode(encoded, validate=True)
    except ValueError:  # also of letters that aren't ASCII
        blob = b""
    name = kind.encode()
    if len(blob) < 40 or blob[:4] != len(name).to_bytes(4, "big") or blob[4 : 4 + len(name)] != name:
        raise AuthorError(f"is not a complete {kind} key", "write type and base64 as ssh-keyscan prints them")
    return f"{kind} {encoded}"
