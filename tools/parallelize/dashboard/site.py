"""The routes of the dashboard and their caching: a web server without the network."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from threading import Lock
from typing import Any, Generic, TypeVar

from parallelize.dashboard import page
from parallelize.dashboard.live import LiveRun, Place, read_files
from parallelize.dashboard.page import Picture
from parallelize.runs.state.attempts import read_records
from parallelize.runs.state.catalog import Catalog, Listed
from parallelize.runs.state.watch import INTERVAL_SECONDS, LISTING_SHARE
from parallelize_core import keys
from parallelize_core.errors import MissingError, NothingToDoError, ParallelizeError, UsageError
from parallelize_core.layout import RUN_NAME

OVER_SECONDS = 60.0
"""How long the picture of a finished run stays valid."""

CATALOG_SECONDS = 30.0

Made = TypeVar("Made")
Query = Mapping[str, str]


@dataclass(frozen=True)
class Answer:
    """A response to a browser."""

    status: HTTPStatus
    content_type: str
    text: str


@dataclass(frozen=True)
class _Kept(Generic[Made]):
    value: Made
    until: float


class Shared(Generic[Made]):
    """What `make` returns, made again when somebody asks for it after it has expired.

    It expires after `keep` seconds, or after four times as long as it took to make, whichever is
    longer. Nothing is made while nobody asks. `clock` returns seconds.
    """

    def __init__(
        self,
        make: Callable[[], Made],
        keep: Callable[[Made], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make = make
        self._keep = keep
        self._clock = clock
        self._kept: _Kept[Made] | None = None
        self._making = Lock()

    def get(self) -> Made:
        """Return the value; while one caller renews it, the others get the older one."""
        kept = self._kept
        if kept and self._clock() < kept.until:
            return kept.value
        if not self._making.acquire(blocking=kept is None) and kept:
            return kept.value
        try:
            # Another thread may have made it while this one waited for the lock.
            if self._kept is kept:
                self._kept = self._renewed()
            assert self._kept is not None  # noqa: S101
            return self._kept.value
        finally:
            self._making.release()

    def _renewed(self) -> _Kept[Made]:
        began = self._clock()
        value = self._make()
        ended = self._clock()
        return _Kept(value, ended + max(self._keep(value), LISTING_SHARE * (ended - began)))


class Site:
    """Answers for paths below the token; safe for several threads.

        /                       the runs
        /RUN/                   one run
        /RUN/live.json          the same as JSON, with the page's changing part
        /RUN/log?key=KEY        the attempts at a file
        /RUN/files              the table of all files, which is in
        /RUN/files.json
        /style.css, /live.js, /files.js

    A run's name has no dot, so none can hide a file. `clock` and `wall` return seconds, `wall`
    since 1970.
    """

    def __init__(
        self,
        place: Place,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._place = place
        self._clock = clock
        self._wall = wall
        self._runs: dict[str, Shared[Picture | ParallelizeError]] = {}
        catalog = Catalog(place.store, place.base, wall)
        self._catalog: Shared[list[Listed] | ParallelizeError] = Shared(
            lambda: self._told("", catalog.runs), lambda _: CATALOG_SECONDS, clock
        )

    def answer(self, path: str, query: Query) -> Answer:
        """Return the answer for a path, without the token and its slash."""
        match path.split("/"):
            case [""]:
                return self._index()
            case ["style.css"]:
                return Answer(HTTPStatus.OK, "text/css", page.style())
            case ["live.js"]:
                return Answer(HTTPStatus.OK, "text/javascript", page.script())
            case ["files.js"]:
                return Answer(HTTPStatus.OK, "text/javascript", page.files_script())
            case [run, what] if RUN_NAME.fullmatch(run):
                return self._of_run(run, what, query)
        return _nothing_here("../" * path.count("/"))

    def _of_run(self, run: str, what: str, query: Query) -> Answer:
        if what == "":
            return self._run(run)
        if what == "live.json":
            return self._json(run)
        if what == "files":
            return _page(page.files_page(run, self._place.hint(run)))
        if what == "files.json":
            return self._files(run)
        if what == "log":
            return self._log(run, query.get("key", ""))
        return _nothing_here("../")

    def _index(self) -> Answer:
        found = self._catalog.get()
        if isinstance(found, ParallelizeError):
            return _page(page.trouble_page(found, ""), _status_of(found))
        where, hint = self._place.base.uri, self._place.hint("")
        return _page(page.runs_page(found, where, self._wall(), hint))

    def _run(self, run: str) -> Answer:
        found = self._shared(run).get()
        if isinstance(found, ParallelizeError):
            return _page(page.run_page(run, page.trouble_main(found)), _status_of(found))
        return _page(page.run_page(run, found.main))

    def _json(self, run: str) -> Answer:
        found = self._shared(run).get()
        if isinstance(found, ParallelizeError):
            return _json(page.trouble_json(found), _status_of(found))
        return _json(found.document)

    def _files(self, run: str) -> Answer:
        found = self._told(run, lambda: read_files(self._place, run))
        if isinstance(found, ParallelizeError):
            return _json(page.trouble_json(found), _status_of(found))
        return _json(page.files_json(found))

    def _log(self, run: str, key: str) -> Answer:
        if reason := keys.refusal(key):
            found: Any = UsageError("no file has this name", reason)
        else:
            layout = self._place.layout(run)
            found = self._told(run, lambda: read_records(self._place.store, layout, key))
        if isinstance(found, ParallelizeError):
            return _page(page.trouble_page(found, "../"), _status_of(found))
        return _page(page.log_page(run, key, found, self._place.hint(run)))

    def _shared(self, run: str) -> Shared[Picture | ParallelizeError]:
        if run not in self._runs:
            live = LiveRun(self._place, run)
            new = Shared(lambda: self._told(run, live.look), _keep_seconds, self._clock)
            # If two threads come here at once, one of them wins.
            self._runs.setdefault(run, new)
        return self._runs[run]

    def _told(self, run: str, do: Callable[[], Made]) -> Made | ParallelizeError:
        """Return the result, or an error for the user; our own faults are raised."""
        try:
            return do()
        except Exception as error:
            told = self._place.tell(error, run)
            if told is None:
                raise
            return told


def _keep_seconds(found: Picture | ParallelizeError) -> float:
    over = isinstance(found, Picture) and found.over
    return OVER_SECONDS if over else INTERVAL_SECONDS


def _page(text: str, status: HTTPStatus = HTTPStatus.OK) -> Answer:
    return Answer(status, "text/html", text)


def _json(document: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> Answer:
    return Answer(status, "application/json", json.dumps(document))


def _status_of(error: ParallelizeError) -> HTTPStatus:
    missing = isinstance(error, UsageError | NothingToDoError | MissingError)
    return HTTPStatus.NOT_FOUND if missing else HTTPStatus.SERVICE_UNAVAILABLE


def _nothing_here(root: str) -> Answer:
    error = UsageError("there is no such page")
    return _page(page.trouble_page(error, root), HTTPStatus.NOT_FOUND)
