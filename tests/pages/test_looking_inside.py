"""Highlighted prompts say the same as the prompts, and edited templates can do no harm."""

from __future__ import annotations

import pytest

from recsys.errors import PromptError
from recsys.prompting.sandbox import MAX_SOURCE, EditedLibrary
from recsys.recommender.recommender import Recommender
from recsys.service.pages.compare import compared, steps
from recsys.service.pages.forms import Form
from recsys.service.pages.highlight import marked_texts, segments, source_segments
from recsys.service.pages.inspector import inspect
from tests.fakes import reconfigure

NAME = "rank/pointwise"


@pytest.mark.parametrize(
    "name", ["rank/pointwise", "rank/listwise", "rank/title", "rank/generated", "explain/reason"]
)
def test_pieces_are_the_prompt(recommender: Recommender, name: str) -> None:
    prepared = recommender.prepare("ann", at="Friday 21:00", wish="dark", n_candidates=5)
    engine = recommender.engine()
    prompts = recommender.render(name, prepared, engine)
    found = marked_texts(recommender, name, prepared, engine, prompts)
    real = [text for prompt in prompts for text in prompt.texts]
    assert ["".join(piece.text for piece in pieces) for pieces in found] == real
    assert all(any(piece.name for piece in pieces) for pieces in found)


def test_words_are_traced_to_their_variable(recommender: Recommender) -> None:
    prepared = recommender.prepare("ann", at="Friday 21:00", n_candidates=5)
    engine = recommender.engine()
    prompts = recommender.render(NAME, prepared, engine)
    (first, *_) = marked_texts(recommender, NAME, prepared, engine, prompts)
    named = {piece.text: piece.name for piece in first if piece.name}
    assert named["films"] == "plural"
    assert named["film"] == "noun"
    assert named["Alien (1979)"] == "history"
    assert named["Friday"] == "context"
    assert named["24"] == "profile"
    assert named[prepared.request.items[0].name] == "candidate"
    plain = "".join(piece.text for piece in first if not piece.name)
    assert "Liked:" in plain  # the template's own word, though it comes by a loop


def test_the_budget_is_that_of_the_real_prompt(recommender: Recommender) -> None:
    prepared = recommender.prepare("ann", n_candidates=5)
    longest = max(len(ids) for ids in recommender.render(NAME, prepared, recommender.engine())[0].token_ids)
    ranker = recommender.domain.ranker.model_copy(update={"max_prompt_tokens": longest - 10})
    reconfigure(recommender, ranker=ranker)
    found = inspect(recommender, Form(user="ann"), NAME, run=False)
    assert found.report["dropped_history"] == len(found.dropped) > 0
    assert found.dropped[0] == "Alien (1979)"
    assert "".join(piece.text for piece in found.texts[0]) == found.report["text"][0]
    assert sum(part.tokens for part in found.parts) == found.report["tokens"][0]


def test_marks_in_marks_give_the_innermost() -> None:
    text = "a\ue000x\ue001b\ue000y\ue001c\ue002d\ue002e"
    assert [(piece.text, piece.name) for piece in segments(text)] == [
        ("a", ""),
        ("b", "x"),
        ("c", "y"),
        ("d", "x"),
        ("e", ""),
    ]


def test_a_source_is_shown_whole(recommender: Recommender) -> None:
    for name in recommender.prompts.names():
        source = recommender.prompts.get(name).source
        pieces = source_segments(source, recommender.prompts.get(name).meta.variables)
        assert "".join(piece.text for piece in pieces) == source


def edited(recommender: Recommender, old: str, new: str) -> str:
    source = recommender.prompts.get(NAME).source
    assert old in source
    return source.replace(old, new, 1)


