"""Every labelled folder of shared/data reads to the counts that its README states, and every text file reads at all."""

import gzip
import random
import re
from pathlib import Path

import pytest
from seqeval.metrics.sequence_labeling import get_entities
from seqeval_scores import assert_same, seqeval_report, with_noise

from mslm_cli.corpus.documents import LabelledCorpus
from mslm_cli.corpus.labels import strict_mentions, tags_from_mentions
from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.readers import read_documents, read_labelled
from mslm_cli.corpus.seen import Sketch
from mslm_cli.errors import DataError
from mslm_cli.evaluation.exact_match import exact_match, match_spans
from mslm_cli.evaluation.spans import TagMode, spans_from_tags

# file: sentences, mentions, types, scheme, orphans, empty words
CORPORA = {
    "NCBI-disease/train.tsv.gz": (5424, 5134, 1, "IOB2", 0, 0),
    "NCBI-disease/devel.tsv.gz": (923, 787, 1, "IOB2", 0, 0),
    "NCBI-disease/test.tsv.gz": (940, 960, 1, "IOB2", 0, 0),
    "BC5CDR-disease/train.tsv.gz": (4560, 4182, 1, "IOB2", 0, 0),
    "BC5CDR-disease/devel.tsv.gz": (4581, 4246, 1, "IOB2", 0, 0),
    "BC5CDR-disease/test.tsv.gz": (4797, 4424, 1, "IOB2", 0, 0),
    "BC5CDR-chem/train.tsv.gz": (4560, 5203, 1, "IOB2", 0, 0),
    "BC5CDR-chem/devel.tsv.gz": (4581, 5347, 1, "IOB2", 0, 0),
    "BC5CDR-chem/test.tsv.gz": (4797, 5385, 1, "IOB2", 0, 0),
    "BC2GM/train.tsv.gz": (12574, 15197, 1, "IOB2", 0, 0),
    "BC2GM/devel.tsv.gz": (2519, 3061, 1, "IOB2", 0, 0),
    "BC2GM/test.tsv.gz": (5038, 6325, 1, "IOB2", 0, 0),
    "JNLPBA/train.tsv.gz": (14690, 32178, 1, "IOB2", 0, 0),
    "JNLPBA/devel.tsv.gz": (3856, 8575, 1, "IOB2", 0, 0),
    "JNLPBA/test.tsv.gz": (3856, 6241, 1, "IOB2", 0, 0),
    "linnaeus/train.tsv.gz": (11935, 2119, 1, "IOB2", 0, 0),
    "linnaeus/devel.tsv.gz": (4078, 711, 1, "IOB2", 0, 0),
    "linnaeus/test.tsv.gz": (7142, 1433, 1, "IOB2", 0, 0),
    "mtl-BC5CDR-IOB/train.txt.gz": (4560, 5203 + 4182, 2, "IOB2", 0, 0),
    "mtl-BC5CDR-IOB/devel.txt.gz": (4581, 5347 + 4246, 2, "IOB2", 0, 0),
    "mtl-BC5CDR-IOB/test.txt.gz": (4797, 5385 + 4424, 2, "IOB2", 0, 0),
    "mtl-AnatEM-IOB/train.txt.gz": (5861, 6946, 1, "IOB2", 0, 0),
    "mtl-AnatEM-IOB/devel.txt.gz": (2118, 2139, 1, "IOB2", 0, 0),
    "mtl-AnatEM-IOB/test.txt.gz": (3830, 4616, 1, "IOB2", 0, 0),
    "mtl-CRAFT-IOB/train.txt.gz": (10875, 29026, 6, "IOB2", 0, 0),
    "mtl-CRAFT-IOB/devel.txt.gz": (3730, 9727, 6, "IOB2", 0, 0),
    "mtl-CRAFT-IOB/test.txt.gz": (7425, 18881, 6, "IOB2", 0, 0),
    "jnlpba-typed/test.iob2.gz": (3856, 8662, 5, "IOB2", 0, 0),
    "jnlpba-typed/mtl-devel.txt.gz": (1739, 4551, 5, "IOB2", 0, 0),
    "pico-AD/train.txt.gz": (581, 1142, 4, "IOB2", 0, 2),
    "pico-AD/devel.txt.gz": (64, 134, 4, "IOB2", 2, 0),
    "pico-AD/test.txt.gz": (93, 138, 4, "IOB2", 1, 0),
    "pico-EBM-NLPmod/train.txt.gz": (1576, 3011, 4, "IOB2", 11, 17),
    "pico-EBM-NLPmod/devel.txt.gz": (205, 392, 4, "IOB2", 1, 0),
    "pico-EBM-NLPmod/test.txt.gz": (165, 372, 4, "IOB2", 0, 0),
    "sciie/train.txt.gz": (1861, 5572, 6, "IOB1", 0, 0),
    "sciie/devel.txt.gz": (275, 808, 6, "IO", 0, 0),
    "sciie/test.txt.gz": (551, 1683, 6, "IOB1", 0, 0),
    "sec-filings/train.txt.gz": (1164, 1168, 4, "IO", 0, 0),
    "sec-filings/test.txt.gz": (303, 318, 4, "IO", 0, 0),
    "masakhaner2-yor/train.txt.gz": (6876, 11591, 4, "IOB2", 1, 0),
    "masakhaner2-yor/devel.txt.gz": (983, 995, 4, "IOB2", 0, 0),
    "masakhaner2-yor/test.txt.gz": (1964, 2009, 4, "IOB2", 1, 0),
    "wnut17/train.txt.gz": (3394, 1975, 6, "IOB2", 0, 0),
    "wnut17/devel.txt.gz": (1009, 836, 6, "IOB2", 0, 0),
    "wnut17/test.txt.gz": (1287, 1079, 6, "IOB2", 0, 0),
}
SPLITS = ("train", "devel", "test")


