"""Files over HTTP: resumable both ways, checked by their hash, never a path."""

import hashlib
import random
from collections.abc import Iterator

import pytest
from website import Site

from app.settings import Settings

PIECE = 300_000


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(Settings(home=tmp_path_factory.mktemp("artifacts") / "home")) as started:
        yield started


def made(seed: int, size: int = 1_000_000) -> tuple[bytes, str, str]:
    """Content, its hash, its address."""
    content = random.Random(seed).randbytes(size)
    sha256 = hashlib.sha256(content).hexdigest()
    return content, sha256, f"/api/v1/artifacts/{sha256}?kind=upload&bytes={size}"


def range_of(start: int, end: int, total: int) -> dict[str, str]:
    return {"Content-Range": f"bytes {start}-{end - 1}/{total}"}


def test_a_file_goes_in_pieces_and_comes_back_whole(site: Site) -> None:
    content, sha256, url = made(1)
    assert site.api.head(url).status_code == 404
    for start in range(0, len(content), PIECE):
        end = min(start + PIECE, len(content))
        answer = site.api.put(url, content=content[start:end], headers=range_of(start, end, len(content)))
        assert answer.status_code == (200 if end == len(content) else 202), answer.text
        assert answer.headers["upload-offset"] == str(end)
        assert site.api.head(url).headers["upload-offset"] == str(end)
    answer = site.api.get(f"/api/v1/artifacts/{sha256}?name=../../etc/päss wd")
    assert answer.content == content
    assert answer.headers["etag"] == f'"{sha256}"'
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''..%2F..%2Fetc%2Fp%C3%A4ss%20wd"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("sandbox")
    assert site.api.get(f"/api/v1/artifacts/{sha256}", headers={"If-None-Match": f'"{sha256}"'}).status_code == 304


def test_a_small_file_goes_in_one_piece_and_an_empty_one_too(site: Site) -> None:
    for size in (10, 0):
        content, sha256, _ = made(2, size)
        answer = site.api.put(f"/api/v1/artifacts/{sha256}?kind=upload", content=content)
        assert answer.status_code == 200, answer.text
        assert site.api.get(f"/api/v1/artifacts/{sha256}").content == content


def test_a_piece_at_the_wrong_place_is_told_where_to_go_on(site: Site) -> None:
    content, _, url = made(3)
    site.api.put(url, content=content[:1000], headers=range_of(0, 1000, len(content)))
    answer = site.api.put(url, content=content[5000:6000], headers=range_of(5000, 6000, len(content)))
    assert answer.status_code == 409
    assert answer.json()["offset"] == 1000


def test_bytes_that_do_not_match_the_hash_are_thrown_away(site: Site) -> None:
    content, _, url = made(4)
    answer = site.api.put(url, content=b"x" * len(content), headers=range_of(0, len(content), len(content)))
    assert answer.status_code == 422
    assert site.api.head(url).status_code == 404
    assert site.api.put(url, content=content, headers=range_of(0, len(content), len(content))).status_code == 200


def test_a_complete_file_is_not_sent_twice(site: Site) -> None:
    content, _, url = made(5)
    for _ in range(2):
        assert site.api.put(url, content=content).status_code == 200


def test_a_hard_link_left_in_incoming_is_adopted(site: Site) -> None:
    content, sha256, url = made(6)
    incoming = site.settings.store / "incoming"
    incoming.mkdir(parents=True, exist_ok=True)
    (incoming / sha256).write_bytes(content)
    assert site.api.head(url).status_code == 200
    assert site.api.get(f"/api/v1/artifacts/{sha256}").content == content


@pytest.fixture(scope="module")
def stored(site: Site) -> tuple[bytes, str]:
    content, sha256, url = made(7, 10_000)
    assert site.api.put(url, content=content).status_code == 200
    return content, f"/api/v1/artifacts/{sha256}"


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=9990-", 9990, 10_000),
        ("bytes=-5", 9995, 10_000),
        ("bytes=5-999999", 5, 10_000),
        ("bytes=-99999", 0, 10_000),
    ],
)
def test_a_range_is_answered_with_its_place(
    site: Site, stored: tuple[bytes, str], asked: str, start: int, end: int
) -> None:
    content, url = stored
    answer = site.api.get(url, headers={"Range": asked})
    assert answer.status_code == 206
    assert answer.content == content[start:end]
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/10000"


@pytest.mark.parametrize("asked", ["bytes=10000-", "bytes=99999-100000", "bytes=5-2", "bytes=-0"])
def test_a_range_outside_the_file_is_416(site: Site, stored: tuple[bytes, str], asked: str) -> None:
    answer = site.api.get(stored[1], headers={"Range": asked})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == "bytes */10000"


@pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "lines=1-2", "bytes=x-y", "bytes=-", ""])
def test_other_ranges_get_the_whole_file(site: Site, stored: tuple[bytes, str], asked: str) -> None:
    answer = site.api.get(stored[1], headers={"Range": asked})
    assert (answer.status_code, answer.content) == (200, stored[0])


def test_a_range_of_something_else_gets_the_whole_file(site: Site, stored: tuple[bytes, str]) -> None:
    assert site.api.get(stored[1], headers={"Range": "bytes=0-9", "If-Range": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    "name",
    [
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e",
        "x",
        "A" * 64,
        "a" * 63,
        "a" * 65,
        "a" * 64 + "%00",
        "a" * 64 + ";x",
        "%5c" + "a" * 63,
        "a" * 64 + "%0a",
    ],
)
def test_only_a_sha256_is_a_name(site: Site, name: str) -> None:
    for method in ("GET", "HEAD", "PUT"):
        answer = site.api.request(method, f"/api/v1/artifacts/{name}?kind=upload")
        assert answer.status_code in (404, 422), f"{method} {name}"
    assert not [path for path in site.settings.home.rglob("*") if "passwd" in path.name]


@pytest.mark.parametrize(
    "given",
    [
        "bytes 0-9/5",
        "bytes 5-2/100",
        "bytes 0-9/99",
        "bytes */10",
        "x",
        "bytes 0-9/*",
        "bytes 0-99999999999999999/99999999999999999999",
        "bytes 0-4/1000000",
    ],
)
def test_an_odd_content_range_is_refused(site: Site, given: str) -> None:
    _, _, url = made(8)
    answer = site.api.put(url, content=b"0123456789", headers={"Content-Range": given})
    assert answer.status_code == 422, answer.text


def test_the_kind_must_be_known(site: Site) -> None:
    content, sha256, _ = made(9, 10)
    assert site.api.put(f"/api/v1/artifacts/{sha256}?kind=virus", content=content).status_code == 422
    assert site.api.put(f"/api/v1/artifacts/{sha256}", content=content).status_code == 422


def test_a_worker_may_send_and_fetch(site: Site) -> None:
    content, sha256, url = made(10, 1000)
    with site.client(site.worker_token) as worker:
        assert worker.put(url, content=content).status_code == 200
        assert worker.get(f"/api/v1/artifacts/{sha256}").content == content
