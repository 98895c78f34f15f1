"""What AWS, boto3 and the SDK can answer, as one line that says what to do.

TrainingError
└── AwsError         an account, a permission, a quota, a name or a job; `code` is AWS's word for it
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from training.errors import TrainingError

INSTALL = "Run: pip install 'whippet[aws]'"

LOG_GROUP = "/aws/sagemaker/TrainingJobs"
"""Where CloudWatch keeps what training jobs print, one stream a machine: `JOB/algo-1-…`."""

_CREDENTIALS = (
    "NoCredentialsError",
    "PartialCredentialsError",
    "CredentialRetrievalError",
    "TokenRetrievalError",
    "SSOTokenLoadError",
    "UnauthorizedSSOTokenError",
    "NoAuthTokenError",
)
_NETWORK = (
    "EndpointConnectionError",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "ConnectionClosedError",
    "ProxyConnectionError",
    "SSLError",
)
_MENDS = {
    ("ExpiredToken", "ExpiredTokenException", "RequestExpired"): (
        "the AWS credentials have expired. Log in again: aws sso login, or renew the keys"
    ),
    ("InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId", "SignatureDoesNotMatch"): (
        "AWS does not know these credentials. Check them: aws sts get-caller-identity"
    ),
    ("ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded", "SlowDown"): (
        "AWS throttles this account's requests and went on after several tries. Wait a minute and do it again"
    ),
    ("NoSuchBucket",): "the bucket does not exist. Check --bucket, or leave it out for SageMaker's default bucket",
    ("PermanentRedirect", "IllegalLocationConstraintException", "301"): (
        "the bucket is in another region than the job. Give --region or --bucket of the same one"
    ),
    ("NoSuchEntity",): "the role does not exist. Give --role with the ARN of a role that SageMaker may assume",
    ("ResourceInUse", "ResourceInUseException"): "the name is taken. Give another --name",
}
_BY_CODE = {code: mend for codes, mend in _MENDS.items() for code in codes}


class AwsError(TrainingError):
    """AWS said no, or cannot be reached; `code` is its error code, "" where there is none."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


@contextmanager
def told(doing: str) -> Iterator[None]:
    """Whatever boto3 or the SDK raises in here becomes an AwsError that begins with what was being done.

    Errors of ours, interrupts and mistakes in our own code pass as they are.
    """
    try:
        yield
    except TrainingError:
        raise
    except Exception as error:
        translated = _translated(error)
        if translated is None:
            raise
        raise AwsError(f"{doing}: {translated}", _code(error)) from error


def require_sdk() -> None:
    """AwsError where the SDK is not installed, or is one without estimators."""
    try:
        import sagemaker.pytorch  # noqa: F401
    except ImportError:
        raise AwsError(f"the SageMaker SDK (version 2) is not installed. {INSTALL}") from None


def _translated(error: Exception) -> str | None:
    name, text = type(error).__name__, one_line(str(error))
    if name in _CREDENTIALS:
        return "there are no usable AWS credentials. Run: aws configure, or aws sso login"
    if name == "NoRegionError" or "local AWS configuration with a region" in text:
        return "no AWS region is set. Give --region, or set AWS_DEFAULT_REGION"
    if name == "ProfileNotFound":
        return f"{text}. Check AWS_PROFILE"
    if name in _NETWORK:
        return f"AWS cannot be reached ({text}). Check the network and the region"
    if name == "ParamValidationError":
        return f"the request is not valid ({text.removeprefix('Parameter validation failed: ')}). Mend the option"
    if name in ("UnexpectedStatusException", "CapacityError"):
        return text
    if code := _code(error):
        return _of_code(code, text)
    if "IAM role" in text or "execution role" in text:
        return "a job needs a role. Give --role with the ARN of a role that SageMaker may assume"
    ours = type(error).__module__.partition(".")[0] in ("botocore", "boto3", "s3transfer", "sagemaker")
    return f"{text} ({name})" if ours or _raised_by_sdk(error) else None


def _code(error: Exception) -> str:
    """AWS's code: of the response, or as uploads write it: `An error occurred (NoSuchBucket) when …`."""
    response = getattr(error, "response", None)
    if isinstance(response, dict) and "Error" in response:
        return str(response["Error"].get("Code", ""))
    found = re.search(r"An error occurred \((\w+)\)", str(error))
    return found.group(1) if found else ""


def _of_code(code: str, text: str) -> str:
    said = re.sub(r"^.*?An error occurred \(\w+\) when calling the (\w+) operation(?: \([^)]*\))?: ", "", text)
    if code in _BY_CODE:
        return f"{_BY_CODE[code]} ({code})"
    if code in ("AccessDenied", "AccessDeniedException", "403", "Forbidden", "UnauthorizedOperation"):
        action = re.search(r"perform: ([\w:*-]+)", text) or re.search(r"calling the (\w+) operation", text)
        return f"these credentials may not {action.group(1) if action else code}. Ask your administrator to allow it"
    if code in ("ResourceLimitExceeded", "ServiceQuotaExceededException", "LimitExceededException"):
        return (
            f"a quota is exhausted ({said}). Ask for more in AWS's Service Quotas, "
            "or take another --instance-type or fewer machines"
        )
    if "role" in text.lower() and "assume" in text.lower():
        return f"SageMaker may not assume the role ({said}). Check --role and whom it trusts"
    if code in ("ResourceNotFound", "ResourceNotFoundException", "404", "NoSuchKey") or re.search(
        "not found|could not find", said, re.I
    ):
        return f"there is nothing of that name ({said}). Check the name and the region"
    return f"{said} ({code})"


def _raised_by_sdk(error: Exception) -> bool:
    """Whether a plain ValueError or the like was raised inside the SDK: its way to refuse an argument."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = str(trace.tb_frame.f_globals.get("__name__", "")) if trace is not None else ""
    return module.partition(".")[0] == "sagemaker" and isinstance(error, (ValueError, RuntimeError, TypeError))


def one_line(text: str) -> str:
    """White space squeezed, and no full stop at the end: a sentence goes on after it."""
    return " ".join(text.split()).rstrip(". ")
