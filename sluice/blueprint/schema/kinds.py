"""The kinds of documents and their keys: the one definition of what a blueprint may contain. The JSON Schema is generated from it.

``...Settings`` hold the keys that a Defaults document may supply; ``...Document`` adds those that only the object's own document has.
A key that was left out is None here and gets its default from the model, so that the model alone knows the defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from sluice.blueprint.schema import values
from sluice.blueprint.schema.actions import ActionPart
from sluice.blueprint.schema.attributes import FileOwner, MaxRemovals, Removal, Xattrs
from sluice.blueprint.schema.excludes import Exclude
from sluice.blueprint.schema.mails import MailPart, NotifyPart
from sluice.blueprint.schema.part import Part, left_out
from sluice.blueprint.schema.schedules import ScheduleValue
from sluice.blueprint.schema.values import refuse, wrong_type
from sluice.model.action import ACTIONS_MAX
from sluice.model.locked import RETRIES_MAX
from sluice.model.recipe import DESTINATIONS_MAX
from sluice.rules.excludes import EXCLUDES_MAX

JUMPS_MAX = 8
Count = Annotated[int, Field(ge=1, le=1_000_000)]


class RetryPart(Part):
    """When a failed send is retried (D7)."""

    every: values.PositiveDuration | None = left_out("Time between tries; 2 min when left out.")
    for_: values.Duration | None = left_out("How long to retry; 30 min when left out.", alias="for")


class DistributorSettings(Part):
    """Settings of Distributors, which a Defaults document may supply."""

    blanks: ClassVar[frozenset[str]] = frozenset({"max_concurrent"})

    description: values.Text | None = left_out("Free text.")
    working_directory: values.Filled | None = left_out("Where revisions, keys and the ledger are kept; absolute, or below the site.")
    refresh: ScheduleValue | None = left_out("When it acts on changes of the site; not more often than every 3 minutes.")
    max_concurrent: Count | None = left_out("Most Subscriber x Distribution transfers at once; blank: unlimited.")
    retry: RetryPart | None = left_out("When a failed send is retried.")
    connection_timeout: values.PositiveDuration | None = left_out("How long a connection may make no progress; 300 s when left out.")
    min_free: values.Size | None = left_out("Space to leave free on the file system of the working directory.")
    mail: MailPart | None = left_out("The server for its mail; no mail is sent when left out.")
    tags: dict[str, values.Text] | None = left_out("Words for selectors of Defaults documents.")


class DistributorDocument(DistributorSettings):
    """The server that owns, builds and sends Distributions."""

    kind: Literal["Distributor"]
    name: values.Name = Field(description="Unique among Distributors.")


class SshPart(Part):
    """How SSH reaches a Subscriber."""

    config: values.Filled | None = left_out("An OpenSSH client configuration that applies; absolute, or below the site.")
    jump: list[values.Filled] | None = left_out("Jump hosts, user@host:port, in the order in which they are passed.", max_length=JUMPS_MAX)
    agent: bool | None = left_out("Whether keys of the ssh-agent at SSH_AUTH_SOCK are offered; false when left out.")
    certificate: values.Filled | None = left_out("The certificate of the identity; identity + -cert.pub when left out.")
    passphrase: values.Secret | None = left_out("The secret that opens the identity, secret:NAME; asked on a terminal when left out.")
    become: Literal["sudo"] | None = left_out("sudo: the agent and everything before it run as root; as the login's account when left out.")
    become_password: values.Secret | None = left_out("The password for sudo, secret:NAME; asked on a terminal when left out and needed.")


class SubscriberSettings(Part):
    """Settings of Subscribers, which a Defaults document may supply."""

    description: values.Text | None = left_out("Free text.")
    active: bool | None = left_out("Whether anything is sent to it; true when left out.")
    host_key: values.Filled | None = left_out("The host's public key, as in known_hosts: type and base64.")
    host_keys: values.Filled | None = left_out("A known_hosts file instead of host_key; absolute, or below the site.")
    identity: values.Filled | None = left_out("The private key to log in with; absolute, or below the site.")
    ssh: SshPart | None = left_out("How SSH reaches it: a client configuration, jump hosts, ssh-agent, certificate, passphrase, sudo.")
    platform: values.Filled | None = left_out("The host's system: linux, debian, debian-12 and the like.")
    working_directory: values.Filled | None = left_out("Where the agent keeps its state; absolute, for local: also below the site.")
    connection_timeout: values.PositiveDuration | None = left_out("Used instead of the Distributor's.")
    min_free: values.Size | None = left_out("Space to leave free there, in the working directory and at every destination.")
    extract: ScheduleValue | None = left_out("When received revisions are extracted; immediately when left out.")
    variables: dict[str, values.Text] | None = left_out("For {{ }} in destinations and scripts; may use each other.")
    tags: dict[str, values.Text] | None = left_out("Words for selectors.")


class SubscriberDocument(SubscriberSettings):
    """A server that receives and extracts."""

    kind: Literal["Subscriber"]
    name: values.Name = Field(description="Unique among Subscribers.")
    address: values.Filled = Field(description="ssh://user@host:port, or local:/directory on the Distributor's own machine.")


class MemberPart(Part):
    """One entry of a Channel's subscribers: a name, a name with active, or a selector."""

    short_form: ClassVar[Mapping[str, Any]] = {"type": "string", "pattern": values.NAME_PATTERN}

    name: values.Name | None = left_out("A Subscriber.")
    active: bool | None = left_out("Whether anything is sent through this Channel; true when left out.")
    where: values.Where | None = left_out("A selector on name, platform and tags.")

    @model_validator(mode="wrap")
    @classmethod
    def _name_or_mapping(cls, value: Any, handler: Callable[[Any], Self]) -> Self:
        if isinstance(value, str):
            return handler({"name": value})
        if not isinstance(value, dict):
            raise wrong_type("a Subscriber's name or a selector", 'where: role == "web"')
        return handler(value)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.name is None) is (self.where is None):
            raise refuse(
                "names no Subscriber" if self.name is None else "has both name: and where:", "write a name, or where: and a selector"
            )
        return self


