"""``mslm preprocess``: turn text into sequences with DS-mentions and masks for every epoch."""

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mslm_cli import allocator, artifacts, console, models
from mslm_cli.artifacts import STATS
from mslm_cli.config import PreprocessConfig
from mslm_cli.corpus.documents import Document, document_batches
from mslm_cli.corpus.files import source_files
from mslm_cli.corpus.readers import read_documents
from mslm_cli.corpus.seen import Sketch
from mslm_cli.errors import DataError, UsageError
from mslm_cli.masking.counts import MaskCounts, share
from mslm_cli.masking.recipe import Rates, Recipe, epoch_budgets
from mslm_cli.masking.shards import Sequences, ShardReader, concatenate, write_masks, write_sequences
from mslm_cli.masking.strategies import STRATEGIES, Statistics
from mslm_cli.processes import map_in_order
from mslm_cli.sequences import TextCounts, Vocabulary, encode, vocabulary_of
from mslm_cli.terms.lexicon import Term, terms_of, type_names
from mslm_cli.terms.matcher import Matcher

if TYPE_CHECKING:
    from mslm_cli.models import AnyTokenizer

TOKENIZER = "tokenizer"


@dataclass(frozen=True)
class MaskSummary:
    """A summary of the masks: rates and counts of each epoch, and the strategy's own statistics."""

    rates: list[Rates]
    copies: list[MaskCounts]
    statistics: Statistics | None


def run(
    files: Sequence[Path], output: Path, config: PreprocessConfig, *, lexicon: Path | None, overwrite: bool = False
) -> Path:
    """Pack the text of ``files`` into sequences, draw masks for every epoch, and publish the shards artifact.

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
    inputs.append(artifacts.Input(role="tokenizer", path=TOKENIZER, fingerprint=tokenizer_id))
    if terms_from is not None:
        inputs.append(terms_from.as_input("lexicon"))
    build = artifacts.ArtifactBuild("shards", output, config, inputs)
    if build.is_done(overwrite=overwrite):
        return output

    vocabulary = vocabulary_of(tokenizer, folder)
    terms = [] if terms_from is None else terms_of(terms_from)
    text, seen = TextCounts(), Sketch()
    with build.publish() as staged, console.progress("preprocess") as bar:
        sequences = _sequences(read_documents(files, config), vocabulary, terms, config, text, seen)
        n_sequences = n_tokens = 0
        for number, shard in enumerate(_shards(sequences, config.shard_sequences)):
            write_sequences(staged.path, number, shard)
            n_sequences += len(shard)
            n_tokens += int(shard.batch.n_ordinary.sum())
            bar.advance(len(shard))
        if n_tokens == 0:
            raise DataError("the text has no words known to the tokenizer, so there is nothing to mask")
        masks = _write_masks(staged.path, config, tokenizer)
        tokenizer.save_pretrained(staged.path / TOKENIZER)
        artifacts.pass_on_sketches([terms_from], staged.path)
        (staged.path / artifacts.SKETCHES).mkdir(exist_ok=True)
        seen.save(staged.path / artifacts.SKETCHES / "preprocess.u64")
        stats = _statistics(text, masks, n_sequences, terms, config)
        (staged.path / STATS).write_text(json.dumps(stats, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        staged.seeds["masks"] = config.seed
    _report(stats, config, masks.statistics, has_terms=bool(terms))
    return output


def _check_length(folder: Path, config: PreprocessConfig) -> None:
    """Reject sequences with more tokens than the encoder has positions."""
    limit = models.position_limit(models.read_config(folder))
    if config.max_length > limit:
        raise UsageError(f"--max-length {config.max_length}: model {config.model!r} takes at most {limit} tokens")


class _EncodedBatch(NamedTuple):
    """An encoded batch of documents (see ``EncodedText``), with its sentences as a sketch."""

    sequences: Sequences
    counts: TextCounts
    seen: Sketch


def _batch_encoder(
    vocabulary: Vocabulary, terms: Sequence[Term], max_length: int
) -> Callable[[Sequence[Document]], _EncodedBatch]:
    """The function that encodes a batch of documents."""
    matcher = Matcher(terms) if terms else None

    def encode_batch(documents: Sequence[Document]) -> _EncodedBatch:
        encoded = encode(documents, vocabulary, matcher, max_length)
        return _EncodedBatch(encoded.sequences, encoded.counts, Sketch.of(encoded.sentences))

    return encode_batch


def _sequences(
    documents: Iterable[Document],
    vocabulary: Vocabulary,
    terms: Sequence[Term],
    config: PreprocessConfig,
    counts: TextCounts,
    seen: Sketch,
) -> Iterator[Sequences]:
    """The sequences of all documents, numbered consecutively; updates ``counts`` and ``seen``."""
    prepare = functools.partial(_batch_encoder, vocabulary, terms, config.max_length)
    n_sequences = 0
    for encoded in map_in_order(prepare, document_batches(documents), workers=config.workers):
        yield encoded.sequences.renumbered(n_sequences, counts.n_documents)
        n_sequences += len(encoded.sequences)
        counts.add(encoded.counts)
        seen.add_all(encoded.seen)


def _shards(sequences: Iterable[Sequences], size: int) -> Iterator[Sequences]:
    """The sequences in groups of ``size``; the last group may be smaller."""
    waiting: list[Sequences] = []
    n_waiting = 0
    for part in sequences:
        waiting.append(part)
        n_waiting += len(part)
        if n_waiting >= size:
            whole = concatenate(waiting)
            n_full = n_waiting - n_waiting % size
            for first in range(0, n_full, size):
                yield whole.rows(first, first + size)
            waiting, n_waiting = [whole.rows(n_full, n_waiting)], n_waiting - n_full
    if n_waiting:
        yield concatenate(waiting)


def _write_masks(folder: Path, config: PreprocessConfig, tokenizer: "AnyTokenizer") -> MaskSummary:
    """Draw the masks of every copy for the sequences in ``folder``, and write them unless ``dynamic`` is set."""
    reader = ShardReader(folder)
    strategy = STRATEGIES[config.strategy]
    state = None
    if strategy.preparation is not None:
        state = strategy.preparation.build(reader.blocks, config)
        strategy.preparation.save(folder, state)
    recipe = Recipe.of(config, tokenizer, state)
    statistics = None if strategy.statistics is None else strategy.statistics(config)
    rates = recipe.rates(reader.blocks, range(config.copies))
    copies = [MaskCounts()] * config.copies
    for number, batch in enumerate(reader.blocks(config.shard_sequences)):
        for copy, epoch_rates in enumerate(rates):
            drawn, masks = recipe.mask(batch, epoch_rates, copy)
            if not config.dynamic:
                write_masks(folder, copy, number, masks)
            copies[copy] += MaskCounts.of(batch, drawn, masks, recipe.mask_id)
            if statistics is not None:
                statistics.add(recipe.context(batch, epoch_rates, copy), drawn)
    return MaskSummary(rates, copies, statistics)


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
    lost = [
        (stats["n_cut_words"], "words longer than a sequence were cut"),
        (stats["n_cut_mentions"], "mentions were cut at the end of a sequence and count as generic words"),
        (stats["n_special_mentions"], "mentions with a word unknown to the vocabulary were dropped"),
    ]
    for count, what in lost:
        if count:
            console.note(f"{count:,} {what}")
