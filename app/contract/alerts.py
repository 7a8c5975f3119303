"""Alerts: what should happen, to which runs, and where word of it goes."""

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_core.core_schema import ValidationInfo

from app.contract.metrics import KEY
from app.contract.setting import Section, refuse

Kind = Literal["verdict", "finished", "failed", "lost", "nan", "metric"]
Shape = Literal["json", "slack", "discord"]
MOST_URL = 2000
MEANINGS: dict[str, str] = {
    "verdict": "A diagnosis has another verdict",
    "finished": "A run has finished",
    "failed": "A run has failed",
    "lost": "A run's worker is not heard from",
    "nan": "A loss is NaN or infinite",
    "metric": "A metric is over or under a value",
}


class AlertSpec(Section):
    """One alert: conditions, and a webhook."""

    name: str = Field(min_length=1, max_length=100, title="Name")
    on: tuple[Kind, ...] = Field(
        ("failed", "lost", "nan"), min_length=1, max_length=6, title="When",
        description="verdict: a diagnosis has another verdict. nan: a loss is not finite. metric: it stays over or under a value.",
    )  # fmt: skip
    verdicts: tuple[str, ...] = Field(
        (), max_length=30, title="Verdicts", description="Only these: plateau, over-fitting, …; empty: any. A verdict is told when it changes."
    )  # fmt: skip
    metric: str | None = Field(None, max_length=200, title="Metric", description="Its key: val/loss.")
    direction: Literal["over", "under"] = Field("over", title="Direction")
    value: float | None = Field(None, title="Value", allow_inf_nan=False)
    times: int = Field(
        1, ge=1, le=1000, title="Times", description="So many values in a row; it is told once, and again after it was on the other side."
    )  # fmt: skip
    tag: str = Field("", max_length=50, title="Only runs with the tag", description="Empty: all runs.")
    url: str = Field(
        min_length=8,
        max_length=MOST_URL,
        title="Webhook",
        description="http or https; it is not shown again as a whole.",
    )
    shape: Shape = Field(
        "json", title="Shape", description="json: signed with HMAC-SHA256. slack, discord: a message in their form."
    )
    secret: str | None = Field(
        None, min_length=16, max_length=200, title="Secret", description="For the signature; empty: one is made and shown once."
    )  # fmt: skip
    enabled: bool = Field(True, title="Enabled")

    @field_validator("metric")
    @classmethod
    def _metric_is_a_key(cls, metric: str | None, info: ValidationInfo) -> str | None:
        if "metric" in (info.data.get("on") or ()) and not (metric and KEY.fullmatch(metric)):
            raise refuse("no_metric", "Name the metric by its key, val/loss.")
        return metric

    @field_validator("value")
    @classmethod
    def _a_metric_needs_a_value(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is None and "metric" in (info.data.get("on") or ()):
            raise refuse("no_value", "Give the value that the metric is held against.")
        return value

    @field_validator("url")
    @classmethod
    def _http(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise refuse("no_url", "This is no address.") from None
        if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
            raise refuse("no_url", "Give an address that begins with https:// or http://.")
        if (
            parts.username is not None
            or parts.password is not None
            or not url.isascii()
            or any(ord(c) < 33 for c in url)
        ):
            raise refuse("odd_url", "An address here has no user name, no blanks and ASCII characters only.")
        return url


class AlertPatch(Section):
    """Changes to an alert: what is not given stays."""

    name: str | None = None
    on: tuple[Kind, ...] | None = None
    verdicts: tuple[str, ...] | None = None
    metric: str | None = None
    direction: Literal["over", "under"] | None = None
    value: float | None = None
    times: int | None = None
    tag: str | None = None
    url: str | None = None
    shape: Shape | None = None
    secret: str | None = None
    enabled: bool | None = None
