"""A domain with a notice is served only where it was acknowledged, and every answer says it."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys import Recommender
from recsys.config import Settings, load_domain
from recsys.errors import ConfigError
from tests.fakes import DOMAIN, ScriptedEngine, build_recommender, write_films

NOTICE = "for demonstration, not medical advice"


def with_notice(folder: Path) -> Path:
    write_films(folder, toml=f'notice = "{NOTICE}"\n{DOMAIN}')
    return folder


def test_every_answer_says_the_notice_first(tmp_path: Path, settings: Settings) -> None:
    recommender = build_recommender(load_domain(with_notice(tmp_path)), settings, ScriptedEngine())
    assert recommender.recommend(liked=["Heat"], k=1).notes[0] == NOTICE
    assert recommender.explain(None, "Alien", liked=["Heat"]).notes[0] == NOTICE


def test_without_acknowledgement_it_does_not_start(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(ConfigError, match=NOTICE) as caught:
        Recommender.load(with_notice(tmp_path), settings=settings, engine=ScriptedEngine())
    assert "WHYREC_ACKNOWLEDGED=" in (caught.value.hint or "")
    acknowledged = settings.model_copy(update={"acknowledged": "others, films"})
    acknowledged.require_acknowledgement("films", NOTICE)


@pytest.mark.parametrize("name", ["medicine", "finance"])
def test_the_domains_where_advice_may_harm_have_one(name: str, settings: Settings) -> None:
    with pytest.raises(ConfigError, match="for demonstration"):
        Recommender.load(name, settings=settings)
