"""Which account, bucket and network SageMaker works in: what jobs and endpoints share; flags come from the fields."""

from __future__ import annotations

from dataclasses import dataclass

from training.errors import ConfigError
from training.settings import Settings, setting

_MAX_TAGS = 50


@dataclass(frozen=True)
class Account(Settings):
    """Base of the options of whatever is made on AWS."""

    role: str = setting(
        "", "ARN or name of the role that SageMaker assumes; by default that of the SDK's configuration."
    )
    region: str = setting("", "AWS region; by default that of the AWS configuration.")
    bucket: str = setting("", "Bucket for photos, code and results; by default SageMaker's own of the account.")
    prefix: str = setting("whippet", "Where in the bucket.")
    tags: tuple[str, ...] = setting((), "KEY=VALUE on all that is made, for the bill.", items=str)
    subnets: tuple[str, ...] = setting((), "Subnets of your VPC to run in.", items=str)
    security_groups: tuple[str, ...] = setting((), "Security groups then.", items=str)
    kms_key: str = setting("", "KMS key that encrypts what lies in S3 and on disks.")

    def __post_init__(self) -> None:
        """ConfigError too for options that do not go together; AWS would say so minutes later, or never."""
        super().__post_init__()
        if bool(self.subnets) != bool(self.security_groups):
            raise ConfigError("subnets: a VPC needs --subnets and --security-groups, found one of them")
        keys = [tag.partition("=")[0] for tag in self.tags]
        for tag, key in zip(self.tags, keys, strict=True):
            if "=" not in tag or not key:
                raise ConfigError(f"tags: write KEY=VALUE, found {tag!r}")
        if len(set(keys)) < len(keys) or len(keys) > _MAX_TAGS:
            raise ConfigError(f"tags: {_MAX_TAGS} different keys at most, found {len(keys)}: {', '.join(keys)}")

    def tag_list(self) -> list[dict[str, str]]:
        """As AWS wants them."""
        return [{"Key": key, "Value": value} for key, _, value in (tag.partition("=") for tag in self.tags)]
