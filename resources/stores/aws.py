"""AWS clients of an installation: one region, one endpoint, retries that botocore knows how to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from resources.settings import SettingsError

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest
    from pyarrow.fs import S3FileSystem

    from resources.settings import Settings

TRIES = 8  # with exponential waits and jitter, for what was throttled or failed inside AWS
OURS = "cdap"  # what our clients add to their user agent, by which access logs tell them from others
# of a client for who would rather go without an answer than wait for one
QUICK = {"retries": {"total_max_attempts": 1}, "connect_timeout": 3, "read_timeout": 3}


# "400" is all that S3 says to a HEAD
EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired", "400"}


class CredentialsExpired(RuntimeError):
    """AWS no longer accepts the credentials of this process; the call that met it did nothing."""


def client(service: str, settings: Settings, **config: Any) -> Any:
    """boto3's client for ``service``; credentials come from the environment, a profile or the machine's role.

    ``config`` is botocore's. Calls raise :class:`CredentialsExpired` when those ran out, and else boto3's own errors.
    """
    try:
        import boto3
        from botocore.config import Config
    except ModuleNotFoundError as error:
        raise SettingsError("AWS needs more packages than a laptop: install cdap[aws]") from error
    made = boto3.client(
        service,
        region_name=settings.region or None,
        config=Config(**{"retries": {"mode": "standard", "total_max_attempts": TRIES}, **config}),
    )
    return as_ours(made)


def as_ours(client: Any) -> Any:
    """``client`` of boto3, wherever it was made, that says who asks and refuses credentials that ran out."""
    client.meta.events.register("before-send", _name_ourselves)
    client.meta.events.register("after-call", _refuse_expired)
    return client


def _name_ourselves(request: AWSPreparedRequest, **_: Any) -> None:
    told = request.headers["User-Agent"]
    request.headers["User-Agent"] = f"{told.decode() if isinstance(told, bytes) else told} {OURS}"


def _refuse_expired(parsed: Mapping[str, Any], model: Any, **_: Any) -> None:
    code = parsed.get("Error", {}).get("Code")
    if code in EXPIRED:
        raise CredentialsExpired(
            f"AWS no longer accepts the credentials of this process ({code} from {model.name}). Renew them, such as "
            "by `aws sso login` or a new AWS_SESSION_TOKEN with its keys, and run again: what was published stays."
        )


def arrow_filesystem(settings: Settings) -> S3FileSystem:
    """pyarrow's S3 filesystem, with the endpoint and the credentials that boto3 would use."""
    import boto3
    from pyarrow.fs import S3FileSystem

    options: dict[str, Any] = {"region": settings.region or None}
    if settings.s3_endpoint:
        scheme, _, host = settings.s3_endpoint.partition("://")
        options |= {"endpoint_override": host, "scheme": scheme}
    found = boto3.Session().get_credentials()
    if found is not None and found.method in ("env", "shared-credentials-file"):
        # Arrow finds the credentials of a container or a machine by itself, and renews them
        key = found.get_frozen_credentials()
        options |= {"access_key": key.access_key, "secret_key": key.secret_key, "session_token": key.token}
    return S3FileSystem(**options)
