"""AWS's signature version 4, checked: of requests, of presigned URLs, of forms that a browser sends to S3.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html is the definition. Nobody else
may use the storage: what a page of the API gets for its upload is worth that one upload.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from urllib.parse import quote, unquote

ALGORITHM = "AWS4-HMAC-SHA256"
SKEW_SECONDS = 15 * 60
"""How far a request's clock may be off (AWS)."""

LONGEST_SECONDS = 7 * 24 * 3600
"""How long a presigned URL may hold (AWS)."""


class Refused(Exception):
    """What AWS would say instead of doing it: its error code, HTTP status and message."""

    def __init__(self, code: str, status: int, message: str) -> None:
        super().__init__(message)
        self.code, self.status, self.message = code, status, message


@dataclass(frozen=True)
class Credentials:
    """The one pair that is known."""

    key_id: str
    secret: str = field(repr=False)


@dataclass(frozen=True)
class Signed:
    """The parts of a request that a signature covers.

    `path` and `query` as they were sent, `headers` with lower-case names.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Scope:
    """What a credential is for: `AKID/20260131/us-east-1/s3/aws4_request`."""

    key_id: str
    day: str
    region: str
    service: str

    @classmethod
    def parse(cls, credential: str) -> Scope:
        """Refused where it is none."""
        parts = credential.split("/")
        if len(parts) != 5 or parts[4] != "aws4_request":
            raise Refused("AuthorizationHeaderMalformed", 400, "The credential is malformed.")
        return cls(*parts[:4])

    def sign(self, credentials: Credentials, text: str) -> str:
        """The signature of a text, in hexadecimal; Refused for another's credential."""
        if not hmac.compare_digest(self.key_id.encode(), credentials.key_id.encode()):
            raise Refused(
                "InvalidAccessKeyId", 403, "The AWS Access Key Id you provided does not exist in our records."
            )
        key = f"AWS4{credentials.secret}".encode()
        for part in (self.day, self.region, self.service, "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        return hmac.digest(key, text.encode(), "sha256").hex()

    def canonical(self, date: str, canonical_request: str) -> str:
        """The text to sign for a request."""
        # What was sent is latin-1 by now; what a query's percent signs stood for may be more, and was signed by nobody.
        digest = hashlib.sha256(canonical_request.encode("latin-1", "replace")).hexdigest()
        return "\n".join((ALGORITHM, date, f"{self.day}/{self.region}/{self.service}/aws4_request", digest))


def check_request(request: Signed, payload_hash: str, credentials: Credentials) -> str:
    """The service that a request with an Authorization header is for; Refused where its signature is not ours."""
    kind, _, rest = request.headers.get("authorization", "").partition(" ")
    given = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    if kind != ALGORITHM or not {"Credential", "SignedHeaders", "Signature"} <= given.keys():
        raise Refused("AccessDenied", 403, "Access Denied")
    scope = Scope.parse(given["Credential"])
    date = request.headers.get("x-amz-date", "")
    if abs(time.time() - _seconds(date)) > SKEW_SECONDS:
        raise Refused(
            "RequestTimeTooSkewed", 403, "The difference between the request time and the server's is too large."
        )
    text = _canonical(request, given["SignedHeaders"].split(";"), payload_hash)
    _compare(scope.sign(credentials, scope.canonical(date, text)), given["Signature"])
    return scope.service


def is_presigned(query: Mapping[str, str]) -> bool:
    """Whether a URL carries a signature."""
    return "X-Amz-Signature" in query


def check_presigned(request: Signed, query: Mapping[str, str], credentials: Credentials) -> None:
    """Refused where a presigned URL has expired or is not as it was signed."""
    names = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders")
    if any(name not in query for name in names) or query["X-Amz-Algorithm"] != ALGORITHM:
        raise Refused(
            "AuthorizationQueryParametersError", 400, "The query parameters of the signature are not complete."
        )
    lifetime = query["X-Amz-Expires"]
    if not lifetime.isdecimal() or len(lifetime) > 9 or int(lifetime) > LONGEST_SECONDS:
        raise Refused("AuthorizationQueryParametersError", 400, "X-Amz-Expires must be less than a week (in seconds).")
    scope = Scope.parse(query["X-Amz-Credential"])
    text = _canonical(request, query["X-Amz-SignedHeaders"].split(";"), "UNSIGNED-PAYLOAD")
    _compare(scope.sign(credentials, scope.canonical(query["X-Amz-Date"], text)), query["X-Amz-Signature"])
    signed = _seconds(query["X-Amz-Date"])
    if not signed - SKEW_SECONDS <= time.time() <= signed + int(lifetime):
        raise Refused("AccessDenied", 403, "Request has expired")


def check_form(fields: Mapping[str, str], credentials: Credentials) -> None:
    """Refused where a form's policy was not signed by us. `fields` have lower-case names."""
    names = ("policy", "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature")
    if any(name not in fields for name in names) or fields["x-amz-algorithm"] != ALGORITHM:
        raise Refused("AccessDenied", 403, "Access Denied")
    _compare(Scope.parse(fields["x-amz-credential"]).sign(credentials, fields["policy"]), fields["x-amz-signature"])


def parse_query(text: str) -> list[tuple[str, str]]:
    """Names and values of a query string; plus signs stay, as AWS has it."""
    pairs = (part.partition("=")[::2] for part in text.split("&") if part)
    return [(unquote(name), unquote(value)) for name, value in pairs]


def _canonical(request: Signed, names: Sequence[str], payload_hash: str) -> str:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html, task 1."""
    pairs = [(n, v) for n, v in parse_query(request.query) if n != "X-Amz-Signature"]
    query = "&".join(sorted(f"{quote(n, safe='-_.~')}={quote(v, safe='-_.~')}" for n, v in pairs))
    headers = "".join(f"{name}:{' '.join(request.headers.get(name, '').split())}\n" for name in names)
    return "\n".join((request.method, request.path, query, headers, ";".join(names), payload_hash))


def _compare(expected: str, given: str) -> None:
    if not hmac.compare_digest(expected.encode(), given.encode()):
        message = "The request signature we calculated does not match the signature you provided."
        raise Refused("SignatureDoesNotMatch", 403, message)


def _seconds(date: str) -> float:
    """Of `20260131T120000Z`, since 1970; Refused for anything else."""
    try:
        return datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        raise Refused("AccessDenied", 403, "AWS authentication requires a valid Date or x-amz-date header") from None
