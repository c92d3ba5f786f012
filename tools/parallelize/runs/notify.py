"""How people are notified of the end of a run: from `run.notify` to notify.json.

A webhook's URL is a secret: who has it can write into somebody's chat. It is stored in the run's
folder of the bucket, which workers and submitters may read and jobs may not, and nowhere else.
"""

from __future__ import annotations

import shlex

from parallelize.context import Context
from parallelize.fleet.alarms import topic_arn
from parallelize.setting_types import EMAIL, WEBHOOK
from parallelize_core.errors import MissingError
from parallelize_core.notify import Notify


def store_notify(context: Context) -> None:
    """Tell the workers whom to notify, and how; if nobody, delete the earlier setting."""
    store, place = context.store, context.layout.notify
    wanted = notify_of(context)
    if wanted is None:
        if store.head(place):
            store.delete([place])
        return
    if _stored(context) != wanted.encode():
        store.put(place, wanted.encode())


def notify_of(context: Context) -> Notify | None:
    """Return how the settings notify people, None if they do not."""
    target = context.settings.run.notify
    if target is None:
        return None
    if WEBHOOK.match(target):
        return Notify(url=target)
    if not EMAIL.fullmatch(target):
        return Notify(command=tuple(shlex.split(target)))
    if context.elsewhere:
        context.tell("run.notify: no e-mail will come, as there is no stack with a topic here")
        return None
    context.tell(
        f"run.notify: the e-mail goes to all who get the stack's alarms. If {target} does not yet: "
        f"parallelize setup --email {target}"
    )
    partition = context.session.get_partition_for_region(context.region)
    return Notify(topic=topic_arn(partition, context.region, context.account, context.names))


def _stored(context: Context) -> bytes | None:
    try:
        return context.store.get(context.layout.notify)
    except MissingError:
        return None
