"""TLS checks who answers and that nothing was changed on the way; proxies are gone through."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from tests.functional.core.transport.certificates import Authority
from tests.functional.core.transport.scripted import (
    GONE,
    Exchange,
    Step,
    a_session,
    answer,
    calling,
    hang_up,
    raw,
    served,
)

from parallelize_core.async_clients import AsyncClients
from parallelize_core.errors import UnavailableError
from parallelize_core.transport import pool
from parallelize_core.transport.connection import Connection
from parallelize_core.transport.endpoints import Endpoints
from parallelize_core.transport.pool import Proxy, tls_context

BODY = bytes(range(256)) * 256
DONE = answer(BODY, etag='"etag"')


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("certificates"))


def test_a_server_of_a_trusted_authority_is_spoken_to(authority: Authority) -> None:
    async def body() -> None:
        context = tls_context(authority.bundle, "")
        async with (
            served(DONE, tls=authority.server_context("127.0.0.1")) as server,
            calling(server, context=context) as caller,
        ):
            store = caller.store()
            assert await store.get("a") == await store.get("b") == BODY
            assert await store.put("c", BODY * 40) == "etag"

    asyncio.run(body())


def test_calls_share_a_limited_number_of_connections_over_tls(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes memory, and time to make."""
    monkeypatch.setattr(pool, "TLS_CONNECTIONS", 3)

    async def body() -> None:
        context = tls_context(authority.bundle, "")
        async with (
            served(hang_up, DONE, tls=authority.server_context("127.0.0.1")) as server,
            calling(server, context=context) as caller,
        ):
            found = await asyncio.gather(*(caller.store().get(f"{n}") for n in range(20)))
            assert found == [BODY] * 20
            # The one that was closed was replaced.
            assert server.connections <= 4

    asyncio.run(body())


def test_a_connection_that_fails_leaves_its_place_to_others(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "TLS_CONNECTIONS", 1)

    async def body() -> None:
        context = tls_context(authority.bundle, "")
        async with (
            served(DONE, tls=authority.server_context("127.0.0.1")) as server,
            calling(server, context=context) as caller,
        ):
            connect, left = caller.pool._connect, 2

            async def failing() -> Connection:
                nonlocal left
                left -= 1
                if left >= 0:
                    raise ConnectionRefusedError
                return await connect()

            caller.pool._connect = failing
            async with asyncio.timeout(30):
                assert await caller.store().get("a") == BODY

    asyncio.run(body())


@pytest.mark.parametrize("name", ["localhost", "127.0.0.2"])
def test_a_server_with_a_certificate_of_another_name_is_not(
    authority: Authority, name: str
) -> None:
    async def body() -> None:
        context = tls_context(authority.bundle, "")
        async with (
            served(DONE, tls=authority.server_context(name)) as server,
            calling(server, context=context) as caller,
        ):
            with pytest.raises(UnavailableError) as caught:
                await caller.store().get("a")
            assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
            assert server.asked == []

    asyncio.run(body())


