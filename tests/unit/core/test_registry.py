"""Logging in at registries: by a role, by a secret, and with nothing shown to anybody."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from botocore.session import get_session
from botocore.stub import Stubber
from cfnlint.decode import decode_str

from parallelize import stack
from parallelize_core.errors import AccessError, UsageError
from parallelize_core.registry import (
    Login,
    auth_file,
    check_secret,
    find_login,
    is_ecr,
    own_auth_file,
)

ECR = "111122223333.dkr.ecr.eu-central-1.amazonaws.com"
SECRET = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:hub-AbCdEf"


class Aws:
    """Clients that answer what a test has them answer; `asked` is which were made."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.stubs: list[Stubber] = []
        self._answers: list[tuple[str, Any]] = []

    def answer(self, method: str, answer: Any) -> None:
        self._answers.append((method, answer))

    def open(self, service: str, region: str) -> Any:
        self.asked.append((service, region))
        client = get_session().create_client(
            service, region_name=region, aws_access_key_id="x", aws_secret_access_key="x"
        )
        stub = Stubber(client)
        for method, answer in self._answers:
            if isinstance(answer, str):
                stub.add_client_error(method, answer)
            else:
                stub.add_response(method, answer)
        stub.activate()
        return client


@pytest.fixture
def aws() -> Aws:
    return Aws()


def test_the_role_is_enough_for_amazons_own_registry_in_whatever_region(aws: Aws) -> None:
    token = base64.b64encode(b"AWS:pass:word").decode()
    aws.answer("get_authorization_token", {"authorizationData": [{"authorizationToken": token}]})
    assert find_login(ECR, "", aws.open) == Login("AWS", "pass:word")
    assert aws.asked == [("ecr", "eu-central-1")]


@pytest.mark.parametrize(
    "host", ["docker.io", "ghcr.io", f"{ECR}.example.com", "111.dkr.ecr.x.amazonaws.com"]
)
def test_no_token_of_the_role_goes_to_another_registry(aws: Aws, host: str) -> None:
    assert find_login(host, "", aws.open) is None
    assert aws.asked == []
    assert not is_ecr(host)


def test_a_secret_has_name_and_password_as_elsewhere_at_aws(aws: Aws) -> None:
    content = json.dumps({"username": "ana", "password": "geheim"})
    aws.answer("get_secret_value", {"SecretString": content})
    assert find_login("ghcr.io", SECRET, aws.open) == Login("ana", "geheim")
    assert aws.asked == [("secretsmanager", "eu-west-1")]


@pytest.mark.parametrize("content", ["geheim", "[]", '{"user": "ana"}', "null"])
def test_a_secret_that_is_no_login_is_told_without_its_content(aws: Aws, content: str) -> None:
    aws.answer("get_secret_value", {"SecretString": content})
    with pytest.raises(UsageError, match="is not a login") as refused:
        find_login("ghcr.io", SECRET, aws.open)
    assert "geheim" not in str(refused.value)


def test_a_role_without_the_right_is_an_error_of_access(aws: Aws) -> None:
    aws.answer("get_secret_value", "AccessDeniedException")
    with pytest.raises(AccessError):
        find_login("ghcr.io", SECRET, aws.open)


def test_a_password_in_place_of_an_arn_is_refused_and_not_shown() -> None:
    with pytest.raises(UsageError) as refused:
        check_secret("geheim")
    assert "geheim" not in str(refused.value)


def test_a_login_shows_no_password() -> None:
    assert "geheim" not in repr(Login("ana", "geheim"))


def test_a_login_lies_on_the_disk_for_its_owner_and_as_long_as_it_is_used() -> None:
    with auth_file("ghcr.io", Login("ana", "geheim")) as path:
        assert path
        assert path.stat().st_mode & 0o077 == 0
        assert path.parent.stat().st_mode & 0o077 == 0
        auths = json.loads(path.read_text())["auths"]
        assert base64.b64decode(auths["ghcr.io"]["auth"]) == b"ana:geheim"
    assert not path.parent.exists()


def test_a_persons_own_logins_are_where_docker_podman_and_skopeo_put_them(tmp_path: Path) -> None:
    docker = tmp_path / ".docker" / "config.json"
    assert own_auth_file({}, tmp_path) == docker
    runtime = tmp_path / "containers" / "auth.json"
    runtime.parent.mkdir()
    runtime.write_text("{}")
    assert own_auth_file({"XDG_RUNTIME_DIR": str(tmp_path)}, tmp_path) == runtime
    named = tmp_path / "named.json"
    named.write_text("{}")
    told = {"XDG_RUNTIME_DIR": str(tmp_path), "REGISTRY_AUTH_FILE": str(named)}
    assert own_auth_file(told, tmp_path) == named


def statements(name: str) -> list[dict[str, Any]]:
    # moto makes no policy of this kind, so it is read from the template.
    document, _ = decode_str(stack.template())
    made = document["Resources"][name]["Properties"]
    assert made["RoleName"] == {"Ref": "AgentRole"}
    found: list[dict[str, Any]] = made["PolicyDocument"]["Statement"]
    return found


def test_workers_may_pull_from_the_repositories_that_setup_was_told_and_no_more() -> None:
    token, pull = statements("PullImagesPolicy")
    assert token["Action"] == "ecr:GetAuthorizationToken"
    assert pull["Resource"] == {"Ref": "ImageRepositories"}
    assert set(pull["Action"]) == {"ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"}


def test_workers_may_read_the_secrets_that_setup_was_told_and_no_more() -> None:
    (read,) = statements("ReadSecretsPolicy")
    assert read["Action"] == "secretsmanager:GetSecretValue"
    assert read["Resource"] == {"Ref": "ImageSecrets"}


def test_who_says_nothing_gives_workers_neither() -> None:
    document, _ = decode_str(stack.template())
    for name in ("ImageRepositories", "ImageSecrets"):
        assert document["Parameters"][name]["Default"] == ""
    for name in ("PullImagesPolicy", "ReadSecretsPolicy"):
        assert document["Resources"][name]["Condition"] in document["Conditions"]
