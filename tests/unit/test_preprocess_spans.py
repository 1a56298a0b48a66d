"""From text to sequences: where mentions land in tokens, and how sentences are packed and cut."""

import json
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mslm_cli import artifacts
from mslm_cli.config import ExtractTermsConfig, PreprocessConfig
from mslm_cli.corpus import documents
from mslm_cli.masking.packing import Packed, TokenisedText, longest_disjoint, pack, whole_words
from mslm_cli.masking.shards import ShardReader
from mslm_cli.stages import preprocess
from mslm_cli.terms.lexicon import Term, write_terms

BEFORE, AFTER = [101], [102]


# --- pure functions -------------------------------------------------------------------------------------------------


@st.composite
def tokenised(draw: st.DrawFn) -> TokenisedText:
    """Sentences of words of pieces, in documents, with some unknown words and disjoint typed mentions in sentences."""
    sentence_sizes, doc, pieces, unknown, mentions = [], [], [], [], []
    position = document = 0
    for _ in range(draw(st.integers(0, 8))):
        document += draw(st.integers(0, 1))
        words = draw(st.lists(st.integers(1, 9), min_size=1, max_size=8))
        mention_start = None
        for size in words:
            state = draw(st.sampled_from(["generic", "begin", "inside"]))
            if mention_start is not None and state != "inside":
                mentions.append((mention_start, position, draw(st.integers(0, 3))))
                mention_start = None
            if state == "begin":
                mention_start = position
            pieces.append(size)
            unknown.append(draw(st.integers(0, 9)) == 0)
            position += size
        if mention_start is not None:
            mentions.append((mention_start, position, draw(st.integers(0, 3))))
        sentence_sizes.append(sum(words))
        doc.append(document)
    return TokenisedText(
        np.cumsum([0, *sentence_sizes]),
        np.array(doc, dtype=np.int32),
        np.arange(1000, 1000 + position, dtype=np.int32),
        np.repeat(np.arange(len(pieces)), pieces),
        np.repeat(np.array(unknown, dtype=bool), pieces),
        np.array(mentions, dtype=np.int64).reshape(-1, 3),
    )


def rows(packed: Packed) -> list[tuple[list[int], list[int], list[list[int]], list[int], int]]:
    """ids, word ids, spans, sentence starts and document of each sequence."""
    s = packed.sequences
    return [
        (
            s.batch.input_ids[s.batch.offsets[i] : s.batch.offsets[i + 1]].tolist(),
            s.batch.word_ids[s.batch.offsets[i] : s.batch.offsets[i + 1]].tolist(),
            s.batch.spans[s.batch.span_offsets[i] : s.batch.span_offsets[i + 1]].tolist(),
            s.batch.sentences[s.batch.sentence_offsets[i] : s.batch.sentence_offsets[i + 1]].tolist(),
            int(s.doc[i]),
        )
        for i in range(len(s))
    ]


@given(tokenised(), st.integers(8, 24))
def test_packing_keeps_every_token_in_order_and_every_sequence_short(text: TokenisedText, max_length: int) -> None:
    packed = pack(text, max_length, BEFORE, AFTER)
    assert packed.sequences.renumbered(40, 7).batch.index.tolist() == list(range(40, 40 + len(packed.sequences)))
    assert packed.sequences.renumbered(40, 7).doc.tolist() == [7 + n for n in packed.sequences.doc]
    found = []
    for ids, word_ids, _, _, _ in rows(packed):
        assert len(ids) <= max_length
        assert [ids[0], ids[-1]] == [*BEFORE, *AFTER]
        assert [word_ids[0], word_ids[-1]] == [-1, -1]
        found += ids[1:-1]
    assert found == text.input_ids.tolist()


@given(tokenised(), st.integers(8, 24))
def test_a_sequence_holds_one_document_and_whole_sentences_where_they_fit(text: TokenisedText, max_length: int) -> None:
    sentence_of = {
        i: s for s in range(len(text.doc)) for i in text.input_ids[text.offsets[s] : text.offsets[s + 1]].tolist()
    }
    sequences = rows(pack(text, max_length, BEFORE, AFTER))
    for ids, _, _, starts, doc in sequences:
        sentences = [sentence_of[i] for i in ids[1:-1]]
        assert {int(text.doc[s]) for s in sentences} == {doc}
        changes = [1, *(p + 1 for p in range(1, len(sentences)) if sentences[p] != sentences[p - 1])]
        assert starts == changes
    for s in range(len(text.doc)):
        if text.offsets[s + 1] - text.offsets[s] <= max_length - 2:
            assert sum(s in {sentence_of[i] for i in ids[1:-1]} for ids, *_ in sequences) == 1
    for (ids, *_, doc), (following, *_, next_doc) in pairwise(sequences):
        sentence = sentence_of[following[1]]
        size = text.offsets[sentence + 1] - text.offsets[sentence]
        if doc == next_doc and size <= max_length - 2:
            assert len(ids) + size > max_length, "the next sentence would have fitted"


