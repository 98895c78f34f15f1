"""Who may call, and how often: what the template's parameters say of it, on MiniStack."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from local_stack.stack import Description
from tests.contract.conftest import ORIGIN
from tests.contract.world import Api, check
from tests.ministack_host import ACCOUNT, REGION, Deployment, MiniStack, ministack

PASSWORD = "Correct-h0rse-battery"


@pytest.fixture(scope="module")
def signed(emulator: MiniStack) -> Deployment:
    """The template for callers with AWS credentials."""
    return emulator.deploy("signed", AuthMode="IAM", AllowedOrigins=ORIGIN)


def user(emulator: MiniStack, name: str, *routes: str) -> Credentials:
    """A user of the account who may call these routes (METHOD/path) of any API."""
    iam = emulator.client("iam")
    iam.create_user(UserName=name)
    if routes:
        resources = [f"arn:aws:execute-api:{REGION}:{ACCOUNT}:*/prod/{route}" for route in routes]
        statement = {"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": resources}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_user_policy(UserName=name, PolicyName="api", PolicyDocument=policy)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return Credentials(key["AccessKeyId"], key["SecretAccessKey"])


def ask(emulator: MiniStack, url: str, credentials: Credentials, **options: Any) -> requests.Response:
    """GET, or POST of a JSON body, signed."""
    body = json.dumps(options["json"]) if "json" in options else None
    method = "POST" if body else "GET"
    request = AWSRequest(method, url, {"Content-Type": "application/json"}, body)
    SigV4Auth(credentials, "execute-api", REGION).add_auth(request)
    named = dict(request.headers)
    return requests.request(method, url, data=body, headers=named, verify=emulator.certificate, timeout=60)


def test_iam_lets_in_whoever_has_the_right(emulator: MiniStack, signed: Deployment) -> None:
    """A signed request of a user whose policy names the route; no key is asked for, none exists."""
    ann = user(emulator, "ann", "GET/v1/model")
    answer = ask(emulator, f"{signed.url}/v1/model", ann)
    assert answer.status_code == 200 and answer.json()["classes"]
    assert signed.key == "" and "ApiKeyId" not in signed.outputs


def test_iam_keeps_out_whoever_has_not(emulator: MiniStack, signed: Deployment) -> None:
    """Another route, no policy, another secret, no signature."""
    ben, cat = user(emulator, "ben", "GET/v1/health"), user(emulator, "cat")
    url = f"{signed.url}/v1/model"
    assert ask(emulator, url, ben).status_code == 403
    assert ask(emulator, url, cat).status_code == 403
    forged = ask(emulator, url, Credentials(ben.access_key, "made-up"))
    assert forged.status_code == 401 and forged.json()["code"] == "unauthorized"
    api = Api(signed.url, "", verify=emulator.certificate)
    api.error("GET", "/v1/model", "forbidden")
    api.document("GET", "/v1/health", 200)


def test_iam_asks_no_signature_of_preflights(emulator: MiniStack, signed: Deployment) -> None:
    """Browsers cannot sign them; the headers of a signature are allowed."""
    api = Api(signed.url, "", verify=emulator.certificate)
    headers = {"Origin": ORIGIN, "Access-Control-Request-Method": "GET"}
    answer = api.send("OPTIONS", "/v1/model", headers)
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    allowed = answer.headers["Access-Control-Allow-Headers"].replace(" ", "").lower().split(",")
    assert {"authorization", "x-amz-date", "x-amz-security-token"} <= set(allowed)


def test_a_job_is_known_to_those_who_began_it(emulator: MiniStack, signed: Deployment) -> None:
    """To another user it does not exist, and the same token is another job."""
    routes = ("POST/v1/jobs", "GET/v1/jobs/*")
    dan, eve = user(emulator, "dan", *routes), user(emulator, "eve", *routes)
    body = {"uploads": [{"upload": "A" * 22}], "token": "monday"}
    mine, hers = (ask(emulator, f"{signed.url}/v1/jobs", each, json=body).json()["id"] for each in (dan, eve))
    assert mine != hers
    assert ask(emulator, f"{signed.url}/v1/jobs/{mine}", dan).status_code == 200
    assert ask(emulator, f"{signed.url}/v1/jobs/{mine}", eve).json()["code"] == "not_found"


@pytest.fixture
def plain(stack: Description, tmp_path: Path) -> Any:
    """MiniStack without TLS."""
    with ministack(tmp_path, stack.endpoint_url, tls=False) as found:
        yield found


def test_cognito_lets_in_whoever_is_signed_in(plain: MiniStack) -> None:
    """With a token of the pool; not with one that was changed, of another pool, or none."""
    arn, token = signed_in(plain, "ours")
    _, stranger = signed_in(plain, "theirs")
    people = plain.deploy("people", AuthMode="COGNITO", UserPoolArn=arn, AllowedOrigins=ORIGIN)
    api = Api(people.url, "")
    answer = api.document("GET", "/v1/model", 200, headers={"Authorization": token})
    assert answer["classes"]
    for wrong in ("", changed(token), stranger):
        headers = {"Authorization": wrong, "Origin": ORIGIN}
        answer = api.error("GET", "/v1/model", "unauthorized", headers=headers)
    api.document("GET", "/v1/health", 200)
    preflight = {"Origin": ORIGIN, "Access-Control-Request-Method": "GET"}
    assert api.send("OPTIONS", "/v1/model", preflight).headers["Access-Control-Allow-Origin"] == ORIGIN


def signed_in(emulator: MiniStack, name: str) -> tuple[str, str]:
    """A user pool's ARN, and an ID token of somebody in it."""
    cognito = emulator.client("cognito-idp")
    pool = cognito.create_user_pool(PoolName=name)["UserPool"]
    flows = ["ALLOW_ADMIN_USER_PASSWORD_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"]
    application = cognito.create_user_pool_client(UserPoolId=pool["Id"], ClientName=name, ExplicitAuthFlows=flows)
    cognito.admin_create_user(UserPoolId=pool["Id"], Username="fay", MessageAction="SUPPRESS")
    cognito.admin_set_user_password(UserPoolId=pool["Id"], Username="fay", Password=PASSWORD, Permanent=True)
    answer = cognito.admin_initiate_auth(
        UserPoolId=pool["Id"],
        ClientId=application["UserPoolClient"]["ClientId"],
        AuthFlow="ADMIN_USER_PASSWORD_AUTH",
        AuthParameters={"USERNAME": "fay", "PASSWORD": PASSWORD},
    )
    return pool["Arn"], answer["AuthenticationResult"]["IdToken"]


