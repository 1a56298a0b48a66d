"""The corpora as running text with mentions: what the detector is trained on, chosen by and scored on.

Most corpora are given as words. Their text is put together again as English is written (``detokenise``); BC5CDR
and JNLPBA are read from forms that have the text as it was published.
"""

import gzip
import re
import tarfile
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mslm_cli.corpus.readers import read_labelled
from mslm_cli.corpus.seen import Sketch, sentence_hash
from mslm_cli.errors import DataError
from mslm_cli.text.sentences import split_sentences

TYPES = ("Anatomy", "Chemical", "Disease", "Gene", "Species")

Span = tuple[int, int, str]
"""[start, end) in characters, and a type."""


class Passage(NamedTuple):
    """A sentence, or a stretch of text, with the mentions that its corpus marks."""

    text: str
    spans: tuple[Span, ...]


class Corpus(NamedTuple):
    """A corpus: its folder, where its types go, and whether neighbouring sentences belong together."""

    folder: str
    types: dict[str, str]
    is_running: bool = True


CORPORA = {
    "AnatEM": Corpus("mtl-AnatEM-IOB", {"Anatomy": "Anatomy"}),
    "BC2GM": Corpus("BC2GM", {"MENTION": "Gene"}, is_running=False),
    "BC5CDR": Corpus("mtl-BC5CDR-IOB", {"Chemical": "Chemical", "Disease": "Disease"}),
    # CHEBI, CL, GO and SO mark roles, parts and processes by other rules than ours.
    "CRAFT": Corpus("mtl-CRAFT-IOB", {"GGP": "Gene", "Taxon": "Species"}),
    "JNLPBA": Corpus("JNLPBA", {"MENTION": "Gene"}),
    "LINNAEUS": Corpus("linnaeus", {"MENTION": "Species"}),
    "NCBI-disease": Corpus("NCBI-disease", {"MENTION": "Disease"}),
}
_JNLPBA = {"protein": "Gene", "DNA": "Gene", "RNA": "Gene", "cell_type": "Anatomy", "cell_line": "Anatomy"}

_PEOPLE = """
adult adults baby babies boy boys child children female females girl girls infant infants individual individuals
male males man men participant participants patient patients people person persons subject subjects teenager
volunteer volunteers woman women
"""
PEOPLE = frozenset(_PEOPLE.split())
"""Words for people, which LINNAEUS marks as a species; no domain-specific terms, hence not taught."""

_OPENING = frozenset("([{")
_GLUED_LEFT = frozenset(".,:;)]}%?!'/-’")
_GLUED_RIGHT = frozenset("([{'/-’")