@given(tokenised(), st.integers(8, 24))
def test_words_are_cut_only_where_they_alone_are_too_long(text: TokenisedText, max_length: int) -> None:
    word_of = dict(zip(text.input_ids.tolist(), text.words.tolist(), strict=True))
    special = set(text.input_ids[text.is_special].tolist())
    packed = pack(text, max_length, BEFORE, AFTER)
    places: dict[int, list[int]] = {}
    for number, (ids, word_ids, *_) in enumerate(rows(packed)):
        for i, w in zip(ids[1:-1], word_ids[1:-1], strict=True):
            assert (w == -1) == (i in special)
            places.setdefault(word_of[i], []).append(number)
        known = [(w, word_of[i]) for i, w in zip(ids[1:-1], word_ids[1:-1], strict=True) if w >= 0]
        assert len({w for w, _ in known}) == len({w for _, w in known}) == len(set(known)), "word ids name words"
    cut = {word for word, numbers in places.items() if len(set(numbers)) > 1}
    assert all(len(places[word]) > max_length - 2 for word in cut)
    assert packed.n_cut_words == len(cut)


@given(tokenised(), st.integers(8, 24))
def test_mentions_survive_whole_or_are_counted(text: TokenisedText, max_length: int) -> None:
    packed = pack(text, max_length, BEFORE, AFTER)
    place = {i: n for n, (ids, *_) in enumerate(rows(packed)) for i in ids[1:-1]}
    kept, n_cut, n_special = [], 0, 0
    for start, end, mention_type in text.mentions.tolist():
        ids = text.input_ids[start:end].tolist()
        if len({place[i] for i in ids}) > 1:
            n_cut += 1
        elif text.is_special[start:end].any():
            n_special += 1
        else:
            kept.append((ids, mention_type))
    found = [ids[a:b] for ids, _, spans, _, _ in rows(packed) for a, b in spans]
    assert list(zip(found, packed.sequences.batch.span_types.tolist(), strict=True)) == kept
    assert (packed.n_cut_mentions, packed.n_special_mentions) == (n_cut, n_special)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.booleans()), max_size=12), st.data())
def test_whole_words_are_those_that_a_span_touches(tokens: list[tuple[int, int, bool]], data: st.DataObject) -> None:
    begins, ends, words, position = [], [], [], 0
    for gap, size, begins_word in tokens:
        position += gap
        begins.append(position)
        position += size
        ends.append(position)
        words.append((words[-1] if words else 0) + begins_word)
    start = data.draw(st.integers(0, position))
    end = data.draw(st.integers(start, position))
    touched = {w for b, e, w in zip(begins, ends, words, strict=True) if b < end and e > start and start < end}
    expected = [i for i, w in enumerate(words) if touched and min(touched) <= w <= max(touched)]
    found = whole_words(
        np.array(begins, dtype=np.int64),
        np.array(ends, dtype=np.int64),
        np.array(words, dtype=np.int64),
        np.array([[start, end, 7]] if start < end else [], dtype=np.int64).reshape(-1, 3),
    )
    assert [(list(range(a, b)), kept) for a, b, kept in found.tolist()] == ([(expected, 7)] if expected else [])


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 6)).map(lambda s: (s[0], s[0] + s[1])), max_size=8))
def test_of_overlapping_spans_the_longest_stays(spans: list[tuple[int, int]]) -> None:
    expected: list[tuple[int, int]] = []
    for start, end in sorted(spans, key=lambda s: (s[0] - s[1], s[0])):
        if all(end <= a or b <= start for a, b in expected):
            expected.append((start, end))
    types = {span: number for number, span in enumerate(sorted(set(spans)))}
    found = longest_disjoint(np.array([(*span, types[span]) for span in spans], dtype=np.int64).reshape(-1, 3))
    assert [tuple(s) for s in found.tolist()] == [(*span, types[span]) for span in sorted(expected)]


# --- the command on text --------------------------------------------------------------------------------------------

Run = Callable[..., tuple[ShardReader, dict[str, object], list[list[str]]]]


