"""What an emulator does not hold: the scope of every policy, lifetimes, encryption, alarms, and what is optional."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.template_world import MODEL, Resource, of_type, stack

ENDPOINT = "arn:aws:sagemaker:us-east-1:000000000000:endpoint/"
TRACES = ["xray:PutTraceSegments", "xray:PutTelemetryRecords"]
FUNCTION = {
    "sagemaker:InvokeEndpoint": [ENDPOINT + "whippet"],
    "s3:PutObject": ["Bucket.Arn/uploads/*"],
    "s3:GetObject": ["Bucket.Arn/uploads/*", "Bucket.Arn/results/*"],
    "s3:DeleteObject": ["Bucket.Arn/uploads/*"],
    "dynamodb:GetItem": ["Jobs.Arn"],
    "dynamodb:PutItem": ["Jobs.Arn"],
    "dynamodb:UpdateItem": ["Jobs.Arn"],
    "sqs:SendMessage": ["Queue.Arn"],
    "logs:CreateLogStream": ["FunctionLog.Arn"],
    "logs:PutLogEvents": ["FunctionLog.Arn"],
    **{action: ["*"] for action in TRACES},
}
WORKER = {
    "sagemaker:InvokeEndpoint": [ENDPOINT + "whippet"],
    "s3:GetObject": ["Bucket.Arn/uploads/*"],
    "s3:DeleteObject": ["Bucket.Arn/uploads/*"],
    "s3:PutObject": ["Bucket.Arn/results/*"],
    "s3:AbortMultipartUpload": ["Bucket.Arn/results/*"],
    "dynamodb:GetItem": ["Jobs.Arn"],
    "dynamodb:BatchGetItem": ["Jobs.Arn"],
    "dynamodb:Query": ["Jobs.Arn"],
    "dynamodb:PutItem": ["Jobs.Arn"],
    "dynamodb:UpdateItem": ["Jobs.Arn"],
    "sqs:SendMessage": ["Queue.Arn"],
    "sqs:ReceiveMessage": ["Queue.Arn"],
    "sqs:DeleteMessage": ["Queue.Arn"],
    "sqs:ChangeMessageVisibility": ["Queue.Arn"],
    "sqs:GetQueueAttributes": ["Queue.Arn"],
    "logs:CreateLogStream": ["WorkerLog.Arn"],
    "logs:PutLogEvents": ["WorkerLog.Arn"],
    **{action: ["*"] for action in TRACES},
}
EVERYTHING = {
    **MODEL,
    "MaxInstances": "3",
    "AllowedOrigins": "https://a,https://b",
    "PhotoBucket": "shop",
    "PhotoPrefix": "2026/",
    "WebhookOrigins": "https://c",
    "SubnetIds": "subnet-1,subnet-2",
    "SecurityGroupIds": "sg-1",
    "DomainName": "photos.example.org",
    "CertificateArn": "arn:certificate",
    "HostedZoneId": "Z1",
    "WebAclArn": "arn:acl",
    "AlarmEmail": "a@b.org",
    "MonthlyBudget": "50",
    "Canary": "true",
}


def as_list(value: Any) -> list[Any]:
    """IAM takes one thing where a list may be."""
    return value if isinstance(value, list) else [value]


def statements(resources: dict[str, Resource], role: str) -> Iterator[dict[str, Any]]:
    """Of a role, its own and those of our policies attached to it."""
    properties = resources[role]["Properties"]
    documents = [each["PolicyDocument"] for each in properties.get("Policies", [])]
    attached = [name for name in properties.get("ManagedPolicyArns", []) if name in resources]
    documents += [resources[name]["Properties"]["PolicyDocument"] for name in attached]
    for document in documents:
        yield from document["Statement"]


def granted(resources: dict[str, Resource], role: str) -> dict[str, list[str]]:
    """Every action that a role may do, with the resources."""
    found: dict[str, list[str]] = {}
    for statement in statements(resources, role):
        assert statement["Effect"] == "Allow"
        for action in as_list(statement["Action"]):
            found.setdefault(action, []).extend(as_list(statement["Resource"]))
    return found


def test_function_may_do_this_and_no_more() -> None:
    """One endpoint, uploads, results to be read, one table, one queue, its own log."""
    resources = stack()
    assert granted(resources, "FunctionRole") == FUNCTION
    assert resources["Function"]["Properties"]["Role"] == "FunctionRole.Arn"
    assert resources["FunctionRole"]["Properties"]["ManagedPolicyArns"] == ["FunctionWatching"]


def test_worker_may_do_this_and_no_more() -> None:
    """It puts results and no uploads; no bucket may be listed, no secret read, unless it is asked for."""
    resources = stack()
    assert granted(resources, "WorkerRole") == WORKER
    assert resources["Worker"]["Properties"]["Role"] == "WorkerRole.Arn"
    assert (
        "ManagedPolicyArns" not in resources["WorkerRole"]["Properties"]
        or not (resources["WorkerRole"]["Properties"]["ManagedPolicyArns"])
    )


def test_worker_reads_the_sources_it_is_given() -> None:
    """Below the prefix; for webhooks the secret, and results, whose address they are told. The function does not."""
    resources = stack(PhotoBucket="shop", PhotoPrefix="2026/", WebhookOrigins="https://c")
    more = {
        "s3:GetObject": ["Bucket.Arn/uploads/*", "arn:aws:s3:::shop/2026/*", "Bucket.Arn/results/*"],
        "s3:ListBucket": ["arn:aws:s3:::shop"],
        "secretsmanager:GetSecretValue": ["WebhookSecret"],
    }
    assert granted(resources, "WorkerRole") == WORKER | more
    assert granted(resources, "FunctionRole") == FUNCTION
    (listing,) = [each for each in statements(resources, "WorkerRole") if each["Action"] == "s3:ListBucket"]
    assert listing["Condition"] == {"StringLike": {"s3:prefix": "2026/*"}}


def test_the_stacks_own_endpoint_is_the_one() -> None:
    """By its ARN, and both functions are told its name."""
    resources = stack(**MODEL)
    for role, function in (("FunctionRole", "Function"), ("WorkerRole", "Worker")):
        assert granted(resources, role)["sagemaker:InvokeEndpoint"] == ["Endpoint"]
        variables = resources[function]["Properties"]["Environment"]["Variables"]
        assert variables["ENDPOINT_NAME"] == "Endpoint.EndpointName"


def test_nothing_else_is_for_everything() -> None:
    """With all that can be asked for: `*` is the resource of traces alone, and no action has a star."""
    resources = stack(**EVERYTHING)
    for role in of_type(resources, "IAM::Role"):
        for action, where in granted(resources, role).items():
            assert "*" not in action
            assert "*" not in where or action in TRACES, (role, action)
    managed = {arn for role in of_type(resources, "IAM::Role").values() for arn in role.get("ManagedPolicyArns", [])}
    assert {arn.rpartition("/")[2] for arn in managed} == {
        "FunctionWatching",
        "AWSLambdaENIManagementAccess",
        "AmazonAPIGatewayPushToCloudWatchLogs",
        "AWSCodeDeployRoleForLambda",
    }


@pytest.mark.parametrize("name", ["BucketPolicy", "QueuePolicy", "DeadLettersPolicy", "AlarmTopicPolicy"])
def test_tls_only(name: str) -> None:
    """Whoever comes without is refused, whatever else is allowed."""
    document = stack()[name]["Properties"]["PolicyDocument"]
    (denied,) = [each for each in document["Statement"] if each["Effect"] == "Deny"]
    assert denied["Principal"] == "*"
    assert denied["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    if name == "BucketPolicy":
        assert denied["Action"] == "s3:*" and denied["Resource"] == ["Bucket.Arn", "Bucket.Arn/*"]


def test_bucket() -> None:
    """Encrypted, private, and nothing in it lives longer than S3's one day, parts of uploads neither."""
    bucket = stack(AllowedOrigins="https://a,https://b")["Bucket"]["Properties"]
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert bucket["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    assert bucket["BucketEncryption"] and "VersioningConfiguration" not in bucket
    rules = bucket["LifecycleConfiguration"]["Rules"]
    assert all(rule["Status"] == "Enabled" for rule in rules)
    assert {(r.get("Prefix"), r.get("ExpirationInDays")) for r in rules} == {
        ("uploads/", 1),
        ("results/", 1),
        (None, None),
    }
    assert [r["AbortIncompleteMultipartUpload"] for r in rules if "Prefix" not in r] == [{"DaysAfterInitiation": 1}]
    (cors,) = bucket["CorsConfiguration"]["CorsRules"]
    assert cors["AllowedOrigins"] == ["https://a", "https://b"]
    assert cors["AllowedMethods"] == ["POST", "GET"]
    assert "CorsConfiguration" not in stack()["Bucket"]["Properties"]


def test_table_and_queues() -> None:
    """Encrypted; the table forgets; what fails ten times is kept for two weeks."""
    resources = stack()
    table, queue = resources["Jobs"]["Properties"], resources["Queue"]["Properties"]
    assert table["SSESpecification"] == {"SSEEnabled": True}
    assert table["TimeToLiveSpecification"] == {"AttributeName": "expires", "Enabled": True}
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert queue["RedrivePolicy"] == {"deadLetterTargetArn": "DeadLetters.Arn", "maxReceiveCount": 10}
    assert resources["DeadLetters"]["Properties"]["MessageRetentionPeriod"] == 14 * 86400
    assert all(each["SqsManagedSseEnabled"] is True for each in of_type(resources, "SQS::Queue").values())


def test_event_source() -> None:
    """Failed messages alone come again; no more workers than asked for."""
    source = stack(JobConcurrency="9")["WorkerJobs"]["Properties"]
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert source["ScalingConfig"] == {"MaximumConcurrency": "9"}
    assert source["EventSourceArn"] == "Queue.Arn"


def test_logs_are_forgotten() -> None:
    """Both functions and the API write to groups of the stack, which all have an end."""
    resources = stack(LogDays="7")
    assert {
        name: each["RetentionInDays"] for name, each in of_type(resources, "Logs::LogGroup").items()
    } == dict.fromkeys(("AccessLog", "FunctionLog", "WorkerLog"), "7")
    for name, log in (("Function", "FunctionLog"), ("Worker", "WorkerLog")):
        logging = resources[name]["Properties"]["LoggingConfig"]
        assert logging["LogGroup"] == log and logging["LogFormat"] == "JSON"


def test_secret() -> None:
    """32 letters and digits: base64 of 24 bytes, which receivers know as whsec_ and this."""
    secret = stack(WebhookOrigins="https://c")["WebhookSecret"]["Properties"]["GenerateSecretString"]
    assert secret == {"PasswordLength": 32, "ExcludePunctuation": True}
