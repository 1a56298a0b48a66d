"""Sentences with gold and predicted mentions: read from any system's output, and written as predictions.jsonl."""

import json
import re
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from mslm_cli import console
from mslm_cli.corpus.documents import LabelledCorpus
from mslm_cli.corpus.files import source_files
from mslm_cli.corpus.formats.conll import read_conll
from mslm_cli.corpus.json_values import parse_json
from mslm_cli.corpus.labels import (
    BARE_TYPE,
    Mention,
    ScoredMention,
    count_orphans,
    count_outside,
    detect_scheme,
    split_tag,
    strict_mentions,
    tags_from_mentions,
)
from mslm_cli.corpus.lines import display_name
from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.scored_documents import ScoredDocument, ScoredDocuments, document_of, is_scored_document
from mslm_cli.corpus.scoring import scoring_units
from mslm_cli.corpus.seen import sentence_hash
from mslm_cli.corpus.source import Source
from mslm_cli.corpus.span_predictions import PredictedSpan, place_spans, read_spans
from mslm_cli.corpus.tagged import corpus_of, is_tag
from mslm_cli.errors import DataError


@dataclass(frozen=True, slots=True)
class ScoredSentence:
    """One sentence with its gold mentions and the predicted ones, each in order and not overlapping.

    ``words``: None where the source text was left out. ``digest``: ``corpus.seen.sentence_hash`` of the words, 16
    hexadecimal digits. ``scores``: the probability of each predicted mention, where they have one. ``gold_tags`` and
    ``predicted_tags``: the tags as they were given, None where they are the IOB2 tags of the mentions.
    """

    id: str
    doc: str | None
    words: tuple[str, ...] | None
    n_words: int
    digest: str
    gold: tuple[Mention, ...]
    predicted: tuple[Mention, ...]
    scores: tuple[float, ...] | None = None
    gold_tags: tuple[str, ...] | None = None
    predicted_tags: tuple[str, ...] | None = None

    def both_tags(self) -> tuple[Sequence[str], Sequence[str]]:
        """The gold and the predicted tags of the words: as they were given, else IOB2."""
        return (
            self.gold_tags or tags_from_mentions(self.gold, self.n_words),
            self.predicted_tags or tags_from_mentions(self.predicted, self.n_words),
        )

    def prediction(self) -> "PredictedSentence":
        """What was predicted, alone."""
        scores = self.scores or (None,) * len(self.predicted)
        mentions = [ScoredMention(*m, score) for m, score in zip(self.predicted, scores, strict=True)]
        return PredictedSentence(self.both_tags()[1], mentions)

    def to_json(self) -> dict[str, Any]:
        """A line of predictions.jsonl, without the errors."""
        text = {"n_words": self.n_words, "hash": self.digest} if self.words is None else {"words": self.words}
        optional = {"scores": self.scores, "gold_tags": self.gold_tags, "pred_tags": self.predicted_tags}
        return {
            "id": self.id,
            **({} if self.doc is None else {"doc": self.doc}),
            **text,
            "gold": self.gold,
            "pred": self.predicted,
            **{name: value for name, value in optional.items() if value is not None},
        }


@dataclass(frozen=True, slots=True)
class ScoredCorpus:
    """A test set with predictions; ``scheme`` and ``predicted_scheme``: those that the tags came in.

    ``n_orphans``: gold mentions that start without a start tag, and were taken as mentions. ``n_predicted_orphans``:
    predicted tags that make no mention in their scheme. ``n_off_boundary``: gold mentions that begin or end where
    no word does, or in another sentence: no prediction can be right about them. ``tag_schemes``: of the gold and the
    predicted tags that the sentences have, which are those of the file or IOB2.
    """

    sentences: tuple[ScoredSentence, ...]
    scheme: str = "IOB2"
    predicted_scheme: str = "IOB2"
    n_orphans: int = 0
    n_predicted_orphans: int = 0
    n_off_boundary: int = 0
    tag_schemes: tuple[str, str] = ("IOB2", "IOB2")

    @property
    def rows(self) -> tuple[ScoredSentence, ...]:
        """What is scored one by one: the sentences."""
        return self.sentences

    def without_text(self) -> "ScoredCorpus":
        """The same without the words."""
        return replace(self, sentences=tuple(replace(sentence, words=None) for sentence in self.sentences))

    @property
    def gold_types(self) -> set[str]:
        """The types of the gold mentions."""
        return {kind for sentence in self.sentences for _, _, kind in sentence.gold}

    @property
    def predicted_types(self) -> set[str]:
        """The types of the predicted mentions."""
        return {kind for sentence in self.sentences for _, _, kind in sentence.predicted}