def changed(token: str) -> str:
    """The same token for somebody else."""
    head, claims, signature = token.split(".")
    found = json.loads(base64.urlsafe_b64decode(claims + "=="))
    text = json.dumps({**found, "sub": "somebody-else"}).encode()
    return ".".join((head, base64.urlsafe_b64encode(text).decode().rstrip("="), signature))


def test_too_many_requests_are_told_when_to_come_again(emulator: MiniStack) -> None:
    """429 above the rate, readable to a page; then the quota is used up for longer."""
    tight = emulator.deploy("tight", RateLimit="1", BurstLimit="2", QuotaLimit="3", AllowedOrigins=ORIGIN)
    api = Api(tight.url, tight.key, verify=emulator.certificate)
    answers = [api.send("GET", "/v1/jobs/x", {"Origin": ORIGIN}) for _ in range(8)]
    assert {each.status_code for each in answers[:2]} == {404}
    refused = answers[-1]
    assert refused.status_code == 429 and refused.json()["code"] == "throttled"
    assert refused.headers["Retry-After"] == "1" and refused.headers["Access-Control-Allow-Origin"] == ORIGIN
    waits = set()
    until = time.monotonic() + 30
    while "3600" not in waits and time.monotonic() < until:
        time.sleep(1.1)
        waits.add(api.send("GET", "/v1/jobs/x").headers.get("Retry-After"))
    assert "3600" in waits


def test_no_origin_is_allowed_by_default(emulator: MiniStack) -> None:
    """Neither the function nor the gateway's own errors let a page read."""
    closed = emulator.deploy("closed")
    api = Api(closed.url, closed.key, verify=emulator.certificate)
    for key in (closed.key, "made-up"):
        answer = replace(api, key=key).send("GET", "/v1/jobs/x", {"Origin": ORIGIN})
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_an_upload_after_its_time(emulator: MiniStack, deployed: Deployment) -> None:
    """A form that was rightly signed, and has expired."""
    s3 = emulator.client("s3")
    form = s3.generate_presigned_post(deployed.resources["Bucket"], "uploads/late", ExpiresIn=-1)
    answer = requests.post(form["url"], form["fields"], files={"file": b"x"}, verify=emulator.certificate, timeout=30)
    assert answer.status_code == 403 and "expired" in answer.text.lower()
    intime = s3.generate_presigned_post(deployed.resources["Bucket"], "uploads/early", ExpiresIn=60)
    answer = requests.post(
        intime["url"], intime["fields"], files={"file": b"x"}, verify=emulator.certificate, timeout=30
    )
    assert answer.status_code == 204


def test_a_key_in_the_address_is_none(emulator: MiniStack, deployed: Deployment) -> None:
    """There it would end in logs."""
    answer = requests.get(f"{deployed.url}/v1/model?x-api-key={deployed.key}", verify=emulator.certificate, timeout=30)
    check("GET", "/v1/model", answer)
    assert answer.status_code == 403
