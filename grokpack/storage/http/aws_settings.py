"""AWS's settings, as botocore reads them: profile, region and endpoint, for reading and writing."""

from __future__ import annotations

import contextlib
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grokpack.core.errors import AccessRefused, UnusableValue
from grokpack.core.optional_imports import import_extra, is_installed
from grokpack.storage.http import settings, trusted_certificates

if TYPE_CHECKING:
    from collections.abc import Iterator

EXTRA = "buckets"  # extra that installs botocore
EXPORT_KEYS = 'eval "$(aws configure export-credentials --format env)"'
_ENDPOINTS = "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"
_REGIONS = "AWS_REGION", "AWS_DEFAULT_REGION"
_SECRETS = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"
_NUMBERS = "AWS_MAX_ATTEMPTS", "AWS_METADATA_SERVICE_NUM_ATTEMPTS", "AWS_METADATA_SERVICE_TIMEOUT"
_MOST = 3600  # attempts, or seconds
_VARIABLES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_DEFAULT_PROFILE",
    "AWS_PROFILE",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
)
"""Variables that say whose keys to use; AWS's two files may say it, too."""
_UNUSABLE = (
    "ConfigParseError",
    "InfiniteLoopConfigError",
    "InvalidChecksumConfigError",
    "InvalidConfigError",
    "InvalidDefaultsMode",
    "InvalidIMDSEndpointError",
    "InvalidIMDSEndpointModeError",
    "InvalidMaxRetryAttemptsError",
    "InvalidRetryConfigurationError",
    "InvalidRetryModeError",
    "InvalidS3AddressingStyleError",
    "InvalidS3UsEast1RegionalEndpointConfigError",
    "InvalidSTSRegionalEndpointsConfigError",
    "PartialCredentialsError",
    "UnknownCredentialError",
)
"""botocore's names for settings that it cannot use."""
_NOT_AS_EXPECTED = (AttributeError, KeyError, OSError, TypeError, ValueError)
"""Errors that botocore lets through: of a file that is gone, of a text in place of a section."""
_CREDENTIALS = "AWS_SHARED_CREDENTIALS_FILE", "credentials"
_CONFIG = "AWS_CONFIG_FILE", "config"
"""Variable and name of each of AWS's two files."""
_OTHERWISE = "or set GROKPACK_ANONYMOUS=1, to read what is public without keys"
_CONNECT_S, _SILENCE_S = 10, 30  # for services that give keys


@cache
def session() -> Any:  # noqa: ANN401  # botocore's
    """Return a session of botocore with the environment's settings; None where there are none.

    Its keys are those that the settings name: it does not ask for the machine's own role.

    Raises:
        GrokpackError: GP346 for settings that cannot be used, GP307 if botocore is not installed.
    """
    if not _are_there() or (settings.is_anonymous() and not is_installed("botocore")):
        return None
    for variable in _SECRETS:
        settings.secret(variable)
    for variable in _NUMBERS:
        settings.whole_number(variable, 1, _MOST)
    made = new_session()
    region = settings.region(*_REGIONS)
    if region is not None:  # botocore knows one of the two variables
        made.set_config_variable("region", region)
    with usable():
        _check_numbers(made)
        providers = made.get_component("credential_provider")
        providers.remove("iam-role")
        roles = providers.get_provider("assume-role")
        roles._prompter = _refuse_to_ask  # noqa: SLF001  # it would ask on the terminal
    return made


def _check_numbers(made: Any) -> None:  # noqa: ANN401  # botocore's
    """Check the numbers of the profile, which have the names of the variables.

    Raises:
        GrokpackError: GP346 for one that is none.
    """
    profile = made.get_scoped_config()
    for name in (variable.removeprefix("AWS_").lower() for variable in _NUMBERS):
        if name in profile:
            origin = f"{name} of profile `{profile_name(made)}`"
            settings.valid_number(str(profile[name]), origin, _MOST)


def is_set(session: Any, name: str) -> bool:  # noqa: ANN401  # botocore's
    """Return whether a variable or the profile has a setting of this name."""
    return bool(os.environ.get(f"AWS_{name.upper()}")) or name in session.get_scoped_config()


def _are_there() -> bool:
    files = (file_path(*file) for file in (_CREDENTIALS, _CONFIG))
    return any(map(os.environ.get, _VARIABLES)) or any(map(os.path.isfile, files))


