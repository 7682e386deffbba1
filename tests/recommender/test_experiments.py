"""Experiments: who is in which arm, what an arm changes, and what a wrong one is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recsys.config import Arm, Scenario, Settings, load_domain
from recsys.errors import ConfigError
from recsys.recommender import experiments
from recsys.recommender.experiments import Scenarios, assigned, shares, unit_of
from recsys.recommender.recommender import Recommender
from recsys.types import Item
from tests.adapter_files import World
from tests.fakes import DOMAIN, ScriptedEngine, build_recommender, write_films

PEOPLE = [f"user-{number}" for number in range(4000)]
CONTROL = '{ name = "control", share = 1 }'


def scenario(**arms: float) -> Scenario:
    return Scenario(arms=tuple(Arm(name=name, share=share) for name, share in arms.items()))


def arms(name: str, found: Scenario) -> dict[str, str]:
    """Person -> arm."""
    return {one: assigned(name, found, unit_of(one)).name for one in PEOPLE}


def moves(before: dict[str, str], after: dict[str, str]) -> Counter[tuple[str, str]]:
    return Counter((before[one], after[one]) for one in PEOPLE if before[one] != after[one])


class TestAssignment:
    def test_people_are_divided_by_share(self) -> None:
        found = scenario(a=3, b=1)
        counts = Counter(arms("s", found).values())
        assert shares(found) == {"a": 0.75, "b": 0.25}
        assert counts["b"] == pytest.approx(1000, abs=4 * (4000 * 0.75 * 0.25) ** 0.5)

    def test_nobody_moves_but_to_or_from_the_arm_whose_share_changed(self) -> None:
        before = arms("s", scenario(a=1, b=1, c=1))
        grown = moves(before, arms("s", scenario(a=2, b=1, c=1)))
        assert {to for _, to in grown} == {"a"}
        assert sum(grown.values()) == pytest.approx(
            4000 / 6, rel=0.15
        )  # from a third to a half: no more than needed
        gone = moves(before, arms("s", scenario(a=1, b=1)))
        assert {left for left, _ in gone} == {"c"}
        assert moves(before, arms("s", scenario(c=7, b=7, a=7))) == {}  # neither order nor scale counts

    def test_scenarios_divide_the_people_each_in_its_own_way(self) -> None:
        found = scenario(a=1, b=1)
        first, second = arms("one", found), arms("two", found)
        both = sum(first[one] == second[one] for one in PEOPLE)
        assert both == pytest.approx(2000, abs=4 * 1000**0.5)

    def test_who_is_nobody_in_particular_is_in_the_control(self) -> None:
        assert unit_of(None) is None
        assert assigned("s", scenario(control=1, b=1000), None).name == "control"

    def test_users_and_sessions_of_one_name_are_two_units_that_tell_neither_name(self) -> None:
        user, session = unit_of("ann"), unit_of(None, "ann")
        assert user != session
        assert user == unit_of("ann", "a session")
        assert "ann" not in f"{user}{session}"


@pytest.mark.parametrize(
    ("arms_", "said"),
    [
        (CONTROL, "two arms or more"),
        (f"{CONTROL}, {CONTROL}", "with different names"),
        (f'{CONTROL}, {{ name = "b", share = 0 }}', "arms.1.share: Input should be greater than 0"),
        (f'{CONTROL}, {{ name = "b", share = nan }}', "arms.1.share"),
        (f'{CONTROL}, {{ name = "b", share = 1, colour = "red" }}', "arms.1.colour: Extra inputs"),
        (f'{CONTROL}, {{ name = "b", share = 1, ranker = {{ diversty = 1 }} }}', "ranker.diversty: Extra"),
        (f'{CONTROL}, {{ name = "b", share = 1, ranker = {{ diversity = 2 }} }}', "ranker.diversity"),
        (f'{CONTROL}, {{ name = "b", share = 1, weights = {{ magic = 1 }} }}', "weights.magic"),
        (f'{CONTROL}, {{ name = "b", share = 1, weights = {{ text = -1 }} }}', "weights.text"),
        (f'{CONTROL}, {{ name = "b", share = 1, adapter = "/tmp/lora" }}', "arms.1.adapter"),
        (f'{CONTROL}, {{ name = "B c", share = 1 }}', "arms.1.name"),
        ('{ name = "a", share = 1, adapter = "none" }, { name = "b", share = 1 }', "cannot set adapter"),
    ],
)
def test_a_wrong_scenario_is_named_with_its_place(arms_: str, said: str, tmp_path: Path) -> None:
    folder = write_films(tmp_path / "films", toml=f"{DOMAIN}\n[scenarios.odd]\narms = [{arms_}]\n")
    with pytest.raises(ConfigError, match=r"scenarios\.odd") as caught:
        load_domain(folder)
    assert said in caught.value.message


def test_two_scenarios_cannot_set_the_same(tmp_path: Path) -> None:
    both = "".join(
        f"[scenarios.{name}]\narms = [{CONTROL}, "
        f'{{ name = "b", share = 1, ranker = {{ diversity = 0.{n} }} }}]\n'
        for n, name in enumerate(("one", "two"), start=1)
    )
    with pytest.raises(ConfigError, match=r"'one' and 'two' both set ranker\.diversity"):
        load_domain(write_films(tmp_path / "films", toml=f"{DOMAIN}\n{both}"))


class Bench:
    """A recommender of films with one scenario, `tried`, of two arms."""

    def __init__(self, folder: Path, settings: Settings, **overrides: Any) -> None:
        self.engine = ScriptedEngine()
        domain = load_domain(write_films(folder))
        second = Arm(name="other", share=1, **overrides)
        found = Scenario(arms=(Arm(name="control", share=1), second))
        self.domain = domain.model_copy(update={"scenarios": {"tried": found}})
        self.recommender = build_recommender(self.domain, settings, self.engine)
        self.scenarios = Scenarios(self.recommender)

    def of(self, arm: str) -> Recommender:
        """As somebody of that arm is served."""
        found = self.domain.scenarios["tried"]
        one = next(one for one in PEOPLE if assigned("tried", found, unit_of(one)).name == arm)
        return self.scenarios.serving(one)


@pytest.fixture
def bench(tmp_path: Path, settings: Settings) -> Iterator[Any]:
    """`bench(ranker=...)`: what the second arm sets."""
    made: list[Bench] = []

    def build(**overrides: Any) -> Bench:
        made.append(Bench(tmp_path / "films", settings, **overrides))
        return made[-1]

    yield build
    for one in made:
        one.scenarios.close()
        one.recommender.close()


class TestArms:
    def test_without_scenarios_it_is_the_recommender_itself(self, recommender: Recommender) -> None:
        assert Scenarios(recommender).serving("ann") is recommender
        assert recommender.recommend("ann", k=1).arms == {}

    def test_knobs_are_those_of_the_arm_and_the_answer_names_it(self, bench: Any) -> None:
        world = bench(ranker={"strategy": "listwise", "diversity": 0.9})
        control, other = world.of("control").recommend("ann"), world.of("other").recommend("ann")
        assert (control.strategy, other.strategy) == ("pointwise", "listwise")
        assert (control.arms, other.arms) == ({"tried": "control"}, {"tried": "other"})
        assert world.of("other").domain.ranker.n_candidates == world.domain.ranker.n_candidates
        assert world.of("other").explain("ann", "Fargo").arms == {"tried": "other"}
        assert world.scenarios.serving(None).recommend(liked=["Heat"]).arms == {"tried": "control"}
        assert world.recommender.recommend("ann").strategy == "pointwise"

    def test_templates_are_those_of_the_arm(self, bench: Any, tmp_path: Path) -> None:
        shipped = Path("prompts/rank/pointwise.j2").read_text(encoding="utf-8")
        variant = tmp_path / "films" / "prompts-b" / "rank" / "pointwise.j2"
        variant.parent.mkdir(parents=True)
        variant.write_text(shipped.replace("{% block system %}", "{% block system %}Think of the evening. "))
        world = bench(prompts=Path("prompts-b"))
        control, other = world.of("control").recommend("ann"), world.of("other").recommend("ann")
        said = ["Think of the evening." in call.texts[0] for call in world.engine.of_kind("labels")]
        assert not said[0]
        assert any(said)
        assert control.prompt.hash != other.prompt.hash

    def test_weights_are_those_of_the_arm_and_a_new_item_is_in_both(self, bench: Any) -> None:
        world = bench(weights={"text": 5.0, "popularity": 0.0})
        base, other = world.of("control").retriever, world.of("other").retriever
        kept = {name: weight for name, weight in base.weights.items() if name not in ("text", "popularity")}
        assert other.weights == kept | {"text": 5.0}
        assert base.weights == world.recommender.retriever.weights
        assert base.weights["popularity"] > 0
        world.recommender.add_items([Item(id="f99", title="Brand New", attributes={"genre": ("Western",)})])
        for arm in ("control", "other"):
            found = world.of(arm).recommend("ann", k=12, n_candidates=12, reasons=False)
            assert "f99" in {line.item.id for line in found}

    def test_scenarios_are_combined(
        self, tmp_path: Path, settings: Settings, scripted: ScriptedEngine
    ) -> None:
        text = "".join(
            f'[scenarios.{name}]\narms = [{CONTROL}, {{ name = "b", share = 1, {what} }}]\n'
            for name, what in (("knob", "ranker = { long_tail = 3 }"), ("weigh", "weights = { text = 9 }"))
        )
        domain = load_domain(write_films(tmp_path / "films", toml=f"{DOMAIN}\n{text}"))
        with build_recommender(domain, settings, scripted) as recommender:
            found = Scenarios(recommender)
            served = {tuple(one.arms.values()): one for one in map(found.serving, PEOPLE[:100])}
            assert len(served) == 4
            assert served["b", "b"].domain.ranker.long_tail == 3
            assert served["b", "b"].retriever.weights["text"] == 9
            assert served["control", "b"].domain.ranker.long_tail == 0
            assert served["b", "control"].retriever.weights["text"] != 9


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"weights": {"gru": 1.0}}, "'gru' is not in use"),
        ({"prompts": Path("nowhere")}, "no prompt folder"),
        ({"adapter": "films@abcd"}, "no adapter 'films@abcd'"),
        ({"adapter": "movies@abcd"}, "not an adapter of 'films'"),
    ],
)
@pytest.mark.usefixtures("nothing_shipped")
def test_an_arm_that_cannot_be_served_is_named(overrides: dict[str, Any], said: str, bench: Any) -> None:
    with pytest.raises(ConfigError, match="scenario 'tried', arm 'other'") as caught:
        bench(**overrides)
    assert said in caught.value.message
    assert caught.value.hint


def test_a_broken_template_is_found_before_anybody_is_served(bench: Any, tmp_path: Path) -> None:
    broken = tmp_path / "films" / "prompts-b" / "rank" / "pointwise.j2"
    broken.parent.mkdir(parents=True)
    broken.write_text('+++\ntask = "rank.pointwise"\nversion = 1\nvariables = []\n+++\n{% block system %}')
    with pytest.raises(ConfigError, match="arm 'other'"):
        bench(prompts=Path("prompts-b"))


@pytest.mark.usefixtures("nothing_shipped")
class TestAdapters:
    @pytest.fixture
    def world(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
        monkeypatch.setattr(experiments, "on_gpu", lambda: False)
        monkeypatch.setattr(experiments, "available_memory", lambda: 64 * experiments.GIB)
        return World(tmp_path / "world")

    def build(self, world: World, tmp_path: Path, adapter: str) -> Bench:
        return Bench(tmp_path / "films", world.settings, adapter=adapter)

    def test_an_adapter_has_an_engine_of_its_own_which_the_scenarios_close(
        self, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ref = world.publish().ref
        opened: list[ScriptedEngine] = []

        def open_(settings: Settings, *, adapter: Any) -> ScriptedEngine:
            opened.append(ScriptedEngine(adapter=adapter.ref))
            return opened[-1]

        monkeypatch.setattr(experiments, "open_engine", open_)
        bench = self.build(world, tmp_path, ref)
        with bench.recommender:
            control, other = bench.of("control").recommend("ann"), bench.of("other").recommend("ann")
            assert (control.model.adapter, other.model.adapter) == (None, ref)  # type: ignore[union-attr]
            assert len(opened) == 1
            bench.scenarios.close()
            assert opened[0].closed
            assert not bench.engine.closed

    def test_lack_of_memory_for_another_engine_is_told_with_what_to_do(
        self, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(experiments, "available_memory", lambda: 5 * experiments.GIB)
        with pytest.raises(ConfigError, match=r"about 8 GiB, 5\.0 are there") as caught:
            self.build(world, tmp_path, world.publish().ref)
        assert "WHYREC_ENGINE" in caught.value.hint
        monkeypatch.setattr(experiments, "on_gpu", lambda: True)
        with pytest.raises(ConfigError, match="a GPU holds one"):
            self.build(world, tmp_path, "none")

    def test_a_vllm_server_is_asked_for_adapters_by_name(
        self, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[str] = []

        def open_(settings: Settings, *, adapter: Any) -> ScriptedEngine:
            asked.append(settings.adapter)
            return ScriptedEngine(adapter=settings.adapter)

        monkeypatch.setattr(experiments, "open_engine", open_)
        monkeypatch.setattr(experiments, "available_memory", lambda: 0)
        remote = world.settings.model_copy(update={"engine": "http://127.0.0.1:1"})
        bench = Bench(tmp_path / "films", remote, adapter="films@abcd")
        with bench.recommender:
            bench.of("other").recommend("ann", reasons=False)
        assert asked == ["films@abcd"]
