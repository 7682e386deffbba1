"""The pages as HTTP responses: headers, access, forms, permalinks and errors."""

from __future__ import annotations

import json
import re
from contextlib import nullcontext
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from recsys.data.batch import ImportBatch, ImportReport
from recsys.knowledge.sources import SourceRows, join_sources, merge_sources
from recsys.recommender.recommender import Recommender
from recsys.service.app import create_app
from recsys.service.options import ServiceOptions
from recsys.service.pages.charts import line_chart, moving_average
from recsys.service.pages.forms import RequestForm, parse_form, to_request
from recsys.service.pages.rendering import FOLDER, STATIC_FILES
from recsys.service.security.keys import KeyRing
from recsys.types import Item
from tests.fakes import ScriptedEngine
from tests.pages.sample_data import add_adapter, add_reasons, add_run

ROOT = FOLDER.parents[2]
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}
PATHS = (
    "/",
    "/why",
    "/prompts",
    "/traces",
    "/domains",
    "/evaluations",
    "/health",
    "/docs",
    "/login",
)


@pytest.fixture
def client(recommender: Recommender, runs: Path) -> TestClient:
    app = create_app({"films": recommender}, ServiceOptions(warm=False, runs=runs))
    return TestClient(app, base_url="http://localhost", client=("127.0.0.1", 1234))


@pytest.mark.parametrize("path", [*PATHS, "/adapters/none@abcd", "/static/pages.css", "/?k=none"])
def test_every_page_keeps_foreign_code_out(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert not {"script-src", "style-src"} & policy.keys()
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"


def test_no_template_holds_an_inline_script_or_style_or_another_host() -> None:
    for path in (FOLDER / "templates").glob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(
            r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|\|\s*safe|https?://", text
        ), path.name
    assert b"0BSD" in STATIC_FILES["htmx.min.js"]
    assert b"http" not in STATIC_FILES["pages.css"] + STATIC_FILES["pages.js"] + STATIC_FILES["theme.js"]
    assert b"Open Font License" in (FOLDER / "static" / "fonts.txt").read_bytes()
    for font in re.findall(r'url\("([^"]+)"\)', STATIC_FILES["pages.css"].decode()):
        assert STATIC_FILES[font].startswith(b"wOF2")


def test_every_page_names_model_template_and_data(client: TestClient, runs: Path) -> None:
    add_run(runs)
    pages = [*PATHS[:-1], "/evaluations/first", "/evaluations/nowhere", "/adapters/films@beef"]
    for path in pages:
        text = client.get(path).text
        footer = text[text.rindex('<dl class="provenance"') :]
        for word in ("smollm2-135m-instruct", "adapter", "rank/pointwise v2", "data"):
            assert word in footer, path


def test_an_error_page_tells_no_stranger_what_is_served(client: TestClient, recommender: Recommender) -> None:
    KeyRing(recommender.store).create("reader", scopes=("read",))
    for path in ("/login", "/static/none.css"):
        assert "smollm2" not in client.get(path).text


def test_the_routes_are_described_without_another_host(client: TestClient) -> None:
    text = client.get("/docs").text
    for path in client.get("/openapi.json").json()["paths"]:
        assert f"<code>{path}</code>" in text
    assert not re.search(r'(src|href)="(https?:)?//', text)
    assert client.get("/redoc").status_code == 404


def test_every_picture_of_the_docs_exists_and_is_used() -> None:
    docs = ROOT / "docs"
    used = {
        (page.parent / name).resolve()
        for page in (ROOT / "README.md", *docs.glob("*.md"))
        for name in re.findall(r"\]\(([^)]+\.png)\)", page.read_text(encoding="utf-8"))
    }
    assert used == set((docs / "screenshots").glob("*.png"))


def test_static_files_are_cached_by_their_content(client: TestClient) -> None:
    address = re.search(r'href="(/static/pages\.css\?v=\w+)"', client.get("/").text)
    assert address
    assert "immutable" in client.get(address.group(1)).headers["cache-control"]
    assert client.get("/static/pages.css?v=old").headers["cache-control"] == "no-cache"
    assert client.get("/static/secret.css").status_code == 404
    font = client.get("/static/inter.woff2").headers
    assert font["content-type"] == "font/woff2"
    assert "immutable" in font["cache-control"]


FEEDBACK = {"item": "f1", "verdict": "liked", "recommendation": "1", "user": "ann"}
FORMS: tuple[tuple[str, dict[str, str]], ...] = (
    ("/feedback", FEEDBACK),
    ("/prompts/compare", {"name": "rank/pointwise", "source": "x"}),
    ("/domains/rollback", {}),
    ("/adapters/films@abcd/promote", {}),
    ("/login", {"key": "k"}),
    ("/logout", {}),
)


@pytest.mark.parametrize(("path", "data"), FORMS)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://elsewhere.test"},
        {"Origin": "null"},
    ],
)
def test_a_form_from_another_site_is_refused(
    client: TestClient, path: str, data: dict[str, str], headers: dict[str, str]
) -> None:
    answer = client.post(path, data=data, headers=headers)
    assert answer.status_code == 403
    assert "another site" in answer.text


