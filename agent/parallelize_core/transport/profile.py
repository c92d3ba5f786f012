"""A profile of AWS's configuration files, read without botocore where it is known what it means.

https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from parallelize_core.transport.role_keys import Found

_KEYS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")

_UNDERSTOOD = {"region", *_KEYS, "output"}
"""Besides those whose names begin with `cli_`; like `output`, they are AWS's command line's own."""

Sections = Mapping[str, Mapping[str, str]]


class Profile(NamedTuple):
    """A region and keys, each empty if the profile does not have it."""

    region: str = ""
    keys: Found = Found()


def _files(environ: Mapping[str, str]) -> tuple[Path, Path]:
    config = environ.get("AWS_CONFIG_FILE") or "~/.aws/config"
    shared = environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials"
    return _path(config), _path(shared)


def read_profile(environ: Mapping[str, str], name: str) -> Profile | None:
    """Read a profile, the default one if `name` is empty; None if botocore has to be asked.

    It has to be for a profile that does not exist, for a file that cannot be read, and if the
    profile says more than a region and keys: where to sign in, which endpoints to use.
    """
    config, shared = map(_sections, _files(environ))
    if config is None or shared is None:
        return None
    wanted = name or "default"
    ours = [said for said in (_of_config(config, wanted), shared.get(wanted)) if said is not None]
    settings = {key: value for said in ours for key, value in said.items()}
    if (name and not ours) or not all(_is_understood(*setting) for setting in settings.items()):
        return None
    # Keys of the shared file win, and are never mixed with those of the other.
    keyed = next((said for said in reversed(ours) if _KEYS[0] in said), {})
    access, secret, token = (keyed.get(key, "") for key in _KEYS)
    if keyed and not (access and secret):
        return None
    return Profile(settings.get("region", ""), Found(access, secret, token or None))


def _is_understood(setting: str, value: str) -> bool:
    return (setting in _UNDERSTOOD or setting.startswith("cli_")) and "\n" not in value


def _path(name: str) -> Path:
    return Path(os.path.expandvars(name)).expanduser()


def _sections(path: Path) -> Sections | None:
    """Return a file's sections, none if there is no file; None if it cannot be understood."""
    # ruff: noqa: PLC0415 - most workers have no such file
    if not path.is_file():
        return {}
    from configparser import Error, RawConfigParser

    parser = RawConfigParser()
    try:
        # Without an encoding, as botocore does: in that of the user's locale.
        read = parser.read([path])
    except (Error, UnicodeDecodeError):
        return None
    return {name: dict(parser.items(name)) for name in parser.sections()} if read else None


def _of_config(config: Sections, wanted: str) -> Mapping[str, str] | None:
    """Return what the configuration says of a profile; its sections are called `profile NAME`."""
    found = None
    for section, said in config.items():
        if section.startswith("profile"):
            if _words(section)[1:] == [wanted]:
                found = said
        elif section == wanted == "default":
            found = said
    return found


def _words(section: str) -> list[str]:
    try:
        return shlex.split(section)
    except ValueError:
        return []