def new_session(**options: Any) -> Any:  # noqa: ANN401  # botocore's
    """Return a new session, which requests keys once: the caller retries."""
    made = import_extra("botocore.session", EXTRA, _OTHERWISE).Session(**options)
    config = import_extra("botocore.config", EXTRA).Config(
        connect_timeout=_CONNECT_S, read_timeout=_SILENCE_S, retries={"total_max_attempts": 1}
    )
    made.set_default_client_config(config)
    trusted = trusted_certificates.bundle_file()
    if trusted is not None and not os.environ.get("AWS_CA_BUNDLE"):
        made.set_config_variable("ca_bundle", trusted)
    return made


def _refuse_to_ask(_prompt: str) -> str:
    """Refuse a role that needs the code of an MFA device, which cannot be asked for.

    Raises:
        GrokpackError: GP222, always.
    """
    what = "the profile's role wants a code of a device (mfa_serial), and nobody is asked for it"
    raise AccessRefused(what, hint=f"let AWS's own program ask:\n{EXPORT_KEYS}")


def blank_session() -> Any:  # noqa: ANN401  # botocore's
    """Return a session that has no profile and no keys, whatever the settings are."""
    files = dict.fromkeys(("config_file", "credentials_file"), (None, None, os.devnull, None))
    return new_session(session_vars={"profile": (None, None, None, None), **files})


@contextlib.contextmanager
def usable() -> Iterator[None]:
    """Context manager in which what botocore cannot use of the settings is an error with its name.

    Raises:
        GrokpackError: GP346.
    """
    errors = import_extra("botocore.exceptions", EXTRA)
    unusable = (*_NOT_AS_EXPECTED, *(getattr(errors, name) for name in _UNUSABLE))
    try:
        yield
    except errors.ProfileNotFound as error:
        variable = next(filter(os.environ.get, ("AWS_DEFAULT_PROFILE", "AWS_PROFILE")))
        places = " and ".join(file_path(*file) for file in (_CREDENTIALS, _CONFIG))
        name = error.kwargs["profile"]
        why = f"there is no profile `{name}` in {places}"
        raise settings.unusable(variable, why) from error
    except unusable as error:
        hint = "`aws configure list` shows what AWS's own program makes of them"
        raise UnusableValue(f"AWS's settings cannot be used: {error}", hint=hint) from error


def profile_name(session: Any) -> str:  # noqa: ANN401  # botocore's
    """Return the name of the profile that counts."""
    return session.get_config_variable("profile") or "default"


def file_path(variable: str, name: str) -> str:
    """Return the path of one of AWS's two files."""
    return os.environ.get(variable) or str(Path.home() / ".aws" / name)


def find_region() -> str | None:
    """Find the region in the environment, else in the profile."""
    named = settings.region(*_REGIONS)
    if named or session() is None:
        return named
    found = session().get_scoped_config().get("region")
    return found and settings.valid_region(found, f"region of profile `{profile_name(session())}`")


def find_endpoint() -> str | None:
    """Find the URL of the service in the environment, else in the profile; None for Amazon's."""
    named = settings.endpoint("GROKPACK_S3_ENDPOINT")
    if named is None and not _endpoints_are_ignored():
        named = settings.endpoint(*_ENDPOINTS) or _profile_endpoint()
    return named


def find_addressing() -> str:
    """Find whether the profile's section `s3` wants the bucket's name in the host or the path.

    Raises:
        GrokpackError: GP346 if it wants what is neither.
    """
    if session() is None:
        return ""
    with usable():
        style = session().get_scoped_config().get("s3", {}).get("addressing_style") or "auto"
    if style not in ("auto", "path", "virtual"):
        origin = f"addressing_style of profile `{profile_name(session())}`"
        raise settings.unusable(origin, f"`{style}` is none of auto, path, virtual")
    return "" if style == "auto" else str(style)


def _endpoints_are_ignored() -> bool:
    said = os.environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "")
    if not said and session() is not None:
        said = session().get_scoped_config().get("ignore_configured_endpoint_urls", "")
    return str(said).lower() == "true"


def _profile_endpoint() -> str | None:
    """Return the endpoint of the profile: that of its section of services, else its own."""
    if session() is None:
        return None
    profile = session().get_scoped_config()
    origin = f"profile `{profile_name(session())}`"
    named = profile.get("services")
    sections = session().full_config.get("services", {})
    if named and named not in sections:
        raise settings.unusable(f"services of {origin}", f"there is no section `services {named}`")
    with usable():
        own = sections.get(named, {}).get("s3", {}).get("endpoint_url")
    found = own or profile.get("endpoint_url")
    return found and settings.valid_endpoint(found, f"endpoint_url of {origin}")
