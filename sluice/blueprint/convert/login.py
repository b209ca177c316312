"""Convert the keys of a Subscriber's document that say how SSH reaches it and logs in. They have no effect on ``local:`` addresses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sluice.blueprint.author_error import AuthorError
from sluice.blueprint.convert.addresses import host_key, parse_address, site_path
from sluice.blueprint.convert.effective import Effective
from sluice.blueprint.read.document import Document
from sluice.model.site import Address, Ssh

LOGIN_KEYS = ("host_key", "host_keys", "identity", "ssh")


def login_of(effective: Effective, scheme: str, document: Document, directory: Path) -> dict[str, Any]:
    """Return host key, identity and ``ssh`` as arguments of a Subscriber; errors go to ``effective``."""
    if scheme == "local":
        for path, leaf in effective.leaves.items():
            if path[0] in LOGIN_KEYS and not leaf.supplied:
                effective.refuse_leaf(leaf, "does not apply to a local: address", "leave the key out")
        return {}
    ssh, has_config = _ssh(effective, directory), effective.get("ssh", "config") is not None
    found: dict[str, Any] = {"ssh": ssh} | _host_keys(effective, document, directory, is_needed=scheme == "ssh" and not has_config)

    def parse(text: str) -> str:
        return str(site_path(text, directory))

    if has_config or ssh.agent or scheme != "ssh" or _is_unsure(effective):
        found["identity"] = effective.parsed("identity", parse) or ""
    else:
        found["identity"] = effective.required("identity", parse, document, "keys/hq_ed25519") or ""
    return found


def _host_keys(effective: Effective, document: Document, directory: Path, *, is_needed: bool) -> dict[str, str]:
    pinned, listed = effective.get("host_key"), effective.get("host_keys")
    if pinned is not None and listed is not None:
        if pinned.supplied is listed.supplied:
            effective.refuse("host_keys", "is given together with host_key:", "keep one of them")
        elif listed.supplied:
            listed = None
        else:
            pinned = None
    if pinned is None and listed is None and is_needed and not _is_unsure(effective, "host_key", "host_keys"):
        remedy = "add host_key: as ssh-keyscan prints it, or host_keys: and a known_hosts file"
        effective.errors.append(document.error(("address",), "no host key is pinned", remedy))
    if pinned is not None and (jumps := effective.get("ssh", "jump")) is not None and jumps.value and is_needed:
        effective.refuse("host_key", "pins no jump host", "write host_keys: and a known_hosts file with the keys of all of them")
    if pinned is not None:
        return {"host_key": effective.parsed("host_key", host_key) or ""}
    return {"host_keys": str(effective.parsed("host_keys", lambda text: site_path(text, directory)) or "")}


def _is_unsure(effective: Effective, *keys: str) -> bool:
    """Whether one of these keys, or one of ``ssh`` in whose place they stand, may be in what was refused."""
    return any(effective.unsure(*path) for path in (("ssh", "config"), ("ssh", "agent"), *((key,) for key in keys)))


def _ssh(effective: Effective, directory: Path) -> Ssh:
    found: dict[str, Any] = {}
    leaves = effective.below("ssh")
    for key, leaf in leaves.items():
        try:
            found[key] = str(site_path(leaf.value, directory)) if key in ("config", "certificate") else leaf.value
        except AuthorError as error:
            effective.refuse_leaf(leaf, error.what, error.remedy)
    if "jump" in leaves:
        jumps: list[Address] = []
        for index, text in enumerate(leaves["jump"].value):
            try:
                jumps.append(_jump(text, directory, has_config="config" in leaves))
            except AuthorError as error:
                effective.refuse_leaf(leaves["jump"], error.what, error.remedy, index)
        found["jump"] = tuple(jumps)
    password = leaves.get("become_password")
    if password and not password.supplied and "become" not in leaves and not effective.unsure("ssh", "become"):
        effective.refuse_leaf(password, "has no effect without become", "add become: sudo, or leave the key out")
    return Ssh(**found)


def _jump(text: str, directory: Path, *, has_config: bool) -> Address:
    try:
        return parse_address(f"ssh://{text.removeprefix('ssh://')}", directory, has_config=has_config)
    except AuthorError as error:
        remedy = "write user@host:port, an entry for each jump host" + (", or a host of the client configuration" if has_config else "")
        raise AuthorError(error.what.replace("ssh://", ""), remedy) from None
