"""The dataset pages over HTTP, as a browser without scripts sees them: add, look, count epochs, delete."""

import hashlib
from collections.abc import Iterator

import httpx
import pages_fixture
import pytest
from website import Site

from app import runs
from app.contract import ids
from app.settings import Settings


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("datasets") / "home"
    with Site(Settings(home=home, host="127.0.0.1", port=8000, allowed_hosts="")) as started:
        pages_fixture.fill(started.db)
        yield started


@pytest.fixture(scope="module")
def reader(site: Site) -> Iterator[httpx.Client]:
    with site.signed_in() as client:
        yield client


def post(site: Site, reader: httpx.Client, path: str, **fields: str) -> httpx.Response:
    named = {key.replace("__", "."): value for key, value in fields.items()}
    return reader.post(path, data=named, headers={"Origin": site.url})


def test_the_form_names_what_is_missing_keeps_what_was_typed_and_takes_paths(site: Site, reader: httpx.Client) -> None:
    refused = post(site, reader, "/datasets/new", name="mine", tokenizer__kind="bytes", val_share="0.7")
    assert refused.status_code == 422
    assert "No files" in refused.text
    assert 'value="mine"' in refused.text
    taken = post(site, reader, "/datasets/new", name="mine", tokenizer__kind="bytes", paths="/data/a.parquet")
    assert taken.status_code == 303, taken.text
    assert "a.parquet" in reader.get(taken.headers["location"]).text
    assert site.api.get("/api/v1/datasets/mine").json()["spec"]["kind"] == "parquet"
    assert "There is a dataset named mine" in post(site, reader, "/datasets/new", name="mine", paths="/data/b.txt").text


def test_a_refused_form_keeps_the_files_that_were_uploaded(site: Site, reader: httpx.Client) -> None:
    text = b"a rose is a rose"
    sha256 = hashlib.sha256(text).hexdigest()
    site.api.put(f"/api/v1/artifacts/{sha256}?kind=upload", content=text).raise_for_status()
    refused = post(site, reader, "/datasets/new", name="", sha256=sha256, file_name="rose.txt")
    assert refused.status_code == 422
    assert f'name="sha256" value="{sha256}"' in refused.text


def test_another_datasets_settings_fill_the_form_under_a_free_name(reader: httpx.Client) -> None:
    page = reader.get("/datasets/new?from=d-0002").text
    assert 'value="poems 2"' in page
    assert "/data/poems.txt</textarea>" in page


def test_the_page_shows_findings_drawings_documents_and_their_tokens(reader: httpx.Client) -> None:
    page = reader.get("/datasets/d-0001").text
    assert "exact repeats of another document" in page
    assert page.count('class="dg"') >= 7
    assert "Random documents" in page
    assert "Document 42" in page
    assert '<i title="3">def</i>' in page


def test_epochs_are_counted_over_distinct_text_too(reader: httpx.Client) -> None:
    part = reader.get("/datasets/d-0001/fragments/epochs?tokens=51.2M").text
    assert "10.00</bdi> epochs" in part
    assert "14.22 over its distinct text" in part  # 1,971,513 of 2,802,584 train tokens are there for the first time
    assert "teaches less" in part
    assert "Write a number of tokens" in reader.get("/datasets/d-0001/fragments/epochs?tokens=some").text


def test_the_manifest_is_sent_under_its_fingerprint(site: Site) -> None:
    answer = site.api.get("/api/v1/datasets/d-0001/manifest")
    assert answer.headers["etag"] == f'"{hashlib.sha256(answer.content).hexdigest()}"'
    assert "attachment" in answer.headers["content-disposition"]
    assert site.api.get("/api/v1/datasets/d-0002/manifest").status_code == 409
    shown = site.api.get("/api/v1/datasets/d-0001/documents").json()["documents"]
    assert [one.get("chosen", "first") for one in shown] == ["first", "random"]


def test_the_list_says_what_was_found_and_how_many_runs_use_each(reader: httpx.Client) -> None:
    page = reader.get("/datasets").text
    assert "Repeated passages" in page
    assert '<td class="num hide1"><bdi dir="ltr">8</bdi></td>' in page


@pytest.mark.parametrize("language", ["de", "ar"])
def test_the_pages_speak_the_readers_language(site: Site, reader: httpx.Client, language: str) -> None:
    reader.cookies.set("plateau_lang", language)
    try:
        for path in ("/datasets", "/datasets/new", "/datasets/d-0001", "/datasets/d-0002"):
            page = reader.get(path).text
            assert f'lang="{language}"' in page
            assert 'lang="en"' not in page.partition('<footer class="foot"')[0], path
    finally:
        reader.cookies.delete("plateau_lang")


def test_a_deleted_dataset_stays_on_its_runs_pages_and_says_what_is_left(site: Site, reader: httpx.Client) -> None:
    assert "unfinished runs use this dataset" in post(site, reader, "/datasets/d-0001/delete").text

    def settle(tx: object) -> None:
        tx.raw.execute("UPDATE runs SET state = 'stopped' WHERE state NOT IN ('finished', 'failed', 'stopped')")  # type: ignore[attr-defined]

    site.db.write(settle)
    answer = post(site, reader, "/datasets/d-0001/delete")
    assert answer.headers["location"] == "/datasets/d-0001"
    page = reader.get("/datasets/d-0001").text
    assert "Deleted" in page
    assert "what it was stays known" in page
    assert "/datasets/d-0001/delete" not in page
    with site.db.read() as tx:
        run = ids.show("run", runs.get(tx, "r-0001").id)
    assert 'href="/datasets/d-0001"' in reader.get(f"/runs/{run}").text


def test_a_dataset_without_runs_goes_and_the_list_says_so(site: Site, reader: httpx.Client) -> None:
    answer = post(site, reader, "/datasets/d-0002/delete")
    assert answer.headers["location"] == "/datasets?deleted=d-0002"
    assert "Nothing of it is left." in reader.get(answer.headers["location"]).text
    assert reader.get("/datasets/d-0002").status_code == 404
