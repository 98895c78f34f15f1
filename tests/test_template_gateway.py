"""What API Gateway gets: who is asked for what in each mode, and its own errors."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import pytest

from lambda_api import schema
from local_stack import template
from tests.template_world import api, of_type, stack

POOL = "arn:aws:cognito-idp:us-east-1:1:userpool/us-east-1_A"
MODES: dict[str, tuple[dict[str, str], str]] = {
    "KEY": ({}, "api_key"),
    "IAM": ({"AuthMode": "IAM"}, "sigv4"),
    "COGNITO": ({"AuthMode": "COGNITO", "UserPoolArn": POOL}, "cognito"),
}
TYPES = [
    "ACCESS_DENIED",
    "API_CONFIGURATION_ERROR",
    "AUTHORIZER_CONFIGURATION_ERROR",
    "AUTHORIZER_FAILURE",
    "BAD_REQUEST_BODY",
    "BAD_REQUEST_PARAMETERS",
    "DEFAULT_4XX",
    "DEFAULT_5XX",
    "EXPIRED_TOKEN",
    "INTEGRATION_FAILURE",
    "INTEGRATION_TIMEOUT",
    "INVALID_API_KEY",
    "INVALID_SIGNATURE",
    "MISSING_AUTHENTICATION_TOKEN",
    "QUOTA_EXCEEDED",
    "REQUEST_TOO_LARGE",
    "RESOURCE_NOT_FOUND",
    "THROTTLED",
    "UNAUTHORIZED",
    "UNSUPPORTED_MEDIA_TYPE",
    "WAF_FILTERED",
]
"""All that AWS documents."""

HEADER = "gatewayresponse.header."


def responses(**parameters: str) -> dict[str, Any]:
    """The gateway's own answers, by type."""
    found: dict[str, Any] = api(**parameters)["x-amazon-apigateway-gateway-responses"]
    return found


def header(response: dict[str, Any], name: str) -> str | None:
    """What a header is set to; a fixed text is in single quotes."""
    value: str | None = response["responseParameters"].get(HEADER + name)
    return value


def filled(response: dict[str, Any]) -> dict[str, Any]:
    """The body, as JSON, with API Gateway's variables in it."""
    assert response["responseTemplates"].keys() == {"application/json"}
    text = re.sub(r"\$context\.requestId", "5c1f", response["responseTemplates"]["application/json"])
    assert "$" not in text
    document: dict[str, Any] = json.loads(text)
    return document


def test_every_type_is_answered() -> None:
    """None is left to AWS's own words."""
    assert sorted(responses()) == TYPES


@pytest.mark.parametrize("kind", TYPES)
def test_errors_of_the_gateway_are_problems(kind: str) -> None:
    """Complete, of our codes with their status and title, told by id, and with Retry-After where it passes."""
    response = responses()[kind]
    body = filled(response)
    assert body == dataclasses.asdict(schema.problem(body["code"], body["detail"], body["hint"], "5c1f"))
    assert response["statusCode"] == str(body["status"])
    assert body["detail"].endswith(".") and body["hint"].endswith(".")
    assert header(response, "Content-Type") == "'application/problem+json'"
    assert header(response, "X-Request-Id") == "context.requestId"
    retry = header(response, "Retry-After")
    assert re.fullmatch(r"'\d+'", retry or "") if body["status"] in (429, 503) else retry is None


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("INVALID_API_KEY", "forbidden"),
        ("UNAUTHORIZED", "unauthorized"),
        ("THROTTLED", "throttled"),
        ("QUOTA_EXCEEDED", "throttled"),
        ("REQUEST_TOO_LARGE", "too_large"),
        ("INTEGRATION_TIMEOUT", "endpoint_timeout"),
        ("INTEGRATION_FAILURE", "endpoint_unavailable"),
        ("DEFAULT_5XX", "internal"),
    ],
)
def test_codes_fit_the_cause(kind: str, code: str) -> None:
    """A client acts by the code: Lambda's own throttling, for one, may be tried again."""
    assert filled(responses()[kind])["code"] == code


def test_an_unknown_route_and_a_missing_signature_are_one_error() -> None:
    """API Gateway does not tell them apart, so the answer names both."""
    body = filled(responses()["MISSING_AUTHENTICATION_TOKEN"])
    assert body["status"] == 403
    assert "no such route" in body["detail"] and "not signed" in body["detail"]


@pytest.mark.parametrize(
    ("origins", "expected"),
    [("", None), ("https://a", "'https://a'"), ("https://a,https://b", "method.request.header.origin")],
)
def test_pages_may_read_errors(origins: str, expected: str | None) -> None:
    """Nobody's without origins, one origin's by its name, and where there are several whoever asks."""
    for response in responses(AllowedOrigins=origins).values():
        assert header(response, "Access-Control-Allow-Origin") == expected
        assert header(response, "Vary") == ("'Origin'" if origins else None)
        exposed = header(response, "Access-Control-Expose-Headers")
        assert exposed == ("'retry-after,x-request-id'" if origins else None)


