"""A domain.toml with an old key gets an error that names the new one."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys.config import load_domain
from recsys.errors import ConfigError

ITEMS = """
name = "small"
noun = "thing"
plural = "things"
[items]
file = "items.csv"
id = "id"
title = "title"
"""
ARMS = "[[scenarios.test.arms]]\nname = 'a'\nshare = 1\n[[scenarios.test.arms]]\nname = 'b'\nshare = 1\n"


@pytest.mark.parametrize(
    ("old", "message"),
    [
        ("[ranker]\nhistory_spare = 2", "ranker.history_spare: renamed; use max_history_trim"),
        (
            "[retriever.weights]\nfacets = 1.0",
            "retriever.weights.facets: removed; wishes are read into conditions",
        ),
        (
            "[retriever.wish_weights]\nfacets = 4.0",
            "retriever.wish_weights.facets: removed; wishes are read into conditions",
        ),
        (
            "[retriever.wish_weights]\nattributes = 4.0",
            "retriever.wish_weights.attributes: removed; wishes are read into conditions",
        ),
        ("[retriever.weights]\nlru = 1.0", "retriever.weights.lru: removed; use gru"),
        ("[retriever.weights]\nattention = 1.0", "retriever.weights.attention: removed; use gru"),
        ("[retriever.lru]\nepochs = 3", "retriever.lru: removed; use gru"),
        ("[retriever.attention]\nheads = 2", "retriever.attention: removed; use gru"),
        ('[retriever.gru]\narchitecture = "lru"', "retriever.gru.architecture: removed; the gru is the only"),
        ("[retriever.gru]\nheads = 2", "retriever.gru.heads: removed; the gru has none"),
        ("[reasons.chosen.en]\ntitle = '{title}'", "reasons.chosen: renamed; use verb"),
        ("[reasons]\nhistory_shown = 2", "reasons.history_shown: removed"),
        ("[finetune]\ntogether = 32", "finetune.together: renamed; use micro_batch_size"),
        ("[finetune.examples]\nplanted = 0.2", "finetune.examples.planted: renamed; use adversarial_text"),
        (
            f"{ARMS}weights = {{ facets = 1.0 }}",
            "scenarios.test.arms.1.weights.facets: removed; wishes are read into conditions",
        ),
        (f"{ARMS}ranker = {{ history_spare = 1 }}", "ranker.history_spare: renamed; use max_history_trim"),
    ],
)
def test_old_key_is_refused_with_what_to_use(old: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "domain.toml").write_text(f"{ITEMS}{old}\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_domain(tmp_path)
    assert message in caught.value.message


def test_other_unknown_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "domain.toml").write_text(f"{ITEMS}[ranker]\nnonsense = 2\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"ranker\.nonsense: Extra inputs are not permitted"):
        load_domain(tmp_path)
