"""What rules do is in the answers of the service, in its log and on its pages."""

from __future__ import annotations

from recsys.config import Rule
from recsys.data import audit
from recsys.recommender.recommender import Recommender
from tests.fakes import reconfigure
from tests.service.api_calls import Serve, recommend


def forbidding(*texts: str) -> tuple[Rule, ...]:
    """Rules r0, r1 ... that let through what they cannot decide."""
    return tuple(
        Rule(name=f"r{number}", do="forbid", when=text, missing="allow") for number, text in enumerate(texts)
    )


def test_the_log_keeps_what_rules_decided_and_nothing_about_the_person(
    recommender: Recommender, serve: Serve
) -> None:
    texts = ['item.title == "Heat" && user.age != "99"', "item.times_chosen == 7"]
    reconfigure(recommender, rules=forbidding(*texts))
    with_rules = recommend(serve(), user="dan", k=9, n_candidates=9, reasons=False)
    (entry,) = audit.entries(recommender.store, action="rules.")
    assert (entry.actor, entry.target) == ("service", "films")
    assert entry.details["recommendation"] == with_rules["recommendation_id"]
    (decided,) = entry.details["rules"]
    assert decided["values"] == {"item.title": "Heat"}
    assert "dan" not in str(entry.details)
    assert audit.entries(recommender.store) == []
    (line,) = audit.acted(recommender.store, "films")
    assert (line.rule, line.answers, line.items, line.trial) == ("r0", 1, 1, False)
    assert audit.acted(recommender.store, "films", since=line.last + 1) == []


def test_the_page_names_the_rules_that_acted(recommender: Recommender, serve: Serve) -> None:
    reconfigure(recommender, rules=forbidding('item.title == "Heat"'))
    client = serve()
    assert "Rule: r0 left 1 out" in client.get("/?user=dan&k=9&n_candidates=9&whole=1").text
    page = client.get("/why?user=dan&item=Heat").text
    assert "left out: rule r0 (item.title = Heat)" in page


def test_http_and_the_page_say_the_remarks_with_the_reason(recommender: Recommender, serve: Serve) -> None:
    remark = Rule(name="r", do="remark", when="item.year < 1970", say={"en": "Made in {item.year}"})
    reconfigure(recommender, rules=(remark,))
    client = serve()
    found = recommend(client, user="ann", k=9, n_candidates=9)["recommendations"]
    old = [line for line in found if (line["item"]["year"] or 2000) < 1970]
    assert old
    for line in old:
        assert line["remarks"] == [f"Made in {line['item']['year']}."]
        assert line["explanation"]["text"].endswith(line["remarks"][0])
    assert old[0]["remarks"][0] in client.get("/?user=ann&k=9&n_candidates=9&whole=1").text