@pytest.fixture(scope="module", params=CORPORA)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def corpus(shared_data: Path, name: str) -> LabelledCorpus:
    """One of the corpora, read once for all tests of it."""
    return read_labelled(shared_data / name)


def readme_rows(shared_data: Path) -> dict[str, list[str]]:
    """The cells after the folder name of each row of the README's table; rows of several folders come once for each."""
    rows = [line.strip("|").split("|") for line in (shared_data / "README.md").read_text().splitlines() if "|" in line]
    return {folder.strip(): [cell.strip() for cell in cells[1:]] for cells in rows for folder in cells[0].split(",")}


def stated(cell: str) -> list[tuple[int | None, ...]]:
    """The runs of train/devel/test numbers in a cell; ``-`` is a split that does not exist."""
    runs = re.findall(r"(\d+)\s*/\s*(\d+|-)\s*/\s*(\d+)(?![\d ]*abstracts)", cell)
    return [tuple(None if number == "-" else int(number) for number in run) for run in runs]


def test_counts(name: str, corpus: LabelledCorpus) -> None:
    n_mentions = sum(len(sentence.mentions) for sentence in corpus.sentences)
    found = (len(corpus.sentences), n_mentions, len(corpus.types), corpus.scheme)
    assert (*found, corpus.n_orphans, corpus.n_empty_words) == CORPORA[name]


def test_counts_are_the_readmes(shared_data: Path) -> None:
    n_checked = 0
    for folder, cells in readme_rows(shared_data).items():
        counted = [next((CORPORA[n] for n in CORPORA if n.startswith(f"{folder}/{s}.")), None) for s in SPLITS]
        if folder == "jnlpba-typed" or not any(counted):
            continue
        sentences = tuple(row and row[0] for row in counted)
        mentions = tuple(row and row[1] for row in counted)
        runs = stated(cells[2])
        if folder in ("pico-AD", "pico-EBM-NLPmod", "mtl-BC5CDR-IOB", "mtl-AnatEM-IOB", "mtl-CRAFT-IOB"):
            assert sentences in runs, folder  # these rows state the sentences of each folder in turn
        else:
            assert runs[0] == sentences, folder
            assert len(runs) == 1 or mentions in runs[1:], folder
        n_checked += 1
    assert n_checked == len({name.split("/")[0] for name in CORPORA}) - 1


def test_mentions_equal_conllevals_and_survive_iob2(shared_data: Path, name: str, corpus: LabelledCorpus) -> None:
    lines = [line.split() for line in gzip.decompress((shared_data / name).read_bytes()).decode().split("\n")]
    tags: list[list[str]] = [[]]
    for cells in lines:
        if cells and cells[0] != "-DOCSTART-":
            tags[-1].append(cells[-1])
        elif tags[-1]:
            tags.append([])
    mentions = [list(sentence.mentions) for sentence in corpus.sentences]
    expected = [
        [(start, end + 1, "MENTION" if kind == "_" else kind) for kind, start, end in get_entities(sentence)]
        for sentence in tags
        if sentence
    ]
    assert mentions == expected
    again = [strict_mentions(tags_from_mentions(s.mentions, len(s.words))) for s in corpus.sentences]
    scores = exact_match(mentions, again).micro
    assert scores.gold == scores.predicted == scores.correct == CORPORA[name][1]


def test_labelled_files_are_text_with_their_sentences(shared_data: Path, name: str) -> None:
    documents = list(read_documents([shared_data / name], DataOptions()))
    assert sum(len(document.sentences or ()) for document in documents) == CORPORA[name][0]
    for document in documents:
        for start, end in document.sentences or ():
            assert document.text[start:end].strip()
            assert "\n" not in document.text[start:end]


