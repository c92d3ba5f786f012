"""Records every call of a session's clients, whatever code makes it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from parallelize.live.redaction import Redactor, code_word
from parallelize.live.transcript import Line, Refused, Said
from parallelize_core.transport.endpoints import NOT_SENT

if TYPE_CHECKING:
    from parallelize_core.clients import Session

_BEGUN = "parallelize.begun"


class Recorder:
    """Listens to sessions; `step` is what the calls that come next belong to."""

    def __init__(self, redactor: Redactor, add: Callable[[Line | Said], None]) -> None:
        self._redactor = redactor
        self._add = add
        self._start = time.monotonic()
        self.step = ""

    def say(self, text: str, *, good: bool) -> None:
        """Write down what was seen, without what says whose it is."""
        self._add(Said(step=self.step, good=good, said=self._redactor.prose(text)))

    def listen(self, session: Session) -> None:
        """Hear of each call of the clients that the session makes from now on."""
        session.events.register("provide-client-params", self._begun)
        session.events.register("after-call", self._answered)
        session.events.register("after-call-error", self._failed)

    def _begun(self, params: Any, model: Any, context: Any, **_: object) -> None:
        # The library's own notes of the call: the one thing that all its events are given.
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