@pytest.mark.parametrize("mode", MODES)
def test_protected_operations_ask_in_the_way_of_the_mode(mode: str) -> None:
    """Every operation that needs a key in KEY mode asks in each mode, in that one way; no other asks at all."""
    parameters, scheme = MODES[mode]
    document = api(**parameters)
    asked = {
        (method.upper(), path): operation.get("security")
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if method != "parameters"
    }
    assert asked == {route: [{scheme: []}] if needs else None for route, needs in template.load().routes.items()}
    assert scheme in document["components"]["securitySchemes"]
    assert ("UsagePlan" in stack(**parameters)) == ("ApiKey" in stack(**parameters)) == (mode == "KEY")


def test_schemes_are_those_of_api_gateway() -> None:
    """A key in x-api-key, AWS's signature, and tokens of the one pool, which no other mode names."""
    schemes = api(**MODES["COGNITO"][0])["components"]["securitySchemes"]
    assert schemes["api_key"] == {"type": "apiKey", "name": "x-api-key", "in": "header"}
    assert schemes["sigv4"]["x-amazon-apigateway-authtype"] == "awsSigv4"
    authorizer = schemes["cognito"]["x-amazon-apigateway-authorizer"]
    assert authorizer == {"type": "cognito_user_pools", "providerARNs": [POOL]}
    assert "cognito" not in api()["components"]["securitySchemes"]


def test_all_operations_go_to_the_alias() -> None:
    """And only API Gateway, for this API's one stage, may call it."""
    resources = stack()
    operations = [
        operation for path in api()["paths"].values() for method, operation in path.items() if method != "parameters"
    ]
    uri = "arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/FunctionAliaslive/invocations"
    integration = {"type": "aws_proxy", "httpMethod": "POST", "uri": uri}
    assert all(each["x-amazon-apigateway-integration"] == integration for each in operations)
    (permission,) = of_type(resources, "Lambda::Permission").values()
    assert permission["FunctionName"] == "FunctionAliaslive"
    assert permission["SourceArn"].endswith(":Api/prod/*")


def test_path_parameters_are_declared() -> None:
    """API Gateway refuses a path in braces without."""
    for path, item in api()["paths"].items():
        names = [each["name"] for each in item.get("parameters", []) if each["in"] == "path" and each["required"]]
        assert names == re.findall(r"{(\w+)}", path)


def test_limits() -> None:
    """For all callers by the stage, for each key by the plan, whose quota is there when it is asked for."""
    resources = stack(RateLimit="7", BurstLimit="9", QuotaLimit="1000", QuotaPeriod="MONTH")
    (settings,) = resources["ApiprodStage"]["Properties"]["MethodSettings"]
    assert (settings["ResourcePath"], settings["HttpMethod"]) == ("/*", "*")
    assert (settings["ThrottlingRateLimit"], settings["ThrottlingBurstLimit"]) == ("7", "9")
    plan = resources["UsagePlan"]["Properties"]
    assert plan["Throttle"] == {"RateLimit": "7", "BurstLimit": "9"}
    assert plan["Quota"] == {"Limit": "1000", "Period": "MONTH"}
    assert "Quota" not in stack()["UsagePlan"]["Properties"]


def test_the_api_is_deployed_each_time() -> None:
    """A parameter such as AuthMode changes nothing that SAM looks at, and must not be without effect."""
    once, again = (of_type(stack(Canary=canary), "ApiGateway::Deployment") for canary in ("false", "true"))
    assert not once.keys() & again.keys()


def test_stage() -> None:
    """One, named prod, regional, traced, with metrics."""
    resources = stack()
    assert list(of_type(resources, "ApiGateway::Stage")) == ["ApiprodStage"]
    (name,) = of_type(resources, "ApiGateway::Deployment")
    assert "StageName" not in resources[name]["Properties"]
    assert resources["Api"]["Properties"]["EndpointConfiguration"] == {"Types": ["REGIONAL"]}
    stage = resources["ApiprodStage"]["Properties"]
    assert stage["StageName"] == "prod" and stage["TracingEnabled"] is True
    (settings,) = stage["MethodSettings"]
    assert settings["MetricsEnabled"] is True and settings["DataTraceEnabled"] is False


def test_access_log() -> None:
    """One line of JSON a request, with its id and its error, and no key."""
    log = stack()["ApiprodStage"]["Properties"]["AccessLogSetting"]
    assert log["DestinationArn"] == "AccessLog.Arn"
    assert "\n" not in log["Format"] and 'apiKey"' not in log["Format"]
    line = json.loads(log["Format"].replace("$context.error.messageString", '"x"'))
    assert {"requestId", "ip", "method", "path", "status", "ms", "functionMs", "apiKeyId", "error"} <= line.keys()
    assert not re.search(r"identity\.apiKey\b(?!Id)", log["Format"])
