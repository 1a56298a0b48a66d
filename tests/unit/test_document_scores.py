"""Scores of relations against slow counts, among them the official one of CDR: pairs of concepts in a document."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.predictions import read_scored_documents
from mslm_cli.corpus.relations import read_relations
from mslm_cli.corpus.scored_documents import ScoredDocuments, ScoredEntity, scored_document
from mslm_cli.errors import DataError
from mslm_cli.evaluation.document_scores import errors, lines_with_errors, score_documents, sides

TYPES = ("X", "Y")
Items = list[tuple[int, int, str]]

items = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.sampled_from(TYPES)).filter(lambda item: item[0] != item[1]),
    max_size=6,
    unique=True,
)


def scored(gold: list[Items], predicted: list[Items]) -> ScoredDocuments:
    """Documents of four entities, one word each, in two sentences."""
    entities = [ScoredEntity(f"C{i}", "T", ((i, i + 1),)) for i in range(4)]
    documents = [
        scored_document(f"d{n}", "relations", [["a", "b"], ["c", "d"]], g, [(item, 0.9) for item in p], entities)
        for n, (g, p) in enumerate(zip(gold, predicted, strict=True))
    ]
    return ScoredDocuments(tuple(documents), "relations")


@given(st.lists(st.tuples(items, items), min_size=1, max_size=5))
@example([([], [(2, 1, "X")]), ([(0, 1, "X")], [])])  # no tail has a number as large as this head
def test_micro_f1_is_that_of_a_slow_count(documents: list[tuple[Items, Items]]) -> None:
    gold, predicted = map(list, zip(*documents, strict=True))
    results = score_documents(scored(gold, predicted), None, n_replicates=5, seed=0, n_examples=1)
    n_right = sum(item in g for g, p in documents for item in p)
    n_gold, n_predicted = (sum(map(len, side)) for side in (gold, predicted))
    match = results["exact_match"]
    assert (match["gold"], match["predicted"], match["correct"]) == (n_gold, n_predicted, n_right)
    assert match["f1"] == pytest.approx(2 * n_right / (n_gold + n_predicted) if n_gold + n_predicted else 0.0)
    for kind in TYPES:
        if kind in match["per_type"]:
            right = sum(item in g and item[2] == kind for g, p in documents for item in p)
            assert match["per_type"][kind]["correct"] == right
    for by in ("distance", "sentences", "mention_length"):
        assert sum(of["gold"] for of in results["slices"][by].values()) == n_gold
        assert sum(of["correct"] for of in results["slices"][by].values()) == n_right


@given(items, items)
def test_each_wrong_item_is_in_one_error(gold: Items, predicted: Items) -> None:
    corpus = scored([gold], [predicted])
    found = errors(*sides(corpus))
    (line,) = lines_with_errors(corpus)
    missed = [error["gold"] for error in line.get("errors", ()) if "gold" in error]
    wrong = [error["pred"] for error in line.get("errors", ()) if "pred" in error]
    assert sorted(corpus.documents[0].gold[i] for i in missed) == sorted(set(gold) - set(predicted))
    assert sorted(corpus.documents[0].predicted[i] for i in wrong) == sorted(set(predicted) - set(gold))
    assert len(missed) == len(set(missed))
    assert sum(map(len, found.values())) == len(line.get("errors", ()))


def test_direction_counts_and_a_reversed_relation_is_an_error_of_its_own() -> None:
    corpus = scored([[(0, 1, "X")], [(0, 2, "X")]], [[(1, 0, "X")], [(0, 2, "Y")]])
    results = score_documents(corpus, None, n_replicates=5, seed=0, n_examples=3)
    assert results["exact_match"]["f1"] == 0
    assert {kind: of["n"] for kind, of in results["errors"].items()} == {
        "wrong_type": 1,
        "wrong_direction": 1,
        "missed": 0,
        "spurious": 0,
    }


def test_slices_by_distance_sentence_and_what_is_related_in_training(tmp_path: Path) -> None:
    train = tmp_path / "a.txt"
    rows = ["1|t|a b", "1|a|", "1\t0\t1\ta\tT\tC0", "1\t2\t3\tb\tT\tC1", "1\tX\tC0\tC1"]
    train.write_text("\n".join(rows) + "\n")
    corpus = scored([[(0, 1, "X"), (0, 2, "X")]], [[(0, 1, "X")]])
    known = read_relations(train, DataOptions())
    slices = score_documents(corpus, known, n_replicates=5, seed=0, n_examples=0)["slices"]
    assert {name: of["gold"] for name, of in slices["sentences"].items()} == {"same": 1, "different": 1}
    assert {name: of["correct"] for name, of in slices["seen_pair"].items()} == {"related": 1, "not related": 0}
    assert slices["distance"]["0-4"]["gold"] == 2


def official_cdr(gold: str, predicted: str) -> tuple[int, int, int]:
    """True positives, false positives and false negatives as the evaluation of CDR counts them, slowly.

    Source: Wei et al. 2016, "Assessing the state of the art in biomedical relation extraction: overview of the
    BioCreative V chemical-disease relation (CDR) task": pairs of concept identifiers, each once in a document.
    """
    counts = [0, 0, 0]
    pairs: list[dict[str, list[tuple[str, str]]]] = []
    for text in (gold, predicted):
        of_text: dict[str, list[tuple[str, str]]] = {}
        for line in text.splitlines():
            cells = line.split("\t")
            if len(cells) == 4 and cells[1] == "CID":
                own = of_text.setdefault(cells[0], [])
                if (cells[2], cells[3]) not in own:
                    own.append((cells[2], cells[3]))
        pairs.append(of_text)
    for document in {**pairs[0], **pairs[1]}:
        for pair in pairs[1].get(document, []):
            counts[0 if pair in pairs[0].get(document, []) else 1] += 1
        for pair in pairs[0].get(document, []):
            counts[2] += pair not in pairs[1].get(document, [])
    return counts[0], counts[1], counts[2]


def test_scores_of_cdr_are_the_official_ones(shared_data: Path) -> None:
    """Predicted: every other gold pair, and the pairs of the first drug and disease of every third document."""
    file = shared_data / "re-BC5CDR-CID/devel.pubtator.txt.gz"
    corpus = read_relations(file, DataOptions())
    documents, rows = [], []
    for number, document in enumerate(corpus.documents):
        found = list(document.relations[::2])
        first = {kind: i for i, entity in reversed(list(enumerate(document.entities))) for kind in [entity.type]}
        if number % 3 == 0 and len(first) == 2:
            found.append((first["Chemical"], first["Disease"], "CID"))
        found = list(dict.fromkeys(found))
        ids = [entity.id for entity in document.entities]
        rows += [f"{document.id}\tCID\t{ids[head]}\t{ids[tail]}" for head, tail, _ in found]
        entities = [ScoredEntity(entity.id, entity.type, entity.mentions) for entity in document.entities]
        words = [[document.text[a:b] for a, b in document.words]]
        predicted = [(relation, 0.5) for relation in found]
        documents.append(scored_document(document.id, "relations", words, document.relations, predicted, entities))
    scores = score_documents(ScoredDocuments(tuple(documents), "relations"), None, n_replicates=5, seed=0, n_examples=0)
    right, wrong, missed = official_cdr(gzip.decompress(file.read_bytes()).decode(), "\n".join(rows))
    match = scores["exact_match"]
    assert right > 400
    assert wrong > 50
    assert (match["correct"], match["predicted"], match["gold"]) == (right, right + wrong, right + missed)


def test_predictions_are_read_as_they_were_written_with_and_without_text(tmp_path: Path) -> None:
    corpus = scored([[(0, 1, "X")], []], [[(1, 0, "X")], [(2, 3, "Y")]])
    for one in (corpus, corpus.without_text()):
        path = tmp_path / "predictions.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines_with_errors(one)))
        assert read_scored_documents(path) == one
        assert ('"words"' in path.read_text()) == (one is corpus)


def test_a_damaged_line_of_predictions_is_refused_with_its_number(tmp_path: Path) -> None:
    corpus = scored([[(0, 1, "X")]], [[]])
    line = corpus.documents[0].to_json()
    path = tmp_path / "predictions.jsonl"
    path.write_text(json.dumps(line) + "\n" + json.dumps(line | {"gold": [[0, 9, "X"]]}) + "\n")
    with pytest.raises(DataError, match=r"predictions\.jsonl:2: not a document"):
        read_scored_documents(path)


def test_the_errors_of_labels_are_of_the_wrong_label_where_there_is_one() -> None:
    def of(gold: list[str], found: list[str]) -> ScoredDocuments:
        document = scored_document(
            "d", "documents", [["a"]], [(0, 0, x) for x in gold], [((0, 0, x), 0.5) for x in found]
        )
        return ScoredDocuments((replace(document, entities=()),), "documents")

    def counts(corpus: ScoredDocuments) -> dict[str, int]:
        return {kind: len(pairs) for kind, pairs in errors(*sides(corpus)).items() if pairs}

    assert counts(of(["a"], ["b"])) == {"wrong_type": 1}
    assert counts(of(["a", "b"], ["b", "c"])) == {"missed": 1, "spurious": 1}
