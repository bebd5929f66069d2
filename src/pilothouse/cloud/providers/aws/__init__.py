"""Amazon Web Services: instances, network load balancers, route tables, EBS volumes (docs/cloud-aws.md).

boto3 is an extra: pip install 'pilothouse[aws]'. Region, endpoint and credentials are found as boto3 finds them.
Everything that is made carries `kubernetes.io/cluster/NAME: owned`, and what does not is left alone.
"""

from __future__ import annotations

from pilothouse.cloud.provider import Provider
from pilothouse.cloud.registry import Setting


def open_provider(setting: Setting) -> Provider:
    """ValueError for a configuration that cannot be used, or without boto3."""
    try:
        from pilothouse.cloud.providers.aws.provider import AwsProvider
    except ModuleNotFoundError as error:
        if error.name not in ("boto3", "botocore"):
            raise
        raise ValueError("the provider aws needs boto3: pip install 'pilothouse[aws]'") from None
    return AwsProvider(setting)
