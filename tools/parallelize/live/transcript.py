"""A transcript: a header, then one line of JSON per AWS call, in the order of the answers.

A recorder notes every call of a session's clients, whatever code makes it. Between the calls are
the probes' findings: they report on machines what no call says.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TextIO

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from parallelize.live.redaction import Redactor, code_word
from parallelize_core.errors import DecodeError
from parallelize_core.record import first_fault
from parallelize_core.transport.endpoints import NOT_SENT

if TYPE_CHECKING:
    from parallelize_core.clients import Session


class Text(BaseModel):
    """A line."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class Header(Text):
    """The first line: what was asked, `aws` or an emulator, and when (ISO 8601)."""

    version: Literal[1] = Field(default=1, alias="schema")
    program: str
    region: str
    aws: bool
    started: str
    run: str
    """The run's random name, from which the calls' resources are named."""


class Refused(Text):
    """An AWS error: its code, and the HTTP status, 0 if there was no answer at all."""

    code: str
    status: int = 0


class Line(Text):
    """A call; `at` is when it began, in seconds since the start, and `took` its seconds."""

    step: str
    at: float
    took: float
    service: str
    operation: str
    params: dict[str, Any]
    answer: dict[str, Any] | None = None
    error: Refused | None = None


class Said(Text):
    """A step's finding, in the words shown to people; `good` if it was expected."""

    step: str
    good: bool
    said: str


_EITHER: TypeAdapter[Line | Said] = TypeAdapter(Line | Said)


class Recorded(NamedTuple):
    """A transcript that was read: the calls and the findings, each in order."""

    header: Header
    lines: list[Line]
    said: list[Said]


class Transcript:
    """A file that is written as the calls are made, so that it survives whatever happens."""

    def __init__(self, file: TextIO, header: Header) -> None:
        self._file = file
        self._write(header)

    def add(self, line: Line | Said) -> None:
        """Write a line."""
        self._write(line)

    def _write(self, text: Text) -> None:
        self._file.write(text.model_dump_json(exclude_none=True, by_alias=True) + "\n")
        self._file.flush()


def read(lines: Iterable[str]) -> Recorded:
    """Read a transcript; raise DecodeError if it is not one."""
    first, *rest = [line for line in lines if line.strip()] or [""]
    try:
        header = Header.model_validate_json(first)
        read_all = [_EITHER.validate_json(line) for line in rest]
    except ValidationError as error:
        raise DecodeError("not a transcript of doctor --live", first, first_fault(error)) from None
    return Recorded(
        header,
        [line for line in read_all if isinstance(line, Line)],
        [line for line in read_all if isinstance(line, Said)],
    )


_BEGUN = "parallelize.begun"


class Recorder:
    """Listens to sessions; `step` is what the next calls belong to."""

    def __init__(self, redactor: Redactor, add: Callable[[Line | Said], None]) -> None:
        self._redactor = redactor
        self._add = add
        self._start = time.monotonic()
        self.step = ""

    def say(self, text: str, *, good: bool) -> None:
        """Record a finding, without what identifies the account."""
        self._add(Said(step=self.step, good=good, said=self._redactor.prose(text)))

    def listen(self, session: Session) -> None:
        """Record each call of the clients that the session creates from now on."""
        session.events.register("provide-client-params", self._begun)
        session.events.register("after-call", self._answered)
        session.events.register("after-call-error", self._failed)

    def _begun(self, params: Any, model: Any, context: Any, **_: object) -> None:
        # The library's context of the call: the only thing that all its events receive.
        context[_BEGUN] = (time.monotonic(), dict(params), model)

    def _answered(
        self, model: Any, parsed: Any, context: Any, http_response: Any, **_: Any
    ) -> None:
        if NOT_SENT in http_response.headers:
            return
        refused, status = parsed.get("Error"), http_response.status_code
        if status < 300 or not isinstance(refused, dict):
            self._write(context, answer=self._redactor.structure(model.output_shape, parsed))
        else:
            code = code_word(str(refused.get("Code", "")))
            self._write(context, error=Refused(code=code, status=status))

    def _failed(self, exception: BaseException, context: Any, **_: object) -> None:
        self._write(context, error=Refused(code=type(exception).__name__))

    def _write(self, context: Any, **outcome: Any) -> None:
        begun, params, model = context[_BEGUN]
        self._add(
            Line(
                step=self.step,
                at=round(begun - self._start, 3),
                took=round(time.monotonic() - begun, 3),
                service=model.service_model.service_name,
                operation=model.name,
                params=self._redactor.structure(model.input_shape, params),
                **outcome,
            )
        )