@pytest.fixture
def process(tmp_path: Path, tiny_encoder: Path) -> Run:
    """Run the stage on a text with a lexicon; the reader, the statistics, and each sequence's mentions as text."""
    from transformers import AutoTokenizer

    def run(
        text: str, terms: Iterable[str], **options: object
    ) -> tuple[ShardReader, dict[str, object], list[list[str]]]:
        number = len(list(tmp_path.iterdir()))
        file = tmp_path / f"text-{number}.txt"
        file.write_text(text, encoding="utf-8")
        lexicon = make_lexicon(tmp_path / f"lexicon-{number}", terms)
        config = PreprocessConfig.build(**{"model": str(tiny_encoder), "max_length": 64, **options})
        shards = preprocess.run([file], tmp_path / f"shards-{number}", config, lexicon=lexicon)
        reader = ShardReader(shards)
        tokenizer = AutoTokenizer.from_pretrained(config.model)
        mentions = [
            [tokenizer.decode(reader[i].input_ids[a:b]) for a, b in reader[i].spans.tolist()]
            for i in range(len(reader))
        ]
        return reader, json.loads((shards / "stats.json").read_text()), mentions

    return run


def make_lexicon(folder: Path, terms: Iterable[str]) -> Path:
    """A lexicon of ``terms``, with their types if it is a mapping."""
    types = terms if isinstance(terms, Mapping) else {}
    with artifacts.ArtifactBuild("lexicon", folder, ExtractTermsConfig(), []).publish() as staged:
        write_terms(staged.path / "terms.jsonl", [Term(t, ("user",), types.get(t)) for t in terms])
    return folder


def test_mentions_are_found_with_all_their_pieces(process: Run) -> None:
    _, stats, mentions = process(
        "The patients with Chronic Kidney Disease had xyz-12 treated.", ["chronic kidney disease", "xyz-12"]
    )
    assert mentions == [["chronic kidney disease", "xyz - 12"]]
    assert stats["n_mentions"] == 2
    assert stats["n_matched_terms"] == 2


def test_the_longest_of_overlapping_terms_is_the_mention(process: Run) -> None:
    _, _, mentions = process("acute heart failure and heart failure", ["heart failure", "acute heart failure", "heart"])
    assert mentions == [["acute heart failure", "heart failure"]]


def test_touching_mentions_stay_two(process: Run) -> None:
    reader, _, mentions = process("the aspirin warfarin study", ["aspirin", "warfarin"])
    assert mentions == [["aspirin", "warfarin"]]
    (_, first_end), (second_start, _) = reader[0].spans.tolist()
    assert first_end == second_start


def test_no_mention_crosses_a_sentence(process: Run) -> None:
    _, _, mentions = process("The patients had heart. Failure was treated.", ["heart failure"])
    assert mentions == [[]]
    _, _, mentions = process("the\tO\nheart\tO\n\nfailure\tO\nwas\tO\n", ["heart failure"])
    assert mentions == [[]]


def test_line_ends_and_runs_of_spaces_inside_a_sentence_are_spaces(process: Run) -> None:
    _, _, mentions = process(
        "The patients with chronic\nkidney   disease were treated for it then.", ["kidney disease"]
    )
    assert mentions == [["kidney disease"]]


def test_a_conll_file_is_read_as_text_and_its_terms_are_found(process: Run) -> None:
    reader, stats, mentions = process(
        "xyz\tB\n-\tI\n12\tI\nin\tO\ncells\tO\n\nthe\tO\nstudy\tO\n", ["xyz-12"], max_length=32
    )
    assert mentions == [["xyz - 12"]]
    assert stats["n_sentences"] == 2
    assert reader[0].sentences.tolist() == [1, 9]


def test_a_sequence_that_is_one_mention(process: Run) -> None:
    reader, _, mentions = process("aspirin", ["aspirin"], elm_rate=1.0)
    assert mentions == [["aspirin"]]
    assert reader[0].spans.tolist() == [[1, 2]]
    assert reader.epoch(0)[0].positions.tolist() == [1]
    assert reader.epoch(0)[0].kinds.tolist() == [2]


def test_text_that_looks_like_special_tokens_is_text(process: Run, tiny_vocab: list[str]) -> None:
    reader, _, _ = process("the [MASK] and [SEP] of a study", ["study"])
    ids = reader[0].input_ids.tolist()
    assert ids.count(tiny_vocab.index("[MASK]")) == 0
    assert ids.count(tiny_vocab.index("[SEP]")) == 1
    assert ids[1:3] == [tiny_vocab.index("the"), tiny_vocab.index("[")]


