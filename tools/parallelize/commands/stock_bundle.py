"""The bundle for machines from a vendor's plain image: `prep` sends it, a launch if need be."""

from __future__ import annotations

import hashlib
import io
from urllib.parse import quote

from platformdirs import user_cache_path

from parallelize.console import say
from parallelize.context import Context
from parallelize.fleet.bundle import make_bundle, wheel_folder
from parallelize.fleet.distributions import distribution, is_stock
from parallelize.fleet.gather import find_types
from parallelize.fleet.stock import Bundle
from parallelize.units import show_size


def pack(context: Context) -> Bundle | None:
    """Make the bundle that the settings' machines need; None if their image has an agent inside.

    Looks whether it has been sent. Raises UsageError for a stock image that there is not, and if
    pip cannot fetch the libraries.
    """
    ami = context.settings.workers.ami
    if not is_stock(ami):
        return None
    system = distribution(ami)
    (kind,) = find_types(context.client("ec2"), context.settings.workers.types[:1])
    wanted = (system.python, kind.architecture, user_cache_path("parallelize"))
    if not wheel_folder(*wanted).is_dir():
        say(f"pip fetches the agent's libraries for {system.title}, once")
    body = make_bundle(*wanted)
    sha256 = hashlib.sha256(body).hexdigest()
    key = context.layout.root.key("bootstrap", f"{sha256}.zip")
    sent = context.store.head(key) is not None
    return Bundle(system.title, object_url(context, key), sha256, key, sent, body)


def describe(bundle: Bundle) -> str:
    """Say in a few words what the bundle is."""
    return f"the agent for {bundle.system}  {show_size(len(bundle.body))}"


def send(context: Context, bundle: Bundle | None) -> None:
    """Put the bundle into the run's bucket, unless it is there."""
    if bundle is not None and not bundle.sent:
        say(f"sending {describe(bundle)}")
        context.store.put_file(bundle.key, io.BytesIO(bundle.body))


def object_url(context: Context, key: str) -> str:
    """Return the address of an object without any signature, which the machine itself adds."""
    endpoint = context.clients.s3.meta.endpoint_url
    return f"{endpoint}/{context.bucket}/{quote(key)}"
