"""What is optional in the template, how a new version comes about, and who is told when something is wrong."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from local_stack import intrinsics, template
from tests.template_world import MODEL, of_type, stack

OPTIONAL: dict[str, tuple[dict[str, str], set[str]]] = {
    "keys": ({"AuthMode": "IAM"}, {"ApiKey", "UsagePlan", "UsagePlanKey"}),
    "log role": ({"GatewayLogRole": "EXISTING"}, {"GatewayAccount", "GatewayLogs"}),
    "web ACL": ({"WebAclArn": "arn:acl"}, {"WebAclAssociation"}),
    "domain": ({"DomainName": "a.org", "CertificateArn": "arn:c"}, {"Domain", "DomainMapping"}),
    "zone": (
        {"DomainName": "a.org", "CertificateArn": "arn:c", "HostedZoneId": "Z1"},
        {"Domain", "DomainMapping", "DomainRecords"},
    ),
    "webhooks": ({"WebhookOrigins": "https://c"}, {"WebhookSecret"}),
    "model": (MODEL, {"Model", "EndpointConfig", "Endpoint"}),
    "scaling": (
        {**MODEL, "MaxInstances": "4"},
        {"Model", "EndpointConfig", "Endpoint", "ScalingTarget", "ScalingPolicy"},
    ),
    "serverless": (
        {**MODEL, "MaxInstances": "4", "ServerlessMemoryMb": "2048"},
        {"Model", "EndpointConfig", "Endpoint"},
    ),
    "mail": ({"AlarmEmail": "a@b.org"}, {"AlarmSubscription"}),
    "budget": ({"MonthlyBudget": "50"}, {"Budget"}),
    "canary": (
        {"Canary": "true"},
        {"ServerlessDeploymentApplication", "FunctionDeploymentGroup", "CodeDeployServiceRole"},
    ),
}


@pytest.mark.parametrize("part", OPTIONAL)
def test_optional_parts(part: str) -> None:
    """Each comes, or goes, with its parameter, and nothing else with it."""
    parameters, resources = OPTIONAL[part]
    changed = stack().keys() ^ stack(**parameters).keys()
    assert {name for name in changed if not name.startswith("ApiDeployment")} == resources


def test_alarms_go_to_the_topic() -> None:
    """All of them, when something begins and when it ends, and the budget; each says what it means."""
    resources = stack(MonthlyBudget="50", AlarmEmail="a@b.org")
    alarms = of_type(resources, "CloudWatch::Alarm")
    assert len(alarms) == 10
    for name, alarm in alarms.items():
        assert alarm["AlarmActions"] == alarm["OKActions"] == ["AlarmTopic"], name
        assert alarm["TreatMissingData"] == "notBreaching"
        assert len(alarm["AlarmDescription"]) > 20
    notices = resources["Budget"]["Properties"]["NotificationsWithSubscribers"]
    assert [each["Subscribers"] for each in notices] == 2 * [[{"SubscriptionType": "SNS", "Address": "AlarmTopic"}]]
    allowed = resources["AlarmTopicPolicy"]["Properties"]["PolicyDocument"]["Statement"][0]
    assert allowed["Principal"]["Service"] == ["cloudwatch.amazonaws.com", "budgets.amazonaws.com"]
    assert allowed["Condition"] == {"StringEquals": {"aws:SourceAccount": "000000000000"}}
    assert resources["AlarmSubscription"]["Properties"]["TopicArn"] == "AlarmTopic"


def test_alarms_watch_this_stack() -> None:
    """Each is about a resource of the stack, or about numbers under its name: two stacks do not alarm each other."""
    watched = {
        name: {each["Value"] for each in alarm["Dimensions"]}
        for name, alarm in of_type(stack(), "CloudWatch::Alarm").items()
    }
    assert watched == {
        "ServerErrors": {"whippet", "prod"},
        "SlowRequests": {"whippet", "prod"},
        "Throttles": {"Function"},
        "FunctionErrors": {"Function"},
        "NewVersionErrors": {"Function", "Function:live", f"{version()}.Version"},
        "ModelErrors": {"whippet"},
        "EndpointErrors": {"whippet", "AllTraffic"},
        "WorkerErrors": {"Worker"},
        "DeadJobs": {"DeadLetters.QueueName"},
        "OldJobs": {"Queue.QueueName"},
    }
    assert stack()["Api"]["Properties"]["Name"] == "whippet"
    assert template.load().environment["POWERTOOLS_SERVICE_NAME"] == "whippet"


def version(**parameters: str) -> str:
    """The one version of the function."""
    (name,) = of_type(stack(**parameters), "Lambda::Version")
    return name


def test_metrics_are_those_of_the_functions() -> None:
    """What alarms and dashboard read under our own name is what the code writes."""
    sources = (template.TEMPLATE.parent / "lambda_api").rglob("*.py")
    code = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    written = set(re.findall(r'add_metric\("(\w+)"', code)) | {"Status5xx"}
    assert 'f"Status{' in code
    widgets = json.loads(stack()["Dashboard"]["Properties"]["DashboardBody"])["widgets"]
    rows = [row for widget in widgets for row in widget["properties"].get("metrics", [])]
    read: set[str] = set()
    namespace = ""
    for row in rows:
        if isinstance(row[0], str) and row[0] not in (".", "..."):
            namespace = row[0]
        if namespace == "Whippet" and isinstance(row[0], str) and row[0] != "...":
            read.add(row[1])
    assert read and read <= written
    alarms = of_type(stack(), "CloudWatch::Alarm").values()
    assert {alarm["MetricName"] for alarm in alarms if alarm["Namespace"] == "Whippet"} <= written


def test_dashboard() -> None:
    """Answers three questions, shows every alarm, and its widgets fit beside each other."""
    resources = stack()
    widgets = json.loads(resources["Dashboard"]["Properties"]["DashboardBody"])["widgets"]
    texts = [each["properties"]["markdown"].partition("\n")[0] for each in widgets if each["type"] == "text"]
    assert texts == ["# Is it well?", "# Is it used?", "# What does it cost?"]
    (shown,) = [each["properties"]["alarms"] for each in widgets if each["type"] == "alarm"]
    assert sorted(shown) == sorted(f"{name}.Arn" for name in of_type(resources, "CloudWatch::Alarm"))
    places = [
        (x, y) for w in widgets for x in range(w["x"], w["x"] + w["width"]) for y in range(w["y"], w["y"] + w["height"])
    ]
    assert len(places) == len(set(places)) and max(x for x, _ in places) == 23


def test_dollars_are_made_of_what_is_counted() -> None:
    """Each name in a formula is a metric's."""
    widgets = json.loads(stack()["Dashboard"]["Properties"]["DashboardBody"])["widgets"]
    (dollars,) = [w["properties"] for w in widgets if w["properties"].get("title") == "Dollars a day"]
    options: list[dict[str, Any]] = [row[-1] for row in dollars["metrics"]]
    used = {name for each in options for name in re.findall(r"[a-z]+", each.get("expression", ""))}
    assert used == {each["id"] for each in options if "id" in each}


