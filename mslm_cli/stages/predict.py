"""``mslm predict``: find mentions, relations or labels in text with a trained model."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import astuple, dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from mslm_cli import artifacts, console, workspace
from mslm_cli.artifacts import Artifact
from mslm_cli.config import PredictConfig
from mslm_cli.corpus.blocks import Block, Work, blocks
from mslm_cli.corpus.classified import LabelledText, classified_corpus, json_line
from mslm_cli.corpus.documents import Document
from mslm_cli.corpus.files import source_files, total_bytes
from mslm_cli.corpus.formats import FORMATS
from mslm_cli.corpus.formats.format import Part
from mslm_cli.corpus.labels import TagScheme, tags_from_mentions
from mslm_cli.corpus.lines import STDIN, OnRead, ignore_progress
from mslm_cli.corpus.output import check_output, write_parts
from mslm_cli.corpus.over_blocks import Journal, Kept, OverBlocks, join_pieces, piece
from mslm_cli.corpus.readers import read_annotated, read_documents
from mslm_cli.corpus.seen import sentence_hash
from mslm_cli.corpus.segmentation import SegmentedDocument, segmented
from mslm_cli.corpus.standoff import AnnotatedDocument, SplitWords
from mslm_cli.corpus.writers import conll_block, document_mark
from mslm_cli.errors import UsageError
from mslm_cli.execution import executor as execution
from mslm_cli.tasks.mentions import DocumentMentions, annotated_mentions, find_mentions
from mslm_cli.tasks.trained import TrainedModel, load_trained, task_of
from mslm_cli.terms.display import Mark, html_page
from mslm_cli.text.tokens import splitter
from mslm_cli.training.device import select_device
from mslm_cli.workspace import FileBuild, RunOptions

Form = str
"""``json``, ``conll``, ``html``, ``text``, or a format that has a writer."""

BLOCK_CHARS = 200_000

_WORKER_BYTES = 500_000_000
"""Memory of a worker without the weights of its model."""

WORDS_PER_ROUND = 4096
"""Documents are read until they have this many words, then their windows are sorted by length; bounds memory."""

_CHARS_PER_ROUND = 20_000

_OWN_FORMS = ("json", "conll", "html", "text")


@dataclass
class Totals:
    """Totals over all documents."""

    n_documents: int = 0
    n_sentences: int = 0
    n_mentions: int = 0
    n_relations: int = 0

    def add(self, other: "Totals") -> None:
        """Add the totals of ``other``."""
        self.n_documents += other.n_documents
        self.n_sentences += other.n_sentences
        self.n_mentions += other.n_mentions


class Result(NamedTuple):
    """Destination and format of the mentions; without a path, standard output.

    scheme: of the tags of ``conll``. with_text: whether JSON lines have the text of mentions; otherwise they have the
    hash of the sentence.
    """

    form: Form
    path: Path | None = None
    scheme: TagScheme = "IOB2"
    with_text: bool = True
    options: RunOptions = RunOptions()


def run(trained: Path, texts: Sequence[Path], config: PredictConfig, result: Result, ner: Path | None = None) -> None:
    """Write the predictions, document by document in input order; see ``_mentions`` and ``_relations``.

    Args:
        ner: the model that finds the mentions to relate; None to relate those that the data have.

    Raises:
        UsageError: the path exists and must not be overwritten, or has files that this command did not write; the task
            of a model does not fit.
        ArtifactError: a model is not a valid artifact.
        DataError: the text is unreadable.
    """
    writer = None if result.form in _OWN_FORMS else FORMATS[result.form].writer
    if result.path is not None:
        overwrite = result.options.overwrite or workspace.is_unfinished(result.path)
        check_output(result.path, is_folder=writer is not None and writer.is_folder, overwrite=overwrite)
    source = artifacts.load(trained, "ner")
    task = task_of(source)
    if task.kind != "relations" and ner is not None:
        raise UsageError(f"--ner finds mentions to relate, and {trained} is a model for --task {task.name}")
    if task.kind == "spans":
        _mentions(source, texts, config, result)
        return
    model = load_trained(source, config, config.threshold)
    split_words = word_splitter(source, config.words)
    if task.kind == "relations":
        _relations(model, texts, config, result, split_words, ner)
    else:
        _labels(model, texts, config, result, split_words)


def _labels(
    model: TrainedModel, texts: Sequence[Path], config: PredictConfig, result: Result, split_words: SplitWords
) -> None:
    """Write a JSON line for each document, with its labels."""
    if result.form not in ("json", "text"):
        raise UsageError(f"--to {result.form} cannot hold labels of documents", hint="use json")
    n_documents = 0

    def lines() -> Iterator[Part]:
        nonlocal n_documents
        for documents in _rounds(segmented(each, split_words) for each in read_documents(source_files(texts), config)):
            known = [LabelledText(each.document.id, each.document.text, (), None) for each in documents]
            found = model.label(classified_corpus(known, split_words))
            n_documents += len(documents)
            pairs = zip(known, found, strict=True)
            yield Part("".join(json_line(text.id, labels.labels) for text, labels in pairs))

    write_parts(lines(), result.path, is_folder=False, is_safe=True)
    if result.path is not None:
        console.made(result.path)
    console.note(f"labels of {console.count(n_documents, 'document')}")


def _relations(
    model: TrainedModel,
    texts: Sequence[Path],
    config: PredictConfig,
    result: Result,
    split_words: SplitWords,
    ner: Path | None,
) -> None:
    """Write the relations between predicted mentions, or those in the data.

    ``json``: one line per relation; ``text``: the same for people; a format with a writer: the documents in it.
    """
    from mslm_cli.tasks.related import relate  # imports transformers, which a model for entities can do without

    form, output = result.form, result.path
    writer = None if form in _OWN_FORMS else FORMATS[form].writer
    if form in ("conll", "html"):
        raise UsageError(f"--to {form} cannot hold relations", hint="use json, brat, bioc, pubtator or jsonl")
    totals = Totals()
    relating = partial(relate, model, split_words=split_words, names_concepts=form == "pubtator")
    rounds = _related(_with_mentions(model, texts, config, ner), relating, totals)
    if writer is not None:
        parts = writer.parts(chain.from_iterable(rounds), "" if output is None else output.name)
    else:
        show = partial(_relation_lines, is_json=form == "json", with_text=result.with_text)
        parts = (Part("".join(map(show, documents))) for documents in rounds)
    write_parts(parts, output, is_folder=writer is not None and writer.is_folder, is_safe=form == "json")
    if output is not None:
        console.made(output)
    console.note(
        f"{console.count(totals.n_relations, 'relation')} between {console.count(totals.n_mentions, 'mention')}"
        f" of {console.count(totals.n_documents, 'document')}"
    )
    if not totals.n_mentions:
        console.warn("no mentions to relate: give a model that finds them with --ner, or text with annotations")


def _with_mentions(
    model: TrainedModel, texts: Sequence[Path], config: PredictConfig, ner: Path | None
) -> Iterator[list[AnnotatedDocument]]:
    """The documents with their mentions, in rounds."""
    if ner is not None:
        from mslm_cli.tasks.related import check_mention_types
        from mslm_cli.tasks.relations import are_concepts

        source = artifacts.load(ner, "ner")
        finder = load_trained(source, config)
        check_mention_types(model, finder)
        with_concepts = are_concepts(model.model)
        for found in predict(source_files(texts), finder, config, word_splitter(source, config.words)):
            yield [annotated_mentions(document, with_concepts=with_concepts) for document in found]
        return
    waiting: list[AnnotatedDocument] = []
    for document in read_annotated(texts, config):
        waiting.append(document)
        if sum(len(each.text) for each in waiting) >= _CHARS_PER_ROUND:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _related(
    rounds: Iterable[list[AnnotatedDocument]],
    relating: Callable[[list[AnnotatedDocument]], list[AnnotatedDocument]],
    totals: Totals,
) -> Iterator[list[AnnotatedDocument]]:
    for documents in rounds:
        related = relating(documents)
        totals.n_documents += len(related)
        totals.n_mentions += sum(len(document.annotations) for document in related)
        totals.n_relations += sum(len(document.relations) for document in related)
        yield related


def _relation_lines(document: AnnotatedDocument, *, is_json: bool, with_text: bool) -> str:
    by_id = {annotation.id: annotation for annotation in document.annotations}
    lines = []
    for relation in document.relations:
        ends = []
        for _, target in relation.arguments:
            start, end = by_id[target].bounds
            place = {"start": start, "end": end, "type": by_id[target].type}
            concepts = {"concepts": by_id[target].concepts} if by_id[target].concepts and with_text else {}
            ends.append(place | ({"text": document.text[start:end]} if with_text else {}) | concepts)
        score = relation.score or 0.0
        if is_json:
            record = {"doc": document.id, "type": relation.type, "head": ends[0], "tail": ends[1]}
            lines.append(json.dumps(record | {"score": round(score, 6)}, ensure_ascii=False))
        else:
            head, tail = (" ".join(str(end["text"]).split()) for end in ends)
            lines.append(f"{document.id}: {head} -{relation.type}-> {tail} ({score:.2f})")
    return "".join(f"{line}\n" for line in lines)


def _mentions(source: Artifact, texts: Sequence[Path], config: PredictConfig, result: Result) -> None:
    """Write the mentions.

    ``json``: one line per mention; ``conll``: one line per word; ``html``: a page; ``text``: documents with marked
    mentions; the name of a format with a writer (``brat``, ``pubtator``, ...): the documents in it.
    """
    form, output = result.form, result.path
    writer = None if form in _OWN_FORMS else FORMATS[form].writer
    is_folder = writer is not None and writer.is_folder
    files = source_files(texts)
    totals = Totals()
    n_bytes = total_bytes(files)
    n_workers = _n_workers(source.path, files, n_bytes, config)
    prepare = partial(_predictor, source.path, config.model_copy(update={"threads": config.threads or 1}))
    with (
        execution.executor(n_workers, config.ray) as executor,
        console.progress("predict", n_bytes or None, shown=form != "text", unit="bytes") as bar,
    ):
        is_local = config.is_local(n_workers)
        every = blocks(files, config, config.block_size(BLOCK_CHARS), bar.advance, are_lazy=is_local)
        over = OverBlocks(executor, config, config.skip_bad)
        if form in ("json", "conll") and output is not None and STDIN not in files:
            inputs = [source.as_input("ner"), *(artifacts.file_input("text", file) for file in files)]
            wanted = {"form": form, "scheme": result.scheme, "with_text": result.with_text}
            build = FileBuild("mentions", output, config, inputs, wanted)
            with workspace.work_folder(build, result.options) as (work, _):
                over = replace(over, journal=Journal(work))
                for found in over.map(partial(_piece_writer, prepare, result, work), every, bar):
                    totals.add(Totals(*found))
                join_pieces(work, output)
        else:
            if is_local:
                predicted = prepare()
                by_block = (predicted(block.documents(config)) for block in every)
                rounds: Iterator[list[DocumentMentions]] = chain.from_iterable(by_block)
            else:
                rounds = chain.from_iterable(over.map(partial(_lister, prepare), every, bar))
            rounds = _counted(rounds, totals)
            if writer is not None:
                parts = writer.parts(_annotated(rounds), "" if output is None else output.name)
            else:
                types = load_trained(source, config).types if form == "html" else set()
                parts = map(Part, render(rounds, types, result))
            write_parts(parts, output, is_folder=is_folder, is_safe=writer is None)
    if output is not None:
        console.made(output)
    console.note(
        f"{console.count(totals.n_mentions, 'mention')} in {console.count(totals.n_sentences, 'sentence')}"
        f" of {console.count(totals.n_documents, 'document')}"
    )


def word_splitter(ner: Artifact, words: str) -> Callable[[str], list[tuple[int, int]]]:
    """The function that splits text into words ([start, end) characters): as in the training data, or by ``words``."""
    return splitter(ner.manifest.run.get("words", "punctuation") if words == "auto" else words)


def predict(
    files: Sequence[Path],
    model: TrainedModel,
    config: PredictConfig,
    split_words: Callable[[str], list[tuple[int, int]]],
    on_read: OnRead = ignore_progress,
) -> Iterator[list[DocumentMentions]]:
    """The documents of ``files`` with their mentions, in order, in rounds of several documents.

    A long document comes in parts with the same id; offsets continue over its parts.
    """
    return _predicted(model, split_words, read_documents(files, config, on_read))


def _predicted(
    model: TrainedModel, split_words: Callable[[str], list[tuple[int, int]]], documents: Iterable[Document]
) -> Iterator[list[DocumentMentions]]:
    every = (segmented(document, split_words) for document in documents)
    for found in _rounds(every):
        yield find_mentions(model, found)


Predict = Callable[[Iterable[Document]], Iterator[list[DocumentMentions]]]


def _predictor(ner: Path, config: PredictConfig) -> Predict:
    """The function that predicts the mentions of documents, in rounds."""
    source = artifacts.load(ner, "ner")
    model = load_trained(source, config, config.threshold)
    return partial(_predicted, model, word_splitter(source, config.words))


def _lister(prepare: Callable[[], Predict]) -> Work[list[list[DocumentMentions]]]:
    """The function that predicts the mentions in a block."""
    predicted = prepare()
    return lambda _, documents: list(predicted(documents))


def _piece_writer(prepare: Callable[[], Predict], result: Result, folder: Path) -> Work[Kept]:
    """The function that writes the mentions in a block as ``result`` says."""
    predicted = prepare()

    def write(block: Block, documents: Iterable[Document]) -> Kept:
        totals = Totals()
        text = "".join(render(_counted(predicted(documents), totals), set(), result))
        return piece(folder, block, text, astuple(totals))

    return write


def _n_workers(ner: Path, files: Sequence[Path], n_bytes: int, config: PredictConfig) -> int:
    """The number of worker processes; with auto only one for little text, for standard input and on CUDA."""
    n = config.n_workers(_WORKER_BYTES + 2 * total_bytes(list(ner.glob("*.safetensors"))))
    if config.workers != "auto":
        return n
    is_small = n_bytes < 2 * config.block_size(BLOCK_CHARS)
    return 1 if is_small or STDIN in files or select_device(config.device, threads=1).type == "cuda" else n


def _rounds(documents: Iterable[SegmentedDocument]) -> Iterator[list[SegmentedDocument]]:
    """The documents in rounds of about ``WORDS_PER_ROUND`` words."""
    waiting: list[SegmentedDocument] = []
    n_words = 0
    for document in documents:
        waiting.append(document)
        n_words += sum(map(len, document.sentences))
        if n_words >= WORDS_PER_ROUND:
            yield waiting
            waiting, n_words = [], 0
    if waiting:
        yield waiting


def _counted(rounds: Iterable[list[DocumentMentions]], totals: Totals) -> Iterator[list[DocumentMentions]]:
    for documents in rounds:
        for found in documents:
            totals.n_documents += 1
            totals.n_sentences += len(found.tagged)
            totals.n_mentions += sum(len(t.mentions) for t in found.tagged)
        yield documents


def render(rounds: Iterable[list[DocumentMentions]], types: Set[str], result: Result) -> Iterator[str]:
    """The output in parts, at least one for each round, so that each can be written at once."""
    form = result.form
    if form == "html":
        documents = (
            (f.segmented.document.id, f.segmented.document.text, [Mark(s.start, s.end, s.type) for s in f.spans])
            for found in rounds
            for f in found
        )
        yield from html_page("mslm predict", documents, sorted(types))
        return
    show = {
        "json": lambda f: _records(f, with_text=result.with_text),
        "conll": lambda f: _columns(f, result.scheme),
        "text": _marked,
    }[form]
    for found in rounds:
        yield "".join(map(show, found))


def _records(found: DocumentMentions, *, with_text: bool) -> str:
    document = found.segmented.document
    lines = []
    for span in found.spans:
        record = {"doc": document.id, "start": document.first + span.start, "end": document.first + span.end}
        if with_text:
            record["text"] = document.text[span.start : span.end]
        else:
            record["hash"] = f"{sentence_hash(' '.join(found.segmented.words(span.sentence))):016x}"
        lines.append(json.dumps(record | {"type": span.type, "score": round(span.score, 6)}, ensure_ascii=False))
    return "".join(f"{line}\n" for line in lines)


def _columns(found: DocumentMentions, scheme: TagScheme) -> str:
    document = found.segmented.document
    # a CoNLL input without document marks gets none in the output
    mark = document_mark(document.id) if document.has_id or document.sentences is None else ""
    blocks = []
    for i, tagged in enumerate(found.tagged):
        words = found.segmented.words(i)
        mentions = [span.mention for span in tagged.mentions]
        tags = tagged.tags if scheme == "IOB2" else tags_from_mentions(mentions, len(words), scheme)
        blocks.append(conll_block(words, tags))
    return mark + "".join(blocks)


def _marked(found: DocumentMentions) -> str:
    marks = [Mark(span.start, span.end, span.type) for span in found.spans]
    return console.marked(found.segmented.document.text, marks) + "\n\n"


def _annotated(rounds: Iterable[list[DocumentMentions]]) -> Iterator[AnnotatedDocument]:
    return (annotated_mentions(found, with_concepts=False) for documents in rounds for found in documents)
