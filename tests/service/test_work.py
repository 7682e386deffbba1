"""What requests cost: work counts, at every door, and its size is bounded."""

from __future__ import annotations

import re
from typing import Any

import pytest
from fastapi.testclient import TestClient

from recsys.errors import ConfigError
from recsys.recommender.recommender import Recommender
from recsys.service.api.schemas import (
    ExplanationRequest,
    PromptRequest,
    RecommendationRequest,
    SimilarRequest,
)
from recsys.service.app import create_app
from recsys.service.options import ServiceOptions, load_options
from recsys.service.security.keys import KeyRing
from tests.service.api_calls import Serve, call_tools

LIST = {"user": "ann", "k": 4}
WORK = {
    "/v1/recommendations": LIST,
    "/v1/explanations": {"item": "Fargo", "user": "ann", "n_candidates": 61},
    "/v1/similar": {"item": "Fargo", "n_candidates": 81},
    "/v1/prompts/run": {"name": "explain/reason", "user": "ann", "n_candidates": 4},
}  # each 5 units
PAGES = {
    "/?whole=1&user=ann&k=4": 5,
    "/recommend/stream?user=ann&k=4": 5,
    "/why?item=Fargo&user=ann": 2,
    "/why/export.json?item=Fargo&user=ann": 2,
    "/prompts?run=1&user=ann&name=explain/reason&n_candidates=4": 5,
    "/prompts/export.json?run=1&user=ann&name=explain/reason&n_candidates=4": 5,
}


def key_of(recommender: Recommender, *scopes: str, rate: str | None = None) -> dict[str, str]:
    """Create a key, and return the header that sends it."""
    text, _ = KeyRing(recommender.store).create("app", scopes or ("read",), rate=rate)
    return {"Authorization": f"Bearer {text}"}


def left(response: Any) -> int:
    """Return the units that a response says are left."""
    match = re.fullmatch(r'"key";r=(\d+);t=\d+', response.headers["RateLimit"])
    assert match
    return int(match[1])


@pytest.mark.parametrize(
    ("body", "units"),
    [
        ({"user": "ann", "reasons": False}, 1),
        ({"user": "ann", "k": 4}, 5),
        ({"user": "ann", "reasons": False, "n_candidates": 21}, 2),
        ({"users": ["ann", "bob"], "k": 3}, 8),
        ({"users": ["ann"] * 20, "k": 100, "n_candidates": 200}, 2200),
    ],
)
def test_a_list_costs_what_is_ranked_and_explained_for_each_user(body: dict[str, Any], units: int) -> None:
    """A request for 20 users, 100 items and 200 candidates counted as one."""
    assert RecommendationRequest(**body).work(20).units == units


def test_explanations_and_prompts_cost_their_lists_and_reasons() -> None:
    assert ExplanationRequest(item="Heat").work(20).units == 2
    assert ExplanationRequest(item="Heat", instead_of="Fargo").work(20).units == 3
    assert SimilarRequest(item="Heat").work(20).units == 1
    assert PromptRequest(name="rank/pointwise", n_candidates=60).work(20).units == 3
    assert PromptRequest(name="explain/reason", n_candidates=60).work(20).units == 63


def test_each_route_spends_the_units_of_its_work(client: TestClient, recommender: Recommender) -> None:
    client.headers |= key_of(recommender, rate="100/day")
    before = left(client.get("/v1/items/f1"))
    assert before == 99
    for path, body in WORK.items():
        response = client.post(path, json=body)
        assert response.status_code == 200, response.text
        assert before - left(response) == 5, path
        before = left(response)
    assert response.headers["RateLimit-Policy"] == '"key";q=100;qu="units";w=86400'


def test_pages_spend_as_the_routes_do(client: TestClient, recommender: Recommender) -> None:
    client.headers |= key_of(recommender, rate="100/day")
    for address, units in PAGES.items():
        before = left(client.get("/v1/items/f1"))
        assert client.get(address).status_code == 200
        assert before - left(client.get("/v1/items/f1")) == units + 1, address


def test_tools_spend_as_the_routes_do(recommender: Recommender) -> None:
    app = create_app({"films": recommender}, ServiceOptions(warm=False))
    *done, refused = call_tools(
        app,
        key_of(recommender, rate="40/day"),
        ("recommend", {"request": LIST}),
        ("explain", {"request": WORK["/v1/explanations"]}),
        ("similar", {"request": WORK["/v1/similar"]}),
        ("recommend", {"request": {"user": "ann", "k": 40, "n_candidates": 40}}),
    )
    assert [answer.is_error for answer in done] == [False] * 3
    assert refused.is_error
    assert "42 units" in refused.content[0].text


def test_who_asks_for_too_much_work_is_told_the_unit_and_the_time(
    client: TestClient, recommender: Recommender
) -> None:
    client.headers |= key_of(recommender, rate="8/hour")
    assert client.post("/v1/recommendations", json=LIST).status_code == 200
    refused = client.post("/v1/recommendations", json=LIST)
    assert (refused.status_code, left(refused)) == (429, 2), "only the request itself was counted"
    assert "8 units a hour" in refused.json()["detail"]
    assert f"wait {refused.headers['Retry-After']} s" in refused.json()["hint"]
    assert "20 candidates ranked for a user, or one reason" in refused.json()["hint"]
    assert client.get("/v1/items/f1").status_code == 200, "less is still allowed"


def test_work_beyond_the_whole_rate_is_refused_for_good(client: TestClient, recommender: Recommender) -> None:
    client.headers |= key_of(recommender, rate="8/hour")
    refused = client.post("/v1/recommendations", json={"users": ["ann", "bob"], "k": 4})
    assert (refused.status_code, refused.json()["retryable"]) == (422, False)
    assert "10 units" in refused.json()["detail"]


def test_the_scopes_of_a_key_bound_the_candidates(serve: Serve, recommender: Recommender) -> None:
    client = serve(max_candidates={"read": 30, "write": 40, "admin": 50})
    for scopes, bound in ((["read"], 30), (["read", "write"], 40), (["read", "write", "admin"], 50)):
        headers = key_of(recommender, *scopes)
        for path, body in WORK.items():
            allowed = client.post(path, json=body | {"n_candidates": bound}, headers=headers)
            assert allowed.status_code == 200, allowed.text
            refused = client.post(path, json=body | {"n_candidates": bound + 1}, headers=headers)
            assert refused.status_code == 403
            assert f"ask for {bound} or less" in refused.json()["hint"]
        many = client.post("/v1/recommendations", json={"k": bound + 1}, headers=headers)
        assert many.status_code == 403, "k items are ranked, too"
    for address in PAGES:
        page = client.get(
            f"{address}&n_candidates=31".replace("n_candidates=4&", ""), headers=key_of(recommender)
        )
        assert "may not have 31 candidates" in page.text


def test_a_domain_may_have_more_ranked_than_its_keys_may_ask_for(
    serve: Serve, recommender: Recommender
) -> None:
    client = serve(max_candidates={"read": 5})
    assert client.post("/v1/recommendations", json=LIST, headers=key_of(recommender)).status_code == 200


def test_bounds_of_candidates_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHYREC_SERVE_MAX_CANDIDATES", '{"read": 30}')
    bounds = load_options().max_candidates
    assert (bounds.read, bounds.admin) == (30, 200)
    for wrong in ("30", "{", '{"read": 0}', '{"read": 201}', '{"reader": 30}'):
        monkeypatch.setenv("WHYREC_SERVE_MAX_CANDIDATES", wrong)
        with pytest.raises(ConfigError, match="WHYREC_SERVE_MAX_CANDIDATES"):
            load_options()
