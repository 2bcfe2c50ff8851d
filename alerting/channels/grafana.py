"""Annotations in Grafana: every event that people are told of is a mark on the boards, at the moment it happened.

An annotation has no key that Grafana would compare, so before writing one it is looked for by moment, tags and text.
Sent again after a death it is found, and not made twice. grafana_client is imported on first use: it is heavy.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

from alerting.channels import Channel, Delivered, Failure, Message, Outcome, Permanent, Retry
from alerting.cleaning import one_line, shorten
from alerting.remedies import RESTART
from alerting.routes import GRAFANA

if TYPE_CHECKING:
    from grafana_client.api import GrafanaApi

TAGS: Final = ("windsock", "alert")  # whatever the event: the boards show what has both
TAG_LENGTH: Final = 100  # Grafana's column
TEXT_LIMIT: Final = 600
AUTH_RETRY_SECONDS: Final = 60.0  # somebody has to correct a setting first
TIMEOUT_SECONDS: Final = 20.0
REASON_LIMIT: Final = 300
_SAME_MOMENT: Final = 1000  # annotations read where one of the same tags and moment is looked for


def annotation_channels(url: str, token: str) -> list[Channel]:
    """The channel; none without a token, for then nobody asked for annotations."""
    return [Grafana(url, token)] if token else []


class Grafana:
    """One Grafana. A wrong setting is waited out, slowly: annotations of the past can still be made tomorrow."""

    name = GRAFANA
    concurrency = 1

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._token = token

    def send(self, message: Message) -> Outcome:
        """Make the annotation, unless it is there."""
        grafana = self._client()
        try:
            return self._annotate(grafana, message)
        except Exception as error:
            return self._failed(error)
        finally:
            grafana.client.s.close()

    def _client(self) -> GrafanaApi:
        from grafana_client.api import GrafanaApi

        at = urlsplit(self._url)
        host = at.hostname or "localhost"
        return GrafanaApi(
            self._token,
            protocol=at.scheme,
            host=f"[{host}]" if ":" in host else host,
            port=at.port,
            url_path_prefix=f"{path}/" if (path := at.path.strip("/")) else "",
            timeout=TIMEOUT_SECONDS,
        )

    def _annotate(self, grafana: GrafanaApi, message: Message) -> Outcome:
        moment = round(message.occurred_at.timestamp() * 1000)
        tags = [*TAGS, *(tag[:TAG_LENGTH] for tag in message.tags)]
        text = annotation_text(message)
        sought = [quote(tag, safe="") for tag in tags]  # the client puts them into the address as they are
        found: Any = grafana.annotations.find_annotations(moment, moment, tags=sought, limit=_SAME_MOMENT)
        if not isinstance(found, list):
            return self._not_grafana()
        if not any(each["text"] == text for each in found):
            grafana.annotations.add_annotation(time_from=moment, tags=tags, text=text)
        return Delivered()

    def _failed(self, error: Exception) -> Outcome:
        """Raises what is not the network's or Grafana's fault."""
        import niquests.exceptions as http
        from grafana_client.client import GrafanaException, GrafanaTimeoutError

        match error:
            case GrafanaTimeoutError():
                return Retry(Failure.TIMEOUT, f"{self._url} did not answer in {TIMEOUT_SECONDS:g} s", channel_down=True)
            case GrafanaException():
                return self._refused(error.status_code, error.response)
            case http.JSONDecodeError():
                return self._not_grafana()
            case http.SSLError():
                return self._misconfigured(f"no secure connection to {self._url}: {self._words(_innermost(error))}")
            case http.RequestException():
                return Retry(Failure.UNREACHABLE, f"{self._url}: {self._words(_innermost(error))}", channel_down=True)
            case _:
                raise error

    def _refused(self, status: int, response: Any) -> Outcome:
        told = response.get("message", "") if isinstance(response, dict) else response
        reason = f"{self._url}: {status} {self._words(told)}".rstrip()
        match status:
            case 401 | 403:
                return self._misconfigured(
                    f"{reason}; WINDSOCK__GRAFANA__TOKEN must be that of a service account with the role Editor"
                )
            case 404:
                return self._misconfigured(f"{reason}; check WINDSOCK__GRAFANA__URL")
            case 429:
                return Retry(Failure.BUSY, reason, channel_down=True)
            case _ if status >= 500:
                return Retry(Failure.BUSY, reason)
            case _:
                return Permanent(Failure.REJECTED, reason)

    def _not_grafana(self) -> Retry:
        return self._misconfigured(f"what answers at {self._url} is not Grafana; check WINDSOCK__GRAFANA__URL")

    def _misconfigured(self, reason: str) -> Retry:
        return Retry(Failure.AUTH, f"{reason}, then {RESTART}", after_seconds=AUTH_RETRY_SECONDS, channel_down=True)

    def _words(self, told: object) -> str:
        return shorten(one_line(str(told).replace(self._token, "***")), REASON_LIMIT)


def _innermost(error: BaseException) -> BaseException:
    """The first cause has the words; what the layers above make of it repeats the whole address."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return error


def annotation_text(message: Message) -> str:
    """What Grafana shows at the mark. It takes HTML, so that everything but our own link is escaped."""
    told = message.chat.removesuffix(message.url).strip()
    lines = [html.escape(f"{message.subject}\n{shorten(told, TEXT_LIMIT)}", quote=False)]
    if message.url.startswith(("http://", "https://")):
        lines.append(f'<a href="{html.escape(message.url)}">Open in Windsock</a>')
    return "\n".join(lines)
