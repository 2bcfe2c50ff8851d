"""A Grafana and a token for it: how it is reached, and what its refusals mean to the person who has to act."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from grafana_client.api import GrafanaApi

TIMEOUT_SECONDS: Final = 20.0
TOKENS: Final = "see docs/grafana.md, Tokens"


class GrafanaError(Exception):
    """What Grafana was asked for did not happen. The message is for people and never holds the token."""


class TokenRefused(GrafanaError):
    """The token is wrong, so that everything else that is asked with it will fail too."""


@contextmanager
def connected(url: str, token: str) -> Iterator[GrafanaApi]:
    """Grafana's client for `url`, once it is known that a Grafana answers there."""
    from grafana_client.api import GrafanaApi

    at = urlsplit(url)
    if at.scheme not in ("http", "https") or not at.hostname:
        raise GrafanaError(f"{url!r} is not a Grafana URL: it must look like https://grafana.example.com")
    if at.username or at.password:
        raise GrafanaError("the Grafana URL must not hold a user name or password; give a token instead")
    # The library's own from_url() joins "/grafana" and "api" without a slash, and takes secrets out of the URL.
    grafana = GrafanaApi(
        token,
        protocol=at.scheme,
        host=f"[{at.hostname}]" if ":" in at.hostname else at.hostname,
        port=at.port,
        url_path_prefix=f"{path}/" if (path := at.path.strip("/")) else "",
        timeout=TIMEOUT_SECONDS,
    )
    try:
        _require_grafana(grafana, url)
        yield grafana
    finally:
        grafana.client.s.close()


def _require_grafana(grafana: GrafanaApi, url: str) -> None:
    """Ask what needs no token, so that a wrong address is not told as a wrong token."""
    with asking(url, "ask how it is"):
        answer: Any = grafana.client.GET("/health")
    if not isinstance(answer, dict) or "database" not in answer:
        raise GrafanaError(_not_grafana(url))


@contextmanager
def asking(url: str, what: str) -> Iterator[None]:
    """Turns what the client raises into sentences; `what` completes "the token may not …"."""
    import niquests.exceptions as http
    from grafana_client.client import GrafanaException, GrafanaTimeoutError

    try:
        yield
    except GrafanaTimeoutError as error:
        raise GrafanaError(f"{url} did not answer within {TIMEOUT_SECONDS:g} s") from error
    except GrafanaException as error:
        raise _refusal(error, url, what) from error
    except http.JSONDecodeError as error:
        raise GrafanaError(_not_grafana(url)) from error
    except http.SSLError as error:
        raise GrafanaError(
            f"no secure connection to {url}: {_innermost(error)}; check its certificate. A private authority is "
            "trusted by REQUESTS_CA_BUNDLE=/path/to/ca.pem"
        ) from error
    except http.RequestException as error:
        reason = _innermost(error)
        raise GrafanaError(f"{url} cannot be reached: {reason}; is Grafana running, and the URL right?") from error


def _refusal(error: Any, url: str, what: str) -> GrafanaError:
    """Statuses as in Grafana's HTTP API reference; its own words follow in brackets."""
    told = f" ({_message(error)})"
    match error.status_code:
        case 401:
            return TokenRefused(f"{url} does not accept the token{told}: it is wrong or has expired; {TOKENS}")
        case 403:
            return GrafanaError(f"the token may not {what}{told}: give its service account the role Editor; {TOKENS}")
        case 404:
            return GrafanaError(f"{url} knows no such thing{told}; is a path missing in the URL, such as /grafana?")
        case 429:
            return GrafanaError(f"{url} is asked too often{told}; try again later")
        case status if status >= 500:
            return GrafanaError(f"{url} failed with {status}{told}; its own log says more")
        case status:
            return GrafanaError(f"{url} refused to {what} with {status}{told}")


def _message(error: Any) -> str:
    response = error.response
    text = response.get("message", "") if isinstance(response, dict) else str(response or "")
    return " ".join(str(text).split())[:300].rstrip(" .") or "no reason given"


def _innermost(error: BaseException) -> str:
    """The first cause has the words; what the layers above make of it repeats the whole URL."""
    seen = error
    while cause := seen.__cause__ or seen.__context__:
        seen = cause
    return getattr(seen, "verify_message", "") or getattr(seen, "strerror", None) or str(seen)


def _not_grafana(url: str) -> str:
    return f"what answers at {url} is not Grafana; give the URL under which its pages open, with the path if it has one"
