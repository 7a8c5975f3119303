"""Views of the runs list that somebody named: a filter, its columns and order, as the list's own address.

The list's address holds everything, so a view is a name for one; they are few and shared by all who use this server.
"""

from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode

from app.db import Tx
from app.errors import FieldError, Invalid
from app.launches import tidy_name
from app.tables import Setting

MOST = 100
NAME_CHARACTERS = 60
PARTS = ("q", "tab", "place", "sort", "col", "differs")
"""What of the list's address a view keeps; a page's offset is not part of it."""


def listing(tx: Tx) -> Mapping[str, str]:
    """Name → query string, by name."""
    kept = tx.session.get(Setting, "views")
    return dict(sorted((kept.value if kept else {}).items(), key=lambda one: one[0].casefold()))


def save(tx: Tx, name: str, query: str) -> str:
    """Keep it under this name, instead of the view that had it; returns the name as kept. Raises Invalid."""
    name = tidy_name(name) if name.strip() else ""
    if not name or len(name) > NAME_CHARACTERS:
        raise Invalid([FieldError("/name", f"a view's name has 1 to {NAME_CHARACTERS} characters")])
    if len(query) > 4000:
        raise Invalid([FieldError("/query", "is longer than 4,000 characters")])
    views = dict(listing(tx))
    if name not in views and len(views) >= MOST:
        raise Invalid([FieldError("/name", f"there are {MOST} views already; delete one first")])
    views[name] = urlencode([(key, value) for key, value in parse_qsl(query.removeprefix("?")) if key in PARTS])
    tx.session.merge(Setting(key="views", value=views))
    return name


def delete(tx: Tx, name: str) -> bool:
    """Forget it; False where there is none of this name."""
    views = dict(listing(tx))
    if views.pop(name, None) is None:
        return False
    tx.session.merge(Setting(key="views", value=views))
    return True