def detokenise(words: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """The words as running text, and the [start, end) characters of each.

    No space inside brackets and quotes, around hyphens, slashes and apostrophes, nor before commas, full stops and the
    like; "2 . 5" and "1 , 000" are numbers.
    """
    text = ""
    offsets: list[tuple[int, int]] = []
    in_quotes = False
    for i, word in enumerate(words):
        if i and _has_space(words, i, in_quotes):
            text += " "
        if word == '"':
            in_quotes = not in_quotes
        offsets.append((len(text), len(text) + len(word)))
        text += word
    return text, offsets


def _has_space(words: Sequence[str], i: int, in_quotes: bool) -> bool:
    """Whether a space stands between words ``i - 1`` and ``i``; ``in_quotes`` holds before word ``i``."""
    before, word = words[i - 1], words[i]
    if word == '"':
        return not in_quotes and before not in _OPENING
    if before == '"':
        return not in_quotes and word not in _GLUED_LEFT
    if word in _GLUED_LEFT:
        return False
    earlier = words[i - 2] if i >= 2 else ""
    if before in _GLUED_RIGHT:
        return earlier + before == "/-"
    if before in ".,":
        is_number = earlier.isdigit() and word[0].isdigit()
        is_initials = before == "." and len(earlier) == len(word) == 1 and word.isalpha()
        return not (is_initials or (is_number and (before == "." or len(word) == 3)))
    if word in _OPENING:
        return before.isalnum() or before in ")%"
    return not (before in _OPENING or (word == "+" and before.isalpha()) or (before == "+" and word[0].isdigit()))


def labelled_sentences(data: Path, corpus: str, split: str) -> Iterator[Passage]:
    """The sentences of a split (train, devel or test) of a corpus that is given as words."""
    folder, types, _ = CORPORA[corpus]
    (file,) = (data / folder).glob(f"{split}.*.gz")
    yield from _sentences(file, types)


def _sentences(file: Path, types: dict[str, str]) -> Iterator[Passage]:
    for sentence in read_labelled(file).sentences:
        text, offsets = detokenise(sentence.words)
        spans = ((offsets[a][0], offsets[b - 1][1], types[kind]) for a, b, kind in sentence.mentions if kind in types)
        yield Passage(text, tuple(spans))


def bc5cdr_documents(data: Path, split: str) -> Iterator[Passage]:
    """The abstracts of a split of BC5CDR, text as it was published."""
    folder = data / "re-BC5CDR-CID"
    if split != "train":
        yield from _pubtator(folder / f"{split}.pubtator.txt.gz").values()
        return
    held_out = {**_pubtator(folder / "devel.pubtator.txt.gz"), **_pubtator(folder / "test.pubtator.txt.gz")}
    for name, passage in _pubtator(folder / "train_plus_devel.pubtator.txt.gz").items():
        if name not in held_out:
            yield passage


def _pubtator(file: Path) -> dict[str, Passage]:
    documents = {}
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        blocks = lines.read().split("\n\n")
    for block in blocks:
        if not block.strip():
            continue
        title, abstract, *rows = block.strip().split("\n")
        name = title.split("|t|")[0]
        text = title.split("|t|", 1)[1] + " " + abstract.split("|a|", 1)[1]
        cells = [row.split("\t") for row in rows]
        spans = {(int(c[1]), int(c[2]), c[4]) for c in cells if len(c) >= 6 and c[1].isdigit()}
        documents[name] = Passage(text, tuple(sorted(spans)))
    return documents


def jnlpba_documents(data: Path) -> Iterator[Passage]:
    """The training abstracts of JNLPBA (and of its devel split, which is a part of them), text as it was published."""
    with tarfile.open(data / "jnlpba-typed" / "standoff.tar.gz") as archive:
        files = {m.name: m for m in archive.getmembers() if "/train/" in m.name and m.isfile()}
        for name in sorted(name for name in files if name.endswith(".txt")):
            text, rows = (
                archive.extractfile(files[n]).read().decode("utf-8") for n in (name, name.removesuffix("txt") + "ann")
            )
            spans = []
            for row in rows.splitlines():
                kind, start, end = row.split("\t")[1].split()
                spans.append((int(start), int(end), _JNLPBA[kind]))
            yield Passage(text, tuple(sorted(spans)))


def jnlpba_sentences(data: Path) -> Iterator[Passage]:
    """The test sentences of JNLPBA with genes and cells."""
    return _sentences(data / "jnlpba-typed" / "test.iob2.gz", _JNLPBA)


def held_out_sentences(data: Path) -> frozenset[int]:
    """The hashes of every sentence of five words or more in a devel or test split of any data set, or in ACTER."""
    sketch = Sketch()
    for file in sorted(data.glob("*/*.gz")):
        if "train" in file.name or file.parent.name in ("unlabelled", "wikitext2"):
            continue
        for text in _sentences_of(file):
            sketch.add(text)
    return frozenset(sketch.hashes().tolist())


def _sentences_of(file: Path) -> Iterator[str]:
    """The sentences of a file of any of the forms, labels left out."""
    name = file.name
    if name.endswith(".tar.gz"):
        with tarfile.open(file) as archive:
            for member in archive.getmembers():
                wanted = "/test/" in member.name if "standoff" in name else "texts" in member.name
                if member.isfile() and member.name.endswith(".txt") and wanted:
                    yield from _split(archive.extractfile(member).read().decode("utf-8", "replace"))
        return
    if "pubtator" in name:
        for passage in _pubtator(file).values():
            yield from _split(passage.text)
        return
    if name.endswith(".jsonl.gz") or "re-GAD" in str(file) or "MED1250" in name:
        with gzip.open(file, "rt", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                yield from _split(re.sub(r"<<|>>|\[\[|\]\]|@\w+\$", " ", line))
        return
    try:
        for sentence in read_labelled(file).sentences:
            yield " ".join(sentence.words)
    except DataError as error:
        raise DataError(f"{file}: a held-out file of unknown form: {error}") from error


def _split(text: str) -> Iterator[str]:
    for start, end in split_sentences(text):
        yield text[start:end]


def without_held_out(document: Passage, held_out: frozenset[int]) -> tuple[list[Passage], int]:
    """The stretches of a document between its held-out sentences, and how many of those there are."""
    stretches: list[tuple[int, int]] = []
    n_held_out = 0
    is_open = False
    for start, end in _whole_mentions(split_sentences(document.text), document.spans):
        is_held_out = sentence_hash(document.text[start:end]) in held_out
        if not is_held_out:
            stretches[-1:] = [(stretches[-1][0], end)] if is_open else [*stretches[-1:], (start, end)]
        n_held_out += is_held_out
        is_open = not is_held_out
    return [_cut(document, start, end) for start, end in stretches], n_held_out


def _whole_mentions(sentences: Sequence[tuple[int, int]], spans: Sequence[Span]) -> list[tuple[int, int]]:
    """The sentences, joined where a mention goes on from one to the next."""
    ends = [end for _, end in sentences]
    crossed = {k for start, end, _ in spans for k in range(bisect_right(ends, start), bisect_left(ends, end))}
    joined: list[tuple[int, int]] = []
    for k, (start, end) in enumerate(sentences):
        if k and k - 1 in crossed:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def _cut(document: Passage, start: int, end: int) -> Passage:
    spans = tuple((a - start, b - start, kind) for a, b, kind in document.spans if start <= a and b <= end)
    return Passage(document.text[start:end], spans)


def together(sentences: Iterable[Passage], size: int) -> Iterator[Passage]:
    """Passages of up to ``size`` sentences each."""
    batch: list[Passage] = []
    for sentence in sentences:
        batch.append(sentence)
        if len(batch) == size:
            yield _joined(batch)
            batch = []
    if batch:
        yield _joined(batch)


def _joined(passages: Sequence[Passage]) -> Passage:
    text = ""
    spans: list[Span] = []
    for passage in passages:
        text += " " if text else ""
        spans += ((start + len(text), end + len(text), kind) for start, end, kind in passage.spans)
        text += passage.text
    return Passage(text, tuple(spans))
