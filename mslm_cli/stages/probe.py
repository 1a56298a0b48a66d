"""``mslm probe``: how well encoders predict masked DS-terms and matched generic text."""

import functools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from mslm_cli import artifacts, console, models
from mslm_cli.artifacts import Artifact
from mslm_cli.config import AdaptConfig, PreprocessConfig, ProbeConfig
from mslm_cli.corpus.blocks import Work, blocks
from mslm_cli.corpus.files import source_files
from mslm_cli.corpus.over_blocks import OverBlocks
from mslm_cli.corpus.seen import Sketch
from mslm_cli.errors import DataError, UsageError
from mslm_cli.evaluation.probe import Bootstrap, Items, general_items, matched_items, words_in
from mslm_cli.execution import executor as execution
from mslm_cli.masking.batch import RaggedBatch
from mslm_cli.masking.recipe import Recipe, ShardMasks
from mslm_cli.masking.shards import Sequences, ShardReader, concatenate, write_sequences
from mslm_cli.masking.weights import kind_weights
from mslm_cli.provenance import portable_path
from mslm_cli.sequences import EncodedText, Vocabulary, encode, vocabulary_of
from mslm_cli.terms.lexicon import Term, terms_of
from mslm_cli.terms.matcher import Matcher
from mslm_cli.training.adaptation import HEAD, AdaptationData, Phase, start_phase, training_steps
from mslm_cli.training.device import prepare_model, select_device
from mslm_cli.training.model import load_masked_lm, max_tokens
from mslm_cli.training.packing import make_collator
from mslm_cli.training.probing import SCORES, score_spans
from mslm_cli.training.run_length import HEAD_LEARNING_RATE

BLOCK_CHARS = 200_000

WORKER_BYTES = 400_000_000
"""Memory of a worker (that of preprocess)."""

_FEW_DOCUMENTS = 20
_HEAD_TOKENS = 4096
ITEM_TITLES = {
    "mention": "DS-terms, whole",
    "generic_span": "generic, matched",
    "mention_word": "a word of a DS-term",
    "generic_word": "a generic word, matched",
    "general_span": "general text, matched",
    "general_word": "a word of general text",
}


@dataclass(frozen=True)
class Encoder:
    """A probed encoder, its artifact if it is one, and the names of fresh parameters in its MLM head."""

    name: str
    folder: Path
    artifact: Artifact | None
    model: PreTrainedModel
    fresh: list[str]


@dataclass(frozen=True)
class Probed:
    """Items of one kind in their sequences; ``clusters``: int64 [n], the clusters for ``resampling``."""

    batch: RaggedBatch
    items: Items
    clusters: NDArray[np.int64]
    resampling: Bootstrap


@dataclass(frozen=True)
class Measured:
    """Measurements of a probe: items by kind, and their ``SCORES`` by encoder and kind, float64 [n, 4].

    about: information on the encoders, the text and the items, as JSON values.
    """

    kinds: dict[str, Probed]
    scores: dict[str, dict[str, NDArray[np.float64]]]
    about: dict[str, Any]


def run(
    encoders: Sequence[str], files: Sequence[Path], config: ProbeConfig, *, lexicon: Path, general: Path | None = None
) -> dict[str, Any]:
    """The results of the probe as JSON values, with 95 % intervals: scores by encoder and kind of item, gaps of
    DS-terms, and, for two encoders, differences (the second minus the first).

    Raises: as ``measure``.
    """
    measured = measure(encoders, files, config, lexicon=lexicon, general=general)
    return {"schema_version": 1} | measured.about | _compared(measured)


