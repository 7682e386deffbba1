"""Schema of all options: `Settings` of an installation, `Domain` of a domain.

Settings come from `WHYREC_*` environment variables or keyword arguments and hold for all domains.
A `domain.toml` says how one domain is read, retrieved, ranked and explained.
"""

from __future__ import annotations

from recsys.config.domain import (
    Domain,
    Locality,
    PersonalData,
    Privacy,
    list_domains,
    load_domain,
    shipped_domains,
)
from recsys.config.experiments import Arm, Scenario
from recsys.config.knowledge import Example, Feedback, Rule
from recsys.config.reasons import ReasonConfig, Style
from recsys.config.settings import PACKAGED_EMBEDDER, PACKAGED_MODEL, Settings, load_settings

__all__ = [
    "PACKAGED_EMBEDDER",
    "PACKAGED_MODEL",
    "Arm",
    "Domain",
    "Example",
    "Feedback",
    "Locality",
    "PersonalData",
    "Privacy",
    "ReasonConfig",
    "Rule",
    "Scenario",
    "Settings",
    "Style",
    "list_domains",
    "load_domain",
    "load_settings",
    "shipped_domains",
]
