"""The outside world as the domain sees it. Adapters live in ``infra/`` (and ``agents/`` for those on a Subscriber).

One small port per kind of I/O, in a file of its own. Adapters translate foreign exceptions into ``sluice.errors`` at one seam each.
"""

from sluice.ports.clock import Clock
from sluice.ports.filesystem import Filesystem, LockedPath, Owner, PathStat, ResolvedPath, Root, Xattrs
from sluice.ports.ledger import Ledger
from sluice.ports.mailer import Letter, Mailer
from sluice.ports.source import Progress, Scan, Source
from sluice.ports.store import ContentSink, DiskUse, Draft, PackRepair, RevisionReader, Store, TedFile, TedStore
from sluice.ports.transport import Stream, Transport

__all__ = [
    "Clock",
    "ContentSink",
    "DiskUse",
    "Draft",
    "Filesystem",
    "Ledger",
    "Letter",
    "LockedPath",
    "Mailer",
    "Owner",
    "PackRepair",
    "PathStat",
    "Progress",
    "ResolvedPath",
    "RevisionReader",
    "Root",
    "Scan",
    "Source",
    "Store",
    "Stream",
    "TedFile",
    "TedStore",
    "Transport",
    "Xattrs",
]
