"""``mslm preprocess``: turn text into sequences with DS-mentions and masks for every epoch."""

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mslm_cli import allocator, artifacts, console, fsio, models, workspace
from mslm_cli.artifacts import STATS
from mslm_cli.config import PreprocessConfig
from mslm_cli.corpus.blocks import Block, Work
from mslm_cli.corpus.contamination import TestSentences
from mslm_cli.corpus.documents import Document, document_batches
from mslm_cli.corpus.files import source_files, total_bytes
from mslm_cli.corpus.over_blocks import Journal, Kept, OverBlocks, check_some_are_left, report_left_out
from mslm_cli.corpus.readers import gold_inputs
from mslm_cli.corpus.seen import Sketch, merge_sketches
from mslm_cli.errors import DataError, UsageError
from mslm_cli.execution import executor as execution
from mslm_cli.execution.work import Executor, results
from mslm_cli.masking.batch import RaggedBatch
from mslm_cli.masking.blocks import Blocks
from mslm_cli.masking.counts import MaskCounts, share
from mslm_cli.masking.recipe import Rates, Recipe, epoch_budgets
from mslm_cli.masking.shards import concatenate, data_name, number_of, read_file, write_masks, write_sequences
from mslm_cli.masking.strategies import STRATEGIES, Statistics
from mslm_cli.sequences import TextCounts, Vocabulary, encode, vocabulary_of
from mslm_cli.terms.lexicon import Term, terms_of, type_names
from mslm_cli.terms.matcher import Matcher
from mslm_cli.workspace import RunOptions

if TYPE_CHECKING:
    from mslm_cli.models import AnyTokenizer

TOKENIZER = "tokenizer"

BLOCK_CHARS = 2_000_000
"""A block of text becomes a data file of about 10 MB."""

WORKER_BYTES = 400_000_000
"""Memory of a worker (measured: 0.27 GB, and 0.4 GB where it merges n-grams)."""


@dataclass(frozen=True)
class MaskSummary:
    """A summary of the masks: rates and counts of each epoch, and the strategy's own state and statistics."""

    rates: list[Rates]
    copies: list[MaskCounts]
    state: Any
    statistics: Statistics | None