class ChannelDocument(Part):
    """Joins Distributions with Subscribers and has the Send schedule."""

    kind: Literal["Channel"]
    name: values.Name = Field(description="Unique among Channels.")
    description: values.Text | None = left_out("Free text.")
    active: bool | None = left_out("Whether anything is sent; true when left out.")
    send: ScheduleValue | None = left_out("When to send; never when left out.")
    subscribers: list[MemberPart] | None = left_out("Its Subscribers: names and selectors.")


class FilePart(Part):
    """A file or directory of the Distributor, and where it goes."""

    source: values.Filled = Field(description="A file or directory of the Distributor; absolute, or below the site.")
    destination: values.Filled = Field(description="Where it goes on the Subscriber; may use {{ }}.")
    synchronize: Removal | None = left_out(
        "true: also removes files that only an earlier revision has; mirror: all files that it does not have. false when left out."
    )
    max_removals: MaxRemovals | None = left_out(
        "Most files that may go unasked: a share such as 20%, or a number; 50% or 10 files when left out, whichever is more."
    )
    exclude: list[Exclude] | None = left_out("Patterns as in a .gitignore, against the path below source.", max_length=EXCLUDES_MAX)
    mode: values.Mode | None = left_out('keep, or octal digits in quotes such as "0644".')
    directory_mode: Literal["keep", "set"] | None = left_out(
        "Directories that stood before: keep their mode, owner, attributes and time (default), or set the source's."
    )
    owner: FileOwner | None = left_out('keep, or "user:group" for everything; the extracting account when left out.')
    xattrs: Xattrs | None = left_out("keep, or extended attributes user.* with their texts; none when left out.")


