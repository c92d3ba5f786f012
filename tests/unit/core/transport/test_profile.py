"""What a profile says without botocore is what botocore reads in it; what is not sure, it reads."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import pytest
from botocore.session import Session, get_session
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelize_core.transport.endpoints import Endpoints
from parallelize_core.transport.plain import Plain

KEYS = "aws_access_key_id = id\naws_secret_access_key = secret\n"
OTHER_KEYS = "aws_access_key_id = id 2\naws_secret_access_key = secret 2\n"

SECTIONS = ["default", "profile default", "lab", "profile lab", 'profile "lab"']
ODD_SECTIONS = [
    "profiles lab", 'profile "lab', "profile lab x", "DEFAULT", "sso-session lab", "preview",
]  # fmt: skip
SETTINGS = [
    "region = eu-west-1", "region = us-east-1", "REGION = eu-west-2", KEYS, OTHER_KEYS,
    f"{KEYS}aws_session_token = token", "aws_session_token = token 2", "output = json",
    "cli_pager =", "# region = eu-west-3",
]  # fmt: skip
ODD_SETTINGS = [
    "region =", "region = moon-1", "region =\n  a = b", "aws_access_key_id = id",
    "aws_secret_access_key: secret 2", "aws_access_key_id =", "aws_security_token = old",
    "aws_account_id = 123456789012", "role_arn = arn:aws:iam::123456789012:role/r",
    "source_profile = lab", "sso_session = lab", "credential_process = echo", "services = lab",
    "endpoint_url = http://127.0.0.1:1", "use_fips_endpoint = true", "ca_bundle = /etc/x", "odd",
    "s3 =\n  addressing_style = path", "é = ü",
]  # fmt: skip


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Draw a file of which most sections and settings, or all, are well known."""
    odd = draw(st.booleans())
    sections = SECTIONS + odd * ODD_SECTIONS
    some = 2 * SETTINGS + odd * ODD_SETTINGS
    lines = []
    for name in draw(st.lists(st.sampled_from(sections), max_size=3, unique=True)):
        said = st.lists(st.sampled_from(some), max_size=3, unique_by=lambda line: line[:15])
        lines += [f"[{name}]", *draw(said)]
    return "\n".join([*lines, ""])


@contextmanager
def files(config: str, shared: str = "", **environ: str) -> Iterator[Mapping[str, str]]:
    """Give both files these contents, and this process the environment that names them."""
    with TemporaryDirectory() as folder:
        places = {}
        for name, content in (("CONFIG", config), ("SHARED_CREDENTIALS", shared)):
            path = Path(folder, name)
            path.write_text(content)
            places[f"AWS_{name}_FILE"] = str(path)
        alone = {"HOME": folder, "AWS_EC2_METADATA_DISABLED": "true"}
        with patch.dict(os.environ, {**alone, **places, **environ}, clear=True):
            yield os.environ


def session_of(profile: str, region: str) -> Session:
    session = get_session()
    if region:
        session.set_config_variable("region", region)
    if profile:
        session.set_config_variable("profile", profile)
    return session


def keys_of(found: object) -> tuple[str, str, str | None] | None:
    frozen = found and found.get_frozen_credentials()  # type: ignore[attr-defined]
    return frozen and (frozen.access_key, frozen.secret_key, frozen.token)


def check_as_botocore(
    environ: Mapping[str, str], profile: str = "", region: str = ""
) -> Plain | None:
    """Compare what is said of a profile with botocore; return it, None if botocore is asked."""
    plain = Plain.of(environ, region, profile=profile)
    if plain is None:
        return None
    session = session_of(profile, region)
    assert plain.region == session.get_config_variable("region")
    if plain.find_keys is not None:
        assert keys_of(plain.find_keys()) == keys_of(session.get_credentials())
    endpoints = Endpoints(lambda: session)
    assert plain.of_bucket("bucket-1") == endpoints.of_bucket("bucket-1")
    assert plain.of_queues() == endpoints.of_queues("https://sqs.eu-west-1.amazonaws.com/1/q")
    return plain


@given(
    texts(),
    texts(),
    st.sampled_from(["", "default", "lab"]),
    st.sampled_from(["", "ap-south-1"]),
    st.sampled_from([{}, {"AWS_ACCESS_KEY_ID": "env", "AWS_SECRET_ACCESS_KEY": "env"}]),
)
@settings(max_examples=150, deadline=None)
def test_a_profile_is_read_as_botocore_reads_it(
    config: str, shared: str, profile: str, region: str, given_keys: Mapping[str, str]
) -> None:
    with files(config, shared, **given_keys) as environ:
        check_as_botocore(environ, profile, region)


