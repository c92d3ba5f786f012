"""How settings are parsed from the texts in files and variables."""

from __future__ import annotations

import re
import shlex
import string
from collections.abc import Callable
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from parallelize.grids import parse_grid
from parallelize.units import (
    Span,
    parse_counts,
    parse_duration,
    parse_size,
    parse_sizes,
    parse_slots,
)
from parallelize_core.run import HALT

WEBHOOK = "https?://"
LOOPBACK = {"127.0.0.1", "::1", "localhost"}
EMAIL = r"[^@\s/:]+@[^@\s/:]+\.[^@\s/:]+"

Seconds = Annotated[float, BeforeValidator(parse_duration)]
Bytes = Annotated[int, BeforeValidator(parse_size)]
Slots = Annotated[int | str, BeforeValidator(parse_slots)]


def _shared(jobs: int, info: ValidationInfo) -> int:
    if jobs > 1 and info.data.get("gpus_per_job") != 1:
        raise ValueError("only jobs with one GPU each can share it: set run.gpus_per_job = 1, too")
    return jobs


GpuShare = Annotated[int, Field(ge=1), AfterValidator(_shared)]
Grid = Annotated[dict[str, tuple[str, ...]], BeforeValidator(parse_grid)]


def _words(value: object) -> object:
    if not isinstance(value, str):
        return value
    return [part.strip() for part in value.split(",") if part.strip()]


def _pairs(value: object) -> object:
    if not isinstance(value, str):
        return value
    pairs = [part.partition("=") for part in value.split(",") if part.strip()]
    if not all(sign for _, sign, _ in pairs):
        raise ValueError(f'"{value}" is not a list of NAME=VALUE, with commas between them')
    return {name.strip(): text.strip() for name, _, text in pairs}


def _range(read: Callable[[str], Span]) -> BeforeValidator:
    """Return a validator for a range; the text stays as it was written."""

    def check(value: object) -> object:
        if value is None:
            return None
        read(str(value))
        return str(value)

    return BeforeValidator(check)


Counts = Annotated[str | None, _range(parse_counts)]
Sizes = Annotated[str | None, _range(parse_sizes)]
Words = Annotated[tuple[str, ...], BeforeValidator(_words)]
Pairs = Annotated[dict[str, str], BeforeValidator(_pairs)]

MOST_TAGS = 40
"""AWS allows 50 on a resource, and some are ours or its own."""

_TAG = r"[\w .:/=+@-]*"
"""What all services allow: letters, digits, blanks and these.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions
"""


def _tags(given: dict[str, str]) -> dict[str, str]:
    if len(given) > MOST_TAGS:
        raise ValueError(f"{len(given)} tags are too many: you may set {MOST_TAGS}")
    for key, value in given.items():
        if key.lower().startswith("aws:"):
            raise ValueError(f'"{key}" cannot name a tag: AWS reserves names that begin with aws:')
        if not 1 <= len(key) <= 128 or len(value) > 256:
            raise ValueError(
                f'the tag "{key[:40]}" has the wrong length: AWS allows 1 to 128 characters in its'
                " name, and up to 256 in its value"
            )
        if not re.fullmatch(_TAG, key) or not re.fullmatch(_TAG, value):
            raise ValueError(
                f'not every AWS service accepts the tag "{key} = {value}": use letters, digits,'
                " spaces and . : / = + - @ _"
            )
    return given


Tags = Annotated[Pairs, AfterValidator(_tags)]


def output_template(template: str) -> str:
    """Return a template for names of outputs; ValueError for an unknown field."""
    allowed = {"dir", "stem", "suffix", "run", "hash"}
    try:
        fields = [field for _, field, *_ in string.Formatter().parse(template) if field is not None]
    except ValueError as error:
        raise ValueError(f'"{template}" is not a template for names: {error}') from None
    if unknown := [field for field in fields if field not in allowed]:
        known = ", ".join(f"{{{name}}}" for name in sorted(allowed))
        raise ValueError(f"{{{unknown[0]}}} is not a field of output.name; use {known}")
    return template


def relative_globs(globs: tuple[str, ...]) -> tuple[str, ...]:
    """Return globs that stay in the scratch folder; ValueError if one does not."""
    for glob in globs:
        if glob.startswith("/") or ".." in glob.split("/"):
            raise ValueError(
                f'"{glob}" leads out of the scratch folder; write a pattern relative to it, '
                'like "*.png" or "results/**/*.csv"'
            )
    return globs


def halt_limit(value: object) -> object:
    """Return a number of files, or a share of them; ValueError for anything else."""
    if value is None or (text := str(value).strip()) == "":
        return None
    if not re.fullmatch(HALT, text):
        raise ValueError(f'"{value}" is not a limit; write a number of files, or a share like "5%"')
    return text


def notify_target(text: str | None) -> str | None:
    """Return where to send notifications: a webhook, an e-mail address, or a command.

    Raises ValueError, which does not repeat the text, for anything else.
    """
    if text is None or re.fullmatch(EMAIL, text):
        return text
    if "://" in text:
        return _webhook(text)
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"this command cannot be read: {error}") from None
    if not words:
        raise ValueError("it is empty: remove it, or give a webhook, e-mail address or command")
    return text


def _webhook(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("this is not a web address") from None
    if not host or not re.fullmatch("[!-~]+", url):
        raise ValueError("this is not a web address")
    if parts.scheme != "https" and not (parts.scheme == "http" and host in LOOPBACK):
        raise ValueError("a webhook needs an https:// address (http:// is for this machine only)")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a webhook's address must not contain a user name or password")
    return url


def shown_target(text: str) -> str:
    """Return a target as it may be shown: a webhook's without its secret part."""
    if not re.match(WEBHOOK, text):
        return text
    parts = urlsplit(text)
    return f"{parts.scheme}://{parts.hostname}/…"
