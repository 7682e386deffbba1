"""A client of the HTTP service: `Client("http://localhost:8000").recommend("196", k=5)`.

It returns the nouns of `recsys.types`. A test holds every call against the service's OpenAPI document.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self
from urllib.parse import quote

import httpx

from recsys.errors import RecsysError
from recsys.types import Candidate, Item, Recommendations, User, Why


class ServiceProblem(RecsysError):
    """The service said no. `status` is the HTTP status; `retryable` says that waiting may help."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        super().__init__(str(told["detail"]), hint=str(told.get("hint", "")))
        self.status, self.retryable = int(told["status"]), bool(told.get("retryable"))


class Client:
    """`domain` is the service's first by default, `key` one of `recsys keys create`. Raises ServiceProblem."""

    def __init__(
        self, url: str, *, key: str = "", domain: str | None = None, http: httpx.Client | None = None
    ) -> None:
        self._http = http or httpx.Client(base_url=url, timeout=120)
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._query = {"domain": domain} if domain else {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def recommend(self, user: str | None = None, **asked: Any) -> tuple[Recommendations, str]:
        """The list, and the recommendation_id that feedback refers to."""
        found = self._call("POST", "/v1/recommendations", {"user": user} | asked)
        recommendation_id = found.pop("recommendation_id")
        return Recommendations.model_validate(found), recommendation_id

    def stream(self, user: str | None = None, **asked: Any) -> Iterator[tuple[str, Any]]:
        """(event, data) as they come: "ranked", a "reason" for each rank, "done"."""
        with self._http.stream(
            "POST",
            "/v1/recommendations",
            json={"user": user} | asked,
            params=self._query,
            headers=self._headers | {"Accept": "text/event-stream"},
        ) as answer:
            if answer.is_error:
                answer.read()
                raise ServiceProblem(_told(answer))
            event = ""
            for name, _, value in (line.partition(": ") for line in answer.iter_lines()):
                if name == "event":
                    event = value
                elif name == "data" and event == "error":
                    raise ServiceProblem(json.loads(value))
                elif name == "data":
                    yield event, json.loads(value)

    def explain(self, item: str, user: str | None = None, **asked: Any) -> Why:
        return Why.model_validate(
            self._call("POST", "/v1/explanations", {"item": item, "user": user} | asked)
        )

    def similar(self, item: str, **asked: Any) -> list[Candidate]:
        found = self._call("POST", "/v1/similar", {"item": item} | asked)
        return [Candidate.model_validate(one) for one in found]

    def send(self, *events: Mapping[str, Any], key: str = "") -> Any:
        """Events and feedback; with an idempotency `key` they may be sent again."""
        return self._call("POST", "/v1/interactions", {"events": list(events)}, key)

    def put_items(self, items: Sequence[Item], key: str = "") -> Any:
        return self._call("POST", "/v1/items", {"items": [one.model_dump(mode="json") for one in items]}, key)

    def put_user(self, user: User) -> Any:
        return self._call("PUT", f"/v1/users/{quote(user.id)}", user.model_dump(mode="json"))

    def delete_user(self, user_id: str) -> Any:
        """What was deleted, and the adapters that may have learnt from it."""
        return self._call("DELETE", f"/v1/users/{quote(user_id)}")

    def _call(self, method: str, path: str, body: Any = None, key: str = "") -> Any:
        headers = self._headers | ({"Idempotency-Key": key} if key else {})
        answer = self._http.request(method, path, json=body, params=self._query, headers=headers)
        if answer.is_error:
            raise ServiceProblem(_told(answer))
        return answer.json()


def _told(answer: httpx.Response) -> dict[str, Any]:
    told = answer.json() if answer.headers.get("content-type", "").startswith("application/problem") else {}
    return {"detail": f"HTTP status {answer.status_code}", "status": answer.status_code} | told
