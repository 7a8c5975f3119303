"""Settings from the environment (PLATEAU_*), and where templates, static files and migrations lie."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.contract.home import plateau_home
from app.contract.protocol import LEASE_S

_PACKAGE = Path(__file__).resolve().parent


def assets() -> Path:
    """The folder that holds templates/, static/ and migrations/: the checkout's top, or app/_assets in a wheel."""
    packed = _PACKAGE / "_assets"
    return packed if packed.is_dir() else _PACKAGE.parent


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="PLATEAU_", extra="ignore")

    home: Path = Field(default_factory=plateau_home)
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=1, le=65535)
    allowed_hosts: str = Field("", description="Comma-separated host names beyond localhost, 127.0.0.1 and [::1].")
    lease_s: float = Field(LEASE_S, gt=0, le=3600)
    grace_s: float = Field(
        300.0, ge=0, le=86400, description="How long a lost run waits for its worker before it is queued again."
    )
    max_attempts: int = Field(3, ge=1, le=100, description="Attempts ended by a lost worker before a run fails.")
    db_sync: str = Field(
        "FULL",
        pattern="^(FULL|NORMAL)$",
        description="NORMAL is faster and may lose acknowledged points at a power cut.",
    )

    alert_hosts: str = Field(
        "", description="Comma-separated host names that alerts may reach although they are inside (private, loopback)."
    )

    @property
    def database(self) -> Path:
        return self.home / "plateau.db"

    @property
    def store(self) -> Path:
        return self.home / "artifacts"
