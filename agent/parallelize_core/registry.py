"""Logging in to a registry: with a role's rights to Amazon's, or with a secret.

The result is a password. It is in a file that only its owner can read, as long as an image is
pulled, and in no argument, log, or record.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from parallelize_core.errors import UsageError
from parallelize_core.translated import translated

AUTH_VARIABLE = "PARALLELIZE_REGISTRY_AUTH"
"""Names the file with a person's own logins; if it is set, AWS is not asked."""

OpenClient = Callable[[str, str], Any]
"""Makes a client for a service of AWS, in a region."""

_ECR = re.compile(r"[0-9]{12}\.dkr\.ecr(-fips)?\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?")
"""https://docs.aws.amazon.com/AmazonECR/latest/userguide/Registries.html"""

_SECRET = re.compile(r"arn:[a-z-]+:secretsmanager:(?P<region>[a-z0-9-]+):[0-9]{12}:secret:\S+")


@dataclass(frozen=True)
class Login:
    """A name and a password, which its repr omits."""

    user: str
    password: str = field(repr=False)


def find_login(host: str, secret: str, open_client: OpenClient) -> Login | None:
    """Return the login for a registry; None if there is none, for a public one.

    Raises UsageError for a malformed secret, and what a call to AWS raises.
    """
    if secret:
        return _of_secret(secret, open_client)
    ecr = _ECR.fullmatch(host)
    return _of_ecr(open_client("ecr", ecr["region"])) if ecr else None


def own_auth_file(environ: Mapping[str, str], home: Path) -> Path:
    """Return where `docker login`, `podman login` or `skopeo login` has put a person's logins.

    It need not be there.
    """
    named = environ.get("REGISTRY_AUTH_FILE")
    runtime = environ.get("XDG_RUNTIME_DIR")
    docker = Path(environ.get("DOCKER_CONFIG") or home / ".docker", "config.json")
    places = [*([Path(named)] if named else []),
              *([Path(runtime, "containers/auth.json")] if runtime else []),
              Path(f"/run/containers/{os.getuid()}/auth.json")]  # fmt: skip
    return next((place for place in places if place.is_file()), docker)


def is_ecr(host: str) -> bool:
    """Whether a registry is Amazon's own, where a role is enough."""
    return _ECR.fullmatch(host) is not None


def check_secret(arn: str) -> None:
    """Raise UsageError if it is not the ARN of a secret."""
    if not _SECRET.fullmatch(arn):
        raise UsageError(
            "run.image_secret is not the ARN of a secret in Secrets Manager",
            # It may be the password itself.
            "it may be a password, so this message does not show it",
            'run.image_secret = "arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME"',
        )


def _of_ecr(client: Any) -> Login:
    with translated("ECR"):
        token = client.get_authorization_token()["authorizationData"][0]["authorizationToken"]
        user, _, password = base64.b64decode(token).decode().partition(":")
    return Login(user, password)


def _of_secret(arn: str, open_client: OpenClient) -> Login:
    check_secret(arn)
    match = _SECRET.fullmatch(arn)
    client = open_client("secretsmanager", match["region"] if match else "")
    with translated("Secrets Manager", f"the secret {arn}"):
        text = client.get_secret_value(SecretId=arn)["SecretString"]
    try:
        content = json.loads(text)
        return Login(str(content["username"]), str(content["password"]))
    except (ValueError, TypeError, KeyError):
        raise UsageError(
            f"the secret {arn} is not a login",
            "it must be a JSON object with username and password",
            "fix the secret; nothing else needs to be repeated",
        ) from None


@contextmanager
def auth_file(host: str, login: Login | None) -> Iterator[Path | None]:
    """Write a login to a file for skopeo, unreadable to other users, as long as it is needed."""
    if login is None:
        yield None
        return
    word = base64.b64encode(f"{login.user}:{login.password}".encode()).decode()
    text = json.dumps({"auths": {host: {"auth": word}}})
    with TemporaryDirectory(prefix="parallelize-login-") as folder:  # its mode is 0700
        path = Path(folder, "auth.json")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="ascii") as file:  # noqa: PTH123
            file.write(text)
        yield path
