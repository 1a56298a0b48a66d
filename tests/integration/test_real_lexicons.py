"""Lexicons on real text: abbreviations that annotators marked, and gold mentions found where they stand."""

import gzip
import json
import re
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

from typer.testing import Result

from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.readers import read_documents, read_labelled
from mslm_cli.terms.definitions import find_abbreviations
from mslm_cli.text.sentences import split_sentences

Mslm = Callable[..., Result]


def pair(short: str, long: str) -> tuple[str, str]:
    return " ".join(short.split()).casefold(), " ".join(long.split()).casefold()


def test_abbreviations_of_med1250(shared_data: Path) -> None:
    raw = gzip.decompress((shared_data / "abbrev-MED1250/MED1250_labeled.txt.gz").read_bytes())
    n_right = n_found = n_gold = 0
    for block in re.split(r"\n\s*\n", raw.decode("cp1252", "replace").strip()):
        lines = block.split("\n")[1:]
        gold = {pair(*line.strip().split("|")) for line in lines if line.startswith("  ")}
        text = "\n".join(line for line in lines if not line.startswith("  "))
        found = {
            pair(*definition)
            for start, end in split_sentences(text)
            for definition in find_abbreviations(text[start:end])
        }
        n_right, n_found, n_gold = n_right + len(gold & found), n_found + len(found), n_gold + len(gold)
    assert n_gold == 1199
    # scispaCy's AbbreviationDetector: 0.904 and 0.741
    assert n_right / n_found > 0.96
    assert n_right / n_gold > 0.78


def test_gold_mentions_are_found_again(shared_data: Path, in_tmp: Path, mslm: Mslm) -> None:
    train = shared_data / "NCBI-disease/train.tsv.gz"
    made = mslm("extract-terms", "--from-labels", train, "-o", "lexicon")
    assert made.exit_code == 0, made.stderr
    matched = mslm("match", train, "--lexicon", "lexicon")
    found = [json.loads(line) for line in matched.stdout.splitlines()]
    documents = {document.id: document for document in read_documents([train], DataOptions())}
    assert len(documents) == 2, "long enough to come in parts"
    for record in found:
        assert documents[record["doc"]].text[record["start"] : record["end"]] == record["text"]
    places = {(record["doc"], record["start"], record["end"]) for record in found}
    firsts = [(doc.id, first) for doc in documents.values() for first, _ in doc.sentences or ()]
    n_mentions = n_again = 0
    for (doc, first), sentence in zip(firsts, read_labelled(train).sentences, strict=True):
        starts = list(accumulate((len(word) + 1 for word in sentence.words), initial=first))
        for start, end, _ in sentence.mentions:
            n_mentions += 1
            n_again += (doc, starts[start], starts[end] - 1) in places
    assert n_mentions == 5134
    assert n_again / n_mentions > 0.97  # the others lie in longer matches
