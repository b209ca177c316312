"""A Distributor's side of TUF: publish metadata of revisions, sign orders, verify receipts (docs/formats.md section 5).

One repository per Distributor. Changed roles get new versions and new files; ``timestamp.json`` is replaced last, atomically, so
that a kill anywhere leaves the old set or the new. A role stays in the snapshot for ever, because clients refuse its removal: a
deleted Distribution's role lists nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import SSlibKey
from tuf.api.metadata import DelegatedRole, Delegations, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from sluice.durable import locked, make_directory, replace_atomically, sweep, sync_directory
from sluice.errors import TamperedError, TrustError
from sluice.formats.orders import RECEIPT_MAX, order_bytes, parse_receipt
from sluice.model.order import Order, Receipt
from sluice.trust.disk import disk_errors
from sluice.trust.envelope import ORDER_WORD, RECEIPT_WORD, Envelope, seal, unseal
from sluice.trust.keys import ensure_private_key, is_signed_by, load_private_key, parse_public_pem
from sluice.trust.repository import Repository
from sluice.trust.roles import ORDERS, ROOT, SNAPSHOT, TARGETS, TIMESTAMP, distribution_role, metadata_file
from sluice.trust.targets import Listing

ROOT_LIFETIME = timedelta(days=3650)
ROLE_LIFETIME = timedelta(days=365)
TIMESTAMP_MARGIN = timedelta(days=7)
"""Added to the longest send interval: that long a Subscriber believes a set that isn't renewed."""
TIMESTAMP_LIFETIME_MIN = timedelta(days=14)
LOCK_WAIT = 60.0
"""Seconds to wait for another publishing of the same Distributor, which takes milliseconds."""


@dataclass(frozen=True, slots=True)
class Published:
    """The result of a publishing."""

    timestamp: int
    """Version of the timestamp."""
    changed: tuple[str, ...]
    """Roles that got a new version, in name order; empty if nothing changed."""


