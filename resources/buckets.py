"""The buckets of an S3 server of one's own. Amazon's are made by whoever pays for them."""

from __future__ import annotations

from resources.environment import Environment


class BucketError(RuntimeError):
    """A bucket can be neither seen nor made; the message says why and what to do."""


def make_buckets(environment: Environment) -> list[str]:
    """Make the buckets of the inbox and the objects where they are missing, and return those that were made.

    Only on a server that `GENOMICS_S3_ENDPOINT_URL` names.

    Raises:
        BucketError: when the server does not answer or refuses.
    """
    if environment.s3_endpoint_url is None:
        return []
    addresses = [environment.inbox, environment.object_store_url]
    wanted = {
        address.removeprefix("s3://").partition("/")[0]
        for address in addresses
        if address.startswith("s3://")
    }
    return [bucket for bucket in sorted(wanted) if _make(bucket, environment.s3_endpoint_url)]


def _make(bucket: str, endpoint: str) -> bool:
    import fsspec

    files = fsspec.filesystem("s3", endpoint_url=endpoint, use_listings_cache=False)
    try:
        if files.exists(bucket):
            return False
        files.mkdir(bucket)
    except Exception as error:
        if not isinstance(error, OSError) and not type(error).__module__.startswith(
            ("botocore.", "aiobotocore.", "aiohttp.")
        ):
            raise
        raise BucketError(
            f"the bucket {bucket!r} at {endpoint} can be neither seen nor made: {error}. Remedy: check "
            "GENOMICS_S3_ENDPOINT_URL and the AWS_* credentials, or make the bucket yourself."
        ) from error
    return True