def test_an_edited_template_ranks_the_same_candidates(recommender: Recommender) -> None:
    source = edited(recommender, "Will this person enjoy", "Would they love")
    found = compared(recommender, Form(user="bob"), NAME, source)
    assert [row.user for row in found.rows] == ["bob", "ann", "cat", "dan", "eve", "new"]
    assert "Would they love" in found.preview
    assert found.a.hash != found.b.hash
    assert all(0 <= row.overlap <= 1 and row.before.valid == row.after.valid == 1 for row in found.rows)
    assert found.k < recommender.domain.ranker.n_candidates  # else all lists overlap
    assert any(row.overlap < 1 for row in found.rows)
    assert any(row.shift > 0 for row in found.rows)
    assert recommender.prompts.get(NAME).hash == found.a.hash  # nothing is kept


def test_the_same_words_change_nothing(recommender: Recommender) -> None:
    found = compared(recommender, Form(), NAME, recommender.prompts.get(NAME).source)
    assert found.means["overlap"] == 1
    assert found.means["shift"] == 0
    assert found.diff == []


def test_a_comparison_that_is_left_ends(recommender: Recommender) -> None:
    source = edited(recommender, "Will this person enjoy", "Would they love")
    growing = steps(recommender, Form(), NAME, source)
    assert [len(next(growing).rows) for _ in range(3)] == [0, 1, 2]
    growing.close()
    assert list(growing) == []


def test_reasons_are_compared_too(recommender: Recommender) -> None:
    source = recommender.prompts.get("explain/reason").source.replace("a person why", "somebody why", 1)
    found = compared(recommender, Form(), "explain/reason", source)
    assert found.reasons
    assert "somebody why" in found.preview
    assert all(0 <= row.after.valid <= 1 for row in found.rows)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        ("{{ noun.__class__.__mro__ }}", "unsafe"),
        ("{{ ''.format.__globals__ }}", "unsafe|undefined"),
        ("{{ cycler.__init__.__globals__.os.popen('id').read() }}", "unsafe|undefined"),
        ("{{ range(1000000) | list }}", "Range too big|OverflowError|memory"),
        ("{{ 'a' * 2000000000 }}", "memory|characters"),
        ("{{ 'a' * 60000 }}", "characters"),
        (
            "{% for a in range(99999) %}{% for b in range(99999) %}{{ a * b }}{% endfor %}{% endfor %}",
            "took|memory",
        ),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "without end|took|memory"),
        ("{% include '/etc/passwd' %}", "no template"),
        ("{{ nothing }}", "nothing"),
    ],
)
def test_an_edited_template_can_do_no_harm(recommender: Recommender, harm: str, words: str) -> None:
    source = edited(recommender, "Will this person", f"{harm} Will this person")
    prepared = recommender.prepare("ann", k=1, n_candidates=2)
    variables = {
        "noun": "film",
        "plural": "films",
        "profile": {},
        "history": (),
        "context": prepared.request.context,
        "candidate": prepared.request.items[0],
        "facts": {},
    }
    with EditedLibrary(recommender.prompts, NAME, source) as library, pytest.raises(PromptError, match=words):
        library.render_block(NAME, "suffix", variables)


def test_an_edited_template_does_not_see_the_environment(
    recommender: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHYREC_API_KEY", "secret")
    with EditedLibrary(recommender.prompts, NAME, edited(recommender, "You judge", "You weigh")) as library:
        text = library.render_block(NAME, "system", {"plural": "films"})
        assert text.startswith("You weigh which films")
        assert library._worker is not None
        process = library._worker._process
        with open(f"/proc/{process.pid}/environ", "rb") as file:
            assert b"secret" not in file.read()
    assert process.poll() is not None


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("x" * (MAX_SOURCE + 1), "characters"),
        ("no front matter", "front matter"),
        ('+++\ntask = "rank.listwise"\nversion = 1\nvariables = []\n+++\n', "task"),
        (
            '+++\ntask = "rank.pointwise"\nversion = 1\nvariables = ["other"]\n+++\n',
            "missing variables: other",
        ),
    ],
)
def test_what_is_no_template_says_why(recommender: Recommender, source: str, words: str) -> None:
    from recsys.errors import RecsysError

    with pytest.raises(RecsysError, match=words):
        compared(recommender, Form(user="ann"), NAME, source)
