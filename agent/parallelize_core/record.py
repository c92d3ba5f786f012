"""What all records have in common: they are values, and say so when they cannot be read."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from parallelize_core.errors import DecodeError


class Contract(BaseModel):
    """A value that client and agent share.

    Readers ignore what they do not know, so an older agent can serve a newer client's run. Of
    what is read only the field names come again and again, so only they are cached.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", cache_strings="keys")


class Record(Contract):
    """A value that is an object of its own in S3."""

    v: Literal[1] = 1

    def encode(self) -> bytes:
        """Return the record as stored."""
        return self.model_dump_json().encode()

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a record; raise DecodeError if it is not one of this kind."""
        try:
            return cls.model_validate_json(body)
        except ValidationError as error:
            raise DecodeError(
                f"not a record of kind {cls.__name__}", repr(body[:200]), first_fault(error)
            ) from None


def first_fault(error: ValidationError) -> str:
    """Say in a line where a text first departs from what it should be, and how."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "the text"
    return f"{where}: {first['msg']}"