def run(
    files: Sequence[Path],
    output: Path,
    config: PreprocessConfig,
    *,
    lexicon: Path | None,
    without: Sequence[Path] = (),
    options: RunOptions = RunOptions(),  # noqa: B008 - immutable
) -> Path:
    """Pack the text of ``files`` into sequences, draw masks for every epoch, and publish the shards artifact.

    Args:
        without: labelled files; documents with one of their sentences are left out.

    Raises:
        UsageError: the strategy needs a lexicon, sequences are too long for the encoder, or a budget cannot be met.
        DataError: the text is unreadable or empty.
        ArtifactError: the lexicon or the encoder is damaged, or the lexicon is not one.
        UnavailableError: the model's tokenizer is unavailable or unsuitable for masking.
    """
    allocator.keep_freed_memory()
    epoch_budgets(config)
    for name in config.unused():
        console.warn(f"--{name.replace('_', '-')} does not apply to --strategy {config.strategy}")
    if STRATEGIES[config.strategy].needs_lexicon and lexicon is None:
        raise UsageError(
            f"--strategy {config.strategy} needs the terms of a lexicon, but no --lexicon was given",
            hint="make one with `mslm extract-terms`, or use --strategy token",
        )
    files = source_files(files)
    terms_from = None if lexicon is None else artifacts.load(lexicon, "lexicon")
    folder = models.resolve(config.model, offline=config.offline)
    artifacts.load_if_artifact(folder, "encoder", "ner")
    _check_length(folder, config)
    tokenizer = models.load_text_tokenizer(folder, lowercase=config.lowercase)
    tokenizer_id = models.tokenizer_fingerprint(tokenizer)
    inputs = [artifacts.file_input("text", file) for file in files]
    inputs += [found for file in without for found in gold_inputs("without", file)]
    inputs.append(artifacts.Input(role="tokenizer", path=TOKENIZER, fingerprint=tokenizer_id))
    if terms_from is not None:
        inputs.append(terms_from.as_input("lexicon"))
    build = artifacts.ArtifactBuild("shards", output, config, inputs)
    if build.is_done(overwrite=options.overwrite):
        workspace.discard(build)
        return output

    vocabulary = vocabulary_of(tokenizer, folder)
    terms = [] if terms_from is None else terms_of(terms_from)
    with (
        workspace.work_folder(build, options) as (work, _),
        execution.executor(config.n_workers(WORKER_BYTES), config.ray) as executor,
    ):
        over = OverBlocks(
            executor,
            config,
            config.skip_bad,
            Journal(work),
            TestSentences.read(without, config),
            config.deduplicate,
        )
        encoded = _encode(files, over, work, config, vocabulary, terms)
        check_some_are_left(encoded.text.n_documents, over.left_out)
        if encoded.n_tokens == 0:
            raise DataError("the text has no words known to the tokenizer, so there is nothing to mask")
        masks = _write_masks(work, encoded.n_sequences, config, tokenizer, executor)
        with build.publish() as staged:
            for file in sorted(work.glob("*.arrow")):
                fsio.link(file, staged.path / file.name)
            if (preparation := STRATEGIES[config.strategy].preparation) is not None:
                preparation.save(staged.path, masks.state)
            tokenizer.save_pretrained(staged.path / TOKENIZER)
            artifacts.pass_on_sketches([terms_from], staged.path)
            (staged.path / artifacts.SKETCHES).mkdir(exist_ok=True)
            merge_sketches(sorted(work.glob("*.u64")), staged.path / artifacts.SKETCHES / "preprocess.u64")
            stats = _statistics(encoded.text, masks, sum(encoded.n_sequences), terms, config)
            stats["left_out"] = dict(sorted(over.left_out.items()))
            (staged.path / STATS).write_text(json.dumps(stats, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            staged.seeds["masks"] = config.seed
    _report(stats, config, masks.statistics, has_terms=bool(terms))
    return output


def _check_length(folder: Path, config: PreprocessConfig) -> None:
    """Reject sequences with more tokens than the encoder has positions."""
    limit = models.position_limit(models.read_config(folder))
    if config.max_length > limit:
        raise UsageError(f"--max-length {config.max_length}: model {config.model!r} takes at most {limit} tokens")


class _Encoded(NamedTuple):
    """The encoded corpus; ``n_sequences``: in each data file."""

    text: TextCounts
    n_sequences: list[int]
    n_tokens: int


def _encode(
    files: Sequence[Path],
    over: OverBlocks,
    work: Path,
    config: PreprocessConfig,
    vocabulary: Vocabulary,
    terms: Sequence[Term],
) -> _Encoded:
    """Write the sequences of each block to a data file in ``work``, and a sketch of its sentences beside it."""
    prepare = functools.partial(_block_encoder, work, vocabulary, terms, config.max_length)
    text, n_sequences, n_tokens = TextCounts(), [], 0
    with console.progress("preprocess", total_bytes(files) or None, unit="bytes") as bar:
        for found in over.map(prepare, over.blocks(files, config.block_size(BLOCK_CHARS), bar), bar):
            text.add(TextCounts.from_json(found["text"]))
            n_sequences.append(found["n_sequences"])
            n_tokens += found["n_tokens"]
    return _Encoded(text, n_sequences, n_tokens)


def _block_encoder(work: Path, vocabulary: Vocabulary, terms: Sequence[Term], max_length: int) -> Work[Kept]:
    """The function that encodes a block of documents."""
    allocator.keep_freed_memory()
    matcher = Matcher(terms) if terms else None

    def encode_block(block: Block, documents: Iterable[Document]) -> Kept:
        text, seen, parts = TextCounts(), Sketch(), []
        for batch in chain(document_batches(documents), [[]]):  # there may be no documents left
            encoded = encode(batch, vocabulary, matcher, max_length)
            parts.append(encoded.sequences.renumbered(0, text.n_documents))
            text.add(encoded.counts)
            for sentence in encoded.sentences:
                seen.add(sentence)
        sequences = concatenate(parts)
        write_sequences(work, block.number, sequences)
        seen.save(work / f"seen-{block.number:05}.u64")
        result = {
            "text": text.to_json(),
            "n_sequences": len(sequences),
            "n_tokens": int(sequences.batch.n_ordinary.sum()),
        }
        names = [data_name(block.number), f"seen-{block.number:05}.u64"]
        return Kept(result, {name: fsio.sha256_of(work / name) for name in names})

    return encode_block


class _Blocks(Blocks):
    """The sequences of the data files in ``folder``, read where the work on them is done."""

    def __init__(self, folder: Path, n_sequences: Sequence[int], executor: Executor) -> None:
        firsts = [0, *accumulate(n_sequences)]
        self.files = [(folder / data_name(i), first) for i, first in enumerate(firsts[:-1]) if n_sequences[i]]
        self._executor = executor
        super().__init__(lambda: (read_file(*file) for file in self.files), folder)

    def map(self, prepare: Callable[[], Callable[[RaggedBatch], Any]]) -> Iterator[Any]:
        """See ``Blocks``."""
        return self.map_files(functools.partial(_of_file, prepare))

    def map_files(self, prepare: Callable[[], Callable[[tuple[Path, int]], Any]]) -> Iterator[Any]:
        """What the function that ``prepare`` makes finds for each data file and the number of its first sequence.

        Raises:
            UnavailableError: a worker died again and again.
        """
        return results(self._executor, prepare, self.files, lambda file: file[0].name)

    def run(self, prepare: Callable[[], Callable[[Any], Any]], items: Iterable[Any]) -> Iterator[Any]:
        """See ``Blocks``."""
        return results(self._executor, prepare, items, str)


def _of_file(prepare: Callable[[], Callable[[RaggedBatch], Any]]) -> Callable[[tuple[Path, int]], Any]:
    work = prepare()
    return lambda file: work(read_file(*file))


def _write_masks(
    folder: Path,
    n_sequences: Sequence[int],
    config: PreprocessConfig,
    tokenizer: "AnyTokenizer",
    executor: Executor,
) -> MaskSummary:
    """Draw the masks of every copy for the sequences in ``folder``, and write them unless ``dynamic`` is set."""
    strategy = STRATEGIES[config.strategy]
    sequences = _Blocks(folder, n_sequences, executor)
    state = None if strategy.preparation is None else strategy.preparation.build(sequences, config)
    recipe = Recipe.of(config, tokenizer, state)
    statistics = None if strategy.statistics is None else strategy.statistics(config)
    rates = recipe.rates(sequences, range(config.copies))
    copies = [MaskCounts()] * config.copies
    for counts, own in sequences.map_files(functools.partial(_masker, folder, recipe, rates)):
        copies = [a + b for a, b in zip(copies, counts, strict=True)]
        if statistics is not None:
            statistics.merge(own)
    return MaskSummary(rates, copies, state, statistics)


def _masker(
    folder: Path, recipe: Recipe, rates: Sequence[Rates]
) -> Callable[[tuple[Path, int]], tuple[list[MaskCounts], Statistics | None]]:
    """The function that masks a data file in all copies, and writes the masks unless they are drawn in training."""

    def mask(file: tuple[Path, int]) -> tuple[list[MaskCounts], Statistics | None]:
        batch = read_file(*file)
        config, strategy = recipe.config, recipe.strategy
        statistics = None if strategy.statistics is None else strategy.statistics(config)
        copies = []
        for copy, epoch_rates in enumerate(rates):
            drawn, masks = recipe.mask(batch, epoch_rates, copy)
            if not config.dynamic:
                write_masks(folder, copy, number_of(file[0]), masks)
            copies.append(MaskCounts.of(batch, drawn, masks, recipe.mask_id))
            if statistics is not None:
                statistics.add(recipe.context(batch, epoch_rates, copy), drawn)
        return copies, statistics

    return mask


def _statistics(
    text: TextCounts, masks: MaskSummary, n_sequences: int, terms: Sequence[Term], config: PreprocessConfig
) -> dict[str, Any]:
    """The content of stats.json: counts of the text, and requested and realised masking for each copy."""
    first = masks.copies[0]
    total = sum(masks.copies, MaskCounts())
    return {
        "n_documents": text.n_documents,
        "n_sentences": text.n_sentences,
        "n_sequences": n_sequences,
        "n_tokens": first.n_tokens,
        "n_ds_tokens": first.n_ds_tokens,
        "ds_share": share(first.n_ds_tokens, first.n_tokens),
        "n_mentions": first.n_mentions,
        "n_generic_words": first.n_generic_words,
        "n_terms": len(terms),
        "types": type_names(terms),
        "n_matched_terms": len(text.matched_terms),
        "n_cut_words": text.n_cut_words,
        "n_cut_mentions": text.n_cut_mentions,
        "n_special_mentions": text.n_special_mentions,
        "n_overlapping_mentions": text.n_overlapping_mentions,
        "strategy": config.strategy,
        "asked": _asked(config),
        "realised": total.rates(),
        "corrupted": total.corruption(),
        "copies": [
            {"rates": r, "n_generic": c.n_predicted_generic, "n_ds_term": c.n_predicted_ds_term, "realised": c.rates()}
            for r, c in zip(masks.rates, masks.copies, strict=True)
        ],
        **({} if masks.statistics is None else masks.statistics.to_json()),
    }


def _asked(config: PreprocessConfig) -> dict[str, float | str]:
    """The options that set how much is masked."""
    given: dict[str, float | str] = {**config.given_rates()}
    if config.budget is None and config.schedule == "constant":
        return given
    asked = {name: given[name] for name in list(given)[:-1]}
    return asked | ({"schedule": config.schedule} if config.budget is None else {"budget": config.budget})


def _report(stats: dict[str, Any], config: PreprocessConfig, statistics: Statistics | None, *, has_terms: bool) -> None:
    """Print a summary table, notes and warnings."""
    n, n_ds, realised = stats["n_tokens"], stats["n_ds_tokens"], stats["realised"]
    rows = [
        [name, f"{count:,}", f"{100 * share(count, n):.1f} %", f"{100 * realised[key]:.2f} %"]
        for name, key, count in [
            ("all", "all_tokens", n),
            ("of DS-terms", "ds_tokens", n_ds),
            ("generic", "generic_tokens", n - n_ds),
        ]
    ]
    asked = ", ".join(f"{n} {v if isinstance(v, str) else format(v, 'g')}" for n, v in stats["asked"].items())
    copies = "" if config.copies == 1 else f", {config.copies} copies"
    copies += ", drawn during training" * config.dynamic
    title = f"{console.count(stats['n_sequences'], 'sequence')} from {console.count(stats['n_sentences'], 'sentence')}"
    console.table(
        f"{title}; {config.strategy}{': ' * bool(asked)}{asked}{copies}", ["tokens", "number", "share", "masked"], rows
    )
    for remark in [] if statistics is None else statistics.remarks():
        (console.warn if remark.is_warning else console.note)(remark.text)
    if has_terms and not stats["n_matched_terms"]:
        console.warn(
            f"none of the lexicon's {stats['n_terms']:,} terms occurs in the text ({stats['n_sentences']:,} sentences):"
            " only generic words are masked"
        )
    report_left_out(stats["left_out"])
    lost = [
        (stats["n_cut_words"], "words longer than a sequence were cut"),
        (stats["n_cut_mentions"], "mentions were cut at the end of a sequence and count as generic words"),
        (stats["n_special_mentions"], "mentions with a word unknown to the vocabulary were dropped"),
    ]
    for count, what in lost:
        if count:
            console.note(f"{count:,} {what}")
