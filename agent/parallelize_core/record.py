"""The base of all records: they are values, and raise a clear error when they cannot be read."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from parallelize_core.errors import DecodeError

MAX_NUMBER = 2**63 - 1
"""No count, size, price or time of a run is larger; larger numbers would break computations."""

MAX_MOMENT = 32_503_680_000
"""The year 3000, in seconds since 1970."""

Moment = Annotated[float, Field(ge=0, le=MAX_MOMENT)]
"""A time in seconds since 1970."""


def _known(text: str) -> str:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return ""
    return text


IsoTime = Annotated[str, AfterValidator(_known)]
"""A time in ISO 8601; empty if it is unknown or not a time."""


_NUMBERS = (int, float)  # `int | float` would be made for each field of each record


class Contract(BaseModel):
    """A value that client and agent share.

    Readers ignore unknown fields, so an older agent can serve a newer client's run. Only field
    names repeat in what is read, so only they are cached. Anybody who may write to the bucket may
    have written it: numbers are finite and no larger than MAX_NUMBER.
    """

    # A worker uses half of all kinds of records; each takes a millisecond to build.
    model_config = ConfigDict(frozen=True, extra="ignore", cache_strings="keys", defer_build=True)

    @model_validator(mode="after")
    def _check_numbers(self) -> Self:
        for name, value in self.__dict__.items():
            # Written so that NaN, which is neither, is refused as well.
            if isinstance(value, _NUMBERS) and not -MAX_NUMBER <= value <= MAX_NUMBER:
                raise ValueError(f"{name} is out of range")
        return self


class Record(Contract):
    """A value that is stored as an object in S3."""

    v: Literal[1] = 1

    def encode(self) -> bytes:
        """Return the record as stored."""
        return self.model_dump_json().encode()

    @classmethod
    def decode(cls, body: bytes, place: str = "") -> Self:
        """Read a record; raise DecodeError, which names its `place`, if it is not of this kind."""
        try:
            return cls.model_validate_json(body)
        except ValidationError as error:
            what = f"{place} is not a record" if place else "not a record"
            raise DecodeError(
                f"{what} of kind {cls.__name__}", repr(body[:200]), first_fault(error)
            ) from None


def first_fault(error: ValidationError) -> str:
    """Describe in one line the first fault of a text, and where it is."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "the text"
    return f"{where}: {first['msg']}"
