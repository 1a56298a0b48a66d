"""``mslm extract-terms``: make a lexicon of domain-specific terms from text."""

import functools
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import Any

from mslm_cli import allocator, artifacts, console, fsio, workspace
from mslm_cli.artifacts import STATS, ArtifactBuild, Input
from mslm_cli.config import ExtractTermsConfig
from mslm_cli.corpus.blocks import Block, Work
from mslm_cli.corpus.contamination import TestSentences
from mslm_cli.corpus.documents import BATCH_CHARS, Document, document_batches
from mslm_cli.corpus.files import source_files
from mslm_cli.corpus.lines import display_name, read_lines
from mslm_cli.corpus.over_blocks import OverBlocks, report_left_out
from mslm_cli.corpus.readers import gold_inputs, read_documents, read_labelled
from mslm_cli.corpus.seen import Sketch
from mslm_cli.errors import DataError, UnavailableError, UsageError
from mslm_cli.execution import executor as execution
from mslm_cli.terms import pipeline, termhood, words
from mslm_cli.terms.candidates import CandidateCounts
from mslm_cli.terms.evidence import Evidence, Passage, TermFinder
from mslm_cli.terms.lexicon import LABELS, TERMS, USER, Term, merge, write_terms
from mslm_cli.terms.linking import Linker
from mslm_cli.terms.mentions import MentionCounts
from mslm_cli.terms.pipeline import DetectedMention
from mslm_cli.terms.selection import choose
from mslm_cli.terms.termhood import Termhood
from mslm_cli.terms.termlists import TermList, read_term_list
from mslm_cli.terms.words import WordReader, shown
from mslm_cli.text.sentences import split_sentences
from mslm_cli.workspace import RunOptions

BLOCK_CHARS = BATCH_CHARS
"""With a detector, a worker reads such a block in about ten seconds."""

_STATE = "state.json"
_SEEN = "seen.u64"
_N_SHOWN = 10
_UNTYPED = "MENTION"
# Save a checkpoint when the time since the last one is this many times the time it took.
_SAVING_INTERVAL = 20


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


