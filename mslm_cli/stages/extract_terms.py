"""``mslm extract-terms``: a lexicon of domain-specific terms from text."""

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mslm_cli import artifacts, console, fsio
from mslm_cli.artifacts import Input, Job
from mslm_cli.config import ExtractTermsConfig
from mslm_cli.corpus.documents import Document
from mslm_cli.corpus.lines import read_lines
from mslm_cli.corpus.readers import read_documents, source_files
from mslm_cli.corpus.seen import Sketch
from mslm_cli.errors import DataError, UnavailableError
from mslm_cli.terms import pipeline, termhood, words
from mslm_cli.terms.abbreviations import AbbreviationCounts
from mslm_cli.terms.candidates import CandidateCounts
from mslm_cli.terms.lexicon import USER, Term, TermList, matches_case, merge, user_terms, write_terms
from mslm_cli.terms.matcher import Matcher
from mslm_cli.terms.mentions import MentionCounts
from mslm_cli.terms.pipeline import Mention
from mslm_cli.terms.sentences import chunks, split_sentences
from mslm_cli.terms.termhood import Termhood
from mslm_cli.terms.words import WordReader, shown

TERMS = "terms.jsonl"
STATS = "stats.json"
_N_SHOWN = 10


@dataclass
class Evidence:
    """What one pass over the text counts, by source."""

    candidates: CandidateCounts
    abbreviations: AbbreviationCounts
    mentions: MentionCounts = field(default_factory=MentionCounts)
    user: Counter[int] = field(default_factory=Counter)
    user_docs: Counter[int] = field(default_factory=Counter)
    seen: Sketch = field(default_factory=Sketch)
    n_documents: int = 0
    n_sentences: int = 0


