"""Security: nothing is open but the short public list; hosts, origins, scopes, sessions, codes and sizes."""

from collections.abc import Iterator

import httpx
import pytest
from fastapi.routing import iter_route_contexts
from website import Site

from app.errors import TooMany
from app.security import tokens
from app.security.gate import PUBLIC, PUBLIC_BELOW, is_public
from app.security.headers import CSP
from app.security.limits import FailureLimiter
from app.security.signin import local_path
from app.settings import Settings


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("security") / "home"
    with Site(Settings(home=home, allowed_hosts="plateau.lan")) as started:
        yield started


@pytest.fixture(autouse=True)
def _real_time(site: Site) -> None:
    site.ahead_s = 0.0
    site.app.state.failures.__init__(site.app.state.clock)


def routes(site: Site) -> list[tuple[str, str]]:
    """Every method and path of the application, with harmless values for its parameters."""
    found = []
    for context in iter_route_contexts(site.app.routes):
        path = getattr(context, "path_format", None) or getattr(context, "path", "")
        for name in (
            "run_id",
            "dataset_id",
            "worker_id",
            "job_id",
            "token_id",
            "checkpoint_id",
            "sha256",
            "name",
            "id",
        ):
            path = path.replace("{" + name + "}", "x")
        found += [(method, path) for method in sorted(getattr(context, "methods", None) or {"GET"})]
    assert len(found) > 40, "the walk has lost routes"
    return found


def test_nothing_but_the_public_list_answers_without_a_token(site: Site) -> None:
    with site.client() as stranger:
        for method, path in routes(site):
            if is_public(path) or path == "/static":
                continue
            answer = stranger.request(method, path)
            if path.startswith("/api/"):
                assert answer.status_code == 401, f"{method} {path}"
                if method != "HEAD":
                    assert answer.headers["content-type"] == "application/problem+json"
            else:
                assert answer.status_code == 303, f"{method} {path}"
                assert answer.headers["location"].startswith("/login"), f"{method} {path}"


def test_the_public_list_is_short() -> None:
    assert PUBLIC == ("/healthz", "/readyz", "/login")
    assert PUBLIC_BELOW == ("/static/", "/share/")  # a shared page shows itself to whoever has its secret link


@pytest.mark.parametrize(
    "path", ["/nothing", "/api/v1/nothing", "/api", "/loginx", "/staticx/a.js", "/static/../api/v1/runs", "//login"]
)
def test_what_does_not_exist_is_closed_too(site: Site, path: str) -> None:
    with site.client() as stranger:
        request = stranger.build_request("GET", "/")
        answer = stranger.send(
            request.__class__("GET", httpx.URL(site.url).copy_with(raw_path=path.encode()), headers=request.headers)
        )
    assert answer.status_code in (303, 401)


@pytest.mark.parametrize(("token", "status"), [("-", 401), ("wrong", 401), ("x" * 5000, 401), ("plateau_api_é", 401)])
def test_a_wrong_token_is_refused_by_name(site: Site, token: str, status: int) -> None:
    with site.client() as stranger:
        answer = stranger.get("/api/v1/runs", headers={"Authorization": f"Bearer {token}".encode()})
    assert answer.status_code == status
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_worker_reaches_its_protocol_and_nothing_else(site: Site) -> None:
    with site.client(site.worker_token) as worker:
        for method, path in routes(site):
            if is_public(path) or path == "/static":
                continue
            theirs = path.startswith(("/api/v1/jobs/", "/api/v1/artifacts/"))
            status = worker.request(method, path).status_code
            assert (status != 403) if theirs else (status == 403), f"{method} {path} → {status}"


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("localhost", True), ("LOCALHOST:8000", True), ("127.0.0.1:1", True), ("[::1]:8080", True), ("[::1]", True),
        ("plateau.lan", True), ("plateau.lan:8000", True),
        ("evil.example", False), ("localhost.evil", False), ("localhost.", False), ("evil@localhost", False),
        ("localhost:80@evil", False), ("localhost:x", False), ("", False), ("127.0.0.1.evil", False), ("::1", False),
        ("2130706433", False), ("localhost, evil", False),
    ],
)  # fmt: skip
def test_only_exact_host_names_are_answered(site: Site, host: str, allowed: bool) -> None:
    with site.client() as stranger:
        for path in ("/healthz", "/login", "/api/v1/runs"):
            status = stranger.get(path, headers={"Host": host}).status_code
            assert (status != 400) == allowed, f"{host!r} {path} → {status}"


