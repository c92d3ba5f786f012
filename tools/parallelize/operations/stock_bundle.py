"""The bundle for machines from a vendor's plain image: sent by `prep`, or by a launch if need be.

The modules that make it are imported only by users of such an image.
"""

# ruff: noqa: PLC0415 - see above

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

from platformdirs import user_cache_path

from parallelize.context import Context
from parallelize.fleet.distributions import Distribution, distribution, is_stock
from parallelize.units import show_size

if TYPE_CHECKING:
    from parallelize.fleet.stock import Bundle


def pack(context: Context, types: Sequence[str]) -> tuple[Bundle, ...]:
    """Make the bundles that machines of these types need; none if their image contains an agent.

    Each architecture has its own. Looks whether they have been sent. Raises UsageError for a stock
    image that does not exist, and if pip cannot fetch the libraries.
    """
    ami = context.settings.workers.ami
    if not is_stock(ami):
        return ()
    from parallelize.fleet.describe import find_types

    system = distribution(ami)
    kinds = find_types(context.client("ec2"), types)
    wanted = dict.fromkeys(kind.architecture for kind in kinds)
    return tuple(_pack_one(context, system, architecture) for architecture in wanted)


def _pack_one(context: Context, system: Distribution, architecture: str) -> Bundle:
    from parallelize.fleet.bundle import make_bundle, wheel_folder
    from parallelize.fleet.stock import Bundle

    wanted = (system.python, architecture, user_cache_path("parallelize"))
    if not wheel_folder(*wanted).is_dir():
        context.tell(f"fetching the agent's libraries for {system.title} with pip")
    body = make_bundle(*wanted)
    sha256 = hashlib.sha256(body).hexdigest()
    key = context.layout.root.key("bootstrap", f"{sha256}.zip")
    sent = context.store.head(key) is not None
    return Bundle(system.title, object_url(context, key), sha256, key, sent, body, architecture)


def describe(bundle: Bundle) -> str:
    """Say in a few words what the bundle is."""
    system = f"{bundle.system} on {bundle.architecture}"
    return f"the agent for {system}  {show_size(len(bundle.body))}"


def send(context: Context, bundles: Sequence[Bundle]) -> None:
    """Put the bundles into the run's bucket, unless they are there."""
    for bundle in bundles:
        if not bundle.sent:
            context.tell(f"sending {describe(bundle)}")
            context.store.put_file(bundle.key, io.BytesIO(bundle.body))


def object_url(context: Context, key: str) -> str:
    """Return the unsigned address of an object; the machine itself signs its request."""
    endpoint = context.clients.s3.meta.endpoint_url
    return f"{endpoint}/{context.bucket}/{quote(key)}"
