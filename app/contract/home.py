"""Where Plateau keeps its bytes: $PLATEAU_HOME, else ./data in a checkout, else the platform's user data folder."""

import os
import sys
from pathlib import Path


def plateau_home() -> Path:
    if given := os.environ.get("PLATEAU_HOME"):
        return Path(given).expanduser().resolve()
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "pyproject.toml").is_file():
        return checkout / "data"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "plateau"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "plateau"
