"""Options of SageMaker jobs, what they cost, and AWS's answers as one line: nothing here is sent anywhere."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError, ParamValidationError
from botocore.stub import Stubber

from tests.aws_world import configure
from tests.conftest import ROOT
from training.aws import cost
from training.aws.debugger import FRAMEWORK_RULES, left_out
from training.aws.errors import AwsError, told
from training.aws.follow import reason, require_success
from training.aws.options import JobOptions
from training.aws.pricelist import Price
from training.aws.session import Aws, connect
from training.config import TrainingConfig
from training.errors import ConfigError, TrainingError
from training.monitor.settings import Monitoring


@pytest.fixture
def account(tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """Made-up credentials and nothing of the user's."""
    with pytest.MonkeyPatch.context() as patch:
        configure(patch, tmp_path)
        yield patch


WRONG = {
    "instance_type": ({"instance_type": "g4dn.xlarge"}, "take one like ml.g4dn.xlarge"),
    "framework_version": ({"framework_version": "2.8"}, "a full one like 2.8.0"),
    "old": ({"framework_version": "2.5.1"}, r"need PyTorch 2.6 or later, found 2.5.1. Take 2.6.0 or later, or give an"),
    "warm spot": ({"keep_alive_minutes": "5", "spot": "true"}, "keeps no spot machines warm. Leave it out, or --spot"),
    "traffic": ({"encrypt_traffic": "true"}, "one machine talks to no other"),
    "subnets": ({"subnets": "subnet-1"}, "needs --subnets and --security-groups"),
    "max_wait_hours": ({"max_wait_hours": "3"}, "only spot jobs wait"),
    "max_wait": ({"max_wait_hours": "1", "spot": "true", "max_hours": "2"}, "less than the 2 of max_hours"),
    "tags": ({"tags": "team"}, "write KEY=VALUE, found 'team'"),
    "twice": ({"tags": "team=a,team=b"}, "different keys"),
    "hyperband": ({"strategy": "Hyperband", "early_stopping": "true"}, "hyperband ends jobs by itself"),
    "warm_start": ({"warm_start": "a,b,c,d,e,f"}, "at most 5 earlier tuners, found 6"),
    "parents": ({"warm_start": "a,a"}, "named twice"),
    "warm_hyperband": ({"warm_start": "a", "strategy": "hyperband"}, "learns from no earlier tuner"),
    "warm_grid": ({"warm_start": "a", "strategy": "grid"}, "learns from no earlier tuner"),
    "strategy": ({"strategy": "annealing"}, "none of bayesian, hyperband"),
    "max_hours": ({"max_hours": "673"}, "is not from"),
}


@pytest.mark.parametrize("case", WRONG)
def test_options_that_do_not_go_together_are_refused(case: str) -> None:
    """Before anything is sent, by name, with what to do instead."""
    texts, message = WRONG[case]
    with pytest.raises(ConfigError, match=message):
        JobOptions.from_texts(texts)


def test_options_come_from_texts_as_flags_give_them() -> None:
    """Hours are seconds for AWS, spot waits an hour longer than it runs, tags are pairs."""
    options = JobOptions.from_texts({"spot": "True", "max-hours": "0.5", "tags": "team=a=b,cost=c"})
    assert (options.max_run_seconds, options.max_wait_seconds) == (1800, 5400)
    assert JobOptions().max_wait_seconds is None
    assert options.tag_list() == [{"Key": "team", "Value": "a=b"}, {"Key": "cost", "Value": "c"}]


def test_flags_of_jobs_and_of_training_have_different_names() -> None:
    """Both become flags of one command."""
    ours = "data output name cache checkpoints tensorboard trials max_minutes objective search storage jobs yes attach"
    more = "refit dry_run detach register profile record_interval stop_on one_job sagemaker hyperparameters"
    taken = {*TrainingConfig.options(), *Monitoring.options(), *ours.split(), *more.split()}
    assert not taken & set(JobOptions.options())


