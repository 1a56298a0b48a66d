"""``mslm extract-terms``: make a lexicon of domain-specific terms from text."""

import functools
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from mslm_cli import allocator, artifacts, console, fsio, workspace
from mslm_cli.artifacts import STATS, ArtifactBuild, Input
from mslm_cli.config import ExtractTermsConfig
from mslm_cli.corpus.blocks import Block, Work
from mslm_cli.corpus.contamination import TestSentences
from mslm_cli.corpus.documents import BATCH_CHARS, Document, document_batches
from mslm_cli.corpus.files import source_files, total_bytes
from mslm_cli.corpus.lines import display_name, read_lines
from mslm_cli.corpus.over_blocks import Journal, Kept, OverBlocks, check_some_are_left, report_left_out
from mslm_cli.corpus.readers import gold_inputs, read_documents, read_labelled
from mslm_cli.corpus.seen import Sketch, merge_sketches
from mslm_cli.errors import DataError, UnavailableError, UsageError
from mslm_cli.execution import executor as execution
from mslm_cli.execution.work import Executor, results
from mslm_cli.terms import pipeline, termhood, words
from mslm_cli.terms.candidates import CandidateCounts
from mslm_cli.terms.evidence import Evidence, Passage, TermFinder
from mslm_cli.terms.lexicon import LABELS, TERMS, USER, Term, identity, merge, write_terms
from mslm_cli.terms.linking import Linker
from mslm_cli.terms.mentions import MentionCounts
from mslm_cli.terms.partitions import (
    TABLES,
    MergedCounts,
    Runs,
    frequent_mentions,
    join_words,
    n_partitions,
    write_counts,
    write_merged,
    write_rows,
)
from mslm_cli.terms.pipeline import DetectedMention
from mslm_cli.terms.selection import Offered, choose
from mslm_cli.terms.termhood import Termhood, containing, form_of
from mslm_cli.terms.termlists import TermList, read_term_list
from mslm_cli.terms.words import WordReader, shown
from mslm_cli.text.sentences import split_sentences
from mslm_cli.workspace import RunOptions

BLOCK_CHARS = BATCH_CHARS
"""With a detector, a worker reads such a block in about ten seconds."""

_SEEN, _MERGED = "seen", "merged"
_N_SHOWN = 10
_UNTYPED = "MENTION"


@dataclass(frozen=True)
class TermInputs:
    """Optional inputs besides text: term lists, labelled files, a background text, a knowledge base, test sets.

    without: labelled files; documents with one of their sentences are left out.
    """

    terms: Sequence[Path] = ()
    labels: Sequence[Path] = ()
    background: Sequence[Path] = ()
    link: Path | None = None
    without: Sequence[Path] = ()

    def inputs(self) -> Iterator[Input]:
        """All files as inputs of an artifact."""
        yield from (artifacts.file_input("terms", file) for file in self.terms)
        for file in self.labels:
            yield from gold_inputs("labels", file)
        yield from (artifacts.file_input("background", file) for file in source_files(self.background))
        if self.link is not None:
            yield artifacts.file_input("link", self.link)
        for file in self.without:
            yield from gold_inputs("without", file)


class CorpusEvidence(NamedTuple):
    """The evidence in the text, without the counts of candidates and mentions, which are in files.

    n_blocks: the number of blocks.
    """

    evidence: Evidence
    n_blocks: int


