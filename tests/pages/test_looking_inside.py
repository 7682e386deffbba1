"""Highlighted prompts equal the prompts, and edited templates cannot do harm."""

from __future__ import annotations

import pytest

from recsys.errors import PromptError, RequestError
from recsys.prompting.sandbox import MAX_SOURCE, EditedLibrary
from recsys.recommender.recommender import Recommender
from recsys.service.pages.compare import compare_stepwise, compare_templates
from recsys.service.pages.forms import RequestForm
from recsys.service.pages.highlight import mark_prompts, mark_source, split_marks
from recsys.service.pages.inspector import inspect_prompt
from tests.fakes import reconfigure

NAME = "rank/pointwise"


@pytest.mark.parametrize(
    "name", ["rank/pointwise", "rank/listwise", "rank/title", "rank/generated", "explain/reason", "read/wish"]
)
def test_spans_add_up_to_the_prompt(recommender: Recommender, name: str) -> None:
    prepared = recommender.prepare("ann", at="Friday 21:00", wish="dark", n_candidates=5)
    engine = recommender.engine()
    prompts = recommender.render(name, prepared, engine)
    marked = mark_prompts(recommender, name, prepared, engine, prompts)
    real = [text for prompt in prompts for text in prompt.texts]
    assert ["".join(span.text for span in spans) for spans in marked] == real
    assert all(any(span.variable for span in spans) for spans in marked)


def test_words_are_traced_to_their_variable(recommender: Recommender) -> None:
    prepared = recommender.prepare("ann", at="Friday 21:00", n_candidates=5)
    engine = recommender.engine()
    prompts = recommender.render(NAME, prepared, engine)
    (first, *_) = mark_prompts(recommender, NAME, prepared, engine, prompts)
    variables = {span.text: span.variable for span in first if span.variable}
    assert variables["films"] == "plural"
    assert variables["film"] == "noun"
    assert variables["Alien (1979)"] == "history"
    assert variables["Friday"] == "context"
    assert variables["24"] == "profile"
    assert variables[prepared.request.items[0].name] == "candidate"
    plain = "".join(span.text for span in first if not span.variable)
    assert "Liked:" in plain  # a word of the template, though a loop writes it


def test_the_budget_is_that_of_the_real_prompt(recommender: Recommender) -> None:
    prepared = recommender.prepare("ann", n_candidates=5)
    longest = max(len(ids) for ids in recommender.render(NAME, prepared, recommender.engine())[0].token_ids)
    ranker = recommender.domain.ranker.model_copy(update={"max_prompt_tokens": longest - 10})
    reconfigure(recommender, ranker=ranker)
    inspection = inspect_prompt(recommender, RequestForm(user="ann"), NAME, run=False)
    assert inspection.report["dropped_history"] == len(inspection.dropped) > 0
    assert inspection.dropped[0] == "Alien (1979)"
    assert "".join(span.text for span in inspection.texts[0]) == inspection.report["text"][0]
    assert sum(part.tokens for part in inspection.parts) == inspection.report["tokens"][0]


def test_the_innermost_of_nested_marks_counts() -> None:
    text = "a\ue000x\ue001b\ue000y\ue001c\ue002d\ue002e"
    assert [(span.text, span.variable) for span in split_marks(text)] == [
        ("a", ""),
        ("b", "x"),
        ("c", "y"),
        ("d", "x"),
        ("e", ""),
    ]


def test_a_source_is_shown_whole(recommender: Recommender) -> None:
    for name in recommender.prompts.names():
        source = recommender.prompts.get(name).source
        spans = mark_source(source, recommender.prompts.get(name).meta.variables)
        assert "".join(span.text for span in spans) == source


def edited(recommender: Recommender, old: str, new: str) -> str:
    source = recommender.prompts.get(NAME).source
    assert old in source
    return source.replace(old, new, 1)


def test_an_edited_template_ranks_the_same_candidates(recommender: Recommender) -> None:
    source = edited(recommender, "Will this person enjoy", "Would they love")
    comparison = compare_templates(recommender, RequestForm(user="bob"), NAME, source)
    assert [row.user for row in comparison.rows] == ["bob", "ann", "cat", "dan", "eve", "new"]
    assert "Would they love" in comparison.preview
    assert comparison.served.hash != comparison.edited.hash
    assert all(0 <= row.overlap <= 1 and row.served.valid == row.edited.valid == 1 for row in comparison.rows)
    assert comparison.k < recommender.domain.ranker.n_candidates  # lists of all candidates always overlap
    assert any(row.overlap < 1 for row in comparison.rows)
    assert any(row.shift > 0 for row in comparison.rows)
    assert recommender.prompts.get(NAME).hash == comparison.served.hash  # nothing is saved


def test_the_same_template_changes_nothing(recommender: Recommender) -> None:
    comparison = compare_templates(recommender, RequestForm(), NAME, recommender.prompts.get(NAME).source)
    assert comparison.means["overlap"] == 1
    assert comparison.means["shift"] == 0
    assert comparison.diff == []


def test_a_closed_comparison_ends(recommender: Recommender) -> None:
    source = edited(recommender, "Will this person enjoy", "Would they love")
    growing = compare_stepwise(recommender, RequestForm(), NAME, source)
    assert [len(next(growing).rows) for _ in range(3)] == [0, 1, 2]
    growing.close()
    assert list(growing) == []


def test_a_reading_is_shown_and_is_no_list_to_compare(recommender: Recommender) -> None:
    form = RequestForm(user="ann", wish="dark")
    assert "Wish: dark" in inspect_prompt(recommender, form, "read/wish", run=False).report["text"][0]
    with pytest.raises(RequestError, match="a reading has no list"):
        compare_templates(recommender, RequestForm(), "read/wish", "x")


def test_reasons_are_compared_too(recommender: Recommender) -> None:
    source = recommender.prompts.get("explain/reason").source.replace("a person in", "somebody in", 1)
    comparison = compare_templates(recommender, RequestForm(), "explain/reason", source)
    assert comparison.of_reasons
    assert "somebody in" in comparison.preview
    assert all(0 <= row.edited.valid <= 1 for row in comparison.rows)


@pytest.mark.parametrize(
    ("harm", "message"),
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
def test_an_edited_template_cannot_do_harm(recommender: Recommender, harm: str, message: str) -> None:
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
    with (
        EditedLibrary(recommender.prompts, NAME, source) as library,
        pytest.raises(PromptError, match=message),
    ):
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
    ("source", "message"),
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
def test_an_invalid_template_says_why(recommender: Recommender, source: str, message: str) -> None:
    from recsys.errors import RecsysError

    with pytest.raises(RecsysError, match=message):
        compare_templates(recommender, RequestForm(user="ann"), NAME, source)


def test_the_prompt_of_a_reason_tells_of_a_wish_as_it_was_read(recommender: Recommender) -> None:
    """The inspector compared the words of a wish, where the answer had read it."""
    form = RequestForm(user="ann", wish="nothing newer than 1970")
    shown = inspect_prompt(recommender, form, "explain/reason", run=False).report["text"][0]
    assert "{asked}" in shown