def test_importing_the_package_loads_no_sdk() -> None:
    """`--help` does not wait for it, nor for torch."""
    code = (
        "import sys, training.aws.command, training.aws.tuner, training.aws.cost, training.aws.reports\n"
        "print({'boto3', 'botocore', 'sagemaker', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_missing_sdk_says_what_to_install(account: pytest.MonkeyPatch) -> None:
    """Also where version 3 is installed, which has no estimators."""
    account.setitem(sys.modules, "sagemaker.pytorch", None)
    with pytest.raises(AwsError, match=r"pip install 'whippet\[aws\]'"):
        connect(JobOptions())


def test_no_region_is_one_line(account: pytest.MonkeyPatch) -> None:
    """And the option decides over the environment."""
    assert connect(JobOptions(region="eu-west-1")).region == "eu-west-1"
    account.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(AwsError, match=r"no AWS region is set. Give --region, or set AWS_DEFAULT_REGION"):
        connect(JobOptions())


@pytest.mark.usefixtures("account")
def test_the_sdk_tells_nobody() -> None:
    """Its telemetry is off in the session that every estimator gets, and requests are retried adaptively."""
    from sagemaker.config.config_schema import TELEMETRY_OPT_OUT_PATH
    from sagemaker.utils import resolve_value_from_config

    aws = connect(JobOptions())
    off = resolve_value_from_config(
        config_path=TELEMETRY_OPT_OUT_PATH, default_value=False, sagemaker_session=aws.sdk
    )  # fmt: skip
    assert off is True
    for client in (aws.sagemaker, aws.s3):
        assert client.meta.config.retries == {"mode": "adaptive", "total_max_attempts": 10}


def client_error(code: str, message: str, operation: str = "CreateTrainingJob") -> ClientError:
    """As botocore raises it."""
    return ClientError({"Error": {"Code": code, "Message": message}, "ResponseMetadata": {}}, operation)  # type: ignore[typeddict-item]


SAID: dict[str, tuple[Exception, str]] = {
    "permission": (
        client_error(
            "AccessDeniedException",
            "User: arn:aws:iam::1:user/u is not authorized to perform: sagemaker:CreateTrainingJob on resource: x",
        ),
        "these credentials may not sagemaker:CreateTrainingJob. Ask your administrator to allow it",
    ),
    "quota": (
        client_error(
            "ResourceLimitExceeded",
            "The account-level service limit 'ml.g4dn.xlarge for training job usage' is 0 Instances, with current "
            "utilization of 0 Instances and a request delta of 1 Instances.",
        ),
        "a quota is exhausted (The account-level service limit 'ml.g4dn.xlarge for training job usage' is 0 Instances, "
        "with current utilization of 0 Instances and a request delta of 1 Instances). Ask for more in AWS's Service "
        "Quotas, or take another --instance-type or fewer machines",
    ),
    "throttled": (client_error("ThrottlingException", "Rate exceeded"), "Wait a minute and do it again"),
    "bucket": (client_error("NoSuchBucket", "The specified bucket does not exist", "PutObject"), "Check --bucket"),
    "role": (
        client_error("ValidationException", "Could not assume role arn:aws:iam::1:role/r. Please ensure ..."),
        "SageMaker may not assume the role (Could not assume role arn:aws:iam::1:role/r. Please ensure). "
        "Check --role and whom it trusts",
    ),
    "no role": (client_error("NoSuchEntity", "Role r not found", "GetRole"), "Give --role with the ARN"),
    "name": (client_error("ResourceInUse", "already exists"), "Give another --name"),
    "region": (client_error("PermanentRedirect", "…", "PutObject"), "in another region than the job"),
    "expired": (client_error("ExpiredTokenException", "…"), "Log in again: aws sso login"),
    "keys": (client_error("InvalidClientTokenId", "…"), "does not know these credentials"),
    "other": (client_error("ValidationException", "1 validation\nerror detected"), "1 validation error detected (Val"),
    "credentials": (NoCredentialsError(), "no usable AWS credentials. Run: aws configure"),
    "network": (EndpointConnectionError(endpoint_url="https://x"), "Check the network and the region"),
    "request": (ParamValidationError(report="Invalid type for parameter A\nB"), "Invalid type for parameter A B"),
}


@pytest.mark.parametrize("case", SAID)
def test_answers_of_aws_are_one_line_that_says_what_to_do(case: str) -> None:
    """With what was being done in front, and AWS's code for those who look."""
    error, message = SAID[case]
    with pytest.raises(AwsError) as caught, told("starting x"):
        raise error
    assert message in str(caught.value)
    assert str(caught.value).startswith("starting x: ")
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, TrainingError)
    if isinstance(error, ClientError):
        assert caught.value.code == error.response["Error"]["Code"]


def test_mistakes_of_ours_are_not_blamed_on_aws() -> None:
    """A bug stays a traceback, an interrupt an interrupt, an error of ours what it is."""
    for error in (KeyError("x"), ValueError("of ours"), ConfigError("epochs: …"), AwsError("an IAM role", "x")):
        with pytest.raises(type(error)) as caught, told("starting x"):
            raise error
        assert caught.value is error
    with pytest.raises(KeyboardInterrupt), told("starting x"):
        raise KeyboardInterrupt


REASONS = {
    "our own message": (
        'AlgorithmError: ExecuteUserScriptError:\nExitCode 1\nErrorMessage "ConfigError, an Exception: epochs: '
        '\'many\' is no whole number"\nCommand "/usr/bin/python3 -- training/train.py --epochs many", exit code: 1',
        "epochs: 'many' is no whole number",
    ),
    "another's": (
        "AlgorithmError: ExecuteUserScriptError:\nExitCode 1\nErrorMessage \"ModuleNotFoundError: No module named 'x'\""
        '\nCommand "/usr/bin/python3"',
        "ModuleNotFoundError: No module named 'x'",
    ),
    "of AWS": (
        "CapacityError: Unable to provision requested ML compute capacity.",
        "CapacityError: Unable to provision",
    ),
    "packages": (
        'AlgorithmError: InstallRequirementsError:\nExitCode 1\nErrorMessage ""\nCommand "/usr/bin/python3 -m pip"',
        "the image lacks packages and pip could not get them. In a VPC, give the subnets a way to PyPI",
    ),
    "none": ("", "AWS gives no reason"),
}


