"""Every strategy masks the share of real corpora that it is told to."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from masks import RATES, draw, solve

from mslm_cli import artifacts
from mslm_cli.config import ExtractTermsConfig, PreprocessConfig
from mslm_cli.corpus.readers import read_labelled
from mslm_cli.errors import UsageError
from mslm_cli.masking import pmi
from mslm_cli.masking.batch import RaggedBatch
from mslm_cli.masking.blocks import Blocks
from mslm_cli.masking.shards import ShardReader
from mslm_cli.stages import preprocess
from mslm_cli.terms.lexicon import Term, is_too_short, write_terms


@pytest.fixture(scope="module", params=["NCBI-disease", "JNLPBA"])
def shards(
    request: pytest.FixtureRequest, shared_data: Path, tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory
) -> ShardReader:
    """The training text of a corpus, with its own mentions as DS-terms."""
    folder = tmp_path_factory.mktemp("budgets")
    source = shared_data / request.param / "train.tsv.gz"
    mentions = {" ".join(s.words[a:b]) for s in read_labelled(source).sentences for a, b, _ in s.mentions}
    with artifacts.ArtifactBuild("lexicon", folder / "lexicon", ExtractTermsConfig(), []).publish() as staged:
        write_terms(
            staged.path / "terms.jsonl",
            [Term(mention, ("user",)) for mention in sorted(mentions) if not is_too_short(mention)],
        )
    config = PreprocessConfig(model=str(tiny_encoder), max_length=64, strategy="none")
    preprocess.run([source], folder / "shards", config, lexicon=folder / "lexicon")
    return ShardReader(folder / "shards")


@pytest.fixture(scope="module")
def blocks(shards: ShardReader) -> Blocks:
    def read() -> Iterator[RaggedBatch]:
        for first in range(0, len(shards), 20_000):
            yield shards.batch(np.arange(first, min(first + 20_000, len(shards))))

    return Blocks(read)


@pytest.fixture(scope="module")
def collocations(blocks: Blocks) -> pmi.PmiVocabulary:
    return pmi.build(blocks, 10)


@pytest.mark.parametrize("strategy", sorted(RATES.keys() - {"none"}))
def test_the_budget_is_met(blocks: Blocks, collocations: pmi.PmiVocabulary, strategy: str) -> None:
    share = 0.05 if strategy == "entity" else 0.15
    (rates,) = solve(strategy, blocks, [share], elm_rate=0.25, seed=0, vocabulary=collocations)
    n_tokens = n_masked = n_sequences = 0
    for batch in blocks():
        n_tokens += int(batch.n_ordinary.sum())
        n_sequences += len(batch)
        n_masked += int((draw(strategy, batch, **rates, seed=0, epoch=0, vocabulary=collocations).kinds > 0).sum())
    assert n_tokens > 500_000
    assert abs(n_masked / n_tokens - share) < 0.002
    assert abs(n_masked / n_tokens - share) < 0.0001, "far better than promised, because it is solved for"


def test_too_much_elm_is_refused(blocks: Blocks) -> None:
    with pytest.raises(UsageError, match="the largest feasible --elm-rate is 0"):
        solve("mslm", blocks, [0.02], elm_rate=1.0, seed=0)


def test_real_text_has_collocations_of_every_order(collocations: pmi.PmiVocabulary) -> None:
    assert all(len(collocations.keys[n]) > 10 for n in (2, 3, 4, 5))
