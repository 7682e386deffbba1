"""Client of the HTTP service: `Client(url).recommend("196", k=5)`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self
from urllib.parse import quote

import httpx

from recsys.errors import RecsysError
from recsys.types import Item, Recommendation, Recommendations, User, Why


class APIError(RecsysError):
    """Error response of the service: its HTTP `status`, and if it is `retryable`."""

    def __init__(self, problem: Mapping[str, Any]) -> None:
        super().__init__(str(problem["detail"]), hint=str(problem.get("hint", "")))
        self.status, self.retryable = int(problem["status"]), bool(problem.get("retryable"))


class Client:
    """Client of the service at `url`, by default of its first domain; raises APIError."""

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

    def recommend(self, user: str | None = None, **options: Any) -> tuple[Recommendations, str]:
        """Return the answer and the recommendation_id that feedback refers to."""
        answer = self._call("POST", "/v1/recommendations", {"user": user} | options)
        identifier = answer.pop("recommendation_id")
        return Recommendations.model_validate(answer), identifier

    def stream(self, user: str | None = None, **options: Any) -> Iterator[tuple[str, Any]]:
        """Yield (event, data) as they arrive: "ranked", a "reason" for each rank, "done"."""
        request = self._request({"user": user} | options, Accept="text/event-stream")
        with self._http.stream("POST", "/v1/recommendations", **request) as response:
            _raise_for_status(response)
            event = ""
            for name, _, value in (line.partition(": ") for line in response.iter_lines()):
                event = value if name == "event" else event
                if name == "data" and event == "error":
                    raise APIError(json.loads(value))
                if name == "data":
                    yield event, json.loads(value)

    def explain(self, item: str, user: str | None = None, **options: Any) -> Why:
        """Explain the rank of an item, given by id or title."""
        return Why(**self._call("POST", "/v1/explanations", {"item": item, "user": user} | options))

    def similar(self, item: str, **options: Any) -> list[Recommendation]:
        """Return the items most similar to one, given by id or title."""
        return [Recommendation(**row) for row in self._call("POST", "/v1/similar", {"item": item} | options)]

    def send(self, *events: Mapping[str, Any], key: str = "") -> Any:
        """Send events and feedback; an idempotency `key` makes it safe to send them again."""
        return self._call("POST", "/v1/interactions", {"events": events}, key)

    def put_items(self, items: Sequence[Item], key: str = "") -> Any:
        """Add or replace items."""
        rows = [item.model_dump(mode="json") for item in items]
        return self._call("POST", "/v1/items", {"items": rows}, key)

    def put_user(self, user: User) -> Any:
        """Add or replace a user."""
        return self._call("PUT", f"/v1/users/{quote(user.id)}", user.model_dump(mode="json"))

    def delete_user(self, user_id: str) -> Any:
        """Delete a user; return what was deleted and the adapters trained on it."""
        return self._call("DELETE", f"/v1/users/{quote(user_id)}")

    def _call(self, method: str, path: str, body: Any = None, key: str = "") -> Any:
        request = self._request(body, **({"Idempotency-Key": key} if key else {}))
        response = self._http.request(method, path, **request)
        _raise_for_status(response)
        return response.json()

    def _request(self, body: Any, **headers: str) -> dict[str, Any]:
        return {"json": body, "params": self._query, "headers": self._headers | headers}


def _raise_for_status(response: httpx.Response) -> None:
    """Raise APIError with the problem details (RFC 9457) of an error."""
    if response.is_error:
        problem = {"detail": f"HTTP status {response.status_code}", "status": response.status_code}
        if response.headers.get("content-type", "").startswith("application/problem"):
            problem |= json.loads(response.read())
        raise APIError(problem)
