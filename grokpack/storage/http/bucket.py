"""Buckets of S3, of compatible services and of Google: addresses, listings, who asks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote, urlencode, urlsplit

from grokpack.storage.http.redirects import Resource
from grokpack.storage.http.responses import REFUSED

if TYPE_CHECKING:
    from collections.abc import Mapping

    import urllib3

    from grokpack.storage.http.aws_credentials import AwsCredentials
    from grokpack.storage.http.google_credentials import GoogleCredentials
    from grokpack.storage.urls import Url

SOMEWHERE = "us-east-1"
"""Region in a signature if none is known."""
_AMAZON = "amazonaws.com"
_DOMAINS = {"cn": "amazonaws.com.cn", "eusc": "amazonaws.eu"}
"""Domains of services that are apart from Amazon's others, by the first part of a region's name."""
_KEY = "/~"  # characters that S3 leaves unquoted in a path, beside letters, digits, - _ and .
_REGION = re.compile(rb"<Region>([A-Za-z0-9-]{1,60})</Region>")
_NAME = re.compile(r"[A-Za-z0-9-]{1,60}")
PageMark = tuple[str, str]
"""Where the next page of a listing begins: the name and the value of a parameter."""


class Credentials(Protocol):
    """Protocol of what shows who asks."""

    def headers(self, url: str, region: str) -> Mapping[str, str]:
        """Return the headers that show it; none for public access."""

    def find(self) -> bool:
        """Find them, the machine's own if there are no others, and renew them; true if any."""

    def refused_hint(self, reason: str) -> str:
        """Return the hint for refused access, for the status and what the server calls it."""


@dataclass(slots=True)
class Bucket:
    """Bucket of any service.

    Attributes:
        name: Name of the bucket.
        credentials: Credentials of requests.
        region: Its region, if known.
        endpoint: URL of the service; None for AWS.
        addressing: Where the bucket's name stands: `virtual` for the host, `path`, or empty for
            the path of an endpoint and the host of AWS.
    """

    name: str
    credentials: Credentials
    region: str | None = None
    endpoint: str | None = None
    addressing: str = ""

    def base(self) -> str:
        """Return the bucket's URL."""
        if self.endpoint and self.addressing != "virtual":
            return f"{self.endpoint}/{self.name}"
        if self.endpoint:
            return self.endpoint.replace("://", f"://{self.name}.", 1)
        domain = _DOMAINS.get((self.region or "").partition("-")[0], _AMAZON)
        where = f"s3.{self.region}.{domain}" if self.region else f"s3.{domain}"
        if "." in self.name or self.addressing == "path":  # a certificate matches no dot
            return f"https://{where}/{self.name}"
        return f"https://{self.name}.{where}"

    def url(self, url: Url) -> str:
        """Return the address of an object."""
        return f"{self.base()}/{quote(url.path, safe=_KEY)}"

    def listing(self, url: Url, *, deep: bool, after: PageMark | None) -> Resource:
        """Return a page of ListObjectsV2, which Google supports as well.

        After a marker it is a page of version 1, which is all that some servers speak. Names are
        asked for in the encoding of addresses: XML cannot hold every name that an object may have.
        """
        query = {"encoding-type": "url", "prefix": f"{url.path}/" if url.path else ""}
        if not deep:
            query["delimiter"] = "/"
        query |= dict([after] if after else [])
        if "marker" not in query:
            query["list-type"] = "2"
        text = urlencode(sorted(query.items()), quote_via=quote, safe="-_.~")
        return Resource(str(url), self, lambda: f"{self.base()}/?{text}")

    def headers(self, url: str) -> Mapping[str, str]:
        """Return credentials, if the host is the bucket's."""
        if urlsplit(url).netloc != urlsplit(self.base()).netloc:
            return {}
        return self.credentials.headers(url, self.region or SOMEWHERE)

    def learn(
        self,
        sent: Mapping[str, str],
        response: urllib3.BaseHTTPResponse,
        body: bytes,  # noqa: ARG002  # see `Site`
    ) -> str | None:
        """Learn from a refused request without a signature that the bucket is not public."""
        is_signed = any(name.lower() == "authorization" for name in sent)
        if is_signed or response.status not in REFUSED or not self.credentials.find():
            return None
        return "the bucket is not public"

    def refused_hint(self, reason: str) -> str:
        """Return the hint for refused access, for the status and what the server calls it."""
        return self.credentials.refused_hint(reason)


@dataclass(slots=True)
class S3Bucket(Bucket):
    """Bucket of S3 or of a compatible service, which tells its region."""

    credentials: AwsCredentials

    def learn(
        self, sent: Mapping[str, str], response: urllib3.BaseHTTPResponse, body: bytes
    ) -> str | None:
        """Learn the region, which S3 names when it was asked in another one, or who may read."""
        found = _REGION.search(body)
        told = response.headers.get("x-amz-bucket-region") or (found[1].decode() if found else "")
        matters = "Authorization" in sent or self.endpoint is None
        if matters and told != self.region and _NAME.fullmatch(told):
            self.region = told
            return "the bucket is in another region"
        return Bucket.learn(self, sent, response, body)


@dataclass(slots=True)
class GoogleBucket(Bucket):
    """Bucket of Google Cloud Storage."""

    credentials: GoogleCredentials
