"""What an answer asks for is done once: other credentials, the time, a region, a pause."""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate
from typing import Any

import pytest
from tests.functional.core.transport.scripted import (
    Exchange,
    Step,
    answer,
    calling,
    refusal,
    served,
)

from parallelize_core.clients import RequestCounts
from parallelize_core.errors import (
    AccessError,
    UnavailableError,
    UsageError,
)
from parallelize_core.transport.pool import Pool
from parallelize_core.transport.retries import ATTEMPTS, RetryBudget

DONE = answer(b"body", etag='"etag"')
TEN_MINUTES = 600


class Frozen:
    def __init__(self, number: int) -> None:
        self.access_key, self.secret_key, self.token = f"AKID{number}", "secret", f"token{number}"


class Renewing:
    """Stands for botocore's session and its credentials: each look at the chain gives others."""

    method = "iam-role"

    def __init__(self, lives_seconds: float = 3600) -> None:
        self.looks = 0
        self.lives_seconds = lives_seconds
        self.fails: Exception | None = None

    def get_credentials(self) -> Renewing:
        return self

    def get_component(self, name: str) -> Renewing:
        assert name == "credential_provider"
        return self

    def load_credentials(self) -> Renewing:
        return self

    def refresh_needed(self, refresh_in: int) -> bool:
        return self.lives_seconds < refresh_in

    def get_frozen_credentials(self) -> Frozen:
        if self.fails is not None:
            raise self.fails
        self.looks += 1
        return Frozen(self.looks)


def signed_by(exchange: Any) -> str:
    return str(exchange.headers["authorization"]).partition("Credential=")[2].partition("/")[0]


@pytest.mark.parametrize("code", ["ExpiredToken", "ExpiredTokenException", "RequestExpired"])
def test_expired_credentials_are_renewed_and_the_call_made_once_more(code: str) -> None:
    async def body() -> None:
        async with (
            served(refusal(code, 400), DONE) as server,
            calling(server, session=Renewing()) as caller,
        ):
            assert await caller.store().get("key") == b"body"
            assert [signed_by(one) for one in server.asked] == ["AKID1", "AKID2"]
            assert server.asked[1].headers["x-amz-security-token"] == "token2"

    asyncio.run(body())


def test_credentials_that_stay_expired_may_pass() -> None:
    async def body() -> None:
        async with (
            served(refusal("ExpiredToken", 400)) as server,
            calling(server, session=Renewing()) as caller,
        ):
            with pytest.raises(UnavailableError, match="expired"):
                await caller.store().get("key")
            assert len(server.asked) == 2

    asyncio.run(body())


def test_credentials_that_expire_soon_are_renewed_in_passing() -> None:
    async def body() -> None:
        session = Renewing(lives_seconds=300)
        async with served(DONE) as server, calling(server, session=session) as caller:
            # They were fetched long ago, as far as the pause between two renewals goes.
            caller.client._credentials._fetched_at = -1000
            await caller.store().get("a")
            caller.client._credentials._fetched_at = -1000
            await caller.store().get("b")
            fetching: Any = caller.client._credentials._fetching
            await fetching
            await caller.store().get("c")
            assert [signed_by(one) for one in server.asked] == ["AKID1", "AKID1", "AKID2"]

    asyncio.run(body())


def test_a_source_that_gives_what_is_about_to_expire_is_not_asked_all_the_time() -> None:
    async def body() -> None:
        session = Renewing(lives_seconds=300)
        async with served(DONE) as server, calling(server, session=session) as caller:
            for _ in range(5):
                await caller.store().get("a")
            fetching: Any = caller.client._credentials._fetching
            await fetching
            assert session.looks == 1

    asyncio.run(body())


def test_every_attempt_is_counted_because_every_attempt_is_charged() -> None:
    async def body() -> None:
        counts = RequestCounts()
        busy = refusal("SlowDown", 503, "Please reduce your request rate.")
        async with served(busy, DONE) as server, calling(server, counts=counts) as caller:
            await caller.store().get("a")
        assert counts.s3_reads == 2

    asyncio.run(body())


def test_credentials_about_to_expire_are_waited_for() -> None:
    async def body() -> None:
        session = Renewing(lives_seconds=30)
        async with served(DONE) as server, calling(server, session=session) as caller:
            await caller.store().get("a")
            await caller.store().get("b")
            assert [signed_by(one) for one in server.asked] == ["AKID1", "AKID2"]

    asyncio.run(body())


def test_credentials_that_cannot_be_fetched_may_pass() -> None:
    async def body() -> None:
        session = Renewing()
        session.fails = RuntimeError("no metadata")
        async with served(DONE) as server, calling(server, session=session) as caller:
            with pytest.raises(UnavailableError, match="no metadata"):
                await caller.store().get("a")
            session.fails = None
            assert await caller.store().get("a") == b"body"

    asyncio.run(body())


def test_no_credentials_at_all_are_named() -> None:
    class Nothing(Renewing):
        def get_credentials(self) -> Any:
            return None

    async def body() -> None:
        async with served(DONE) as server, calling(server, session=Nothing()) as caller:
            with pytest.raises(AccessError, match="no AWS credentials found"):
                await caller.store().get("a")

    asyncio.run(body())


