"""`recsys rules`: the rules of a domain, their examples, and what they do."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from recsys.cli.options import DomainOption, JsonOption
from recsys.cli.output import ProgressBars, console, format_with_interval, plain_table, print_json

if TYPE_CHECKING:
    from recsys.config import Domain, Rule
    from recsys.data.audit import Acted

app = typer.Typer(help="Show and check the rules of a domain, and what they do.", no_args_is_help=True)


@app.command("list")
def list_rules(domain: DomainOption = "movies", as_json: JsonOption = False) -> None:
    """List the rules, those of the arms of experiments included."""
    from recsys.config import load_domain

    loaded = load_domain(domain)
    rules = [("", rule) for rule in loaded.rules]
    for name, scenario in loaded.scenarios.items():
        rules += [(f"{name}: {arm.name}", rule) for arm in scenario.arms for rule in arm.rules]
    if as_json:
        print_json(
            [rule.model_dump(mode="json") | {"arm": arm, "version": rule.version} for arm, rule in rules]
        )
        return
    table = plain_table("rule", "do", "when", "state", "version", left=("do", "when", "state", "version"))
    table.columns[0].no_wrap = True
    for arm, rule in rules:
        table.add_row(
            *map(Text, (rule.name, rule.do, " ".join(rule.when.split()), _state(rule, arm), rule.version))
        )
    console.print(table if rules else f"{loaded.name} has no rules", highlight=False)


@app.command("check")
def check(domain: DomainOption = "movies", as_json: JsonOption = False) -> None:
    """Check every rule, and ask it about its examples; exits with 1 if one is wrong."""
    from recsys.config import load_domain
    from recsys.knowledge.examples import check_examples
    from recsys.knowledge.rules import RuleBook
    from recsys.recommender.experiments import variant

    loaded = load_domain(domain)
    arms = [arm for scenario in loaded.scenarios.values() for arm in scenario.arms if arm.rules]
    domains = [loaded, *(variant(loaded, [arm]) for arm in arms)]
    examples = list(dict.fromkeys(one for each in domains for one in check_examples(RuleBook(each))))
    wrong = [example for example in examples if not example.right]
    if as_json:
        print_json({"rules": len(loaded.rules), "examples": [dataclasses.asdict(one) for one in examples]})
    else:
        for example in wrong:
            found = {True: "true", False: "false", None: "not decided"}[example.holds]
            does = "leaves it out" if example.field == "allows" else "lets it through"
            where = f"rule '{example.rule}', {example.field}, example {example.number}"
            console.print(f"[red]wrong:[/] {escape(where)}: `when` is {found}, so the rule {does}")
        right = len(examples) - len(wrong)
        console.print(
            f"{loaded.name}: {len(loaded.rules)} rules fit; {right} of {len(examples)} examples hold",
            highlight=False,
        )
    if wrong:
        raise typer.Exit(1)


@app.command("report")
def report(
    domain: DomainOption = "movies",
    days: Annotated[int | None, typer.Option("--days", min=1, help="Only the last so many days.")] = None,
    cost: Annotated[
        bool, typer.Option("--cost", help="Measure on held-out events what each rule costs in NDCG@10.")
    ] = False,
    users: Annotated[int, typer.Option("--users", min=2, help="With --cost: how many held-out users.")] = 300,
    as_json: JsonOption = False,
) -> None:
    """Tell how often each rule acted in the answers of the service, and what it costs."""
    from recsys.config import load_domain, load_settings
    from recsys.data.audit import acted
    from recsys.data.store import Store

    loaded = load_domain(domain)
    with Store(load_settings().database_url) as store:
        since = None if days is None else dt.datetime.now(dt.UTC).timestamp() - days * 86_400
        traffic = acted(store, loaded.name, since)
    costs: dict[str, Any] = {}
    if cost:
        from recsys.evaluation.rule_costs import rule_costs

        with ProgressBars() as progress:
            costs = rule_costs(loaded, users, load_settings(), progress)
    if as_json:
        print_json({"traffic": [dataclasses.asdict(line) for line in traffic], "cost": costs})
        return
    console.print(_traffic_table(loaded, traffic) if traffic or loaded.rules else _none(loaded))
    if costs:
        console.print()
        console.print(_cost_table(costs))
        console.print(
            f"held-out lists: {costs['cases']:,} of {costs['split']}; {costs['method']}", style="dim"
        )


def _none(domain: Domain) -> str:
    return f"{domain.name} has no rules"


def _traffic_table(domain: Domain, traffic: Sequence[Acted]) -> Table:
    table = plain_table("rule", "version", "state", "answers", "items", "last", left=("version", "state"))
    rules = {rule.name: rule for rule in domain.rules}
    lines: dict[tuple[str, str], Acted | None] = {(rule.name, rule.version): None for rule in domain.rules}
    lines |= {(line.rule, line.version): line for line in traffic}
    for (name, version), line in lines.items():
        rule = rules.get(name)
        state = _state(rule, "") if rule is not None and rule.version == version else "an earlier version"
        seen = (f"{line.answers:,}", f"{line.items:,}", _time(line.last)) if line else ("0", "0", "")
        table.add_row(*map(Text, (name, version, state, *seen)))
    return table


def _cost_table(costs: Mapping[str, Any]) -> Table:
    table = plain_table("rule", "lists changed", "NDCG@10 lost")
    for name, figures in costs["rules"].items():
        table.add_row(Text(name), f"{figures['share']:.1%}", format_with_interval(figures["lost"]))
    return table


def _state(rule: Rule, arm: str) -> str:
    if rule.until is not None and rule.until < dt.datetime.now(dt.UTC).date():
        return f"ended {rule.until}"
    until = f"until {rule.until}" if rule.until else ""
    return ", ".join(filter(None, ("on trial" if rule.trial else "", until, arm))) or "in force"


def _time(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%d %H:%M")