def test_words_unknown_to_the_vocabulary_are_never_predicted(process: Run, tiny_vocab: list[str]) -> None:
    reader, stats, mentions = process(
        "the 漢 gene 漢 of the study 漢", ["gene 漢", "study"], elm_rate=1.0, blm_rate=1.0
    )
    unknown = reader[0].input_ids == tiny_vocab.index("[UNK]")
    assert unknown.sum() == 3
    assert np.all(reader[0].word_ids[unknown] == -1)
    assert not np.any(unknown[reader.epoch(0)[0].positions])
    assert mentions == [["study"]]
    assert stats["n_special_mentions"] == 1


@pytest.fixture
def letters_encoder(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    """A model folder whose words are what stands between spaces and whose pieces are the letters a to z."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = {f"{n}_token": f"[{n.upper()}]" for n in ("pad", "unk", "cls", "sep", "mask")}
    vocab = {piece: i for i, piece in enumerate([*special.values(), *"abcdefghijklmnopqrstuvwxyz/"])}
    backend = Tokenizer(models.BPE(vocab, [], unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.BertProcessing(("[SEP]", vocab["[SEP]"]), ("[CLS]", vocab["[CLS]"]))
    folder = tmp_path_factory.mktemp("models") / "letters"
    PreTrainedTokenizerFast(tokenizer_object=backend, **special).save_pretrained(folder)
    (folder / "config.json").write_bytes((tiny_encoder / "config.json").read_bytes())
    return folder


TYPED = {
    "aspirin": "Drug",
    "heart failure": "Symptom",
    "acute heart failure": "Disease",
    "warfarin": "Drug",
    "dose": None,
}


def test_every_mention_has_the_type_of_its_term(process: Run) -> None:
    text = "acute heart failure aspirin heart failure warfarin dose"
    reader, stats, mentions = process(text, TYPED)
    assert mentions == [["acute heart failure", "aspirin", "heart failure", "warfarin", "dose"]]
    assert stats["types"] == ["", "Disease", "Drug", "Symptom"]
    assert [stats["types"][t] or None for t in reader[0].span_types] == [TYPED[m] for m in mentions[0]]


def test_types_do_not_change_the_masks(process: Run) -> None:
    text = "\n\n".join(f"acute heart failure aspirin heart failure {n} warfarin dose was studied" for n in range(30))
    typed, stats, _ = process(text, TYPED, copies=2)
    untyped, plain, _ = process(text, list(TYPED), copies=2)
    for copy in range(2):
        found, expected = (sorted(reader.folder.glob(f"masks-{copy:03}-*")) for reader in (typed, untyped))
        assert [file.read_bytes() for file in found] == [file.read_bytes() for file in expected]
    assert plain["types"] == [""]
    assert set(untyped.batch(np.arange(len(untyped))).span_types) == {0}
    assert {**stats, "types": 0} == {**plain, "types": 0}


def test_a_word_with_one_unknown_piece_is_unknown(process: Run, letters_encoder: Path) -> None:
    reader, stats, _ = process("the dr漢g study", ["dr漢g study"], model=str(letters_encoder), blm_rate=1.0)
    assert reader[0].word_ids.tolist() == [-1, 0, 0, 0, -1, -1, -1, -1, 2, 2, 2, 2, 2, -1]
    assert reader.epoch(0)[0].positions.tolist() == [1, 2, 3, 8, 9, 10, 11, 12]
    assert stats["n_special_mentions"] == 1


def test_a_mention_is_no_wider_than_its_words(process: Run, letters_encoder: Path) -> None:
    reader, stats, _ = process("an aspirin/drug x", ["aspirin", "drug"], model=str(letters_encoder))
    assert reader[0].spans.tolist() == [[3, 10], [11, 15]]
    assert stats["n_overlapping_mentions"] == 0


def test_one_word_sentences_stay_separate_words(process: Run) -> None:
    reader, _, _ = process("aspirin\tO\n\nwarfarin\tO\n\ndrug\tO\n", ["dose"], strategy="mslm")
    assert reader[0].word_ids.tolist() == [-1, 0, 1, 2, -1]
    assert reader[0].sentences.tolist() == [1, 2, 3]


def test_text_between_documents_never_shares_a_sequence(process: Run) -> None:
    reader, stats, _ = process("the study.\n\nthe drug.\n\nthe dose.", ["drug"])
    assert stats["n_documents"] == len(reader) == 3
    assert reader.doc.tolist() == [0, 1, 2]


def test_long_sentences_and_long_words_are_cut_and_counted(process: Run) -> None:
    word = "qz" * 40
    reader, stats, mentions = process(f"aspirin {word} aspirin heart failure", ["aspirin", word], max_length=32)
    assert reader.lengths.max() <= 32
    assert stats["n_cut_words"] == 1
    assert stats["n_cut_mentions"] == 1
    assert [m for ms in mentions for m in ms] == ["aspirin", "aspirin"]
    assert sum(len(reader[i].input_ids) - 2 for i in range(len(reader))) == 80 + 4


@pytest.mark.parametrize(("block_chars", "n_files"), [(1, 10), (150, 4), (100_000, 1)])
def test_the_size_of_a_block_changes_nothing_but_the_files(process: Run, block_chars: int, n_files: int) -> None:
    text = "\n\n".join(f"the patients with heart failure had {n} aspirin. A study of renal risk." for n in range(10))
    terms = ["heart failure", "aspirin"]
    one, *_ = process(text, terms, max_length=16, copies=2)
    other, *_ = process(text, terms, max_length=16, copies=2, block_chars=block_chars)
    assert len(list(other.folder.glob("data-*.arrow"))) == n_files
    assert len(one) == len(other)
    assert one.doc.tolist() == other.doc.tolist()
    for i in range(len(one)):
        assert one[i].input_ids.tolist() == other[i].input_ids.tolist()
        for copy in range(2):
            a, b = one.epoch(copy)[i], other.epoch(copy)[i]
            assert [a.positions.tolist(), a.replacements.tolist()] == [b.positions.tolist(), b.replacements.tolist()]


def test_copies_are_drawn_anew_and_do_not_depend_on_how_many_there_are(process: Run) -> None:
    text = "\n\n".join(f"the patients with heart failure had {n} aspirin." for n in range(40))
    two, *_ = process(text, ["heart failure"], copies=2)
    three, *_ = process(text, ["heart failure"], copies=3)
    assert (two.n_copies, three.n_copies) == (2, 3)
    everything = np.arange(len(two))
    drawn = [three.epoch(copy).batch(everything).positions.tolist() for copy in range(3)]
    assert drawn[0] != drawn[1] != drawn[2] != drawn[0]
    assert [two.epoch(copy).batch(everything).positions.tolist() for copy in range(2)] == drawn[:2]


def test_batches_of_documents_do_not_matter(process: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "\n\n".join(f"the patients with heart failure had {n} aspirin. A study." for n in range(20))
    whole, *_ = process(text, ["heart failure"])
    monkeypatch.setattr(documents, "BATCH_CHARS", 100)
    parts, *_ = process(text, ["heart failure"])
    everything = np.arange(len(whole))
    assert len(parts) == len(whole)
    for name, value in vars(whole.batch(everything)).items():
        assert getattr(parts.batch(everything), name).tolist() == value.tolist()
    assert parts.epoch(0).batch(everything).positions.tolist() == whole.epoch(0).batch(everything).positions.tolist()


def test_realised_rates_are_what_the_shards_hold(process: Run) -> None:
    text = "\n\n".join(f"the patients with heart failure had {n} aspirin." for n in range(50))
    reader, stats, _ = process(text, ["heart failure", "aspirin"], copies=2)
    n_tokens = n_predicted = n_ds = n_predicted_ds = 0
    counts = [[0, 0], [0, 0]]
    for i in range(len(reader)):
        sequence = reader[i]
        in_mention = np.zeros(len(sequence.input_ids), dtype=bool)
        for a, b in sequence.spans:
            in_mention[a:b] = True
        n_tokens += int((sequence.word_ids >= 0).sum())
        n_ds += int(in_mention.sum())
        for copy in range(2):
            mask = reader.epoch(copy)[i]
            n_predicted += len(mask.positions)
            n_predicted_ds += int(in_mention[mask.positions].sum())
            counts[copy][0] += int((mask.kinds == 1).sum())
            counts[copy][1] += int((mask.kinds == 2).sum())
    realised = stats["realised"]
    assert realised["all_tokens"] == n_predicted / (2 * n_tokens) > 0
    assert realised["ds_tokens"] == n_predicted_ds / (2 * n_ds) > 0
    assert realised["generic_tokens"] == (n_predicted - n_predicted_ds) / (2 * (n_tokens - n_ds)) > 0
    assert [[c["n_generic"], c["n_ds_term"]] for c in stats["copies"]] == counts
    assert [reader.epoch(copy).count_kinds() for copy in range(2)] == [tuple(c) for c in counts]
    assert stats["ds_share"] == n_ds / n_tokens
