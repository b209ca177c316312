"""The forms of removal, owner and extended attributes in a ``files:`` entry (B2, C9). Whether a host supports them, its agent reports.

Of extended attributes only ``user.*`` can be written: the others are rights (``security.*``, ``trusted.*``) or what a file system does
for itself (``system.*``), and a blueprint must not grant rights on a host. ``keep`` keeps a source's capabilities and ACLs as well.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import PlainValidator, WithJsonSchema

from sluice.blueprint.schema import values
from sluice.blueprint.schema.suggest import nearest
from sluice.blueprint.schema.values import refuse, text_value, wrong_type
from sluice.model.removals import RemovalLimit
from sluice.model.site import Synchronize

XATTRS_MAX = 32
"""Extended attributes of one entry."""
NAME_BYTES_MAX = 255
"""Bytes of an extended attribute's name, as Linux limits it."""
VALUE_BYTES_MAX = 3072
"""Bytes of all names and values together: ext4 keeps them in a block of 4 KiB, with a header for each."""
FILES_MAX = 2_000_000
"""Files of a Distribution, more than any manifest has."""
KEEP = "keep"
MIRROR = "mirror"

_ACCOUNT = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}\$?"
_OWNER = re.compile(f"{_ACCOUNT}:{_ACCOUNT}")
_XATTR = re.compile(r"user\.[!-~]+")


def _synchronize(value: object) -> Synchronize:
    if isinstance(value, bool):
        return Synchronize.YES if value else Synchronize.NO
    if value == MIRROR:
        return Synchronize.MIRROR
    if not isinstance(value, str):
        raise wrong_type("false, true or mirror", "true")
    raise refuse(f"{value!r} is not one of its values", nearest(value, (MIRROR,)) or "write false, true or mirror")


def _file_owner(text: str) -> str:
    if text == KEEP or _OWNER.fullmatch(text):
        return text
    remedy = f'write keep, or user and group such as "{text}:{text}"' if re.fullmatch(_ACCOUNT, text) else 'write keep, or "user:group"'
    raise refuse(f"{text!r} is not a user:group", remedy)


def _xattrs(value: object) -> str | dict[str, str]:
    if value == KEEP:
        return KEEP
    if not isinstance(value, dict):
        raise wrong_type("keep or a mapping", "{user.origin: hq}")
    if not value or len(value) > XATTRS_MAX:
        raise refuse(f"names {len(value) or 'none'}", f"write 1 to {XATTRS_MAX}, or leave the key out")
    for name, text in value.items():
        if _XATTR.fullmatch(name) is None or len(name) > NAME_BYTES_MAX:
            raise refuse(
                "is not an extended attribute that can be set", f"write user. and a name, at most {NAME_BYTES_MAX} characters", name
            )
        if not isinstance(text, str):
            raise refuse("is not text", f'quote it: {name}: "..."', name)
    if sum(len(name) + len(text.encode()) for name, text in value.items()) > VALUE_BYTES_MAX:
        raise refuse(f"is longer than {VALUE_BYTES_MAX} bytes", "shorten it: file systems have room for little more")
    return value


def _max_removals(value: object) -> RemovalLimit:
    if isinstance(value, str) and (share := re.fullmatch(r"([0-9]{1,3})\s*%", value)) and int(share[1]) <= 100:
        return RemovalLimit(percent=int(share[1]), files=0)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= FILES_MAX:
        return RemovalLimit(percent=0, files=value)
    raise refuse(f"{value!r:.100} is neither a share nor a number", "write a share from 0% to 100%, or a number of files such as 200")


MaxRemovals = Annotated[
    RemovalLimit,
    PlainValidator(_max_removals),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "pattern": r"^(100|[0-9]{1,2})\s*%$"}, {"type": "integer", "minimum": 0, "maximum": FILES_MAX}]}
    ),
]
Removal = Annotated[Synchronize, PlainValidator(_synchronize), WithJsonSchema({"enum": [False, True, MIRROR]})]
FileOwner = Annotated[str, text_value(_file_owner, 'keep or "user:group"', "root:root", pattern=f"^(keep|{_OWNER.pattern})$")]
Xattrs = Annotated[
    str | dict[str, str],
    PlainValidator(_xattrs),
    WithJsonSchema(
        {
            "anyOf": [
                {"const": KEEP},
                {
                    "type": "object",
                    "minProperties": 1,
                    "maxProperties": XATTRS_MAX,
                    "additionalProperties": False,
                    "patternProperties": {f"^{_XATTR.pattern}$": {"type": "string", "maxLength": values.TEXT_MAX}},
                },
            ]
        }
    ),
]
