"""How the command line reaches a server: where it is, which token, and what each refusal means as an exit code."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from app.contract.home import plateau_home

if TYPE_CHECKING:
    import httpx

OK, FAILED, USAGE, NOT_FOUND, REFUSED, AWAY = 0, 1, 2, 3, 4, 5
_EXITS = {404: NOT_FOUND, 408: AWAY, 429: AWAY}
_TRIES = 3


class CliError(Exception):
    """Said to the user as it is; `exit` becomes the command's exit code."""

    def __init__(self, message: str, exit: int = FAILED, problem: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.exit = exit
        self.problem = dict(problem or {"title": message})


class Place(NamedTuple):
    """A server and the right to use it."""

    url: str
    token: str


def place(url: str | None, token: str | None) -> Place:
    """--url and --token, then $PLATEAU_URL and $PLATEAU_TOKEN, then client.json in the home; each for itself."""
    path = plateau_home() / "client.json"
    try:
        noted = json.loads(path.read_text())
    except (OSError, ValueError):
        noted = {}
    url = url or os.environ.get("PLATEAU_URL") or noted.get("url")
    token = token or os.environ.get("PLATEAU_TOKEN") or noted.get("token")
    if not url or not token:
        raise CliError(
            f"No server is known here ({path} is not there). Start one with: plateau up. For another machine's, give --url and --token.",
            AWAY,
        )
    return Place(url.rstrip("/"), token)


class Rest:
    """The REST API, one request a method; raises CliError."""

    def __init__(self, place: Place) -> None:
        import httpx

        local = httpx.URL(place.url).host in ("localhost", "127.0.0.1", "::1")
        self.url = place.url
        self.http = httpx.Client(
            base_url=f"{place.url}/api/v1/",
            headers={"Authorization": f"Bearer {place.token}"},
            timeout=20,
            trust_env=not local,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.http.close()

    def get(self, path: str, **params: Any) -> Any:
        return self._answer(lambda: self.http.get(path, params=params))

    def post(self, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        return self._answer(lambda: self.http.post(path, json=body, headers=headers))

    def delete(self, path: str) -> Any:
        return self._answer(lambda: self.http.delete(path))

    def patch(self, path: str, body: Any) -> Any:
        return self._answer(lambda: self.http.patch(path, json=body))

    def post_once(self, path: str, body: Any, key: str) -> Any:
        """A POST that may be repeated: the Idempotency-Key makes sure that it counts once."""
        for attempt in range(_TRIES):
            try:
                return self.post(path, body, {"Idempotency-Key": key})
            except CliError as error:
                if error.exit != AWAY or attempt == _TRIES - 1:
                    raise
        raise AssertionError("unreachable")

    def upload(self, sha256: str, content: Any, size: int, offset: int = 0) -> int:
        """One piece of an upload; returns the offset to go on from."""
        headers = {"Content-Range": f"bytes {offset}-{offset + len(content) - 1}/{size}"} if content else {}
        answer = self._response(
            lambda: self.http.put(
                f"artifacts/{sha256}", params={"kind": "upload", "bytes": size}, content=content, headers=headers
            )
        )
        return int(answer.headers.get("Upload-Offset", offset + len(content)))

    def download(self, sha256: str, target: Path) -> None:
        """An artifact into a file, which appears under its name only when it is whole and has this hash."""
        part, found = target.with_name(f".{target.name}.part"), hashlib.sha256()
        try:
            with self.http.stream("GET", f"artifacts/{sha256}") as answer, part.open("wb") as file:
                if not answer.is_success:
                    answer.read()
                    raise refusal(answer)
                for piece in answer.iter_bytes():
                    found.update(piece)
                    file.write(piece)
            if found.hexdigest() != sha256:
                raise CliError(f"{target.name} arrived damaged; try again.", FAILED)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)

    def save(self, path: str, target: Path) -> None:
        """An answer into a file, which appears under its name only when it is whole."""
        part = target.with_name(f".{target.name}.part")
        try:
            with self.http.stream("GET", path) as answer:
                if not answer.is_success:
                    answer.read()
                    raise refusal(answer)
                with part.open("wb") as file:
                    for piece in answer.iter_bytes():
                        file.write(piece)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)

    def uploaded(self, sha256: str, size: int) -> int:
        """How much of a file the server has."""
        try:
            answer = self._response(
                lambda: self.http.head(f"artifacts/{sha256}", params={"kind": "upload", "bytes": size})
            )
        except CliError as error:
            if error.exit == NOT_FOUND:
                return 0
            raise
        return int(answer.headers.get("Upload-Offset", size))

    def _answer(self, ask: "Callable[[], httpx.Response]") -> Any:
        answer = self._response(ask)
        if answer.status_code == 204:
            return None
        try:
            return answer.json()
        except ValueError as error:
            raise CliError(f"{self.url} answers, but not as a Plateau server.", AWAY) from error

    def _response(self, ask: "Callable[[], httpx.Response]") -> "httpx.Response":
        import httpx

        try:
            answer = ask()
        except httpx.TransportError as error:
            raise CliError(f"No server answers at {self.url} ({error}). Start one with: plateau up", AWAY) from error
        except httpx.InvalidURL as error:
            raise CliError(f"{self.url} is not an address: {error}", USAGE) from error
        if not answer.is_success:
            raise refusal(answer)
        return answer


def refusal(answer: "httpx.Response") -> CliError:
    """problem+json as sentences: the detail, then each field with what is wrong with it."""
    try:
        problem = answer.json()
        assert isinstance(problem, dict)
    except (ValueError, AssertionError):
        problem = {"title": f"The server answered {answer.status_code}."}
    errors = problem.get("errors") or []
    lines = [str(problem.get("detail") or ("" if errors else problem.get("title")) or "")]
    lines += [f"{field['pointer'].strip('/').replace('/', '.')}: {field['message']}" for field in errors]
    if answer.status_code == 401:
        lines.append("The token is not accepted; `plateau up` prints how to sign in, --token takes another.")
    exit = _EXITS.get(answer.status_code, AWAY if answer.status_code >= 500 else REFUSED)
    return CliError("\n".join(line for line in lines if line), exit, problem)