ORIGINS: list[tuple[dict[str, str], bool]] = [
    ({"Origin": "SELF"}, True),
    ({"Sec-Fetch-Site": "same-origin"}, True),
    ({"Sec-Fetch-Site": "none"}, True),
    ({"Origin": "SELF", "Sec-Fetch-Site": "same-origin"}, True),
    ({"Origin": "null"}, False),
    ({"Origin": "https://evil.example"}, False),
    ({"Origin": "http://127.0.0.1:1"}, False),
    ({"Sec-Fetch-Site": "cross-site"}, False),
    ({"Sec-Fetch-Site": "same-site"}, False),
    ({"Origin": "SELF", "Sec-Fetch-Site": "cross-site"}, False),
]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_an_unsafe_request_must_come_from_our_own_pages(site: Site, method: str) -> None:
    with site.signed_in() as browser, site.client(site.token) as program:
        assert browser.request(method, "/api/v1/nothing").status_code == 403, "a cookie alone does not say who asks"
        assert program.request(method, "/api/v1/nothing").status_code in (404, 405), "a token does"
        for headers, allowed in ORIGINS:
            sent = {name: value.replace("SELF", site.url) for name, value in headers.items()}
            for client in (browser, program):
                status = client.request(method, "/api/v1/nothing", headers=sent).status_code
                assert (status != 403) == allowed, f"{method} {headers} → {status}"