@pytest.mark.parametrize(
    "changed",
    [
        {"AllowedOrigins": "https://a"},
        {"EndpointName": "dogs"},
        {"UploadBytes": "9"},
        {"PhotoBucket": "shop"},
        {"WebhookOrigins": "https://c"},
        {"SubnetIds": "subnet-1"},
        MODEL,
    ],
)
def test_a_changed_parameter_makes_a_version(changed: dict[str, str]) -> None:
    """CloudFormation makes a policy of another description anew, and a version that is described by its ARN."""
    before, after = stack(), stack(**changed)
    description = after["FunctionWatching"]["Properties"]["Description"]
    assert description != before["FunctionWatching"]["Properties"]["Description"]
    assert len(description) < 1000
    assert after[version(**changed)]["Properties"]["Description"] == "FunctionWatching"
    assert after["FunctionAliaslive"]["Properties"]["FunctionVersion"] == f"{version(**changed)}.Version"


def parameters_of(document: dict[str, Any], value: Any) -> set[str]:
    """The parameters that a value depends on, those of its conditions too."""
    text, before = json.dumps(value), ""
    while text != before:
        before = text
        named = {name: it for name, it in document["Conditions"].items() if f'"{name}"' in text}
        text = json.dumps([value, named])
    return {name for name in document["Parameters"] if re.search(rf"\b{name}\b", text)}


def test_every_parameter_of_the_function_is_in_its_description() -> None:
    """One that its variables are made of, and that is not, would be without effect until the code is changed."""
    document = intrinsics.read(template.TEMPLATE)
    function, own = document["Globals"]["Function"], document["Resources"]["Function"]["Properties"]
    used = parameters_of(document, [function["Environment"], function["VpcConfig"], own["SnapStart"]])
    assert "Warm" in used
    assert used == parameters_of(document, document["Resources"]["FunctionWatching"]["Properties"]["Description"])


@pytest.mark.parametrize(
    ("warm", "snap", "ready"),
    [("NONE", None, None), ("SNAPSTART", {"ApplyOn": "PublishedVersions"}, None), ("PROVISIONED", None, "3")],
)
def test_warm(warm: str, snap: dict[str, str] | None, ready: str | None) -> None:
    """Nothing, pictures of memory, or functions kept ready, never two at once."""
    resources = stack(Warm=warm, ProvisionedConcurrency="3")
    assert resources["Function"]["Properties"].get("SnapStart") == snap
    provisioned = resources["FunctionAliaslive"]["Properties"].get("ProvisionedConcurrencyConfig", {})
    assert provisioned.get("ProvisionedConcurrentExecutions") == ready