@pytest.mark.parametrize("case", REASONS)
def test_a_failed_job_is_one_line_with_its_log(case: str) -> None:
    """The message of our trainer without what the toolkit and AWS wrap around it."""
    text, said = REASONS[case]
    assert reason(text).startswith(said)
    assert "Command" not in reason(text)
    with pytest.raises(AwsError) as caught:
        require_success("job-1", {"TrainingJobStatus": "Failed", "FailureReason": text})
    assert f"job-1 failed: {said}" in str(caught.value)
    assert str(caught.value).endswith("CloudWatch, group /aws/sagemaker/TrainingJobs, streams job-1/")
    assert "\n" not in str(caught.value)


ENDS: dict[str, tuple[dict[str, str], str]] = {
    "no capacity": (
        {"TrainingJobStatus": "Failed", "FailureReason": "CapacityError: Unable to provision requested ML compute."},
        "AWS has no such machine to spare. Try later, or another --instance-type or --region.",
    ),
    "spot never came": (
        {"TrainingJobStatus": "Stopped", "SecondaryStatus": "MaxWaitTimeExceeded"},
        "Give it more --max-wait-hours, or leave out --spot.",
    ),
    "too slow": (
        {"TrainingJobStatus": "Stopped", "SecondaryStatus": "MaxRuntimeExceeded"},
        "Give it more --max-hours.",
    ),
}


@pytest.mark.parametrize("case", ENDS)
def test_how_a_job_ended_says_what_to_do(case: str) -> None:
    """In one line, with where its log is."""
    found, mend = ENDS[case]
    with pytest.raises(AwsError) as caught:
        require_success("job-1", found)
    assert mend in str(caught.value) and "\n" not in str(caught.value)
    assert str(caught.value).endswith("streams job-1/")


def test_framework_rules_are_named_where_the_image_cannot_have_them() -> None:
    """PyTorch 2.0 was the last with framework metrics."""
    assert left_out(JobOptions()) == list(FRAMEWORK_RULES)
    assert left_out(JobOptions(framework_version="2.0.1", image_uri="mine")) == []
    assert left_out(JobOptions(profiler=False)) == []


def product(usage: str, dollars: str) -> str:
    """One line of AWS's price list."""
    return json.dumps(
        {
            "product": {"attributes": {"instanceName": "ml.g5.xlarge", "usagetype": usage, "regionCode": "eu-west-1"}},
            "terms": {"OnDemand": {"a": {"priceDimensions": {"b": {"pricePerUnit": {"USD": dollars}}}}}},
        }
    )


def priced(account: pytest.MonkeyPatch, answer: dict[str, Any] | None) -> Aws[JobOptions]:
    """A connection whose price list answers that, checked against the service's model; None refuses to answer."""
    options = JobOptions(instance_type="ml.g5.xlarge", region="eu-west-1", max_hours=1.5, instance_count=2, spot=True)
    aws = connect(options)
    client = boto3.client("pricing", region_name="us-east-1")
    stub = Stubber(client)
    if answer is None:
        stub.add_client_error("get_products", "AccessDeniedException")
    else:
        wanted = {"instanceName": "ml.g5.xlarge", "regionCode": "eu-west-1"}
        filters = [{"Type": "TERM_MATCH", "Field": k, "Value": v} for k, v in wanted.items()]
        stub.add_response("get_products", answer, {"ServiceCode": "AmazonSageMaker", "Filters": filters})
    stub.activate()
    account.setattr(aws.boto, "client", lambda *_, **__: client)
    return aws


def test_the_estimate_is_an_upper_bound_by_the_price_list(account: pytest.MonkeyPatch) -> None:
    """Jobs x hours x machines x price; hosting and spot prices of the list are not training's."""
    answer = {"PriceList": [product("EUW1-Train:ml.g5.xlarge", "1.57"), product("EUW1-Host:ml.g5.xlarge", "9")]}
    found = cost.estimate(priced(account, answer), 10)
    assert found.dollars == pytest.approx(10 * 1.5 * 2 * 1.57)
    assert list(found.lines()) == [
        "cost: at most 47.10 dollars",
        "      10 jobs x 1.5 h x 2 x ml.g5.xlarge x 1.57 dollars an hour (AWS's price list, eu-west-1)",
        "      jobs that end sooner cost less; disks, storage in S3 and taxes are not counted",
        "      spot is usually cheaper; not counted",
    ]


def test_without_the_price_list_a_dated_table_answers(account: pytest.MonkeyPatch) -> None:
    """And says that it is one."""
    found = cost.estimate(priced(account, None), 1)
    assert found.price == Price(1.408, "2026-11, US regions; AWS's price list was not to be had")
    assert "1 job x 1.5 h" in "\n".join(found.lines())


def test_an_unknown_price_is_said_to_be_unknown() -> None:
    """No number instead of one that lies."""
    found = cost.Estimate(4, JobOptions(instance_type="ml.p9.48xlarge"), None)
    assert found.dollars is None
    first = next(found.lines())
    assert first == "cost: unknown, since the price of ml.p9.48xlarge is; 8 hours of it at most"