class LockedPart(Part):
    """How often and how long an extraction retries when files are locked (F2)."""

    retries: Annotated[int, Field(ge=1, le=RETRIES_MAX)] = Field(description="How often it checks again before it fails.")
    wait: values.Wait = Field(description="Time between two checks, in whole seconds; at most 1 h.")


class DistributionDocument(Part):
    """A named set of files, owned by one Distributor, listed in any number of Channels."""

    blanks: ClassVar[frozenset[str]] = frozenset({"max_revisions", "platforms"})

    kind: Literal["Distribution"]
    name: values.Name = Field(description="Unique among Distributions.")
    description: values.Text | None = left_out("Free text.")
    renamed_from: values.Name | None = left_out("Its name before: what that one placed on Subscribers counts as placed by this one.")
    distributor: values.Owner = Field(description="The one Distributor that owns, builds and sends it.")
    type: Literal["file"] = Field(description="The type of its contents.")
    channels: list[values.Name] | None = left_out("Channels that list it; with none it is built and not sent.")
    active: bool | None = left_out("Whether it is built and sent; true when left out.")
    priority: Literal["high", "medium", "low"] | None = left_out("Position in the send queue; medium when left out.")
    build: ScheduleValue | None = left_out("When a new revision is built, if anything changed; never when left out.")
    send: Literal["immediately", "on schedule"] | None = left_out("After a build: at once, or by the Channel's schedule (default).")
    extract: Literal["immediately", "on schedule"] | None = left_out("When received: at once, or by the Subscriber's schedule (default).")
    max_revisions: Count | None = left_out("Revisions kept; then a new baseline. 10 when left out; blank: unlimited.")
    notify: NotifyPart | None = left_out("Mail when few revisions are left until max_revisions.")
    effort: Literal["fast", "default", "max"] | None = left_out("How much CPU a delta may cost: the more, the smaller.")
    platforms: list[values.Filled] | None = left_out("Only these platforms; blank: no restriction.")
    verify: bool | None = left_out("Hash the whole tree at every extraction, also unchanged files, and restore damaged ones.")
    encrypt: Literal[False] | None = left_out("Only false in this version.")
    copy_: Literal["differing", "all"] | None = left_out("Copy differing files (default), or all.", alias="copy")
    rollback: bool | None = left_out("Restore the prior files when a step fails; true when left out.")
    locked: LockedPart | None = left_out("Retries when files are locked; left out: the extraction fails at once, and the next tries again.")
    phases: Literal["auto", "always", "long", "never"] | None = left_out("Which phases of an extraction are task runs in Prefect (auto).")
    files: list[FilePart] = Field(
        min_length=1, max_length=DESTINATIONS_MAX, description="The files and directories, each with its destination."
    )
    pre_actions: list[ActionPart] | None = left_out("Before the files are placed, in this order.", max_length=ACTIONS_MAX)
    post_actions: list[ActionPart] | None = left_out("After the files are placed, in this order.", max_length=ACTIONS_MAX)


class DefaultsDocument(Part):
    """Supplies settings that other documents leave out (A15)."""

    blanks: ClassVar[frozenset[str]] = frozenset({"where"})

    kind: Literal["Defaults"]
    where: values.Where | None = left_out("Only for the selected ones; blank: all.")
    subscriber: SubscriberSettings | None = left_out("Settings for Subscribers.")
    distributor: DistributorSettings | None = left_out("Settings for Distributors.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.subscriber is None and self.distributor is None:
            raise refuse("supplies nothing", "add subscriber: or distributor:")
        return self


KINDS: dict[str, type[Part]] = {
    "Distributor": DistributorDocument,
    "Subscriber": SubscriberDocument,
    "Channel": ChannelDocument,
    "Distribution": DistributionDocument,
    "Defaults": DefaultsDocument,
}
"""Every kind of this version."""