def test_functions() -> None:
    """Arm, Python 3.13, traced; within API Gateway's time; a stop for costs and a VPC where they are asked for."""
    resources = stack(ReservedConcurrency="20", SubnetIds="subnet-1,subnet-2", SecurityGroupIds="sg-1")
    for function in of_type(resources, "Lambda::Function").values():
        assert function["Runtime"] == "python3.13" and function["Architectures"] == ["arm64"]
        assert function["TracingConfig"] == {"Mode": "Active"}
        assert function["VpcConfig"] == {"SubnetIds": ["subnet-1", "subnet-2"], "SecurityGroupIds": ["sg-1"]}
    assert resources["Function"]["Properties"]["ReservedConcurrentExecutions"] == "20"
    assert resources["Function"]["Properties"]["Timeout"] == 28
    assert not {"ReservedConcurrentExecutions", "VpcConfig"} & stack()["Function"]["Properties"].keys()


def test_canary() -> None:
    """A tenth for five minutes, back by itself when new code or the API fails, which is seen within that time."""
    resources = stack(Canary="true")
    group = resources["FunctionDeploymentGroup"]["Properties"]
    assert group["DeploymentConfigName"] == "CodeDeployDefault.LambdaCanary10Percent5Minutes"
    assert [each["Name"] for each in group["AlarmConfiguration"]["Alarms"]] == ["NewVersionErrors", "ServerErrors"]
    alarms = [resources[each["Name"]]["Properties"] for each in group["AlarmConfiguration"]["Alarms"]]
    assert all(each["Period"] * each.get("DatapointsToAlarm", each["EvaluationPeriods"]) < 300 for each in alarms)
    assert "DEPLOYMENT_STOP_ON_ALARM" in group["AutoRollbackConfiguration"]["Events"]
    assert "CodeDeployLambdaAliasUpdate" in resources["FunctionAliaslive"]["UpdatePolicy"]


def test_endpoint() -> None:
    """On machines, more of them by requests, kept over an update; or serverless, without any."""
    machines = stack(**MODEL, InstanceType="ml.c5.xlarge", InstanceCount="2", MaxInstances="4")
    (variant,) = machines["EndpointConfig"]["Properties"]["ProductionVariants"]
    assert (variant["InstanceType"], variant["InitialInstanceCount"]) == ("ml.c5.xlarge", "2")
    assert "ServerlessConfig" not in variant
    assert machines["Endpoint"]["Properties"]["RetainAllVariantProperties"] is True
    target = machines["ScalingTarget"]["Properties"]
    assert (target["MinCapacity"], target["MaxCapacity"]) == ("2", "4")
    assert target["ResourceId"] == f"endpoint/Endpoint.EndpointName/variant/{variant['VariantName']}"
    serverless = stack(**MODEL, ServerlessMemoryMb="4096", ServerlessConcurrency="8")
    (variant,) = serverless["EndpointConfig"]["Properties"]["ProductionVariants"]
    assert variant["ServerlessConfig"] == {"MemorySizeInMB": "4096", "MaxConcurrency": "8"}
    assert not {"InstanceType", "InitialInstanceCount"} & variant.keys()
    assert serverless["Endpoint"]["Properties"]["RetainAllVariantProperties"] is False


def test_web_acl() -> None:
    """In front of the stage."""
    association = stack(WebAclArn="arn:acl")["WebAclAssociation"]["Properties"]
    assert association["ResourceArn"] == "arn:aws:apigateway:us-east-1::/restapis/Api/stages/ApiprodStage"


def test_domain() -> None:
    """TLS 1.2, led to the stage by both kinds of address; AWS's own address is off then."""
    resources = stack(**OPTIONAL["zone"][0])
    assert resources["Domain"]["Properties"]["SecurityPolicy"] == "TLS_1_2"
    records = resources["DomainRecords"]["Properties"]["RecordSets"]
    assert {each["Type"] for each in records} == {"A", "AAAA"}
    mapping = resources["DomainMapping"]["Properties"]
    assert (mapping["RestApiId"], mapping["Stage"]) == ("Api", "ApiprodStage")
    for made, off in ((resources, True), (stack(), False)):
        (server,) = made["Api"]["Properties"]["Body"]["servers"]
        assert server["x-amazon-apigateway-endpoint-configuration"]["disableExecuteApiEndpoint"] is off
