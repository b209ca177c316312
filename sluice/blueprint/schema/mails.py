"""Mail in a blueprint (C7): the server for a Distributor's mail, and the people a Distribution notifies of its last revisions.

Addresses are checked by form: one address, no display name. Leaves out whether the server takes them.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field

from sluice.blueprint.schema import values
from sluice.blueprint.schema.part import Part
from sluice.blueprint.schema.values import refuse, text_value
from sluice.model.site import Mail, Notify

RECIPIENTS_MAX = 100
ADDRESS_MAX = 254
"""Characters of an address (RFC 5321)."""

_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_ADDRESS = re.compile(rf"(?P<local>{_ATOM}(\.{_ATOM})*)@{_HOST.pattern}")
_SERVER = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]]+):(?P<port>[0-9]{1,5})")


def _address(text: str) -> str:
    match = _ADDRESS.fullmatch(text)
    if match is None or len(match["local"]) > 64 or len(text) > ADDRESS_MAX:
        raise refuse(f"{text!r} is not a mail address", "write one such as ops@example.org")
    return text


def _server(text: str) -> tuple[str, int]:
    match = _SERVER.fullmatch(text)
    if match is None:
        raise refuse(f"{text!r} is not host:port", "write both, such as smtp.example.org:25")
    host = values.bare_host(match["host"])
    if host == match["host"] and (_HOST.fullmatch(host) is None or len(host) > 253):
        raise refuse(f"{host!r} is not a host", "write host:port, such as smtp.example.org:25")
    port = int(match["port"])
    if not 1 <= port <= 65535:
        raise refuse(f"{port} is not a port", "write a number from 1 to 65535")
    return host, port


MailAddress = Annotated[str, text_value(_address, "a mail address", "ops@example.org", pattern="^[^@ ]+@[^@ ]+$")]
Server = Annotated[tuple[str, int], text_value(_server, "host:port", "smtp.example.org:25", pattern="^.+:[0-9]{1,5}$")]


class MailPart(Part):
    """The server for a Distributor's mail (C7)."""

    server: Server = Field(description="The SMTP server, host:port.")
    from_: MailAddress = Field(alias="from", description="The sender's address.")

    def to_model(self) -> Mail:
        """Convert it into the model."""
        return Mail(*self.server, self.from_)


class NotifyPart(Part):
    """Mail when few revisions are left until max_revisions (C7)."""

    to: list[MailAddress] = Field(min_length=1, max_length=RECIPIENTS_MAX, description="Recipients.")
    when_left: Annotated[int, Field(ge=0, le=1_000_000)] = Field(description="Mail is sent when at most this many are left.")

    def to_model(self) -> Notify:
        """Convert it into the model."""
        return Notify(tuple(dict.fromkeys(self.to)), self.when_left)