def test_reading_needs_no_origin(site: Site) -> None:
    with site.signed_in() as browser:
        assert browser.get("/api/v1/runs", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200


def test_a_wrong_token_beats_a_good_cookie(site: Site) -> None:
    with site.signed_in() as browser:
        assert browser.get("/api/v1/runs").status_code == 200
        assert browser.get("/api/v1/runs", headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert browser.get("/api/v1/runs", headers={"Authorization": "Basic YTpi"}).status_code == 401


@pytest.mark.parametrize(
    "path", ["/login", "/runs", "/docs", "/api/v1/runs", "/nothing", "/api/v1/nothing", "/healthz"]
)
def test_every_answer_carries_the_same_security_headers(site: Site, path: str) -> None:
    with site.client() as stranger:
        answers = [site.api.get(path), stranger.get(path)]
    nonces = set()
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        nonce = policy.partition("'nonce-")[2].partition("'")[0]
        assert len(nonce) >= 16
        nonces.add(nonce)
        assert policy == CSP.format(nonce=nonce)
        shown = {name: answer.headers.get(name) for name in (
            "x-content-type-options", "referrer-policy", "cross-origin-opener-policy", "cross-origin-resource-policy")}  # fmt: skip
        assert shown == {
            "x-content-type-options": "nosniff", "referrer-policy": "same-origin",
            "cross-origin-opener-policy": "same-origin", "cross-origin-resource-policy": "same-origin",
        }  # fmt: skip
        assert "no-store" in answer.headers["cache-control"]
        assert answer.headers["x-request-id"]
        assert "server" not in answer.headers
    assert len(nonces) == 2, "a nonce is used once"


def test_the_policy_is_the_one_that_was_decided() -> None:
    assert CSP == (
        "default-src 'self'; script-src 'self' 'nonce-{nonce}'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
        "object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'; connect-src 'self'"
    )


def test_a_code_signs_in_once(site: Site) -> None:
    code = site.code()
    with site.client() as browser:
        answer = browser.get("/login", params={"code": code, "next": "/runs?q=x"})
        assert answer.status_code == 303
        assert answer.headers["location"] == "/runs?q=x"
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert "Secure" not in cookie, "this is plain http"
        assert browser.get("/runs").status_code == 200
    with site.client() as second:
        answer = second.get("/login", params={"code": code})
        assert answer.status_code == 401
        assert "plateau link" in answer.text


@pytest.mark.parametrize("pasted", ["{code}", "  {code}\n", "http://127.0.0.1:8000/login?code={code}&next=/x"])
def test_a_code_can_be_pasted(site: Site, pasted: str) -> None:
    with site.client(Origin=site.url) as browser:
        answer = browser.post("/login", data={"code": pasted.format(code=site.code())})
        assert answer.status_code == 303
        assert browser.get("/runs").status_code == 200


def test_a_pasted_token_signs_in_and_a_workers_does_not(site: Site) -> None:
    with site.client(Origin=site.url) as browser:
        assert browser.post("/login", data={"code": site.worker_token}).status_code == 401
        assert browser.post("/login", data={"code": site.token}).status_code == 303


def test_an_old_code_is_refused(site: Site) -> None:
    code = site.code()
    site.ahead_s = tokens.LINK_LIFETIME_S + 1
    with site.client() as browser:
        assert browser.get("/login", params={"code": code}).status_code == 401


def test_failed_sign_ins_are_slowed_down_and_a_good_one_costs_nothing(site: Site) -> None:
    with site.client() as stranger:
        for _ in range(8):
            site.signed_in().close()
        statuses = [stranger.get("/login", params={"code": "guess"}).status_code for _ in range(7)]
        assert statuses == [401] * 5 + [429] * 2
        answer = stranger.get("/login", params={"code": site.code()})
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) <= 12
        site.ahead_s = 13
        assert stranger.get("/login", params={"code": "guess"}).status_code == 401
        assert stranger.get("/login", params={"code": "guess"}).status_code == 429


def test_the_limiter_forgets_addresses_rather_than_grow() -> None:
    now = [0.0]
    limiter = FailureLimiter(lambda: now[0])
    for number in range(20_000):
        limiter.failed(f"10.0.{number >> 8}.{number & 255}")
    assert len(limiter._spent) <= 10_000
    for _ in range(5):
        limiter.failed("me")
    with pytest.raises(TooMany):
        limiter.check("me")
    now[0] = 12.1
    limiter.check("me")


@pytest.mark.parametrize(
    ("target", "safe"),
    [("/runs?q=1", True), ("//evil.example", False), ("https://evil.example", False), ("/\\evil", False), ("", False),
     ("javascript:alert(1)", False), ("/a\r\nSet-Cookie: x", False), ("/ü", False)],
)  # fmt: skip
def test_sign_in_leads_to_this_server_only(target: str, safe: bool) -> None:
    assert (local_path(target) == target) == safe
    assert local_path(target).startswith("/")


def test_a_body_past_the_limit_is_refused_whatever_it_announces(site: Site) -> None:
    big = b"x" * (10 << 20)
    announced = site.api.post("/api/v1/runs", content=big, headers={"Content-Type": "application/json"})
    assert announced.status_code == 413

    def chunks() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * 65_536

    for path in ("/api/v1/runs", "/api/v1/jobs/j-0001/batches", "/preferences"):
        try:
            chunked = site.api.post(
                path, content=chunks(), headers={"Content-Type": "application/json", "Origin": site.url}
            )
        except httpx.TransportError:  # refused while still sending
            continue
        assert chunked.status_code == 413, path


def test_a_compressed_body_is_refused(site: Site) -> None:
    answer = site.api.post(
        "/api/v1/runs", content=b"\x1f\x8b", headers={"Content-Type": "application/json", "Content-Encoding": "gzip"}
    )
    assert answer.status_code == 415