class PredictedSentence(NamedTuple):
    """What a system predicts for one sentence: a tag for each word, and the mentions that the tags spell.

    confidence: the probability of the least probable tag; None if it is not known.
    """

    tags: Sequence[str]
    mentions: Sequence[ScoredMention]
    confidence: float | None = None

    @classmethod
    def of_tags(cls, tags: Sequence[str], scheme: str = "IOB2") -> "PredictedSentence":
        """The mentions of ``tags``, read strictly, without probabilities."""
        return cls(tags, [ScoredMention(*mention) for mention in strict_mentions(tags, scheme)])

    def without(self, types: Set[str]) -> "PredictedSentence":
        """The same without mentions of ``types``."""
        if not types:
            return self
        tags = ["O" if split_tag(tag)[1] in types else tag for tag in self.tags]
        return self._replace(tags=tags, mentions=[m for m in self.mentions if m.type not in types])


def scored_corpus(
    corpus: LabelledCorpus,
    predictions: Iterable[PredictedSentence],
    *,
    scheme: str = "IOB2",
    keeps_tags: bool = False,
) -> ScoredCorpus:
    """The sentences of ``corpus`` with what was predicted for each.

    Args:
        scheme: of the predicted tags, whatever that of the corpus is.
        keeps_tags: keep the gold tags as they are even if they are of another scheme than the predicted ones.
    """
    # Tags of two schemes differ where their mentions are the same.
    keeps_gold = keeps_tags or corpus.scheme in ("IOB2", scheme)
    sentences = []
    n_orphans = 0
    n_off_boundary = 0
    for sentence, prediction in zip(corpus.sentences, predictions, strict=True):
        tags, predicted = prediction.tags, tuple(found.mention for found in prediction.mentions)
        scores = tuple(found.score for found in prediction.mentions if found.score is not None)
        if sentence.gold is not None:
            units = scoring_units(sentence)
            n_off_boundary += units.n_off_boundary
            sentence, tags = units.sentence, units.expanded(prediction.tags)
            predicted = tuple(strict_mentions(tags, scheme))
        n_orphans += count_outside(tags, predicted)
        sentences.append(
            ScoredSentence(
                sentence.id,
                sentence.doc,
                sentence.words,
                len(sentence.words),
                _digest(sentence.words),
                sentence.mentions,
                predicted,
                scores if len(scores) == len(predicted) else None,
                _given_tags(sentence.tags, sentence.mentions) if keeps_gold else None,
                _given_tags(tags, predicted),
            )
        )
    tag_schemes = (corpus.scheme if keeps_gold else "IOB2", scheme)
    return ScoredCorpus(
        tuple(sentences), corpus.scheme, scheme, corpus.n_orphans, n_orphans, n_off_boundary, tag_schemes
    )


def _scored_spans(corpus: LabelledCorpus, spans: Sequence[PredictedSpan], name: str, gold_name: str) -> ScoredCorpus:
    """The sentences of ``corpus`` with the ``spans`` that were predicted by characters."""
    placed, n_left = place_spans(spans, corpus.sentences, name, gold_name)
    if n_left:
        console.warn(f"{name}: {console.count(n_left, 'prediction')} left out: overlapping a longer one")
    sentences = []
    n_off_boundary = 0
    for sentence, found in zip(corpus.sentences, placed, strict=True):
        units = scoring_units(sentence, [each.span for each in found])
        n_off_boundary += units.n_off_boundary
        words = units.sentence.words
        scores = tuple(each.score for each in found if each.score is not None)
        sentences.append(
            ScoredSentence(
                sentence.id,
                sentence.doc,
                words,
                len(words),
                _digest(words),
                units.sentence.mentions,
                units.predicted,
                scores if len(scores) == len(found) else None,
            )
        )
    return ScoredCorpus(tuple(sentences), n_off_boundary=n_off_boundary)