def run(
    texts: Sequence[Path],
    output: Path,
    config: ExtractTermsConfig,
    *,
    given: TermInputs | None = None,
    options: RunOptions = RunOptions(),  # noqa: B008 - immutable
) -> Path:
    """Make a lexicon from ``texts`` and the terms ``given``, and publish it as an artifact.

    Raises:
        UsageError: there is no text, no term list and no labelled file.
        DataError: an input is unreadable, a list has no terms, or no terms are found.
        UnavailableError: the pipeline, or scikit-learn if it is needed, is not installed.
    """
    given = given or TermInputs()
    if not (texts or given.terms or given.labels):
        raise UsageError("no text was given", hint="give TEXT, --terms or --from-labels")
    files = source_files(texts)
    inputs = [*(artifacts.file_input("text", file) for file in files), *given.inputs()]
    if files and _has_pipeline(config):
        inputs.append(_pipeline_input(config.pipeline))
    lists = [_term_list(file) for file in given.terms]
    seen = Sketch()
    labelled = _labelled_terms(given.labels, config, seen)
    without = TestSentences.read(given.without, config)
    build = ArtifactBuild("lexicon", output, config, inputs)
    if build.is_done(overwrite=options.overwrite):
        workspace.discard(build)
        return output
    own = merge([*(term for found in lists for term in found.terms), *labelled])
    linker = None
    if given.link is not None:
        name = display_name(given.link)
        linker = Linker(read_lines(given.link), name, min_similarity=config.link_similarity)
    background = _background(source_files(given.background), config, seen)

    with (
        workspace.work_folder(build, options) as (folder, _),
        execution.executor(config.n_workers(_worker_bytes(config)), config.ray) as executor,
    ):
        partitions = n_partitions(total_bytes(files))
        over = OverBlocks(executor, config, config.skip_bad, Journal(folder), without, config.deduplicate)
        corpus = _read(files, over, config, own, folder, partitions)
        check_some_are_left(corpus.evidence.n_documents, over.left_out)
        reader = WordReader(words.english())
        mentions = _mentions(corpus.n_blocks, config, folder, partitions, executor)
        offered = Offered.of(corpus.evidence, mentions, own, config, reader)
        found = _candidates(corpus, offered, config, background, folder, partitions, executor)
        terms = choose(offered, found.candidates, config, found.ranking, linker.types if linker else None)
        if not terms:
            raise _no_terms(corpus.evidence, config)
        stats = _stats(corpus.evidence, found.n_candidates, terms, own, lists)
        stats["left_out"] = dict(sorted(over.left_out.items()))
        with build.publish() as staged:
            write_terms(staged.path / TERMS, terms)
            (staged.path / STATS).write_text(json.dumps(stats, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            (staged.path / artifacts.SKETCHES).mkdir()
            seen.save(folder / f"{_SEEN}-given.u64")
            merge_sketches(
                sorted(folder.glob(f"{_SEEN}-*.u64")), staged.path / artifacts.SKETCHES / "extract-terms.u64"
            )
    _report(stats, terms, config)
    return output


def _has_pipeline(config: ExtractTermsConfig) -> bool:
    return "pipeline" in config.sources and config.pipeline != pipeline.NONE


def _worker_bytes(config: ExtractTermsConfig) -> int:
    """Memory of a worker (measured: 0.27 GB without a pipeline, 0.41 GB with the packaged detector)."""
    if not _has_pipeline(config):
        return 350_000_000
    return 600_000_000 if config.pipeline == pipeline.DEFAULT else 2_500_000_000


def _pipeline_input(name: str) -> Input:
    """The pipeline as an input: identified by content (folder, packaged) or by version (installed)."""
    if name == pipeline.DEFAULT:
        packaged = artifacts.file_input("pipeline", fsio.resource(pipeline.DETECTOR))
        return packaged.model_copy(update={"path": name})
    if Path(name).is_dir():
        return artifacts.file_input("pipeline", Path(name))
    try:
        installed = version(name)
    except (PackageNotFoundError, ValueError) as error:
        raise UnavailableError(
            f"pipeline {name!r} is neither an installed pipeline nor a folder", hint=pipeline.HINT
        ) from error
    return Input(role="pipeline", path=name, fingerprint=f"{name}=={installed}")


def _term_list(file: Path) -> TermList:
    name = display_name(file)
    found = read_term_list(read_lines(file), name)
    skipped = {
        "duplicate terms": found.n_duplicates,
        "terms with fewer than two letters or digits": found.n_too_short,
        "terms that are too long": found.n_too_long,
    }
    for what, n in skipped.items():
        if n:
            console.note(f"{name}: skipped {n:,} {what}")
    if found.n_cleaned:
        console.warn(f"{name}: replaced control characters in {found.n_cleaned:,} terms by spaces")
    return found


def _labelled_terms(files: Sequence[Path], config: ExtractTermsConfig, seen: Sketch) -> list[Term]:
    """The gold mentions of labelled files with their types; adds the sentences to ``seen``."""
    counts = MentionCounts()
    reader = WordReader(words.english())
    for file in files:
        corpus = read_labelled(file, config)
        for sentence in corpus.sentences:
            seen.add(" ".join(sentence.words))
            counts.add_document(
                DetectedMention(
                    shown(reader.read(" ".join(sentence.words[start:end]), is_tokenised=True)),
                    None if entity_type == _UNTYPED else entity_type,
                )
                for start, end, entity_type in sentence.mentions
            )
    terms = counts.terms(LABELS, min_count=1)
    if files and not terms:
        raise DataError("no mentions in the labelled sentences", path=display_name(files[0]))
    return terms


def _background(files: Sequence[Path], config: ExtractTermsConfig, seen: Sketch) -> CandidateCounts | None:
    """The n-grams of a background text, if given; adds its sentences to ``seen``."""
    if not files:
        return None
    counts, reader = CandidateCounts(), WordReader(words.english())
    for document in read_documents(files, config):
        passage = _passage(document)
        sentences = [passage.text[start:end] for start, end in passage.sentences]
        for sentence in sentences:
            seen.add(sentence)
        as_words = [reader.read(sentence, is_tokenised=passage.is_tokenised) for sentence in sentences]
        counts.add_document(as_words, max_words=config.max_words)
    return counts


def _read(
    files: Sequence[Path],
    over: OverBlocks,
    config: ExtractTermsConfig,
    own: Sequence[Term],
    folder: Path,
    partitions: int,
) -> CorpusEvidence:
    """Read all files block by block; counts and sketches of sentences go to files in ``folder``."""
    prepare = functools.partial(_block_reader, config, own, folder, partitions)
    evidence, n_blocks = Evidence(), 0
    with console.progress("extract-terms", total_bytes(files) or None, unit="bytes") as bar:
        started = time.perf_counter()
        for found in over.map(prepare, over.blocks(files, config.block_size(BLOCK_CHARS), bar), bar):
            evidence.add(Evidence.from_json(found))
            n_blocks += 1
            bar.update(f"{evidence.candidates.n_words / (time.perf_counter() - started):,.0f} words/s")
    return CorpusEvidence(evidence, n_blocks)


def _block_reader(config: ExtractTermsConfig, own: Sequence[Term], folder: Path, partitions: int) -> Work[Kept]:
    """The function that reads a block of documents."""
    allocator.keep_freed_memory()
    finder = TermFinder(config.sources, config.pipeline, own, max_words=config.max_words)

    def read(block: Block, documents: Iterable[Document]) -> Kept:
        evidence, seen = Evidence(), Sketch()
        for batch in document_batches(documents):
            passages = [_passage(document) for document in batch]
            evidence.add(finder.evidence(passages))
            for passage in passages:
                for start, end in passage.sentences:
                    seen.add(passage.text[start:end])
        names = write_counts(folder, block.number, evidence.candidates, evidence.mentions, partitions)
        names.append(f"{_SEEN}-{block.number:07}.u64")
        seen.save(folder / names[-1])
        evidence.candidates = CandidateCounts(n_words=evidence.candidates.n_words)
        evidence.mentions = MentionCounts()
        return Kept(evidence.to_json(), {name: fsio.sha256_of(folder / name) for name in names})

    return read


def _mentions(
    n_blocks: int, config: ExtractTermsConfig, folder: Path, partitions: int, executor: Executor
) -> list[Term]:
    """The terms that the pipeline found often enough, in the order of their identities."""
    if not _has_pipeline(config):
        return []
    merge_mentions = functools.partial(_mention_merger, folder, range(n_blocks), config)
    terms: list[Term] = []
    with console.progress("extract-terms: mentions", partitions) as bar:
        for found in results(executor, merge_mentions, range(partitions), _named):
            terms += found
            bar.advance()
    return sorted(terms, key=lambda term: identity(term.term))


def _mention_merger(folder: Path, blocks: Sequence[int], config: ExtractTermsConfig) -> Callable[[int], list[Term]]:
    """The function that finds the terms among the mentions of a partition."""
    runs, source = Runs(folder, "mentions", blocks), pipeline.source_name(config.pipeline)
    least = config.min_count
    return lambda partition: frequent_mentions(runs, partition, least).terms(source, min_count=least)


class _Found(NamedTuple):
    """The best candidates, the number of distinct ones, and a ranking that knows all words and what was offered."""

    candidates: list[Term]
    n_candidates: int
    ranking: Termhood


def _candidates(
    corpus: CorpusEvidence,
    offered: Offered,
    config: ExtractTermsConfig,
    background: CandidateCounts | None,
    folder: Path,
    partitions: int,
    executor: Executor,
) -> _Found:
    """Merge the counts in ``folder`` and rank the candidates, partition by partition."""
    fsio.make_folder(folder / _MERGED)
    every = range(partitions)
    reader = WordReader(words.english())
    wanted = {form_of(term, reader) for term in offered.terms()}
    merge_counts = functools.partial(_merger, folder, range(corpus.n_blocks), config.min_count, wanted)
    with console.progress("extract-terms: merging", partitions) as bar:
        n_candidates = 0
        for n in results(executor, merge_counts, every, _named):
            n_candidates += n
            bar.advance()
    all_words = join_words(folder / _MERGED, partitions)
    all_words.file.read({word for form in wanted for word in form.split()})
    merged = MergedCounts(folder / _MERGED, partitions, corpus.evidence.candidates.n_words, all_words)
    own = merged.candidates_among(wanted)
    ranking = Termhood(own, termhood.general_english(), reader, background, all_words.fractions)
    best: list[Term] = []
    if "termhood" in config.sources:
        known = frozenset(identity(term.term) for term in offered.terms())
        chosen = functools.partial(_best, known, config)
        find_parts = functools.partial(_part_finder, merged, config.min_count)
        rank = functools.partial(_ranker, merged, offered.general, background, config, chosen)
        most = 2 * config.max_terms
        with console.progress("extract-terms: ranking", 2 * partitions) as bar:
            for _ in results(executor, find_parts, every, _named):
                bar.advance()
            for terms in results(executor, rank, every, _named):
                best += terms
                if len(best) > most:
                    best = chosen(best)
                    most = max(most, 2 * len(best))
                bar.advance()
        best = chosen(best)
    return _Found(best, n_candidates, ranking)


def _named(partition: int) -> str:
    return f"partition {partition}"


def _merger(folder: Path, blocks: Sequence[int], min_count: int, wanted: set[str]) -> Callable[[int], int]:
    """The function that merges a partition of the counts of all blocks."""
    runs = {table: Runs(folder, table, blocks) for table in TABLES}
    return lambda partition: write_merged(folder / _MERGED, partition, runs, min_count, wanted)


def _part_finder(merged: MergedCounts, min_count: int) -> Callable[[int], None]:
    """The function that writes which parts the noun-like candidates of a partition have, by the parts' partition."""
    reader = WordReader(words.english())

    def find(partition: int) -> None:
        ranking = Termhood(merged.candidates(partition), {}, reader, fractions=merged.words.fractions)
        nouns = dict(ranking.noun_like(min_count))
        parts = ((part, total, n) for part, (total, n) in containing(nouns).items())
        write_rows(merged.folder, "parts", partition, parts, merged.partitions)

    return find


def _ranker(
    merged: MergedCounts,
    general_forms: Set[str],
    background: CandidateCounts | None,
    config: ExtractTermsConfig,
    chosen: Callable[[list[Term]], list[Term]],
) -> Callable[[int], list[Term]]:
    """The function that ranks the candidates of a partition, best first."""
    general, reader = termhood.general_english(), WordReader(words.english())
    parts = Runs(merged.folder, "parts", range(merged.partitions))

    def rank(partition: int) -> list[Term]:
        counts = merged.candidates(partition)
        ranking = Termhood(counts, general, reader, background, merged.words.fractions)
        nouns = dict(ranking.noun_like(config.min_count))
        nested = {part: total / n for part, total, n in parts.rows(partition) if part in nouns}
        terms = ranking.rank(nouns, nested, min_count=config.min_count, min_score=config.min_score)
        return chosen([t for t in terms if general_forms.isdisjoint(t.term.split())])

    return rank


def _best(known: Set[str], config: ExtractTermsConfig, terms: list[Term]) -> list[Term]:
    """The terms that can be in the lexicon, best first: all if types choose among them, else as many as it can have.

    ``known``: the identities of terms from other sources, which stay.
    """
    terms = sorted(terms, key=lambda term: (-term.score, term.term))
    if config.types:
        return terms
    return terms[: config.max_terms] + [t for t in terms[config.max_terms :] if identity(t.term) in known]


def _passage(document: Document) -> Passage:
    if document.sentences is not None:
        return Passage(document.text, document.sentences, is_tokenised=True)
    return Passage(document.text, split_sentences(document.text), is_tokenised=False)


def _no_terms(evidence: Evidence, config: ExtractTermsConfig) -> DataError:
    where = f"in {evidence.candidates.n_words:,} words of text"
    if config.types:
        return DataError(f"no terms of type {', '.join(config.types)} found {where}", hint="change or drop --types")
    hint = "lower --min-count or --min-score, give more text, or give your own list with --terms"
    return DataError(f"no terms found {where}", hint=hint)


def _stats(
    evidence: Evidence, n_candidates: int, terms: Sequence[Term], own: Sequence[Term], lists: Sequence[TermList]
) -> dict[str, Any]:
    from_lists = [term for term in own if USER in term.sources]
    return {
        "n_documents": evidence.n_documents,
        "n_sentences": evidence.n_sentences,
        "n_words": evidence.candidates.n_words,
        "n_candidates": n_candidates,
        "n_terms": len(terms),
        "n_terms_by_source": dict(sorted(Counter(source for term in terms for source in term.sources).items())),
        "n_terms_by_type": dict(sorted(Counter(term.type for term in terms if term.type).items())),
        "user_list": {
            "n_terms": len(from_lists),
            "n_not_in_text": sum(term.term not in evidence.given for term in from_lists),
            "n_duplicates": sum(found.n_duplicates for found in lists),
            "n_too_short": sum(found.n_too_short for found in lists),
            "n_too_long": sum(found.n_too_long for found in lists),
            "n_cleaned": sum(found.n_cleaned for found in lists),
        },
        "score": termhood.FORMULA,
        "count": termhood.COUNT,
    }


def _report(stats: dict[str, Any], terms: Sequence[Term], config: ExtractTermsConfig) -> None:
    rows = [[source, f"{n:,}"] for source, n in stats["n_terms_by_source"].items()]
    console.table(
        f"{console.count(stats['n_terms'], 'term')} from {console.count(stats['n_words'], 'word')}"
        f" in {console.count(stats['n_documents'], 'document')}",
        ["source", "terms"],
        rows,
    )
    report_left_out(stats["left_out"])
    if missing := sorted(set(config.types) - stats["n_terms_by_type"].keys()):
        console.warn(f"no terms of type {', '.join(missing)}")
    best = sorted(terms, key=lambda term: -term.score)[:_N_SHOWN]
    console.note("best: " + ", ".join(term.term for term in best))