@pytest.mark.parametrize("wrong_by", [-TEN_MINUTES, TEN_MINUTES])
@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("RequestTimeTooSkewed", "The difference between the request time and ..."),
        ("InvalidSignatureException", "Signature expired: 20260101T000000Z is now earlier than"),
        ("SignatureDoesNotMatch", "Signature not yet current: 20260101T000000Z is still later"),
    ],
)
def test_a_wrong_clock_is_corrected_once_and_for_all(code: str, words: str, wrong_by: int) -> None:
    async def body() -> None:
        now = time.time()
        skewed = refusal(code, 403, words, date=formatdate(now, usegmt=True))
        async with (
            served(skewed, DONE) as server,
            calling(server, clock=lambda: now + wrong_by) as caller,
        ):
            await caller.store().get("a")
            await caller.store().get("b")
            expected = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(int(now)))
            assert [one.headers["x-amz-date"] for one in server.asked][1:] == [expected] * 2

    asyncio.run(body())


REDIRECTS = {
    "301": answer(b"", 301, x_amz_bucket_region="eu-west-3"),
    "307": refusal("TemporaryRedirect", 307, x_amz_bucket_region="eu-west-3"),
    "400": answer(
        b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-3</Region></Error>", 400
    ),
}


@pytest.mark.parametrize("step", REDIRECTS.values(), ids=REDIRECTS.keys())
def test_a_bucket_of_another_region_is_followed_and_remembered(step: Step) -> None:
    async def body() -> None:
        moves: list[str] = []
        async with served(step, DONE) as server:

            async def relocate(region: str) -> tuple[Any, Pool]:
                moves.append(region)
                return caller.client.endpoint._replace(region=region), caller.pool

            async with calling(server, relocate=relocate) as caller:
                store = caller.store()
                await store.get("a")
                await store.get("b")
                scopes = [one.headers["authorization"].split("/")[2] for one in server.asked]
                assert scopes == ["eu-west-1", "eu-west-3", "eu-west-3"]
                assert moves == ["eu-west-3"]

    asyncio.run(body())


def test_calls_that_are_redirected_together_all_arrive() -> None:
    async def by_region(exchange: Exchange) -> None:
        here = "/eu-west-3/" in exchange.asked.headers["authorization"]
        await (DONE if here else REDIRECTS["301"])(exchange)

    async def body() -> None:
        async with served(by_region) as server:

            async def relocate(region: str) -> tuple[Any, Pool]:
                await asyncio.sleep(0)
                return caller.client.endpoint._replace(region=region), caller.pool

            async with calling(server, relocate=relocate) as caller:
                store = caller.store()
                assert await asyncio.gather(*[store.get("a") for _ in range(5)]) == [b"body"] * 5

    asyncio.run(body())


def test_a_redirect_that_goes_round_in_circles_is_refused() -> None:
    async def body() -> None:
        async with served(REDIRECTS["301"]) as server:

            async def relocate(region: str) -> tuple[Any, Pool]:
                return caller.client.endpoint._replace(region=region), caller.pool

            async with calling(server, relocate=relocate) as caller:
                with pytest.raises(UsageError, match="another region"):
                    await caller.store().get("a")
                assert len(server.asked) == 2

    asyncio.run(body())


@pytest.mark.parametrize(
    "busy",
    [
        refusal("SlowDown", 503),
        refusal("InternalError", 500),
        refusal("RequestTimeout", 400),
        refusal("BadDigest", 400),
        answer(b"<html>Bad Gateway</html>", 502),
        answer(b"", 504),
        answer(b"", 429),
    ],
)
def test_a_service_that_is_busy_for_a_moment_is_asked_again(busy: Step) -> None:
    async def body() -> None:
        async with served(busy, busy, DONE) as server, calling(server) as caller:
            assert await caller.store().get("key") == b"body"

    asyncio.run(body())


@pytest.mark.parametrize("header", [{"retry_after": "1"}, {"x_amz_retry_after": "1000"}])
def test_a_pause_that_is_asked_for_is_made(header: dict[str, str]) -> None:
    class Listening(RetryBudget):
        asked: float | None = None

        def delay(self, reason: Any, attempt: int, retry_after: float | None) -> float | None:
            self.asked = retry_after
            return 0.0

    async def body() -> None:
        budget = Listening()
        busy = refusal("ServiceUnavailable", 503, **header)
        async with served(busy, DONE) as server, calling(server, budget=budget) as caller:
            await caller.store().get("key")
            assert budget.asked == 1.0

    asyncio.run(body())


def test_an_outage_fails_after_few_attempts_and_then_at_once() -> None:
    """Each of many calls would add its retries to the load of a service that fails."""

    async def body() -> None:
        async with served(answer(b"", 503)) as server, calling(server) as caller:
            store = caller.store()
            with pytest.raises(UnavailableError):
                await store.get("key")
            assert len(server.asked) == ATTEMPTS
            for _ in range(20):
                with pytest.raises(UnavailableError):
                    await store.get("key")
            before = len(server.asked)
            with pytest.raises(UnavailableError):
                await store.get("key")
            assert len(server.asked) == before + 1

    asyncio.run(body())