def _given_tags(tags: Sequence[str], mentions: Sequence[Mention]) -> tuple[str, ...] | None:
    """The tags, bare ones with the type of their mentions; None where they are the IOB2 tags of the mentions."""
    if not mentions and tags.count("O") == len(tags):
        return None
    typed = [tag if tag == "O" or tag[1:2] == "-" else f"{tag}-{BARE_TYPE}" for tag in tags]
    if typed == tags_from_mentions(mentions, len(tags)):
        return None
    given = tuple(tags)
    return given if given == tuple(typed) else tuple(typed)


def _scheme_of_predictions(gold: str, tags: Iterable[Sequence[str]]) -> str:
    """By its prefixes; where they fit several, that of the gold tags."""
    prefixes = {split_tag(tag)[0] for tag in set(chain.from_iterable(tags))}
    if prefixes & {"E", "S", "L", "U"}:
        return detect_scheme([[f"{prefix}-X" for prefix in prefixes if prefix != "O"]])
    return gold if gold in ("IO", "IOB1") else "IOB2"


def _both_schemes(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> tuple[str, str]:
    scheme = detect_scheme(gold)
    return scheme, _scheme_of_predictions(scheme, predicted)


def _refuse_mixed(tags: Iterable[Sequence[str]], name: str) -> None:
    """Refuse tags with the ends of two schemes."""
    prefixes = {split_tag(tag)[0] for tag in set(chain.from_iterable(tags))}
    if prefixes & {"E", "S"} and prefixes & {"L", "U"}:
        raise DataError("E- or S- tags (IOBES) and L- or U- tags (BILOU) in one column", path=name)


def _digest(words: Sequence[str]) -> str:
    return f"{sentence_hash(' '.join(words)):016x}"


def read_scored_documents(file: Path) -> ScoredDocuments | None:
    """A predictions.jsonl of documents; None if the file is something else.

    Raises:
        DataError: the file cannot be read, or a line is not of a document as the first is; with path and line.
    """
    source = Source(file, DataOptions())
    first = next((line for line in source.head.lines if line.strip()), "")
    try:
        if not is_scored_document(json.loads(first)):
            return None
    except ValueError:
        return None
    documents: list[ScoredDocument] = []
    for number, line in enumerate(source.lines(), 1):
        if line.strip():
            record = parse_json(line, display_name(file), number)
            if not is_scored_document(record) or (documents and record["kind"] != documents[0].kind):
                raise DataError("not a document as in the first line", path=display_name(file), line=number)
            documents.append(document_of(record, display_name(file), number))
    return ScoredDocuments(tuple(documents), documents[0].kind)


def read_scored(file: Path) -> ScoredCorpus | ScoredDocuments:
    """The predictions.jsonl of `mslm eval`, of sentences or of documents.

    Raises:
        DataError: the file cannot be read, or is not such a file; with path and line.
    """
    return read_scored_documents(file) or read_predictions(file, None)


def read_predictions(
    file: Path, gold: LabelledCorpus | None, *, gold_name: str = "", encoding: str = "utf-8", errors: str = "strict"
) -> ScoredCorpus:
    """What a system predicted: CoNLL-style, the last column its tags, or JSON lines as in predictions.jsonl.

    Without ``gold`` the gold mentions stand in the file too: in the column before the last, or under ``gold``. If the
    mentions of ``gold`` were annotated by characters, predictions by characters are read too, in any format of such.

    Args:
        gold: the test set, of which the file must hold the same words in the same sentences.
        gold_name: what messages call it.

    Raises:
        DataError: the file cannot be read, or does not fit the test set; with path and line.
    """
    if file.is_dir():
        sources = [Source(each, DataOptions(encoding=encoding, errors=errors)) for each in source_files([file])]
    else:
        sources = [Source(file, DataOptions(encoding=encoding, errors=errors))]
    if gold is not None and any(sentence.offsets is not None for sentence in gold.sentences):
        spans = [read_spans(source) for source in sources]
        if None not in spans:
            return _scored_spans(gold, list(chain.from_iterable(filter(None, spans))), display_name(file), gold_name)
    if file.is_dir():
        raise DataError("a folder, where a file of predictions was expected", path=file)
    lines = sources[0].lines()
    head = []  # up to the first line that is not blank
    for line in lines:
        head.append(line)
        if line.strip():
            break
    lines = chain(head, lines)
    if head and head[-1].lstrip().startswith('{"'):
        return _from_json_lines(lines, file, gold, gold_name)
    blocks = read_conll(lines, display_name(file), n_tags=2 if gold is None else 1)
    if gold is None:
        gold = corpus_of(blocks, [block.gold for block in blocks])
    else:
        found = corpus_of(blocks, [block.tags for block in blocks])
        rows = [(block.line, len(s.words), s.words) for block, s in zip(blocks, found.sentences, strict=True)]
        _refuse_other_text(file, rows, gold, gold_name)
    predicted = [block.tags for block in blocks]
    del blocks  # with the words, which gold has too
    for tags in (predicted, [sentence.tags for sentence in gold.sentences]):
        _refuse_mixed(tags, display_name(file))
    scheme = _scheme_of_predictions(gold.scheme, predicted)
    predictions = (PredictedSentence.of_tags(tags, scheme) for tags in predicted)
    return scored_corpus(gold, predictions, scheme=scheme, keeps_tags=True)


def _refuse_other_text(
    file: Path, rows: Sequence[tuple[int, int, Sequence[str] | None]], gold: LabelledCorpus, gold_name: str
) -> None:
    """Check that the file holds the test set's sentences: their words, or where it has none their number.

    Args:
        rows: of each sentence its line, number of words, and words.
    """
    name = display_name(file)
    for number, ((line, n_words, words), wanted) in enumerate(zip(rows, gold.sentences, strict=False), 1):
        if n_words == len(wanted.words) and (words is None or tuple(words) == wanted.words):
            continue
        where = f"sentence {number}" + (f" ({wanted.id})" if wanted.doc is not None else "")
        if words is None or (n_words != len(wanted.words) and "".join(words) != "".join(wanted.words)):
            message = f"{where} has {n_words} words, {len(wanted.words)} in {gold_name}"
            raise DataError(message, path=name, line=line, hint="predictions and gold must hold the same sentences")
        i = next(i for i, (a, b) in enumerate(zip(words, wanted.words, strict=False)) if a != b)
        if "".join(words) == "".join(wanted.words):
            message = f"{where} is the same text in other words: {words[i]!r} here, {wanted.words[i]!r} in {gold_name}"
            hint = f"predict on the words of {gold_name}, or bring the tags to them"
            raise DataError(message, path=name, line=line + i, hint=hint)
        message = f"{where}: word {i + 1} is {words[i]!r}, in {gold_name} {wanted.words[i]!r}"
        raise DataError(message, path=name, line=line + i, hint="predictions and gold must hold the same sentences")
    if len(rows) != len(gold.sentences):
        message = f"{len(rows):,} sentences, {len(gold.sentences):,} in {gold_name}"
        line = rows[len(gold.sentences)][0] if len(rows) > len(gold.sentences) else rows[-1][0]
        short = "the last that both have is" if len(rows) < len(gold.sentences) else "the first that is too many is"
        raise DataError(message, path=name, line=line, hint=f"{short} in this line")


def _from_json_lines(lines: Iterable[str], file: Path, gold: LabelledCorpus | None, gold_name: str) -> ScoredCorpus:
    name = display_name(file)
    filled = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    records = [(number, _record(line, name, number, wants_gold=gold is None)) for number, line in filled]
    if gold is not None:
        _refuse_other_text(file, [(number, r.n_words, r.words) for number, r in records], gold, gold_name)
    with_scores = {record.scores is not None for _, record in records if record.predicted}
    if len(with_scores) > 1:
        number = next(n for n, r in records if r.predicted and r.scores is None)
        raise DataError("no scores, which other sentences have", path=name, line=number)
    sentences = tuple(record for _, record in records)
    gold_tags, tags = [], []
    for sentence in sentences:
        of_gold, predicted = sentence.both_tags()
        gold_tags.append(of_gold)
        tags.append(predicted)
    for side in (gold_tags, tags):
        _refuse_mixed(side, name)
    if gold is not None:
        scheme = _scheme_of_predictions("IOB2", tags)
        return scored_corpus(gold, [sentence.prediction() for sentence in sentences], scheme=scheme)
    schemes = _both_schemes(gold_tags, tags)
    n_orphans = 0 if schemes[0] in ("IO", "IOB1") else sum(map(count_orphans, gold_tags))
    n_outside = sum(count_outside(of, s.predicted) for of, s in zip(tags, sentences, strict=True))
    return ScoredCorpus(sentences, *schemes, n_orphans, n_outside, tag_schemes=schemes)


def _record(line: str, name: str, number: int, *, wants_gold: bool) -> ScoredSentence:
    def refuse(message: str, hint: str | None = None) -> NoReturn:
        raise DataError(message, path=name, line=number, hint=hint)

    try:
        record = json.loads(line)
    except ValueError as error:
        refuse(f"not a JSON line: {error}")
    if not isinstance(record, dict):
        refuse(f"expected a JSON object, found {type(record).__name__}")
    words = record.get("words")
    if words is None and {"doc", "start", "end"} <= record.keys():
        hint = "against words, score those of `mslm predict --to conll`"
        refuse("a mention by characters, which can be scored against gold by characters only", hint)
    if words is not None and not (isinstance(words, list) and all(isinstance(word, str) for word in words)):
        refuse("words: expected a list of strings")
    if words is None and (type(record.get("n_words")) is not int or not _is_hash(record.get("hash"))):
        refuse("no words in the sentence, nor n_words and hash")
    n_words = int(record["n_words"]) if words is None else len(words)
    sides: dict[str, tuple[Mention, ...]] = {}
    for side in ("gold", "pred"):
        if side not in record and (side == "pred" or wants_gold):
            refuse(f"no {side} in the sentence")
        given = record.get(side, [])
        if problem := _problem_of(given, n_words):
            refuse(f"{side}: {problem}")
        sides[side] = tuple((start, end, kind) for start, end, kind in given)
    scores = record.get("scores")
    if scores is not None:
        if not isinstance(scores, list) or len(scores) != len(sides["pred"]):
            refuse(f"scores: expected a list of {len(sides['pred'])} numbers, one for each mention of pred")
        if not all(type(score) in (int, float) and 0 <= score <= 1 for score in scores):
            refuse("scores: expected probabilities from 0 to 1")
        in_order = sorted(zip(sides["pred"], map(float, scores), strict=True))
        scores = tuple(score for _, score in in_order)
    tags: dict[str, tuple[str, ...] | None] = {}
    for side in ("gold_tags", "pred_tags"):
        given = record.get(side)
        if given is not None and not (isinstance(given, list) and len(given) == n_words and all(map(_is_tag, given))):
            refuse(f"{side}: expected {n_words} tags, such as O, B-TYPE and I-TYPE")
        tags[side] = None if given is None else tuple(given)
    doc = record.get("doc")
    return ScoredSentence(
        id=str(record.get("id", number)),
        doc=None if doc is None else str(doc),
        words=None if words is None else tuple(words),
        n_words=n_words,
        digest=record["hash"] if words is None else _digest(words),
        gold=tuple(sorted(sides["gold"])),
        predicted=tuple(sorted(sides["pred"])),
        scores=scores,
        gold_tags=tags["gold_tags"],
        predicted_tags=tags["pred_tags"],
    )


def _problem_of(mentions: object, n_words: int) -> str | None:
    """What is wrong with the mentions of a sentence of ``n_words`` words."""
    if not isinstance(mentions, list):
        return "expected a list of [start, end, type]"
    for mention in mentions:
        if not isinstance(mention, list) or [type(part) for part in mention] != [int, int, str] or not mention[2]:
            return f"expected [start, end, type], found {json.dumps(mention)[:60]}"
        if not 0 <= mention[0] < mention[1] <= n_words:
            return f"[{mention[0]}, {mention[1]}) does not fit a sentence of {n_words} words"
    for one, other in pairwise(sorted(mentions, key=lambda m: m[:2])):
        if one[1] > other[0]:
            return f"[{one[0]}, {one[1]}) overlaps [{other[0]}, {other[1]})"
    return None


def _is_tag(tag: object) -> bool:
    return isinstance(tag, str) and is_tag(tag)


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{16}", value) is not None