def measure(
    encoders: Sequence[str], files: Sequence[Path], config: ProbeConfig, *, lexicon: Path, general: Path | None = None
) -> Measured:
    """Score each encoder on the same items.

    Raises:
        UsageError: an encoder has a fresh MLM head that is not to be warmed up, or tokenizers differ.
        DataError: the text is unreadable or has none of the lexicon's terms.
        ArtifactError: the lexicon or an encoder is damaged.
        UnavailableError: an encoder is unavailable.
    """
    terms = terms_of(artifacts.load(lexicon, "lexicon"))
    device = select_device(config.device, threads=config.threads)
    loaded = [_load(name, config) for name in encoders]
    if len({encoder.folder.resolve() for encoder in loaded}) < len(loaded):
        raise UsageError(f"{encoders[0]}: the same encoder is given twice")
    shown = _shown(encoders)
    tokenizer = _one_tokenizer(loaded, config)
    for encoder in loaded:
        prepare_model(encoder.model, device)
    text, seen = _read(files, loaded, tokenizer, terms, config)
    for encoder in loaded:
        if encoder.fresh:
            # only the head is trained; the encoder stays frozen
            _warm_up(encoder, _half(text, 0), tokenizer, config)
    if config.warm_up_head:
        text = _half(text, 1)
    rng = np.random.default_rng(config.seed)
    found = matched_items(text.batch, config.items, rng)
    if not len(found["mention"].starts):
        raise DataError(f"{files[0]}: no terms of {lexicon} with matching generic words", hint="give more text")
    kinds, unit = _probed(text, found, config)
    about: dict[str, Any] = {
        "encoders": shown,
        "n_mentions": len(text.batch.mentions[0]),
        "resampled": {"text": unit},
        "warmed_up": [name for name, encoder in zip(shown, loaded, strict=True) if encoder.fresh],
        "seen_upstream": {name: _count_seen(encoder, seen) for name, encoder in zip(shown, loaded, strict=True)},
    }
    if general is not None:
        whole, _ = _read([general], loaded, tokenizer, terms, config)
        found = general_items(whole.batch, words_in(text.batch, found["mention"]), config.items, rng)
        of_general, about["resampled"]["general"] = _probed(whole, found, config)
        kinds |= of_general
    about["n_items"] = {name: len(probed.items.starts) for name, probed in kinds.items()}
    scores: dict[str, dict[str, NDArray[np.float64]]] = {name: {} for name in shown}
    with console.progress("probe", len(loaded) * len(kinds)) as bar:
        for name, encoder in zip(shown, loaded, strict=True):
            for kind, probed in kinds.items():
                scores[name][kind] = _score(encoder.model, probed, tokenizer, config)
                bar.advance()
    return Measured(kinds, scores, about)


def _load(name: str, config: ProbeConfig) -> Encoder:
    folder = models.resolve(name, offline=config.offline)
    artifact = artifacts.load_if_artifact(folder, "encoder", "ner")
    model, fresh = load_masked_lm(folder, allow_pickle=False, seed=config.seed)
    if fresh and not config.warm_up_head:
        raise UsageError(
            f"{name}: has no MLM head ({len(fresh)} parameters would be random), so it cannot predict masked tokens",
            hint="use --warm-up-head, or give the output of `mslm adapt`",
        )
    return Encoder(name, folder, artifact, model, fresh)


def _shown(names: Sequence[str]) -> list[str]:
    """Display names without private paths, numbered if they would be equal."""
    short = [portable_path(Path(name)) if Path(name).is_absolute() else name for name in names]
    return [f"{name} ({short[:i].count(name) + 1})" if name in short[:i] else name for i, name in enumerate(short)]


def _one_tokenizer(loaded: Sequence[Encoder], config: ProbeConfig) -> PreTrainedTokenizerFast:
    first, *others = (models.load_tokenizer(encoder.folder, lowercase=config.lowercase) for encoder in loaded)
    for encoder, other in zip(loaded[1:], others, strict=True):
        if models.tokenizer_fingerprint(first) != models.tokenizer_fingerprint(other):
            raise UsageError(
                f"{loaded[0].name} and {encoder.name} have different tokenizers, so their scores cannot be paired"
            )
    return first


def _read(
    files: Sequence[Path],
    loaded: Sequence[Encoder],
    tokenizer: PreTrainedTokenizerFast,
    terms: Sequence[Term],
    config: ProbeConfig,
) -> tuple[Sequences, list[str]]:
    """The text as sequences short enough for every encoder, and its sentences."""
    max_length = min(config.max_length, *(max_tokens(encoder.model) for encoder in loaded))
    vocabulary = vocabulary_of(tokenizer, loaded[0].folder)
    prepare = functools.partial(_block_encoder, vocabulary, terms, max_length)
    parts: list[Sequences] = []
    sentences: list[str] = []
    n_documents = 0
    with (
        execution.executor(config.n_workers(WORKER_BYTES), config.ray) as executor,
        console.progress("reading", None) as bar,
    ):
        over = OverBlocks(executor, config, config.skip_bad)
        for found in over.map(prepare, blocks(source_files(files), config, config.block_size(BLOCK_CHARS)), bar):
            parts.append(found.sequences.renumbered(sum(map(len, parts)), n_documents))
            sentences += found.sentences
            n_documents += found.counts.n_documents
    if not any(map(len, parts)):
        raise DataError("contains no text", path=files[0])
    return concatenate(parts), sentences


def _block_encoder(vocabulary: Vocabulary, terms: Sequence[Term], max_length: int) -> Work[EncodedText]:
    """The function that encodes a block of documents."""
    matcher = Matcher(terms)
    return lambda _, documents: encode(list(documents), vocabulary, matcher, max_length)


