"""Where alerts go: a webhook, Slack, mail; each by environment variables, any number of them.

The addresses are secrets: a Slack webhook's path is its key. They never are in an error.
"""

import json
import os
import smtplib
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import dagster as dg

from resources.environment import SettingError

if TYPE_CHECKING:
    from genomics_assets.alerts import Alert

SECONDS = 10.0


class AlertError(RuntimeError):
    """An alert could not be sent; the message names the channel, never its address."""


@dataclass(frozen=True)
class AlertSettings:
    """What the environment says of alerts.

    Attributes:
        webhook_url: `GENOMICS_ALERT_WEBHOOK_URL`, gets JSON.
        slack_url: `GENOMICS_ALERT_SLACK_URL`, an incoming webhook of Slack, or of what speaks like it.
        smtp_url: `GENOMICS_ALERT_SMTP_URL`: `smtp://user:password@host:587` (STARTTLS where offered) or `smtps://…`.
        mail_to: `GENOMICS_ALERT_EMAIL_TO`, addresses parted by commas.
        mail_from: `GENOMICS_ALERT_EMAIL_FROM`.
        ui: `GENOMICS_UI_URL`, for links.
        stale_days: `GENOMICS_ALERT_STALE_DAYS`: annotation sources older than this are stale; None: only those that are
            refreshed by configuration are watched.
    """

    webhook_url: str | None = field(default=None, repr=False)
    slack_url: str | None = field(default=None, repr=False)
    smtp_url: str | None = field(default=None, repr=False)
    mail_to: tuple[str, ...] = ()
    mail_from: str = "genomics_assets@localhost"
    ui: str | None = None
    stale_days: float | None = None

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> "AlertSettings":
        """Read the settings; a variable that is empty counts as not set.

        Raises:
            SettingError: a value is not of the form that its variable needs.
        """
        to = tuple(
            part.strip() for part in environ.get("GENOMICS_ALERT_EMAIL_TO", "").split(",") if part.strip()
        )
        smtp = _url(environ, "GENOMICS_ALERT_SMTP_URL", ("smtp", "smtps"))
        if bool(to) != bool(smtp):
            raise SettingError(
                "GENOMICS_ALERT_EMAIL_TO and GENOMICS_ALERT_SMTP_URL are needed together. Remedy: set both, or neither."
            )
        return cls(
            webhook_url=_url(environ, "GENOMICS_ALERT_WEBHOOK_URL", ("http", "https")),
            slack_url=_url(environ, "GENOMICS_ALERT_SLACK_URL", ("http", "https")),
            smtp_url=smtp,
            mail_to=to,
            mail_from=environ.get("GENOMICS_ALERT_EMAIL_FROM") or "genomics_assets@localhost",
            ui=(_url(environ, "GENOMICS_UI_URL", ("http", "https")) or "").rstrip("/") or None,
            stale_days=_days(environ.get("GENOMICS_ALERT_STALE_DAYS")),
        )

    @property
    def channels(self) -> list[str]:
        """Names of those that are configured."""
        found = {"webhook": self.webhook_url, "slack": self.slack_url, "mail": self.smtp_url}
        return [name for name, url in found.items() if url]


class AlertChannels(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Sends alerts to every channel that the environment configures."""

    def settings(self) -> AlertSettings:
        """What the environment says now."""
        return AlertSettings.from_environ()

    def send(self, alert: "Alert") -> list[str]:
        """Send an alert everywhere; returns what went wrong, by channel, where another channel took it.

        Raises:
            AlertError: no channel took it.
        """
        settings = self.settings()
        problems = [problem for name in settings.channels if (problem := self._send(settings, name, alert))]
        if problems and len(problems) == len(settings.channels):
            raise AlertError("; ".join(problems))
        return problems

    def _send(self, settings: AlertSettings, channel: str, alert: "Alert") -> str | None:
        try:
            if channel == "webhook":
                _post(str(settings.webhook_url), alert.as_json())
            elif channel == "slack":
                _post(str(settings.slack_url), {"text": alert.as_text()})
            else:
                _mail(settings, alert)
        except urllib.error.HTTPError as error:
            return f"{channel}: the server answered {error.code}"
        except (OSError, smtplib.SMTPException) as error:
            # Not the text: it may repeat the address, which is a secret.
            return f"{channel}: could not be reached ({type(error).__name__})"
        return None


def _post(url: str, content: object) -> None:
    request = urllib.request.Request(  # noqa: S310 - the scheme was checked
        url,
        json.dumps(content).encode(),
        {"Content-Type": "application/json", "User-Agent": "genomics_assets"},
    )
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
        answer.read()


def _mail(settings: AlertSettings, alert: "Alert") -> None:
    message = EmailMessage()
    message["Subject"] = f"[genomics_assets] {alert.title}"
    message["From"] = settings.mail_from
    message["To"] = ", ".join(settings.mail_to)
    message.set_content(alert.as_text() + "\n")
    server = urlsplit(str(settings.smtp_url))
    secure = server.scheme == "smtps"
    port = server.port or (465 if secure else 25)
    host = server.hostname or "localhost"
    context = ssl.create_default_context()
    with (
        smtplib.SMTP_SSL(host, port, timeout=SECONDS, context=context)
        if secure
        else smtplib.SMTP(host, port, timeout=SECONDS)
    ) as session:
        session.ehlo()
        if not secure and session.has_extn("starttls"):
            session.starttls(context=context)
            session.ehlo()
        if server.username:
            session.login(unquote(server.username), unquote(server.password or ""))
        session.send_message(message)


def _url(environ: Mapping[str, str], name: str, schemes: tuple[str, ...]) -> str | None:
    value = environ.get(name)
    if not value:
        return None
    if urlsplit(value).scheme not in schemes or not urlsplit(value).hostname:
        raise SettingError(
            f"{name} is no {schemes[-1]}:// address. Remedy: write {schemes[-1]}://host/…, or unset it."
        )
    return value


def _days(value: str | None) -> float | None:
    if not value:
        return None
    try:
        days = float(value)
    except ValueError:
        days = -1.0
    if days <= 0:
        raise SettingError(
            f"GENOMICS_ALERT_STALE_DAYS is {value!r}. Remedy: write a number of days above 0, or unset it."
        )
    return days
