"""Requests that are made and looked at, and never sent: whatever would change anything ends before the wire."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

READS = ("Get", "List", "Head", "Describe")
"""How operations begin that change nothing."""

LOGINS = ("sts", "sso", "sso-oidc", "signin")
"""Services that botocore itself asks for credentials."""


@dataclass(frozen=True)
class Stop:
    """A handler for `connect`: lets reads pass, keeps the bodies of all other requests by operation, answers them."""

    kept: dict[str, list[Any]] = field(default_factory=dict)

    def __call__(self, model: Any, params: dict[str, Any], **_: Any) -> Any:
        """As botocore's `before-call` has it: None sends the request, an answer stands for AWS's."""
        if model.name.startswith(READS) or model.service_model.service_name in LOGINS:
            return None
        self.kept.setdefault(model.name, []).append(params["body"])
        from botocore.awsrequest import AWSResponse
        from botocore.compat import HTTPHeaders

        return AWSResponse("", 200, HTTPHeaders(), None), {"ResponseMetadata": {"HTTPStatusCode": 200}}

    def request(self, operation: str) -> dict[str, Any]:
        """What would have been sent last, of an operation whose requests are JSON."""
        found: dict[str, Any] = json.loads(self.kept[operation][-1])
        return found