def run(
    texts: Sequence[Path],
    output: Path,
    config: ExtractTermsConfig,
    *,
    terms_file: Path | None = None,
    overwrite: bool = False,
) -> Path:
    """The published lexicon artifact: the terms of ``texts``, and those of the user's list ``terms_file``.

    Raises:
        DataError: an input cannot be read, the list holds no term, or no term is found at all.
        UnavailableError: scispaCy or the pipeline is not installed.
    """
    files = source_files(texts)
    inputs = [artifacts.file_input("text", file) for file in files]
    if terms_file is not None:
        inputs.append(artifacts.file_input("terms", terms_file))
    if config.pipeline != pipeline.NONE:
        inputs.append(_pipeline_input(config.pipeline))
    own = _user_terms(terms_file)
    job = Job("lexicon", output, config, inputs)
    if job.is_done(overwrite=overwrite):
        return output
    reader = WordReader(words.english())
    evidence = _read(files, config, own.terms, reader)
    terms = _choose(evidence, config, own.terms, reader)
    if not terms:
        raise DataError(
            f"no terms found in {evidence.candidates.n_words:,} words of text",
            hint="lower --min-count or --min-score, give more text, or give your own list with --terms",
        )
    stats = _stats(evidence, terms, own)
    with job.publish() as draft:
        write_terms(draft.path / TERMS, terms)
        (draft.path / STATS).write_text(json.dumps(stats, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        (draft.path / artifacts.SKETCHES).mkdir()
        evidence.seen.save(draft.path / artifacts.SKETCHES / "extract-terms.u64")
    _report(stats, terms)
    return output


def _pipeline_input(name: str) -> Input:
    """The pipeline as an input: a folder and the packaged one by their content, an installed one by its version."""
    if name == pipeline.DEFAULT:
        packaged = artifacts.file_input("pipeline", fsio.resource(pipeline.DETECTOR))
        return packaged.model_copy(update={"path": name})
    if Path(name).is_dir():
        return artifacts.file_input("pipeline", Path(name))
    try:
        installed = version(name)
    except (PackageNotFoundError, ValueError) as error:
        raise UnavailableError(f"pipeline {name!r} is not installed, and no folder", hint=pipeline.HINT) from error
    return Input(role="pipeline", path=name, fingerprint=f"{name}=={installed}")


def _user_terms(file: Path | None) -> TermList:
    if file is None:
        return TermList((), 0, 0, 0)
    found = user_terms(read_lines(file), str(file))
    left_out = {
        "repeated": found.n_duplicates,
        "of fewer than two letters or digits": found.n_too_short,
    }
    for what, n in left_out.items():
        if n:
            console.note(f"{file}: {n:,} terms {what} are left out")
    if found.n_cleaned:
        console.warn(f"{file}: control characters in {found.n_cleaned:,} lines are read as spaces")
    return found


def _read(files: Sequence[Path], config: ExtractTermsConfig, own: Sequence[Term], reader: WordReader) -> Evidence:
    """Count all sources in one pass over the documents."""
    detector = pipeline.load_abbreviation_detector()
    matcher = Matcher(own)
    evidence = Evidence(CandidateCounts(config.max_words), AbbreviationCounts(reader))
    with console.progress("extract-terms: words read") as bar:
        started = time.perf_counter()
        n_before = 0
        for document, mentions in _with_mentions(read_documents(files, config), config.pipeline):
            is_tokenised = document.sentences is not None
            spans = document.sentences if document.sentences is not None else split_sentences(document.text)
            sentences = [document.text[start:end] for start, end in spans]
            as_words = [reader.read(sentence, is_tokenised=is_tokenised) for sentence in sentences]
            evidence.n_documents += 1
            evidence.n_sentences += len(sentences)
            for sentence in sentences:
                evidence.seen.add(sentence)
            evidence.candidates.add_document(as_words)
            evidence.mentions.add_document(mentions)
            raw = map(shown, as_words) if is_tokenised else sentences
            evidence.abbreviations.add_document(pipeline.find_abbreviations(detector, raw), document.text)
            matches = Counter(match.index for match in matcher.find(document.text)) if own else Counter()
            evidence.user.update(matches)
            evidence.user_docs.update(matches.keys())
            bar.advance(evidence.candidates.n_words - n_before)
            n_before = evidence.candidates.n_words
            bar.update(f"{n_before / (time.perf_counter() - started):,.0f} words/s")
    return evidence


def _with_mentions(documents: Iterable[Document], name: str) -> Iterator[tuple[Document, list[Mention]]]:
    """Each document with the mentions of pipeline ``name``."""
    if name == pipeline.NONE:
        for document in documents:
            yield document, []
        return
    nlp = pipeline.load_pipeline(name)
    gathered: list[Mention] = []
    for mentions, (document, is_last) in pipeline.find_mentions(nlp, _parts(documents)):
        gathered += mentions
        if is_last:
            yield document, gathered
            gathered = []


def _parts(documents: Iterable[Document]) -> Iterator[tuple[str, tuple[Document, bool]]]:
    """The text of each document in parts that a pipeline can take, each with whether it is the last one."""
    for document in documents:
        # A pipeline wants hyphens as they are written.
        text = document.text if document.sentences is None else document.text.replace(" - ", "-")
        for start, end in chunks(text, 0, len(text)):
            yield text[start:end], (document, end == len(text))


def _choose(evidence: Evidence, config: ExtractTermsConfig, own: Sequence[Term], reader: WordReader) -> list[Term]:
    """The lexicon's terms: what each source offers by its own rule, merged, the best first."""
    ranking = Termhood(evidence.candidates, termhood.general_english(), reader)
    pairs, general = evidence.abbreviations.pairs(min_count=config.min_count)
    candidates = ranking.ranked(min_count=config.min_count, min_score=config.min_score)
    offered = [
        *(replace(t, count=evidence.user[i], doc_count=evidence.user_docs[i]) for i, t in enumerate(own)),
        *(term for term in candidates if general.isdisjoint(term.term.split())),
        *evidence.mentions.terms(pipeline.source_name(config.pipeline), min_count=config.min_count),
        *_scored(pairs, ranking, config.min_score),
    ]
    terms = sorted((_completed(t, ranking) for t in merge(offered)), key=lambda t: (-t.score, t.term))
    n_others = max(0, config.max_terms - len(own))
    others = [term for term in terms if USER not in term.sources]
    return [term for term in terms if USER in term.sources] + others[:n_others]


def _scored(pairs: Iterable[tuple[Term, Term]], ranking: Termhood, min_score: float) -> Iterator[Term]:
    """The forms of the abbreviations whose long form reaches the score, were it as frequent as the short one.

    A short form can look like a general word ("AT"), so it is as specific as what it stands for.
    """
    for short, long in pairs:
        if ranking.score(long.term, max(short.count, long.count)) >= min_score:
            yield replace(short, score=ranking.score(long.term, short.count, n_words=1))
            yield long


def _completed(term: Term, ranking: Termhood) -> Term:
    """``term`` with the largest of its counts, a score if no source gave one, and the case rule it comes under."""
    count, doc_count = ranking.count(term)
    count, doc_count = max(count, term.count), max(doc_count, term.doc_count)
    score = term.score or ranking.score(term.term, count)
    return replace(term, count=count, doc_count=doc_count, score=score, case_sensitive=matches_case(term))


def _stats(evidence: Evidence, terms: Sequence[Term], own: TermList) -> dict[str, Any]:
    return {
        "n_documents": evidence.n_documents,
        "n_sentences": evidence.n_sentences,
        "n_words": evidence.candidates.n_words,
        "n_candidates": len(evidence.candidates.counts),
        "n_terms": len(terms),
        "n_terms_by_source": dict(sorted(Counter(source for term in terms for source in term.sources).items())),
        "n_terms_by_type": dict(sorted(Counter(term.type for term in terms if term.type).items())),
        "user_list": {
            "n_terms": len(own.terms),
            "n_not_in_text": len(own.terms) - len(evidence.user),
            "n_duplicates": own.n_duplicates,
            "n_too_short": own.n_too_short,
            "n_cleaned": own.n_cleaned,
        },
        "score": termhood.FORMULA,
        "count": termhood.COUNT,
    }


def _report(stats: dict[str, Any], terms: Sequence[Term]) -> None:
    rows = [[source, f"{n:,}"] for source, n in stats["n_terms_by_source"].items()]
    console.table(
        f"{stats['n_terms']:,} terms from {stats['n_words']:,} words in {stats['n_documents']:,} documents",
        ["source", "terms"],
        rows,
    )
    best = sorted(terms, key=lambda term: -term.score)[:_N_SHOWN]
    console.note("best: " + ", ".join(term.term for term in best))
