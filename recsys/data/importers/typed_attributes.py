"""Check of typed attributes: a value of another type is an error, or missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from recsys.config.attributes import AttributeType
from recsys.config.tables import Column
from recsys.data.batch import ImportReport
from recsys.errors import DataError
from recsys.knowledge.typed_values import WrongValue, read_value
from recsys.types import Item

JUMP = 100.0  # times the median of a money attribute from which a value is worth a look

CellError = Callable[[int, str, str, str], DataError]
"""Makes the error of a row index and a column: called with (index, column, problem, hint)."""


def read_typed(
    items: Sequence[Item],
    columns: Mapping[str, Column],
    kinds: Mapping[str, AttributeType],
    report: ImportReport,
    error: CellError,
) -> list[Item]:
    """Return the items with their typed attributes as they are shown.

    Args:
        items: One per row.
        columns: The source column of each attribute.
        kinds: The types; an attribute without one is left as it is.
        report: Where missing values are counted, and prices that look wrong are warned of.
        error: Makes the error of a cell.

    Raises:
        DataError: For the first wrong value, unless its column says that it is missing.
    """
    for name, column in columns.items():
        if (kind := kinds.get(name)) is None:
            continue
        amounts = []
        checked = []
        for index, item in enumerate(items):
            shown = []
            for text in item.attributes.get(name, ()):
                if text in column.missing:
                    continue
                try:
                    value = read_value(text, name, kind)
                except WrongValue as wrong:
                    if column.invalid == "error":
                        hint = f'correct it, or set invalid = "missing" for {name} in domain.toml'
                        raise error(index, column.column, str(wrong), hint) from wrong
                    report.missing[name] += 1
                    continue
                shown.append(value.shown)
                amounts.append((value.first, value.shown))
            checked.append(_with(item, name, tuple(dict.fromkeys(shown))))
        items = checked
        if kind.type == "money":
            report.warnings += _jumps(name, [(amount, shown) for amount, shown in amounts if amount])
    return list(items)


def _with(item: Item, name: str, values: tuple[str, ...]) -> Item:
    held = item.attributes.get(name, ())
    if held == values:
        return item
    attributes = {**item.attributes, name: values}
    return item.model_copy(update={"attributes": {key: value for key, value in attributes.items() if value}})


def _jumps(name: str, amounts: Sequence[tuple[float, str]]) -> list[str]:
    """Warn of amounts that are a hundred times the median: often cents read as units."""
    if len(amounts) < 3:
        return []
    middle, shown = sorted(amounts)[len(amounts) // 2]
    largest = max(amounts)
    count = sum(amount > JUMP * middle for amount, _ in amounts)
    if not count:
        return []
    text = f"{count:,} of {len(amounts):,} values of {name} are over a hundred times the median of {shown}"
    hint = f"cents read as whole units? set most for [attributes.{name}] to refuse them"
    return [f"{text}, the largest {largest[1]}: {hint}"]