@pytest.mark.parametrize(
    ("config", "shared", "profile"),
    [
        ("[default]\nregion = eu-west-1\noutput = json\n", f"[default]\n{KEYS}", ""),
        ("[profile lab]\nregion = eu-west-1\n", f"[default]\n{OTHER_KEYS}[lab]\n{KEYS}", "lab"),
        (f"[profile lab]\nregion = eu-west-1\n{KEYS}cli_pager =\n", "", "lab"),
        (f"[default]\nregion = eu-west-1\n{OTHER_KEYS}", f"[default]\n{KEYS}", "default"),
        ("", f"[lab]\nregion = eu-west-1\n{KEYS}", "lab"),
        (f"[profiles lab]\nregion = eu-west-1\n{KEYS}", "", "lab"),
        (f"[default]\nregion = eu-west-1\n{KEYS}[sso-session x]\nsso_region = a\n", "", ""),
    ],
)
def test_a_profile_with_a_region_and_keys_needs_no_botocore(
    config: str, shared: str, profile: str
) -> None:
    with files(config, shared) as environ:
        plain = check_as_botocore(environ, profile)
        assert plain
        assert plain.find_keys
        assert keys_of(plain.find_keys()) == ("id", "secret", None)
    with files(config, shared, AWS_PROFILE=profile or "default") as environ:
        assert check_as_botocore(environ)


@pytest.mark.parametrize(
    "said",
    [
        "sso_session = lab", "role_arn = arn:aws:iam::123456789012:role/r", "login_session = arn",
        "credential_process = echo", "endpoint_url = https://s3.example.org", "services = lab",
        "s3 =\n  use_accelerate_endpoint = true", "ca_bundle = /etc/bundle",
        "use_dualstack_endpoint = true", "a_setting_of_next_year = x",
    ],
)  # fmt: skip
def test_a_setting_that_only_botocore_follows_is_left_to_it(said: str) -> None:
    for config, shared in ((said, ""), ("", said)):
        with files(
            f"[default]\nregion = eu-west-1\n{config}\n", f"[default]\n{KEYS}{shared}\n"
        ) as environ:
            assert Plain.of(environ) is None


@pytest.mark.parametrize(
    ("config", "shared", "profile"),
    [
        ("[default]\nregion = eu-west-1\n", f"[default]\n{KEYS}", "missing"),
        ("region = eu-west-1\n", f"[default]\n{KEYS}", ""),
        ("[default]\nregion = eu-west-1\n[default]\n", f"[default]\n{KEYS}", ""),
        ("[default]\nregion = eu-west-1\n", "[default]\naws_access_key_id = id\n", ""),
        ("[default]\noutput = json\n", f"[default]\n{KEYS}", ""),
        ("[default]\nregion = eu-west-1\noutput =\n  odd\n", f"[default]\n{KEYS}", ""),
    ],
    ids=["no such profile", "no section", "twice", "half a key", "no region", "half a block"],
)
def test_what_may_be_a_mistake_is_left_to_botocore_which_explains_it(
    config: str, shared: str, profile: str
) -> None:
    with files(config, shared) as environ:
        assert Plain.of(environ, profile=profile) is None


def test_a_file_that_is_not_text_is_left_to_botocore() -> None:
    with files("[default]\nregion = eu-west-1\n", f"[default]\n{KEYS}") as environ:
        assert Plain.of(environ)
        Path(environ["AWS_CONFIG_FILE"]).write_bytes(b"[default]\nregion = eu-west-1\n# \xff\n")
        assert Plain.of(environ) is None


def test_keys_of_a_named_profile_win_over_the_environments() -> None:
    given_keys = {"AWS_ACCESS_KEY_ID": "env", "AWS_SECRET_ACCESS_KEY": "env"}
    config = f"[profile lab]\nregion = eu-west-1\n{KEYS}"
    with files(config, **given_keys) as environ:
        named = check_as_botocore(environ, "lab")
        assert named
        assert named.find_keys
        assert keys_of(named.find_keys()) == ("id", "secret", None)
    with files(config, AWS_PROFILE="lab", **given_keys) as environ:
        other = check_as_botocore(environ)
        assert other
        assert other.find_keys
        assert keys_of(other.find_keys()) == ("env", "env", None)


def test_keys_that_were_renewed_in_the_file_are_found() -> None:
    with files("[default]\nregion = eu-west-1\n", f"[default]\n{KEYS}") as environ:
        plain = Plain.of(environ)
        assert plain
        assert plain.find_keys
        Path(environ["AWS_SHARED_CREDENTIALS_FILE"]).write_text(f"[default]\n{OTHER_KEYS}")
        assert keys_of(plain.find_keys()) == ("id 2", "secret 2", None)


def test_a_place_named_by_a_variable_is_found() -> None:
    config = f"[default]\nregion = eu-west-1\n{KEYS}"
    with files("", PLACE="x") as environ:
        place = Path(environ["HOME"], "x")
        place.write_text(config)
        os.environ["AWS_CONFIG_FILE"] = "$HOME/$PLACE"
        assert check_as_botocore(environ)