class Publisher:
    """The TUF repository in a Distributor's working directory."""

    def __init__(self, working_directory: Path, *, distributor: str) -> None:
        self._distributor = distributor
        self._keys = working_directory / "keys"
        self._trust = working_directory / "trust"
        self._repository = self._trust / "repository"
        self._files = Repository(self._repository, distributor=distributor)

    @disk_errors()
    def ensure_keys(self, now: datetime) -> bool:
        """Create keys and the first trust root unless they exist. Repeatable after a kill.

        Once there is a root no key is created: no Subscriber would believe it. The root's key may be kept elsewhere.

        Returns:
            Whether anything was created.
        Raises:
            TrustError: There is a root, but the signing key is gone.
        """
        make_directory(self._repository)
        with self._locked():
            for directory in (self._keys, self._repository):
                sweep(directory)  # a key without its final name was never used
            if (self._repository / metadata_file(ROOT, 1)).exists():
                if not (self._keys / "online.pem").exists():
                    raise self._keys_gone()
                return False
            ensure_private_key(self._keys / "root.pem")
            ensure_private_key(self._keys / "online.pem")
            self._write_first_root(now)
        return True

    @disk_errors()
    def check_keys(self) -> None:
        """Check that this Distributor can sign, before work that only its signature makes useful. Raises TrustError."""
        name, online = self._distributor, self._keys / "online.pem"
        has_keys = os.path.lexists(online)
        if (self._repository / metadata_file(ROOT, 1)).exists():
            if not has_keys:
                raise self._keys_gone()
        elif has_keys:
            raise TrustError(
                f"Distributor {name} has keys in {self._keys}, but its trust repository {self._repository} is missing",
                remedy=f"restore trust/ together with store/ from your backup; run `sluice trust init {name}` only if no Subscriber had it",
            )
        else:
            raise TrustError(f"Distributor {name} has no keys in {self._keys}", remedy=f"run `sluice trust init {name}`")
        load_private_key(online)

    @disk_errors()
    def publish(self, listings: Callable[[], Mapping[str, Listing]], *, now: datetime, longest_interval: timedelta) -> Published:
        """Publish the listings of some Distributions; others stay as they are.

        Renews the timestamp too once half its lifetime is over, so that a call without listings is the refresh.

        Args:
            listings: Returns the listings by Distribution; an empty one withdraws everything of it. Called under the trust's lock, so that
                of two publishings at once the later one includes the earlier one's revisions.
            longest_interval: The longest time between two sends of this Distributor's Channels.
        Raises:
            TrustError: There are no keys.
            StoreLockedError: Another process publishes and doesn't end.
            StoreError: The disk fails; every method here may raise it.
        """
        self.check_keys()
        lifetime = lifetime_of(TIMESTAMP, longest_interval)
        with self._locked():
            sweep(self._repository)
            return self._publish(listings(), now, lifetime, load_private_key(self._keys / "online.pem"))

    @disk_errors()
    def root(self) -> bytes:
        """Return the newest trust root, which ``sluice trust push`` installs."""
        return (self._repository / metadata_file(ROOT, self._files.newest_root())).read_bytes()

    @disk_errors()
    def expires(self) -> dict[str, datetime]:
        """Return when the root and each published role expire, by role."""
        return self._files.of_one_set(self._files.expires)

    @disk_errors()
    def versions(self) -> dict[str, int]:
        """Return the published versions by role; empty before the first publishing."""
        return self._files.of_one_set(self._files.versions)

    @disk_errors()
    def files_for(self, distribution: str, held: Mapping[str, int]) -> dict[str, bytes]:
        """Return the metadata files that a Subscriber needs for one Distribution and doesn't hold.

        Args:
            held: Versions by role, from its ``hello``.
        Raises:
            TrustError: Nothing of it is signed.
        """
        return self._files.of_one_set(lambda: self._files.files_for(distribution, held))

    @disk_errors()
    def held_files(self, distribution: str, held: Mapping[str, int]) -> dict[str, bytes]:
        """Return the files of a Distribution's roles that a Subscriber holds and that are still here, by role: new ones resemble them.

        Args:
            held: Versions by role, from its ``hello``.
        """
        return self._files.held_files(distribution, held)

    @disk_errors()
    def listing(self, distribution: str) -> Listing:
        """Return the signed targets of one Distribution; empty if it has none."""
        return self._files.of_one_set(lambda: self._files.listing(distribution))

    def sign_order(self, order: Order) -> Envelope:
        """Sign an order and return it in its envelope."""
        private = load_private_key(self._keys / "online.pem")
        keyid = SSlibKey.from_crypto(private.public_key()).keyid
        return seal(ORDER_WORD, order_bytes(order), key=keyid, sign=private.sign)

    @disk_errors()
    def subscriber_key(self, subscriber: str) -> bytes | None:
        """Return the public key that a Subscriber presented at bootstrap, as PEM; None before."""
        try:
            return (self._trust / "subscribers" / f"{subscriber}.pub").read_bytes()
        except FileNotFoundError:
            return None

    @disk_errors()
    def keep_subscriber_key(self, subscriber: str, pem: bytes) -> None:
        """Keep a Subscriber's key, whose receipts are believed from now on. The caller confirmed before it replaces another key."""
        parse_public_pem(pem, what=f"the receipt key of {subscriber}")
        make_directory(self._trust / "subscribers")
        replace_atomically(self._trust / "subscribers" / f"{subscriber}.pub", pem)

    @disk_errors()
    def forget_subscriber_key(self, subscriber: str) -> None:
        """Believe no receipt of a Subscriber any more, until a bootstrap keeps a key of it again."""
        (self._trust / "subscribers" / f"{subscriber}.pub").unlink(missing_ok=True)
        sync_directory(self._trust / "subscribers")

    def open_receipt(self, envelope: object, *, subscriber: str) -> Receipt:
        """Verify that a receipt is this Subscriber's and meant for this Distributor, and return it.

        Raises:
            TrustError: No key of the Subscriber is known.
            TamperedError, TruncatedError.
        """
        pem = self.subscriber_key(subscriber)
        if pem is None:
            raise TrustError(f"the receipt key of {subscriber} isn't known", remedy=f"run `sluice subscriber bootstrap {subscriber}`")
        public = parse_public_pem(pem, what=f"the receipt key of {subscriber}")
        what = f"a receipt of Subscriber {subscriber}"

        def verify(_key: str, signature: bytes, data: bytes) -> None:
            if not is_signed_by(public, signature, data):
                raise TamperedError(f"the signature of {what} doesn't match", remedy=f"run `sluice subscriber check {subscriber}`")

        receipt = parse_receipt(unseal(RECEIPT_WORD, envelope, what=what, limit=RECEIPT_MAX, verify=verify))
        if receipt.subscriber != subscriber or receipt.distributor != self._distributor:
            raise TamperedError(f"{what} names {receipt.subscriber} and Distributor {receipt.distributor}")
        return receipt

    def _keys_gone(self) -> TrustError:
        return TrustError(
            f"the keys of Distributor {self._distributor} are gone, but its Subscribers trust them",
            remedy="restore keys/ from your backup; to begin again with new keys everywhere, move trust/repository away first",
        )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with locked(self._trust / "lock", what=f"the trust of Distributor {self._distributor}", wait=LOCK_WAIT):
            yield

    def _write_first_root(self, now: datetime) -> None:
        root_key = load_private_key(self._keys / "root.pem")
        online = SSlibKey.from_crypto(load_private_key(self._keys / "online.pem").public_key())
        root = Root(expires=_whole(now + ROOT_LIFETIME), consistent_snapshot=True)
        root.add_key(SSlibKey.from_crypto(root_key.public_key()), ROOT)
        for role in (TIMESTAMP, SNAPSHOT, TARGETS):
            root.add_key(online, role)
        self._files.write(metadata_file(ROOT, 1), root, root_key)

    def _publish(self, listings: Mapping[str, Listing], now: datetime, lifetime: timedelta, online: Ed25519PrivateKey) -> Published:
        timestamp = self._files.load(metadata_file(TIMESTAMP, None), Timestamp)
        snapshot = self._files.snapshot(timestamp) if timestamp else None
        versions = {name.removesuffix(".json"): meta.version for name, meta in snapshot.meta.items()} if snapshot else {}
        changed = [name for name, listing in listings.items() if self._publish_listing(name, listing, versions, now, online)]
        roles = [distribution_role(name) for name in sorted(changed)]
        if self._publish_targets(versions, now, online):
            roles.append(TARGETS)
        fresh = timestamp is not None and timestamp.expires - now > lifetime / 2
        if timestamp is not None and not roles and fresh:
            return Published(timestamp.version, ())
        expires = _whole(now + lifetime)
        number = (snapshot.version if snapshot else 0) + 1
        meta = {f"{role}.json": MetaFile(version) for role, version in versions.items()}
        self._files.write(metadata_file(SNAPSHOT, number), Snapshot(number, expires=expires, meta=meta), online)
        stamp = Timestamp((timestamp.version if timestamp else 0) + 1, expires=expires, snapshot_meta=MetaFile(number))
        self._files.write(metadata_file(TIMESTAMP, None), stamp, online)
        self._files.remove_unreferenced(versions, number)
        return Published(stamp.version, tuple(sorted((*roles, SNAPSHOT, TIMESTAMP))))

    def _publish_listing(self, name: str, listing: Listing, versions: dict[str, int], now: datetime, online: Ed25519PrivateKey) -> bool:
        role = distribution_role(name)
        held = self._files.load(metadata_file(role, versions[role]), Targets) if role in versions else None
        targets = {path: TargetFile(target.length, {"sha256": target.sha256}, path) for path, target in listing.items()}
        if held is not None and held.targets == targets and held.expires - now > ROLE_LIFETIME / 2:
            return False
        versions[role] = versions.get(role, 0) + 1
        self._files.write(
            metadata_file(role, versions[role]), Targets(versions[role], expires=_whole(now + ROLE_LIFETIME), targets=targets), online
        )
        return True

    def _publish_targets(self, versions: dict[str, int], now: datetime, online: Ed25519PrivateKey) -> bool:
        held = self._files.load(metadata_file(TARGETS, versions[TARGETS]), Targets) if TARGETS in versions else None
        names = sorted({ORDERS, *(role for role in versions if role != TARGETS)})
        standing = held.delegations.roles if held is not None and held.delegations else None
        if held is not None and sorted(standing or ()) == names and held.expires - now > ROLE_LIFETIME / 2:
            return False
        key = SSlibKey.from_crypto(online.public_key())
        paths = {name: [] if name == ORDERS else [f"{name.partition('.')[2]}/*/*"] for name in names}
        roles = {name: DelegatedRole(name, [key.keyid], 1, True, paths=paths[name]) for name in names}
        versions[TARGETS] = versions.get(TARGETS, 0) + 1
        targets = Targets(versions[TARGETS], expires=_whole(now + ROLE_LIFETIME), delegations=Delegations({key.keyid: key}, roles))
        self._files.write(metadata_file(TARGETS, versions[TARGETS]), targets, online)
        return True


def lifetime_of(role: str, longest_interval: timedelta) -> timedelta:
    """Return the lifetime of a role's metadata from signing on; ``longest_interval`` as for ``publish``."""
    if role in (TIMESTAMP, SNAPSHOT):
        return max(longest_interval + TIMESTAMP_MARGIN, TIMESTAMP_LIFETIME_MIN)
    return ROOT_LIFETIME if role == ROOT else ROLE_LIFETIME


def _whole(time: datetime) -> datetime:
    """Drop the microseconds: TUF's times have whole seconds."""
    return time.replace(microsecond=0)