def _half(text: Sequences, remainder: int) -> Sequences:
    """Every other document or, if there is only one document, every other sequence."""
    number = text.doc if len(set(text.doc.tolist())) > 1 else np.arange(len(text))
    chosen = [text.rows(i, i + 1) for i in np.flatnonzero(number % 2 == remainder)]
    if not chosen:
        raise DataError("the text has only one sequence, so it cannot be split to warm up a head")
    return concatenate(chosen)


def _warm_up(encoder: Encoder, text: Sequences, tokenizer: PreTrainedTokenizerFast, config: ProbeConfig) -> None:
    """Train only the fresh head, with random whole-word masking."""
    masking = PreprocessConfig(strategy="word", rate=0.15, dynamic=True, seed=config.seed)
    training = AdaptConfig(
        tokens_per_step=_HEAD_TOKENS,
        batch_tokens=str(config.batch_tokens),
        precision="fp32",
        seed=config.seed,
    )
    phase = Phase(HEAD, config.head_steps, kind_weights("uniform", 1, 1), HEAD_LEARNING_RATE)
    with tempfile.TemporaryDirectory() as folder:
        write_sequences(Path(folder), 0, text)
        masks = ShardMasks(ShardReader(Path(folder)), Recipe.of(masking, tokenizer, None))
        collate_fn = make_collator(encoder.model, tokenizer.pad_token_id, torch.float32)
        data = AdaptationData(masks, np.arange(len(text)), collate_fn)
        state = start_phase(encoder.model, phase, training)
        with console.progress(f"warming up the MLM head of {encoder.name}", config.head_steps) as bar:
            for _ in training_steps(state, phase, data, training):
                bar.advance()


def _probed(text: Sequences, found: dict[str, Items], config: ProbeConfig) -> tuple[dict[str, Probed], str]:
    """The items with their clusters (documents or, if there are few, sequences), and the unit."""
    documents, number = np.unique(text.doc, return_inverse=True)
    unit, clusters = "documents", number.reshape(-1).astype(np.int64)
    if len(documents) < _FEW_DOCUMENTS:
        unit, clusters = "sequences", np.arange(len(text))
    resampling = Bootstrap(int(clusters.max()) + 1, config.replicates, config.seed)
    row = text.batch.row
    return {n: Probed(text.batch, items, clusters[row[items.starts]], resampling) for n, items in found.items()}, unit


def _count_seen(encoder: Encoder, sentences: Sequence[str]) -> dict[str, int]:
    """The number of sentences that the encoder or anything upstream has seen, by what saw them."""
    sketches = encoder.artifact.sketches() if encoder.artifact else []
    counts = {sketch.stem: Sketch.load(sketch).count(sentences) for sketch in sketches}
    for stem, count in counts.items():
        if count and not stem.startswith("extract-terms"):
            console.warn(f"{encoder.name}: {count} of {len(sentences)} sentences were seen by `{stem}`: not held out")
    return counts


def _score(
    model: PreTrainedModel, probed: Probed, tokenizer: PreTrainedTokenizerFast, config: ProbeConfig
) -> NDArray[np.float64]:
    return score_spans(model, probed.batch, *probed.items, tokenizer, config.batch_tokens)


def _compared(measured: Measured) -> dict[str, Any]:
    """Mean scores, gaps between DS-terms and generic text, and differences between encoders, with intervals."""
    kinds, scores = measured.kinds, measured.scores

    def means(values: NDArray[np.float64], kind: str) -> dict[str, Any]:
        probed = kinds[kind]
        return {s: probed.resampling.mean(values[:, i], probed.clusters)._asdict() for i, s in enumerate(SCORES)}

    def gap(of: dict[str, NDArray[np.float64]], one: str, other: str) -> dict[str, Any]:
        found = {}
        for i, score in enumerate(SCORES):
            mentions, generic = ((of[kind][:, i], kinds[kind].clusters) for kind in (one, other))
            found[score] = kinds[one].resampling.difference(mentions, generic)._asdict()
        return found

    pairs = {"mention": "generic_span", "mention_word": "generic_word"}
    result: dict[str, Any] = {
        "scores": {name: {kind: means(v, kind) for kind, v in of.items()} for name, of in scores.items()},
        "gap": {name: {one: gap(of, one, other) for one, other in pairs.items()} for name, of in scores.items()},
    }
    if len(scores) == 2:
        first, second = scores.values()
        result["difference"] = {kind: means(second[kind] - first[kind], kind) for kind in kinds}
    return result
