"""Options that several `recsys evaluate` commands share, and their split."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from recsys.errors import RequestError

if TYPE_CHECKING:
    from recsys.cli.output import ProgressBars
    from recsys.config import Domain
    from recsys.data.batch import ImportBatch
    from recsys.data.splits import Split
    from recsys.evaluation.protocol.base import EvaluationData
    from recsys.types import Interaction

SplitName = Literal[
    "leave-one-out", "temporal", "cold-users", "cold-items", "next-basket", "next-new", "impressions"
]
PartName = Literal["test", "validation"]
DEFAULT_SHARE = {"temporal": 0.8, "cold-items": 0.1, "cold-users": 0.5, "impressions": 0.75}
DEFAULT_OUT = Path("evaluation")

SystemsOption = Annotated[
    str, typer.Option("--systems", "-s", help="Systems to evaluate, by name: 'llm,hybrid'.")
]
UsersOption = Annotated[
    int | None, typer.Option("--users", help="Evaluate this many users, sampled by the seed (default: all).")
]
SeedOption = Annotated[int, typer.Option("--seed", help="Seed of every sample: users, items, resamples.")]
OutOption = Annotated[Path, typer.Option("--out", "-o", help="Folder that the results are written to.")]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Start over if the folder holds another run.")
]
SplitOption = Annotated[
    SplitName,
    typer.Option(
        "--split",
        help="How events are held out; cold-* make users or items new, next-* ask for baskets, "
        "impressions for lists that were shown.",
    ),
]
PartOption = Annotated[PartName, typer.Option("--part", help="validation to tune on, test to report.")]
LastOption = Annotated[
    int, typer.Option("--last", help="Hold out each user's last N events, each of them a target.")
]
ColdOption = Annotated[
    int, typer.Option("--cold", help="cold-users: how many first events of a new user are known.")
]
ShareOption = Annotated[
    float | None,
    typer.Option(
        "--share",
        help="temporal, impressions: share of the events to train on (.8, .75); "
        "cold-users: share of users made new (.5); cold-items: share of items made new (.1).",
    ),
]


@dataclass(frozen=True)
class SplitOptions:
    """How events are held out, and whose."""

    name: SplitName
    part: PartName
    last: int  # events held out per user
    cold: int  # known events of a new user
    share: float | None  # None: the default of the split
    users: int | None  # None: all
    seed: int

    def split(self, batch: ImportBatch, domain: Domain) -> Split:
        """Split the events. Raises RequestError for options that do not fit together."""
        from recsys.data.impressions import impressions, read_impressions
        from recsys.data.splits import sample_users

        events = batch.interactions
        if self.name == "impressions":
            shown = read_impressions(domain, (item.id for item in batch.items))
            split = impressions(events, shown, self.part, self._share())
        else:
            split = self._split(events)
        return split if self.users is None else sample_users(split, self.users, seed=self.seed)

    def _split(self, events: Iterable[Interaction]) -> Split:
        from recsys.data import splits
        from recsys.evaluation.protocol.baskets import next_basket

        share = self._share()
        if self.name in ("next-basket", "next-new"):
            return next_basket(events, self.name, self.part, seed=self.seed)
        if self.name == "temporal":
            return splits.temporal(events, share=share, part=self.part)
        if self.name == "cold-items":
            return splits.cold_items(events, share=share, seed=self.seed, part=self.part)
        split = splits.leave_one_out(events, self.part, self.last)
        if self.name == "cold-users":
            return splits.cold_users(split, self.cold, seed=self.seed, share=share)
        return split

    def _share(self) -> float:
        if self.name not in DEFAULT_SHARE:
            if self.share is not None:
                raise RequestError(
                    f"--share does not apply to --split {self.name}",
                    hint=f"use it with {', '.join(DEFAULT_SHARE)}",
                )
            return 0.0
        share = DEFAULT_SHARE[self.name] if self.share is None else self.share
        if not 0 < share <= 1:
            raise RequestError(f"a share of {share} is out of range", hint="choose between 0 and 1")
        return share


def evaluation_data(
    domain: Domain, batch: ImportBatch, split: Split, seed: int, progress: ProgressBars
) -> EvaluationData:
    """Return what systems are built from, with this machine's settings."""
    from recsys.config import load_settings
    from recsys.evaluation.protocol.base import EvaluationData

    users = {user.id: user for user in batch.users}
    settings = load_settings()
    return EvaluationData.of(
        domain,
        batch.items,
        users,
        split,
        seed=seed,
        settings=settings,
        progress=progress,
        edges=batch.edges or (),
    )


def system_names(systems: str) -> list[str]:
    """Read a list such as "llm,hybrid"."""
    return [name for part in systems.split(",") if (name := part.strip())]


def command_line() -> str:
    """Return the command as it was typed, for `result.json`."""
    return " ".join(["recsys", *sys.argv[1:]])