def test_a_server_of_an_authority_that_is_not_trusted_is_not(
    authority: Authority, tmp_path: Path
) -> None:
    async def body() -> None:
        context = tls_context(Authority.make(tmp_path).bundle, "")
        async with (
            served(DONE, tls=authority.server_context("127.0.0.1")) as server,
            calling(server, context=context) as caller,
        ):
            with pytest.raises(UnavailableError) as caught:
                await caller.store().get("a")
            assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)

    asyncio.run(body())


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
def test_a_bundle_of_authorities_that_is_set_is_trusted(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    async def body() -> None:
        async with served(DONE, tls=authority.server_context("localhost")) as server:
            monkeypatch.setenv(variable, authority.bundle)
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://localhost:{server.port}")
            clients = AsyncClients.of_session(a_session())
            assert await clients.store("bucket").get("key") == BODY
            await clients.aclose()

    asyncio.run(body())


def test_without_a_bundle_the_authorities_of_the_public_are_trusted() -> None:
    endpoints = Endpoints(a_session)
    context = endpoints.context(endpoints.of_bucket("bucket").origin)
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert len(context.get_ca_certs()) > 50


@asynccontextmanager
async def relay(port: int, spoil: int) -> AsyncIterator[int]:
    """Pass bytes on to a port; change one of the answers of the first `spoil` connections."""
    left = spoil

    async def passing(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, spoiled: bool
    ) -> None:
        passed = 0
        with suppress(*GONE):
            while data := await reader.read(65536):
                if spoiled and passed < 40_000 <= passed + len(data):
                    data = data[:-10] + bytes([data[-10] ^ 1]) + data[-9:]
                passed += len(data)
                writer.write(data)
                await writer.drain()
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal left
        spoiled, left = left > 0, left - 1
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(
            passing(reader, far_writer, spoiled=False), passing(far_reader, writer, spoiled=spoiled)
        )

    listening = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()


@pytest.mark.parametrize("spoil", [1, 1000])
def test_a_record_of_tls_that_changes_on_its_way_is_never_taken(
    authority: Authority, tmp_path: Path, spoil: int
) -> None:
    async def body() -> None:
        context = tls_context(authority.bundle, "")
        async with (
            served(DONE, tls=authority.server_context("127.0.0.1")) as server,
            relay(server.port, spoil) as port,
        ):
            server.port = port
            async with calling(server, context=context) as caller:
                fetching = caller.store().get_file("key", tmp_path / "file")
                if spoil == 1:
                    assert await fetching == len(BODY)
                    assert (tmp_path / "file").read_bytes() == BODY
                else:
                    with pytest.raises(UnavailableError):
                        await fetching
                    assert not (tmp_path / "file").exists()

    asyncio.run(body())


def test_a_proxy_of_plain_http_gets_the_whole_address_and_its_password() -> None:
    async def body() -> None:
        async with served(DONE) as server:
            proxy = Proxy.parse(f"http://user:p%40ss@127.0.0.1:{server.port}")
            async with calling(server, proxy=proxy, host="s3.example.org") as caller:
                assert await caller.store().get("k/e y") == BODY
            [asked] = server.asked
            assert asked.target == f"http://s3.example.org:{server.port}/bucket/k/e%20y"
            assert asked.headers["host"] == f"s3.example.org:{server.port}"
            words = base64.b64encode(b"user:p@ss").decode()
            assert asked.headers["proxy-authorization"] == f"Basic {words}"

    asyncio.run(body())


def tunnel(port: int) -> Step:
    """Connect to a port in the place of what was asked for, and pass all bytes on."""

    async def step(exchange: Exchange) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        await exchange.send(b"HTTP/1.1 200 Connection established\r\n\r\n")

        async def passing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(*GONE):
                while data := await reader.read(65536):
                    writer.write(data)
                    await writer.drain()
            writer.close()

        await asyncio.gather(
            passing(exchange.reader, far_writer), passing(far_reader, exchange.writer)
        )

    return step


def test_a_proxy_connects_and_tls_goes_through_it(authority: Authority) -> None:
    async def body() -> None:
        context = tls_context(authority.bundle, "")
        async with (
            served(DONE, tls=authority.server_context("s3.example.org")) as server,
            served(tunnel(server.port)) as proxy,
        ):
            way = Proxy.parse(f"user:pass@127.0.0.1:{proxy.port}")
            async with calling(server, context=context, proxy=way, host="s3.example.org") as caller:
                store = caller.store()
                assert await store.get("a") == await store.get("b") == BODY
            [connect] = proxy.asked
            assert (connect.method, connect.target) == ("CONNECT", f"s3.example.org:{server.port}")
            assert connect.headers["Proxy-Authorization"].startswith("Basic ")
            assert [asked.target for asked in server.asked] == ["/bucket/a", "/bucket/b"]
            assert "proxy-authorization" not in server.asked[0].headers

    asyncio.run(body())


def test_a_proxy_that_is_reached_by_tls_is_gone_through_by_tls(authority: Authority) -> None:
    async def body() -> None:
        context = tls_context(authority.bundle, "")
        async with (
            served(DONE, tls=authority.server_context("s3.example.org")) as server,
            served(tunnel(server.port), tls=authority.server_context("127.0.0.1")) as proxy,
        ):
            way = Proxy.parse(f"https://127.0.0.1:{proxy.port}")
            async with calling(server, context=context, proxy=way, host="s3.example.org") as caller:
                assert await caller.store().get("a") == BODY

    asyncio.run(body())


@pytest.mark.parametrize(
    "step",
    [
        raw(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 5\r\n\r\nabcde"),
        raw(b"HTTP/1.1 502 Bad Gateway\r\n\r\n"),
        raw(b""),
    ],
)
def test_a_proxy_that_does_not_connect_is_named(authority: Authority, step: Step) -> None:
    async def body() -> None:
        context = tls_context(authority.bundle, "")
        async with served(step) as proxy:
            way = Proxy.parse(f"http://127.0.0.1:{proxy.port}")
            async with calling(proxy, context=context, proxy=way, host="s3.example.org") as caller:
                with pytest.raises(UnavailableError):
                    await caller.store().get("a")

    asyncio.run(body())


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://proxy:3128"}, Proxy("proxy", 3128)),
        ({"https_proxy": "proxy:3128"}, Proxy("proxy", 3128)),
        ({"HTTPS_PROXY": "https://proxy"}, Proxy("proxy", 443, tls=True)),
        ({"HTTP_PROXY": "http://proxy:3128"}, None),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": ".amazonaws.com"}, None),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "example.org"}, Proxy("proxy", 3128)),
    ],
)
def test_the_variables_for_proxies_are_read_as_botocore_reads_them(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: Proxy | None
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Endpoints(a_session).of_bucket("bucket").origin.proxy == expected
