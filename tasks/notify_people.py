"""Mail people that a Distribution nears its maximum of revisions (C7)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prefect import task

from sluice.distributor.build.notify import notify
from sluice.errors import SluiceError
from sluice.model.site import Distribution
from tasks.run_context import current, log
from tasks.settings import LOCAL


@task(
    name="notify people",
    task_run_name="mail about {distribution}",
    description="If few revisions remain until the maximum, mail the people whom the Distribution names; once for each revision",
    **LOCAL,
)
async def notify_people(distribution: str) -> int:
    """Send the mail that is due.

    Returns:
        How many went out.
    Raises:
        MailError: The server takes none. The next build tries again.
    """
    work = current().work
    subject = work.site.distribution(distribution)
    if subject.notify is None:
        return 0
    mailed = await asyncio.to_thread(notify, work, work.mailer, subject)
    for mail in mailed:
        log().info("%s %s: mailed %s", distribution, mail.revision, ", ".join(mail.to))
        if mail.refused:
            log().warning("%s %s: the mail server refuses %s", distribution, mail.revision, ", ".join(mail.refused))
    return len(mailed)


@asynccontextmanager
async def mailing_people(distribution: Distribution) -> AsyncIterator[None]:
    """Send the mail that is due beside the other steps of a run; a server that doesn't take it fails nothing but its own task run."""
    if distribution.notify is None:
        yield
        return
    mailing = asyncio.create_task(_mail(distribution.name))
    try:
        yield
    finally:
        await mailing


async def _mail(distribution: str) -> None:
    try:
        await notify_people(distribution)
    except SluiceError as error:
        log().error("%s: no mail was sent, the next build tries again: %s", distribution, error)
