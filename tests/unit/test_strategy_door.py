"""A masking strategy that is defined here alone, and comes with an installed package, works wherever the others do."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import plugin
import pytest
import tiny_study
from typer.testing import Result

from mslm_cli import code_identity
from mslm_cli.masking.strategies import BUILT_IN

Mslm = Callable[..., Result]

RARE = '''
    """Words that are rare in the text: a vocabulary of the frequent ones is worked out first."""

    import numpy as np

    from mslm_cli.masking.pmi import word_keys
    from mslm_cli.masking.strategies import Preparation, Remark, Strategy
    from mslm_cli.masking.units import independent

    def build(blocks, options):
        keys, counts = np.unique(np.concatenate([word_keys(batch) for batch in blocks()]), return_counts=True)
        return keys[counts > 30]

    def save(folder, frequent):
        np.save(folder / "frequent.npy", frequent)

    def load(folder):
        return np.load(folder / "frequent.npy")

    def units(context):
        is_rare = ~np.isin(word_keys(context.batch), context.state)
        starts, ends = context.batch.words
        return {"rate": independent(context, starts[is_rare], ends[is_rare], stream="rare")}

    class Counts:
        def __init__(self, options):
            self.n_frequent = 0

        def add(self, context, drawn):
            self.n_frequent = len(context.state)

        def merge(self, other):
            self.n_frequent = other.n_frequent

        def to_json(self):
            return {"n_frequent_words": self.n_frequent}

        def remarks(self):
            yield Remark(f"{self.n_frequent} words are too frequent to be masked")

    PREPARATION = Preparation(build, save, load)
    ENTRY = Strategy("rare", "rare words", {"rate": "rare words"}, units, preparation=PREPARATION, statistics=Counts)
'''
OPTIONS = ("--strategy", "rare", "--model", "encoder", "--max-length", 64)


@pytest.fixture
def place(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder, and the package with the strategy."""
    plugin.install(workplace / "site", monkeypatch, "mslm.strategies", "rare", RARE)
    return workplace


def shown(mslm: Mslm, shards: str, epoch: int = 0) -> list[dict[str, Any]]:
    result = mslm("show-masks", shards, "--n", 1000, "--epoch", epoch, "--json")
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_it_masks_at_its_rate_and_nothing_else(place: Path, mslm: Mslm) -> None:
    made = mslm("preprocess", "text.txt", *OPTIONS, "--rate", 1, "-o", "masked")
    assert made.exit_code == 0, made.stderr
    stats = json.loads(Path("masked/stats.json").read_bytes())
    assert f"{stats['n_frequent_words']} words are too frequent to be masked" in made.stderr
    assert stats["asked"] == {"rate": 1.0}
    masked = {token for s in shown(mslm, "masked") for token, kind in zip(s["ids"], s["kind"], strict=True) if kind}
    whole = {token for s in shown(mslm, "masked") for token, word in zip(s["ids"], s["word_ids"], strict=True) if word}
    assert masked
    assert masked < whole


def test_it_meets_a_budget_stored_and_drawn(place: Path, mslm: Mslm) -> None:
    for name, how in (("stored", ["--copies", 3]), ("drawn", ["--copies", 3, "--dynamic"])):
        made = mslm("preprocess", "text.txt", *OPTIONS, "--budget", 0.2, *how, "-o", name)
        assert made.exit_code == 0, made.stderr
        stats = json.loads(Path(name, "stats.json").read_bytes())
        assert [copy["realised"]["all_tokens"] for copy in stats["copies"]] == pytest.approx([0.2] * 3, abs=0.002)
    masks = [shown(mslm, "stored", epoch) for epoch in range(3)]
    assert masks == [shown(mslm, "drawn", epoch) for epoch in range(3)]
    assert masks[0] != masks[1]


def test_it_draws_other_numbers_than_the_built_in_ones(place: Path, mslm: Mslm) -> None:
    """Of the words that both can mask, they mask different ones."""
    for name in ("rare", "word"):
        made = mslm("preprocess", "text.txt", *OPTIONS[2:], "--strategy", name, "--rate", 0.5, "-o", f"of-{name}")
        assert made.exit_code == 0, made.stderr
    kinds = [[kind for s in shown(mslm, f"of-{name}") for kind in s["kind"]] for name in ("rare", "word")]
    both = sum(a > 0 and b > 0 for a, b in zip(*kinds, strict=True))
    n_rare = sum(kind > 0 for kind in kinds[0])
    assert 0.3 < both / n_rare < 0.7


def test_it_adapts_an_encoder(place: Path, mslm: Mslm) -> None:
    mslm("preprocess", "text.txt", *OPTIONS, "--rate", 0.5, "-o", "masked")
    arguments = ("adapt", "masked", "--model", "encoder", "--steps", 3, "--head-warmup-steps", 1, "--threads", 1)
    made = mslm(*arguments, "-o", "adapted-on-rare")
    assert made.exit_code == 0, made.stderr
    assert "`rare`" in Path("adapted-on-rare/README.md").read_text()
    refused = mslm(*arguments, "--sbo", 1, "-o", "with-sbo")
    assert refused.exit_code == 2
    with_runs = ", ".join(strategy.name for strategy in BUILT_IN if strategy.masks_runs)
    assert f"strategy rare has none (use --strategy {with_runs})" in refused.stderr


def test_it_is_an_arm_of_a_study_and_of_its_verdict(place: Path, mslm: Mslm) -> None:
    arm = '[[arm]]\nkind = "rare"\nrate = 0.3\n'
    file = tiny_study.write(place, tiny_study.HEAD.replace("[1, 2]", "[1, 2, 3]") + arm)
    done = mslm("sweep", file, "-o", "study", "--json", "--threads", 1)
    assert done.exit_code == 0, done.stderr
    verdict = json.loads(done.stdout)
    assert [found["name"] for found in verdict["arms"]] == ["vanilla", "rare rate 0.3"]
    assert "rare rate 0.3" in json.dumps(verdict["sentence"])
    file.write_text(file.read_text() + "elm_rate = 0.5\n")
    refused = mslm("sweep", file, "-o", "other")
    assert refused.exit_code == 2
    assert "elm_rate does not apply to kind 'rare'" in refused.stderr


def test_its_name_is_a_strategy(place: Path, mslm: Mslm) -> None:
    refused = mslm("preprocess", "text.txt", "--strategy", "common", "--model", "encoder", "-o", "masked")
    assert refused.exit_code == 2
    built_in = ", ".join(strategy.name for strategy in BUILT_IN)
    assert refused.stderr == f"error: --strategy: expected {built_in} or rare, found 'common'\n"


def test_its_source_is_part_of_the_fingerprint(place: Path) -> None:
    assert "mslm_toy" in code_identity.sources_of("shards", {"strategy": "rare"})
    assert "mslm_toy" not in code_identity.sources_of("shards", {"strategy": "word"})


def test_a_broken_plug_in_is_named(workplace: Path, monkeypatch: pytest.MonkeyPatch, mslm: Mslm) -> None:
    plugin.install(workplace / "site", monkeypatch, "mslm.strategies", "rare", "ENTRY = 1 / 0")
    refused = mslm("preprocess", "text.txt", *OPTIONS, "-o", "masked")
    assert refused.exit_code == 5
    assert refused.stderr.startswith("error: plug-in 'rare' of package mslm-toy (entry point mslm_toy:ENTRY, group ")
    assert "cannot be loaded: ZeroDivisionError: division by zero (repair or uninstall mslm-toy)" in refused.stderr
    assert mslm("preprocess", "text.txt", *OPTIONS[2:], "--strategy", "word", "-o", "masked").exit_code == 0
