"""``mslm inspect``: describe labelled data and its irregularities before training."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mslm_cli import console, fsio, models
from mslm_cli.config import InspectConfig
from mslm_cli.corpus.alignment import word_windows
from mslm_cli.corpus.documents import LabelledCorpus
from mslm_cli.corpus.formats import FORMATS
from mslm_cli.corpus.inspection import (
    LONGEST,
    count_corpus,
    count_relations,
    mixed_mentions,
    shared_sentences,
    types_of_some,
)
from mslm_cli.corpus.lines import STDIN
from mslm_cli.corpus.pairs import SCOPES
from mslm_cli.corpus.readers import count_formats, read_any
from mslm_cli.corpus.relations import read_relations
from mslm_cli.corpus.seen import WARN_ABOVE_SHARE
from mslm_cli.errors import DataError, UsageError
from mslm_cli.text.tokens import visible

if TYPE_CHECKING:
    from mslm_cli.models import AnyTokenizer

_N_SHOWN = 5
_WIDTH = 28


def run(paths: Mapping[str, Path], config: InspectConfig) -> dict[str, Any]:
    """The findings as JSON values: for each set in ``paths``, by name, and between sets.

    Raises:
        UsageError: ``paths`` is empty.
        DataError: the data are unreadable.
        UnavailableError: the encoder is unavailable.
    """
    if not paths:
        raise UsageError("no data were given", hint="give DATA, --train, --dev or --test")
    tokenizer = limit = None
    if config.model:
        folder = models.resolve(config.model, offline=config.offline)
        tokenizer = models.load_text_tokenizer(folder, lowercase=config.lowercase)
        limit = min(config.max_length, models.position_limit(models.read_config(folder)))
    sets: dict[str, Any] = {}
    corpora: dict[str, LabelledCorpus] = {}
    for name, path in paths.items():
        if path == STDIN:
            fsio.spool_stdin()
        formats = count_formats(path, config)
        if path == STDIN:
            sys.stdin.buffer.seek(0)
        corpora[name] = read_any(path, config, formats)
        sets[name] = {"path": str(path), "formats": formats, **count_corpus(corpora[name])}
        sets[name]["relations"] = _relations(path, config, formats)
        if tokenizer is not None and limit is not None:
            sets[name]["tokenizer"] = count_cuts(corpora[name], tokenizer, limit, config.overlap)
    return {
        "sets": sets,
        "shared_sentences": shared_sentences(corpora),
        "types_of_some_sets": types_of_some(corpora),
        "mentions_of_several_types": mixed_mentions(corpora.values()),
    }


def _relations(path: Path, config: InspectConfig, formats: Mapping[str, int]) -> dict[str, Any] | None:
    """The counts of relations, if the formats can have them; a warning says why they cannot be read."""
    if not all(FORMATS[name].annotated for name in formats):
        return None
    if path == STDIN:
        sys.stdin.buffer.seek(0)
    try:
        with console.warnings_only():
            return count_relations(read_relations(path, config))
    except DataError as error:
        console.warn(f"its relations cannot be read: {error}")
        return None


def count_cuts(corpus: LabelledCorpus, tokenizer: "AnyTokenizer", max_length: int, overlap: int) -> dict[str, Any]:
    """Word pieces, unknown words, and words, sentences and mentions too long for windows of ``max_length`` tokens."""
    prefix, suffix = models.special_frame(tokenizer)
    capacity = max_length - len(prefix) - len(suffix)
    n_pieces = n_unknown = n_long = n_split = n_cut = 0
    words = [list(map(visible, sentence.words)) for sentence in corpus.sentences]
    backend = models.text_backend(tokenizer)
    encodings = backend.encode_batch(words, is_pretokenized=True, add_special_tokens=False)
    for sentence, encoding in zip(corpus.sentences, encodings, strict=True):
        of_word = [1] * len(sentence.words)
        unknown: set[int] = set()
        seen = -1
        for token, word in zip(encoding.ids, encoding.word_ids, strict=True):
            assert word is not None  # only special tokens belong to no word
            of_word[word] += word == seen
            seen = word
            if token == tokenizer.unk_token_id:
                unknown.add(word)
        n_pieces += sum(of_word)
        n_unknown += len(unknown)
        n_long += sum(n > capacity for n in of_word)
        windows = word_windows(of_word, capacity, overlap)
        n_split += len(windows) > 1
        n_cut += sum(not any(w.start <= a and b <= w.end for w in windows) for a, b, _ in sentence.mentions)
    n_words = sum(map(len, words))
    return {
        "max_length": max_length,
        "pieces_per_word": n_pieces / n_words if n_words else 0.0,
        "n_words_with_unknown_pieces": n_unknown,
        "n_words_longer_than_a_window": n_long,
        "n_sentences_longer_than_a_window": n_split,
        "n_mentions_longer_than_a_window": n_cut,
    }


def report(found: Mapping[str, Any]) -> None:
    """Print the findings, at most 80 columns wide."""
    sets: Mapping[str, Any] = found["sets"]
    names = list(sets)
    rows = [["format", *(_formats(of["formats"]) for of in sets.values())]]
    labels = {"n_documents": "documents", "n_sentences": "sentences", "n_words": "words", "n_mentions": "mentions"}
    for key, label in labels.items():
        rows.append([label, *("-" if of[key] is None else f"{of[key]:,}" for of in sets.values())])
    rows.append(["words in a sentence, median", *(_of(of["words_per_sentence"], "median") for of in sets.values())])
    rows.append(["  in the longest", *(_of(of["words_per_sentence"], "longest") for of in sets.values())])
    rows.append(["tagging scheme", *(of["scheme"] or "offsets" for of in sets.values())])
    types = sorted({kind for of in sets.values() for kind in of["types"]})
    for kind in types:
        rows.append([f"mentions: {_short(kind)}", *(f"{of['types'].get(kind, 0):,}" for of in sets.values())])
    _table("data", names, rows)
    _report_relations(sets, names)
    if types:
        _report_lengths(sets, types)
    _report_oddities(sets, names)
    _report_cuts(sets, names)
    _report_between(found)


def _report_relations(sets: Mapping[str, Any], names: Sequence[str]) -> None:
    of_sets = [of["relations"] or {} for of in sets.values()]
    if not any(of_sets):
        return
    rows = [["relations", *(f"{of.get('n', 0):,}" for of in of_sets)]]
    for key in ("types", "between"):
        for kind in dict.fromkeys(kind for of in of_sets for kind in of.get(key, ())):
            rows.append([f"  {kind:.{_WIDTH - 2}}", *(f"{of.get(key, {}).get(kind, 0):,}" for of in of_sets)])
    rows.append(["  in one sentence", *(f"{100 * of['in_one_sentence']:.0f} %" if of else "-" for of in of_sets)])
    rows.append(["  words between, median", *(_of(of or None, "words_between") for of in of_sets)])
    for scope in SCOPES:
        label = f"candidates, --pairs {scope}"
        rows.append([label, *(f"{of['candidates'][scope]:,}" if of else "-" for of in of_sets)])
    console.result("")
    _table("relations", names, rows)


def _report_lengths(sets: Mapping[str, Any], types: Sequence[str]) -> None:
    columns = [*map(str, range(1, LONGEST)), f"{LONGEST}+"]
    rows = []
    for kind in types:
        counts = [sum(of["mention_lengths"].get(kind, {}).get(name, 0) for of in sets.values()) for name in columns]
        rows.append([_short(kind), *(f"{100 * n / max(1, sum(counts)):.0f} %" for n in counts)])
    console.result("")
    console.table("words in a mention", ["type", *columns], rows, as_result=True)


def _report_oddities(sets: Mapping[str, Any], names: Sequence[str]) -> None:
    rows = []
    for group, what in (("changes", "mentions "), ("not_read", "not read: "), ("odd", "")):
        for kind in dict.fromkeys(kind for of in sets.values() for kind in of[group]):
            counts = [of[group].get(kind, 0) for of in sets.values()]
            if any(counts):
                rows.append([what + kind, *(f"{n:,}" for n in counts)])
    for key, label in (("sentences", "sentences repeated inside"), ("labelled_differently", "  labelled differently")):
        counts = [of["repeated"][key] for of in sets.values()]
        if any(counts):
            rows.append([label, *(f"{n:,}" for n in counts)])
    if rows:
        console.result("")
        _table("worth a look", names, rows)


def _report_cuts(sets: Mapping[str, Any], names: Sequence[str]) -> None:
    of_sets = [of["tokenizer"] for of in sets.values() if "tokenizer" in of]
    if of_sets:
        rows = [["tokens for a word", *(f"{of['pieces_per_word']:.2f}" for of in of_sets)]]
        for key in of_sets[0]:
            if key.startswith("n_"):
                rows.append([key[2:].replace("_", " "), *(f"{of[key]:,}" for of in of_sets)])
        console.result("")
        _table(f"tokenizer, windows of {of_sets[0]['max_length']} tokens", names, rows)


def _report_between(found: Mapping[str, Any]) -> None:
    console.result("")
    for shared in found["shared_sentences"]:
        share = shared["n"] / max(1, shared["n_sentences"])
        said = f"{shared['n']:,} sentences of {shared['of']} ({100 * share:.1f} %) are in {shared['in']} too"
        (console.warn if share > WARN_ABOVE_SHARE else console.result)(said)
    if len(found["sets"]) > 1 and not found["shared_sentences"]:
        console.result("no sentence is in two sets")
    by_sets: dict[str, list[str]] = {}
    for kind, names in found["types_of_some_sets"].items():
        by_sets.setdefault(" and ".join(names), []).append(kind)
    for having, kinds in by_sets.items():
        console.result(f"types in {having} alone: {', '.join(kinds)}")
    mixed = found["mentions_of_several_types"]
    if mixed:
        console.result(f"{len(mixed):,} texts are mentions of several types, the most frequent:")
    for each in mixed[:_N_SHOWN]:
        types = ", ".join(f"{kind} {n:,}" for kind, n in each["types"].items())
        console.result(f"  {each['text'][:40]}: {types}"[:80])


def _table(title: str, names: Sequence[str], rows: list[list[str]]) -> None:
    room = max(8, (80 - _WIDTH) // max(1, len(names)) - 2)
    columns = [name if len(name) <= room else f"…{name[1 - room :]}" for name in names]
    console.table(title, ["", *columns], [[row[0], *(cell[:room] for cell in row[1:])] for row in rows], as_result=True)


def _formats(counts: Mapping[str, int]) -> str:
    return ", ".join(name if n == 1 else f"{n:,} {name}" for name, n in counts.items())


def _of(values: Mapping[str, Any] | None, key: str) -> str:
    return "-" if values is None else f"{values[key]:g}"


def _short(text: str) -> str:
    return text if len(text) <= _WIDTH - 10 else f"{text[: _WIDTH - 11]}…"