def test_a_form_of_an_older_browser_is_recognised_by_its_origin(client: TestClient) -> None:
    answer = client.post("/logout", headers={"Origin": "http://localhost"}, follow_redirects=False)
    assert answer.status_code == 303


def test_with_keys_the_pages_ask_for_one(client: TestClient, recommender: Recommender) -> None:
    secret, _ = KeyRing(recommender.store).create("reader", scopes=("read",))
    redirect = client.get("/why?user=ann", follow_redirects=False)
    assert redirect.status_code == 303
    assert redirect.headers["location"].startswith("/login?next=/why")
    assert client.post("/login", data={"key": "wrong"}, headers=SAME_ORIGIN).status_code == 401
    signed_in = client.post(
        "/login",
        data={"key": secret, "next": "//elsewhere.test"},
        headers=SAME_ORIGIN,
        follow_redirects=False,
    )
    assert signed_in.headers["location"] == "/"
    cookie = signed_in.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert client.get("/why").status_code == 200
    assert client.get("/traces").status_code == 403
    assert client.post("/feedback", data=FEEDBACK, headers=SAME_ORIGIN).status_code == 403
    assert client.post("/domains/rollback", headers=SAME_ORIGIN).status_code == 403


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/?k=none", "give a whole number"),
        ("/?k=0&user=ann", "greater than or equal to 1"),
        ("/?where=genre", "is not a filter"),
        ("/why?item=Nothing+Such&liked=f3", "no item is called"),
        ("/prompts?at=soon+enough+or+never", "at"),
        ("/prompts?n_candidates=90", "more than this page shows"),
        ("/?user=ann&whole=1&k=5&n_candidates=2", "n_candidates is 2, k is 5"),
    ],
)
def test_an_invalid_request_is_explained_on_the_page(client: TestClient, path: str, message: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert 'role="alert"' in answer.text
    assert message in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/prompts?name=partials/history",
        "/traces/none",
        "/evaluations/..%2f..",
        "/adapters/films@beef",
        "/?domain=none",
    ],
)
def test_not_found_is_a_page(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    if "json" not in answer.headers["content-type"]:
        assert "<h1>404</h1>" in answer.text


def test_an_answer_without_an_engine_says_so(
    client: TestClient, recommender: Recommender, scripted: ScriptedEngine
) -> None:
    scripted.close()
    recommender.engines._start = lambda: scripted
    text = client.get("/?user=ann&whole=1").text
    assert "Degraded" in text
    assert "retriever order" in text


def test_invisible_characters_are_not_shown(client: TestClient) -> None:
    assert "\u202e" not in client.get("/?user=ann&wish=a%E2%80%AEb").text


def test_a_form_becomes_a_permalink_and_a_request() -> None:
    form = RequestForm(user="7", liked=("1", "2"), where=("genre=Drama",), year_from="1990", k="3")
    assert form.query == "user=7&k=3&year_from=1990&liked=1&liked=2&where=genre%3DDrama"
    body = to_request(form)
    assert (body.user, body.k, body.liked) == ("7", 3, ["1", "2"])
    assert body.rule is not None
    assert dict(body.rule.where) == {"genre": ("Drama",)}
    assert body.rule.year_from == 1990
    assert "k=" not in form.shared_query
    assert form.hidden_inputs(("liked", "year_from")) == [
        ("year_from", "1990"),
        ("liked", "1"),
        ("liked", "2"),
    ]


def test_a_form_keeps_the_number_of_candidates(client: TestClient) -> None:
    text = client.get("/?user=ann&n_candidates=4&k=2").text
    assert re.search(r'name="n_candidates"[^>]* value="4"', text)
    assert "n_candidates=4" in text[text.index("data-stream=") :]


@pytest.mark.parametrize("name", ["rank/pointwise", "rank/generated", "explain/reason"])
def test_the_inspector_exports_what_the_terminal_prints(
    client: TestClient,
    recommender: Recommender,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    from recsys.cli.prompt import render_prompt

    monkeypatch.setattr(Recommender, "load", lambda *_args, **_options: nullcontext(recommender))
    capsys.readouterr()
    render_prompt(
        name=name, user="ann", at="Friday 21:00", wish="dark", n_candidates=4, run=True, as_json=True
    )
    printed = json.loads(capsys.readouterr().out)
    query = f"name={name}&user=ann&at=Friday+21:00&wish=dark&n_candidates=4&run=1"
    exported = client.get(f"/prompts/export.json?{query}").json()
    for report in (printed, exported):
        report["answer"].pop("usage", None)  # the second run finds more in the cache
    assert exported == printed


def test_why_exports_what_the_terminal_prints(
    client: TestClient,
    recommender: Recommender,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from recsys.cli.explain import explain

    monkeypatch.setattr(Recommender, "load", lambda *_args, **_options: nullcontext(recommender))
    capsys.readouterr()
    explain(item="f7", instead_of="f1", user="ann", at="Friday 21:00", as_json=True)
    printed = json.loads(capsys.readouterr().out)
    exported = client.get("/why/export.json?item=f7&instead_of=f1&user=ann&at=Friday+21:00").json()
    assert exported.pop("usage").keys() == printed.pop("usage").keys()
    assert exported == printed


def test_why_keeps_the_candidates_and_filters_of_the_card(client: TestClient) -> None:
    text = client.get("/why?item=f7&liked=f3&n_candidates=3&where=genre%3DCrime&year_from=1990").text
    assert "among 3 candidates" in text
    assert 'name="where" value="genre=Crime"' in text
    assert 'name="year_from" value="1990"' in text


def test_a_comparison_without_a_script_is_a_page(client: TestClient, recommender: Recommender) -> None:
    source = recommender.prompts.get("rank/pointwise").source
    text = client.post(
        "/prompts/compare", data={"name": "rank/pointwise", "source": source}, headers=SAME_ORIGIN
    ).text
    assert "<h1>Templates compared</h1>" in text
    assert text.count('<th scope="row">') == 7  # six users and the mean
    assert 'class="live"' not in text


def test_a_comparison_needs_users(
    client: TestClient, recommender: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recommender.store, "users", lambda _domain: [])
    answer = client.post(
        "/prompts/compare", data={"name": "rank/pointwise", "source": "x"}, headers=SAME_ORIGIN
    )
    assert answer.status_code == 422
    assert "no users to compare" in answer.text


def test_runs_that_cannot_be_read_are_named(client: TestClient, runs: Path) -> None:
    add_run(runs)
    (runs / "broken").mkdir()
    (runs / "broken" / "result.json").write_text("[1")
    text = client.get("/evaluations").text
    assert "unreadable" in text
    assert 'href="/evaluations/first' in text
    add_reasons(runs)
    assert "200 reasons" in client.get("/evaluations").text
    text = client.get("/evaluations/reasons").text
    assert "grounded" in text
    assert "0.900" in text
    assert "<dd>small</dd>" in text
    policy = client.get("/evaluations/first/report").headers["content-security-policy"]
    assert "sandbox" in policy
    assert "default-src 'none'" in policy


def test_an_adapter_is_promoted_once(client: TestClient, recommender: Recommender, tmp_path: Path) -> None:
    adapter = add_adapter(recommender.settings, tmp_path / "made")
    response = client.get(f"/adapters/{adapter.ref}")
    assert response.status_code == 200
    assert "<dd>base <span" in response.text  # the folder's name and not its path
    assert str(tmp_path) not in response.text + client.get("/domains").text
    promoted = client.post(f"/adapters/{adapter.ref}/promote", headers=SAME_ORIGIN, follow_redirects=False)
    assert promoted.status_code == 303
    assert "default</span>" in client.get(f"/adapters/{adapter.ref}").text
    again = client.post(f"/adapters/{adapter.ref}/promote", headers=SAME_ORIGIN)
    assert again.status_code == 422


def test_a_chart_keeps_its_lines_inside() -> None:
    chart = line_chart({"a": [(0.0, 1.0), (10.0, 3.0)], "none": [(1.0, float("nan"))]})
    assert chart is not None
    assert [line.name for line in chart.lines] == ["a"]
    points = [tuple(map(float, point.split(","))) for point in chart.lines[0].points.split()]
    assert all(chart.left <= x <= chart.right and 0 < y <= chart.bottom for x, y in points)
    assert points[0][1] > points[1][1]  # y grows downwards
    assert line_chart({"a": []}) is None
    assert line_chart({"a": [(1.0, 0.0)]}) is not None
    assert moving_average([(1, 1.0), (2, 3.0)], 2) == [(1, 1.0), (2, 2.0)]


def test_a_form_with_repeated_names_is_parsed() -> None:
    from starlette.datastructures import QueryParams

    form = parse_form(QueryParams("liked=1&liked= 2 &liked=&user=a&user=b&unknown=1"))
    assert form == RequestForm(user="b", liked=("1", "2"))


def test_the_domain_page_tells_what_sources_gave_and_what_they_did_not(
    client: TestClient, recommender: Recommender
) -> None:
    assert "sources know" not in client.get("/domains").text
    toy, heat = (
        Item(id="1", title="Toy <Story>", attributes={"genre": ("Comedy",)}),
        Item(id="2", title="Heat"),
    )
    row = Item(id="1", title="", attributes={"genre": ("Drama",), "director": ("John Lasseter",)})
    (joined,) = join_sources([toy, heat], [SourceRows("facts", [row], ("genre", "director"))])
    _, report = merge_sources([toy, heat], [(joined, {"1": row})], ("genre",))
    items = tuple(recommender.store.items("films"))
    recommender.store.import_batch("films", ImportBatch(items, report=ImportReport(sources=report)))
    text = client.get("/domains").text
    assert re.search(r"director</th><td>facts</td><td>1</td><td>50 %</td><td>0</td><td>0", text)
    assert "conflict: genre of Toy &lt;Story&gt; is Comedy (items), not Drama" in text
    assert "no row: Heat (id 2)" in text
