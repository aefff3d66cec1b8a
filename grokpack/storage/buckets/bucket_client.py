"""Client of botocore for a bucket, with the endpoint and the credentials that reading uses."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from grokpack.core.errors import GrokpackError, Place
from grokpack.core.optional_imports import import_extra
from grokpack.core.version import AGENT
from grokpack.storage.http import aws_settings, botocore_failures, connections, parallel_requests
from grokpack.storage.http.aws_settings import EXTRA
from grokpack.storage.http.bucket import SOMEWHERE, GoogleBucket, S3Bucket
from grokpack.storage.http.proxies import SOCKS

if TYPE_CHECKING:
    from grokpack.storage.http.bucket import Bucket

_CHECKSUMS, _FEWEST = "request_checksum_calculation", "when_required"
"""Setting of botocore, which else adds checksums that Google and older servers do not know."""


def new_client(site: S3Bucket | GoogleBucket) -> Any:  # noqa: ANN401  # botocore's
    """Create a client that signs, sends a token or, without any credentials, neither.

    Raises:
        RetryableFailure: The service that issues credentials may succeed next time.
        GrokpackError: GP222 if they are refused, GP307 if botocore is not installed.
    """
    is_known = site.credentials.find()
    if is_known and isinstance(site, S3Bucket):
        session = site.credentials.session
        options = {"signature_version": "s3v4"}
        if site.endpoint and not aws_settings.is_set(session, _CHECKSUMS):
            options[_CHECKSUMS] = _FEWEST
        return _client(site, session, **options)
    client = _client(
        site,
        aws_settings.blank_session(),
        signature_version=import_extra("botocore", EXTRA).UNSIGNED,
        **{_CHECKSUMS: _FEWEST},
    )
    client.meta.events.register("request-created.s3", partial(_add_headers, site))
    return client


def _client(site: Bucket, session: Any, **options: Any) -> Any:  # noqa: ANN401  # botocore's
    config = import_extra("botocore.config", EXTRA).Config(
        retries={"mode": "standard", "total_max_attempts": 1},  # `botocore_requests` retries
        s3={"addressing_style": site.addressing or ("path" if site.endpoint else "auto")},
        max_pool_connections=parallel_requests.WIDTH,
        user_agent=AGENT,
        proxies=_proxies(site.base()),
        **options,
    )
    where = {"endpoint_url": site.endpoint, "region_name": site.region or SOMEWHERE}
    with aws_settings.usable():
        client = session.create_client("s3", config=config, **where)
    client.meta.events.register("response-received.s3", _note_response)
    return client


def _proxies(url: str) -> dict[str, str]:
    """Return the proxy for a URL as botocore takes it, which has rules of its own for variables.

    Raises:
        GrokpackError: GP224 for a proxy that it cannot use.
    """
    proxy = connections.proxy_for(url)
    if proxy is not None and proxy.scheme in SOCKS:
        what, hint = "botocore writes through no SOCKS proxy", "name the host in `no_proxy`"
        raise GrokpackError("GP224", what, Place(proxy.url), hint=hint)
    return {} if proxy is None else {urlsplit(url).scheme: proxy.login_url}


def _note_response(response_dict: Any, **_: Any) -> None:  # noqa: ANN401  # botocore's
    if response_dict is not None:
        botocore_failures.reached.set()


def _add_headers(site: Bucket, request: Any, **_: Any) -> None:  # noqa: ANN401  # botocore's
    for name, text in site.headers(request.url).items():
        request.headers[name] = text
