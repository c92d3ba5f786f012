"""What a call to AWS may raise: of every library on the way, and what nobody expects."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable, Iterator
from http.client import BadStatusLine, IncompleteRead
from typing import Any

import urllib3.exceptions as http
from botocore import exceptions as aws
from botocore.parsers import ResponseParserError

ENDPOINT = "https://aws.example"


def refusal(code: str, status: int = 400) -> aws.ClientError:
    """Return what botocore raises for an answer with this code."""
    answer = {"Error": {"Code": code, "Message": "because"}}
    return aws.ClientError({**answer, "ResponseMetadata": {"HTTPStatusCode": status}}, "Operation")


BREAKDOWNS: tuple[Exception, ...] = (
    aws.EndpointConnectionError(endpoint_url=ENDPOINT),
    aws.ConnectTimeoutError(endpoint_url=ENDPOINT),
    aws.ReadTimeoutError(endpoint_url=ENDPOINT),
    aws.ConnectionClosedError(endpoint_url=ENDPOINT),
    aws.ProxyConnectionError(proxy_url=ENDPOINT),
    aws.SSLError(endpoint_url=ENDPOINT, error="bad record"),
    aws.HTTPClientError(error="odd"),
    aws.ResponseStreamingError(error="reset"),
    aws.IncompleteReadError(actual_bytes=1, expected_bytes=2),
    aws.FlexibleChecksumError(error_msg="differs"),
    aws.BotoCoreError(),
    ResponseParserError("not well-formed"),
    http.SSLError("DECRYPTION_FAILED_OR_BAD_RECORD_MAC"),
    http.ProtocolError("connection broken"),
    http.IncompleteRead(1, 2),
    http.ReadTimeoutError(None, ENDPOINT, "slow"),
    http.DecodeError("gzip"),
    ssl.SSLError(1, "bad record"),
    ssl.SSLCertVerificationError(1, "self-signed"),
    IncompleteRead(b"half"),
    BadStatusLine("HTTP/1.1 2"),
    ConnectionResetError(104, "reset by peer"),
    BrokenPipeError(32, "broken pipe"),
    TimeoutError("timed out"),
    socket.gaierror(-2, "name not known"),
    OSError(24, "too many open files"),
    KeyError("Contents"),
    IndexError("list index out of range"),
    ValueError("invalid literal for int()"),
    json.JSONDecodeError("no JSON", "<html>", 0),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    TypeError("'NoneType' object is not subscriptable"),
    AttributeError("'NoneType' object has no attribute 'text'"),
    AssertionError(),
    RecursionError("maximum recursion depth exceeded"),
    MemoryError(),
    RuntimeError("can't start new thread"),
)
"""Failures that may pass: nobody has refused anything."""


class Raising:
    """Stands in for a client of AWS: answers as told, and raises whatever is not an answer."""

    def __init__(self, otherwise: Exception, **answers: Any) -> None:
        self._otherwise = otherwise
        self._answers = answers

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        def call(*_: Any, **__: Any) -> Any:
            if operation not in self._answers:
                raise self._otherwise
            return self._answers[operation]

        return call


class Answering:
    """Stands in for a client of AWS that says the same to whatever it is asked."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        return lambda *_, **__: self._answer

    def get_paginator(self, _: str) -> Any:
        return self

    def paginate(self, **_: Any) -> Iterator[Any]:
        yield self._answer