@dataclass
class CorpusEvidence:
    """The evidence in the text read so far, a sketch of its sentences, and how many documents were left out, by why."""

    evidence: Evidence = field(default_factory=Evidence)
    seen: Sketch = field(default_factory=Sketch)
    left_out: Counter[str] = field(default_factory=Counter)

    def add(self, other: "CorpusEvidence") -> None:
        self.evidence.add(other.evidence)
        self.seen.add_all(other.seen)


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
    if files and "pipeline" in config.sources and config.pipeline != pipeline.NONE:
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

    with workspace.work_folder(build, options) as (folder, checkpoint):
        corpus = _read(files, config, own, without, folder, checkpoint)
        reader = WordReader(words.english())
        ranking = Termhood(corpus.evidence.candidates, termhood.general_english(), reader, background)
        terms = choose(corpus.evidence, own, config, ranking, reader, linker.types if linker else None)
        if not terms:
            raise _no_terms(corpus.evidence, config)
        stats = _stats(corpus.evidence, terms, own, lists) | {"left_out": dict(sorted(corpus.left_out.items()))}
        seen.add_all(corpus.seen)
        with build.publish() as staged:
            write_terms(staged.path / TERMS, terms)
            (staged.path / STATS).write_text(json.dumps(stats, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            (staged.path / artifacts.SKETCHES).mkdir()
            seen.save(staged.path / artifacts.SKETCHES / "extract-terms.u64")
    _report(stats, terms, config)
    return output


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
    config: ExtractTermsConfig,
    own: Sequence[Term],
    without: TestSentences,
    folder: Path,
    checkpoint: Path | None,
) -> CorpusEvidence:
    """Read all files batch by batch, resuming from ``checkpoint``; keeps the last checkpoint in ``folder``."""
    corpus, n_done = (CorpusEvidence(), 0) if checkpoint is None else _load(checkpoint)
    if checkpoint is not None:
        console.note(f"resuming from {checkpoint} ({console.count(corpus.evidence.n_documents, 'document')})")
    prepare = functools.partial(_block_reader, config, own)
    n_bytes = sum(file.stat().st_size for file in files if file.is_file())
    with (
        execution.executor(config.n_workers, config.ray) as executor,
        console.progress("extract-terms", n_bytes or None) as bar,
    ):
        over = OverBlocks(
            executor, config, config.skip_bad, without=without, way=config.deduplicate, left_out=corpus.left_out
        )
        rest = islice(over.blocks(files, config.block_size(BLOCK_CHARS), bar), n_done, None)
        started = saved = time.perf_counter()
        n_before, cost = corpus.evidence.candidates.n_words, 0.0
        for found in over.map(prepare, rest, bar):
            corpus.add(found)
            n_done += 1
            now = time.perf_counter()
            bar.update(f"{(corpus.evidence.candidates.n_words - n_before) / (now - started):,.0f} words/s")
            if now - saved >= _SAVING_INTERVAL * cost:
                _save(folder / f"checkpoint-{n_done:07d}", corpus, n_done)
                saved = time.perf_counter()
                cost = saved - now
    return corpus


def _block_reader(config: ExtractTermsConfig, own: Sequence[Term]) -> Work[CorpusEvidence]:
    """The function that reads a block of documents."""
    allocator.keep_freed_memory()
    finder = TermFinder(config.sources, config.pipeline, own, max_words=config.max_words)

    def read(_: Block, documents: Iterable[Document]) -> CorpusEvidence:
        corpus = CorpusEvidence()
        for batch in document_batches(documents):
            passages = [_passage(document) for document in batch]
            corpus.evidence.add(finder.evidence(passages))
            for passage in passages:
                for start, end in passage.sentences:
                    corpus.seen.add(passage.text[start:end])
        return corpus

    return read


def _passage(document: Document) -> Passage:
    if document.sentences is not None:
        return Passage(document.text, document.sentences, is_tokenised=True)
    return Passage(document.text, split_sentences(document.text), is_tokenised=False)


def _save(checkpoint: Path, corpus: CorpusEvidence, n_batches: int) -> None:
    with workspace.new_checkpoint(checkpoint) as folder:
        corpus.seen.save(folder / _SEEN)
        with (folder / _STATE).open("w", encoding="utf-8") as file:
            json.dump(
                {"n_batches": n_batches, "left_out": corpus.left_out, "evidence": corpus.evidence.to_json()}, file
            )
    for older in workspace.checkpoints(checkpoint.parent)[:-1]:
        fsio.delete(older)


def _load(checkpoint: Path) -> tuple[CorpusEvidence, int]:
    """The evidence written by ``_save``, and its number of batches.

    Raises:
        ArtifactError: the checkpoint is damaged.
    """
    try:
        state = json.loads((checkpoint / _STATE).read_bytes())
        evidence, left_out = Evidence.from_json(state["evidence"]), Counter(state["left_out"])
        corpus = CorpusEvidence(evidence, Sketch.load(checkpoint / _SEEN), left_out)
        return corpus, int(state["n_batches"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise workspace.damaged(checkpoint, str(error)) from error


def _no_terms(evidence: Evidence, config: ExtractTermsConfig) -> DataError:
    where = f"in {evidence.candidates.n_words:,} words of text"
    if config.types:
        return DataError(f"no terms of type {', '.join(config.types)} found {where}", hint="change or drop --types")
    hint = "lower --min-count or --min-score, give more text, or give your own list with --terms"
    return DataError(f"no terms found {where}", hint=hint)


def _stats(evidence: Evidence, terms: Sequence[Term], own: Sequence[Term], lists: Sequence[TermList]) -> dict[str, Any]:
    from_lists = [term for term in own if USER in term.sources]
    return {
        "n_documents": evidence.n_documents,
        "n_sentences": evidence.n_sentences,
        "n_words": evidence.candidates.n_words,
        "n_candidates": len(evidence.candidates.counts),
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
