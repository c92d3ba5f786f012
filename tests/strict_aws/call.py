"""A request to AWS usually sees it, and the answers that a rule can give."""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from botocore.parsers import create_parser
from moto.core.model import OperationModel
from moto.core.parse import PROTOCOL_PARSERS
from moto.core.request import Request, determine_request_protocol
from moto.core.routing import get_service_router
from moto.core.serialize import get_serializer_class
from moto.core.utils import get_service_model
from werkzeug.exceptions import NotFound

_SCOPE = re.compile(r"Credential=(?P<key>[^/]+)/\d+/(?P<region>[^/]+)/(?P<service>[^/]+)/")
_SERVICES = {"monitoring": "cloudwatch", "servicequotas": "service-quotas"}
"""Where the name that a request is signed with is not botocore's."""

OURS = "parallelize"
"""What the project's clients say in their user agent; a test's own do not."""


MODELLED = {
    "AWS.SimpleQueueService.NonExistentQueue": "com.amazonaws.sqs#QueueDoesNotExist",
    "AWS.SimpleQueueService.QueueDeletedRecently": "com.amazonaws.sqs#QueueDeletedRecently",
    "AWS.SimpleQueueService.PurgeQueueInProgress": "com.amazonaws.sqs#PurgeQueueInProgress",
}
"""SQS's own names of its errors; the older ones are in a header, for SDKs that know those."""


class Refusal(Exception):  # noqa: N818 - it is what AWS answers, and no fault of the layer
    """An error of AWS: its code, its words, and its HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.status = code, message, status


@dataclass(frozen=True)
class Reply:
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Call:
    """A call of an operation; `params` are as botocore names them."""

    service: str
    operation: str
    params: dict[str, Any]
    region: str = "eu-west-1"
    access_key: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    protocol: str = ""

    @property
    def name(self) -> str:
        """The service and the operation."""
        return f"{self.service}.{self.operation}"

    @property
    def model(self) -> OperationModel:
        """What botocore knows of the operation."""
        return get_service_model(self.service).operation_model(self.operation)

    def get(self, name: str) -> Any:
        """Return a parameter, None without it."""
        return self.params.get(name)


def decode(request: Request) -> Call | None:
    """Return what a request asks for; None for one that is not the project's, or not known."""
    scope = _SCOPE.search(request.headers.get("Authorization", ""))
    if scope is None or OURS not in request.headers.get("User-Agent", ""):
        return None
    service = _SERVICES.get(scope["service"], scope["service"])
    found = _s3_params(request) if service == "s3" else _params(request, service)
    if found is None:
        return None
    operation, protocol, params = found
    headers = {name.lower(): value for name, value in request.headers.items()}
    return Call(service, operation, params, scope["region"], scope["key"], headers, protocol)


def _params(request: Request, service: str) -> tuple[str, str, dict[str, Any]] | None:
    body = request.get_data(cache=True, parse_form_data=False)
    # moto will read it again.
    request.environ["wsgi.input"] = io.BytesIO(body)
    model = get_service_model(service)
    copy = Request({**request.environ, "wsgi.input": io.BytesIO(body)})
    target = request.headers.get("X-Amz-Target", "")
    operation = target.rpartition(".")[2] or copy.values.get("Action")
    if not operation:
        return None
    protocol = determine_request_protocol(model, request.content_type)
    parser = PROTOCOL_PARSERS[protocol](model.operation_model(operation), map_type=dict)
    parsed = parser.parse({
        "method": copy.method, "values": copy.values, "headers": copy.headers,
        "body": body, "url_path": copy.path, "url_params": {},
    })  # fmt: skip
    return operation, protocol, parsed or {}


def _s3_params(request: Request) -> tuple[str, str, dict[str, Any]] | None:
    """Return what the address says: a body may be large, and is read only if it names keys."""
    bucket, dot, _ = request.host.partition(".s3")
    path = f"/{bucket}{request.path}" if dot else request.path
    try:
        operation, found = get_service_router("s3").match(
            Request({**request.environ, "PATH_INFO": path, "wsgi.input": io.BytesIO()})
        )
    except (NotFound, NotImplementedError):
        return None
    names = {"prefix": "Prefix", "versionId": "VersionId"}
    told = {names[name]: value for name, value in request.args.items() if name in names}
    if operation.name == "DeleteObjects":
        told["Delete"] = {"Objects": _deleted(request)}
    if source := request.headers.get("x-amz-copy-source"):
        told["CopySource"] = source
    return operation.name, "rest-xml", {**told, **found}


def _deleted(request: Request) -> list[dict[str, str]]:
    body = request.get_data(cache=True, parse_form_data=False)
    request.environ["wsgi.input"] = io.BytesIO(body)
    listed = ElementTree.fromstring(body)
    return [
        {part.tag.rpartition("}")[2]: part.text or "" for part in one}
        for one in listed
        if one.tag.endswith("Object")
    ]


def refused(call: Call, refusal: Refusal) -> Reply:
    """Return a refusal as the operation's protocol has it."""
    code, message = escape(refusal.code), escape(refusal.message)
    error = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    bodies = {
        "ec2": f"<Response><Errors>{error}</Errors></Response>",
        "query": f"<ErrorResponse>{error}</ErrorResponse>",
        "rest-xml": error,
    }
    body = bodies.get(call.protocol) or json.dumps(
        {"__type": MODELLED.get(refusal.code, refusal.code), "message": refusal.message}
    )
    kind = "text/xml" if call.protocol in bodies else "application/x-amz-json-1.0"
    headers = {"Content-Type": kind, "x-amzn-query-error": f"{refusal.code};Sender"}
    text = b"" if call.operation.startswith("Head") else body.encode()
    return Reply(refusal.status, headers, text)


def answered(call: Call, result: dict[str, Any]) -> Reply:
    """Return an answer as the operation's protocol has it."""
    return _serialized(call, result)


def parsed(call: Call, reply: Reply) -> dict[str, Any]:
    """Return what an answer says."""
    answer = {"status_code": reply.status, "headers": reply.headers, "body": reply.body}
    protocol = {"query-json": "json"}.get(call.protocol, call.protocol)
    found: dict[str, Any] = create_parser(protocol).parse(answer, call.model.output_shape)
    found.pop("ResponseMetadata", None)
    return found


def _serialized(call: Call, result: Any) -> Reply:
    serializer = get_serializer_class(call.service, call.protocol)
    made = serializer(call.model).serialize(result)
    body = made["body"]
    text = body if isinstance(body, bytes) else str(body).encode()
    headers = {name: str(value) for name, value in made["headers"].items()}
    return Reply(made["status_code"], headers, text)
