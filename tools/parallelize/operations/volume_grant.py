"""What `setup` does for an account whose volumes have a key of its own: Auto Scaling may use it."""

from __future__ import annotations

from parallelize.console import escape, say, say_plan
from parallelize.context import Context
from parallelize.fleet import volume_key
from parallelize_core.errors import ParallelizeError


def find_volume_key(context: Context) -> str | None:
    """Return the account's own default key of volumes, "" for AWS's; None if it cannot be read."""
    try:
        return volume_key.find_key(context.client("ec2"), context.client("kms"))
    except ParallelizeError as error:
        say(f"which key encrypts volumes could not be read ({escape(error.what)})")
        return None


def grant_name(context: Context) -> str:
    """Return what the stack's grant on the key is called."""
    return f"{context.names.stack}-autoscaling"


def ensure_grant(context: Context, key: str, *, dry_run: bool) -> None:
    """Let Auto Scaling use the key, if it may not yet; a refusal says how to do it otherwise."""
    kms, role = context.client("kms"), volume_key.scaling_role(key, context.account)
    try:
        if volume_key.grants(kms, key, role):
            return
        if dry_run:
            say_plan(f"would let Auto Scaling use the key {key}")
            return
        volume_key.ensure_role(context.client("iam"))
        volume_key.grant(kms, key, role, grant_name(context))
    except ParallelizeError as error:
        say(
            f"Auto Scaling may not use the key {key} ({escape(error.what)});\n"
            "  --fleet persistent needs it: docs/aws-setup.md#a-key-of-your-own-for-volumes"
        )
        return
    say(f"Auto Scaling may use the key {key}")


def take_grant_back(context: Context, key: str) -> None:
    """Take the stack's grant back; what cannot be is said."""
    try:
        volume_key.revoke(context.client("kms"), key, grant_name(context))
    except ParallelizeError as error:
        say(f"the grant {grant_name(context)} on {key} stays ({escape(error.what)})")