def test_document_marks_without_ids_separate_documents(shared_data: Path) -> None:
    corpus = read_labelled(shared_data / "sciie/train.txt.gz")
    assert len({sentence.doc for sentence in corpus.sentences}) == 350
    documents = list(read_documents([shared_data / "pico-AD/train.txt.gz"], DataOptions()))
    assert len(documents) == 120
    assert not any(document.has_id for document in documents)


@pytest.mark.parametrize(
    ("name", "n_documents"),
    [
        ("unlabelled/med1250_abstracts.txt.gz", 1254),
        ("unlabelled/pubmedqa_abstracts.txt.gz", 1000),
        ("unlabelled/craft_fulltext_30articles.txt.gz", 30),
        ("unlabelled/medquad_answers.txt.gz", 5481),
        ("wikitext2/test.txt.gz", 1320),
        ("re-BC5CDR-CID/test.pubtator.txt.gz", 500),
    ],
)
def test_running_text_is_not_mistaken_for_conll(shared_data: Path, name: str, n_documents: int) -> None:
    documents = list(read_documents([shared_data / name], DataOptions()))
    assert len(documents) == n_documents
    assert all(document.sentences is None for document in documents)


def test_other_tables_are_not_mistaken_for_conll(shared_data: Path) -> None:
    for name in ("re-GAD/train.tsv.gz", "re-GAD/test.tsv.gz", "re-chemprot/test.jsonl.gz"):
        first = next(read_documents([shared_data / name], DataOptions()))
        assert first.sentences is None


def test_text_that_is_not_utf8_is_named_with_its_line(shared_data: Path) -> None:
    path = shared_data / "abbrev-MED1250/MED1250_labeled.txt.gz"
    with pytest.raises(DataError, match=r"MED1250_labeled\.txt\.gz:1458: not valid UTF-8: byte 0x94"):
        list(read_documents([path], DataOptions()))
    assert gzip.decompress(path.read_bytes()).split(b"\n")[1457].count(b"\x94")
    assert len(list(read_documents([path], DataOptions(encoding="cp1252", errors="replace")))) > 1000


def test_archives_are_named_as_binary(shared_data: Path) -> None:
    with pytest.raises(DataError, match=r"corp\.tar\.gz:1: a binary file"):
        list(read_documents([shared_data / "acter-en-corp/corp.tar.gz"], DataOptions()))


def test_the_sketch_finds_shared_sentences(shared_data: Path) -> None:
    def sentences(name: str) -> list[str]:
        return [" ".join(sentence.words) for sentence in read_labelled(shared_data / name).sentences]

    sketch = Sketch()
    for sentence in sentences("BC5CDR-chem/test.tsv.gz"):
        sketch.add(sentence)
    test = sentences("mtl-BC5CDR-IOB/test.txt.gz")
    n_long = sum(len(re.findall(r"[^\W_]+", sentence)) >= 5 for sentence in test)
    assert sketch.count(test) == n_long > 4000
    assert sketch.count(sentences("wnut17/test.txt.gz")) == 0


def test_the_sketch_agrees_between_raw_and_tokenised_text(shared_data: Path) -> None:
    raw = Sketch()
    for document in read_documents([shared_data / "re-BC5CDR-CID/test.pubtator.txt.gz"], DataOptions()):
        raw.add(document.text.split("\n")[0])
    tokenised = [" ".join(s.words) for s in read_labelled(shared_data / "BC5CDR-chem/test.tsv.gz").sentences]
    # Sentence splitting parts a few of the 500 titles, and some are too short.
    assert raw.count(tokenised) > 430


NOISY = [name for name in CORPORA if not name.startswith(("BC5CDR-chem", "masakhaner"))][:40:2]


@pytest.mark.parametrize("reading", ["strict", "default"])
@pytest.mark.parametrize("name", NOISY)
def test_scores_of_noisy_tags_are_those_of_seqeval(shared_data: Path, name: str, reading: TagMode) -> None:
    """Twenty real files, their first 700 sentences, with one tag in twelve drawn anew on the predicted side and, so
    that gold has orphans too, one in a hundred on the gold side."""
    rng = random.Random(name)
    sentences = read_labelled(shared_data / name).sentences[:700]
    gold = with_noise([tags_from_mentions(s.mentions, len(s.words)) for s in sentences], rng, 0.01)
    predicted = with_noise(gold, rng, 0.08)
    assert_same(
        match_spans(*spans_from_tags(gold, predicted, reading)).to_json(), seqeval_report(gold, predicted, reading)
    )


def test_twenty_real_files_are_compared() -> None:
    assert len(NOISY) == 20
