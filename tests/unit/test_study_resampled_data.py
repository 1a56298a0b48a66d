"""What a study makes of labelled data."""

from pathlib import Path
from typing import Any

import pytest

from mslm_cli.corpus.documents import LabelledCorpus
from mslm_cli.corpus.readers import read_labelled
from mslm_cli.errors import DataError, UsageError
from mslm_cli.studies import resampled_data
from mslm_cli.terms.lexicon import Term, write_terms

SENTENCES = "".join(
    f"-DOCSTART- -X- O O\n\nword{i}\tO\nheart\tB-Disease\nfailure\tI-Disease\n\nno\tO\nmention{i}\tO\n\n"
    for i in range(10)
)


@pytest.fixture
def train(tmp_path: Path) -> Path:
    path = tmp_path / "train.tsv"
    path.write_text(SENTENCES)
    return path


def words(corpus: LabelledCorpus) -> list[tuple[str, ...]]:
    return [sentence.words for sentence in corpus.sentences]


def test_a_split_has_every_sentence_once_and_keeps_documents_and_tags(train: Path, tmp_path: Path) -> None:
    resampled_data.split(train, tmp_path / "split", resampled_data.SplitConfig(dev_share=0.2))
    whole = read_labelled(train)
    parts = [read_labelled(tmp_path / "split" / name) for name in (resampled_data.TRAIN, resampled_data.DEV)]
    assert [len(part.sentences) for part in parts] == [16, 4]
    assert [row for part in parts for row in words(part)] == words(whole)
    assert [s.mentions for part in parts for s in part.sentences] == [s.mentions for s in whole.sentences]
    assert len({s.doc for s in parts[1].sentences}) == 2


def test_one_sentence_cannot_be_split(tmp_path: Path) -> None:
    path = tmp_path / "one.tsv"
    path.write_text("heart\tB\nfailure\tI\n")
    with pytest.raises(DataError, match="1 sentences cannot be split"):
        resampled_data.split(path, tmp_path / "split", resampled_data.SplitConfig(dev_share=0.5))


def test_a_sample_is_a_share_in_order_and_larger_ones_hold_it(train: Path, tmp_path: Path) -> None:
    whole = words(read_labelled(train))
    found = {}
    for share in (0.05, 0.5):
        resampled_data.sample(train, tmp_path / str(share), resampled_data.SampleConfig(share=share))
        found[share] = read_labelled(tmp_path / str(share) / resampled_data.SAMPLE)
    assert len(found[0.5].sentences) == 10
    assert words(found[0.5]) == [row for row in whole if row in set(words(found[0.5]))]
    assert any(s.mentions for s in found[0.05].sentences), "training needs a mention"
    half = tmp_path / "0.5" / resampled_data.SAMPLE
    resampled_data.sample(train, tmp_path / "beside", resampled_data.SampleConfig(share=1.0), beside=half)
    assert (tmp_path / "beside" / resampled_data.SAMPLE).read_bytes() == half.read_bytes()


@pytest.mark.parametrize("n_folds", [2, 3, 5])
def test_each_sentence_is_tested_in_one_fold_and_learnt_from_in_the_others(
    train: Path, tmp_path: Path, n_folds: int
) -> None:
    whole = words(read_labelled(train))
    tested = []
    for number in range(n_folds):
        output = tmp_path / str(number)
        resampled_data.fold(train, output, resampled_data.FoldConfig(folds=n_folds, number=number))
        learnt, test = (read_labelled(output / name) for name in (resampled_data.TRAIN, resampled_data.TEST))
        assert sorted(words(learnt) + words(test)) == sorted(whole)
        assert not {s.doc for s in learnt.sentences} & {s.doc for s in test.sentences}, "documents are whole"
        assert abs(len(test.sentences) - len(whole) / n_folds) <= 2, "folds are of like size"
        tested += words(test)
    assert sorted(tested) == sorted(whole)


def test_too_few_documents_make_no_folds(train: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"10 documents .* make no 11 folds"):
        resampled_data.fold(train, tmp_path / "x", resampled_data.FoldConfig(folds=11, number=0))


def subset_of(source: Path, output: Path, **options: Any) -> LabelledCorpus:
    resampled_data.subset(source, output, resampled_data.SubsetConfig(**options))
    return read_labelled(output / resampled_data.SUBSET)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("has_documents", [True, False])
def test_larger_subsets_contain_smaller_ones(tmp_path: Path, seed: int, has_documents: bool) -> None:
    source = tmp_path / "train.tsv"
    mark = "-DOCSTART- -X- O O\n\n"
    source.write_text(
        "".join(f"{mark * (has_documents and i % 3 == 0)}word{i}\tO\nheart\tB-Disease\n\n" for i in range(96))
    )
    whole = words(read_labelled(source))
    smaller: set[tuple[str, ...]] = set()
    for share in (0.02, 0.05, 0.1, 0.25, 0.5, 0.9):
        found = words(subset_of(source, tmp_path / str(share), share=share, seed=seed))
        assert found == [row for row in whole if row in set(found)], "they are in their order"
        assert smaller <= set(found)
        unit = 3 if has_documents else 10
        assert share * 96 - 0.5 <= len(found) <= share * 96 + unit
        smaller = set(found)
        units = [{i for i, row in enumerate(whole) if row in smaller and i // unit == u} for u in range(96 // unit)]
        assert {len(numbers) for numbers in units} <= {0, unit}, "units are kept whole"


def test_seeds_draw_different_subsets_and_the_same_seed_the_same(train: Path, tmp_path: Path) -> None:
    drawn = [subset_of(train, tmp_path / str(i), share=0.3, seed=seed) for i, seed in enumerate((1, 1, 2, 3))]
    assert drawn[0] == drawn[1]
    assert len({tuple(words(one)) for one in drawn}) > 1


def test_a_subset_has_its_least_number_of_sentences_and_a_mention(train: Path, tmp_path: Path) -> None:
    assert len(subset_of(train, tmp_path / "least", share=0.1, least=15).sentences) == 16
    assert len(subset_of(train, tmp_path / "all", share=0.1, least=50).sentences) == 20
    rare = tmp_path / "rare.tsv"
    rare.write_text("".join(f"word{i}\tO\n\n" for i in range(50)) + "heart\tB-Disease\n\n")
    for seed in range(5):
        found = subset_of(rare, tmp_path / f"rare-{seed}", share=0.02, seed=seed).sentences
        assert any(sentence.mentions for sentence in found)


def test_types_are_renamed_and_a_type_that_is_missing_is_named(train: Path, tmp_path: Path) -> None:
    renaming = resampled_data.RenameConfig(names={"Disease": "Disorder"})
    resampled_data.rename_types(train, tmp_path / "renamed", renaming)
    found = read_labelled(tmp_path / "renamed" / resampled_data.RENAMED)
    assert found.types == ("Disorder",)
    assert words(found) == words(read_labelled(train))
    assert [s.doc for s in found.sentences] == [s.doc for s in read_labelled(train).sentences]
    with pytest.raises(UsageError, match=r"no type 'Disorder' to rename in .*train.tsv; the types there: Disease"):
        resampled_data.rename_types(train, tmp_path / "x", resampled_data.RenameConfig(names={"Disorder": "Disease"}))


def test_mentions_are_replaced_by_terms_of_their_type(train: Path, tmp_path: Path) -> None:
    lexicon = tmp_path / "lexicon"
    lexicon.mkdir()
    terms = [
        Term("Heart failure", ("user",), type="DISEASE"),
        Term("breast cancer", ("user",), type="DISEASE"),
        Term("aspirin", ("user",), type="CHEMICAL"),
    ]
    write_terms(lexicon / "terms.jsonl", terms)
    resampled_data.augment(train, lexicon, tmp_path / "more", resampled_data.AugmentConfig(rate=1.0))
    sentences = read_labelled(tmp_path / "more" / resampled_data.TRAIN).sentences
    assert [s.words for s in sentences[:20]] == words(read_labelled(train))
    new = [(s.words[start:end], kind) for s in sentences[20:] for start, end, kind in s.mentions]
    assert set(new) <= {(("breast", "cancer"), "Disease"), (("Heart", "failure"), "Disease")}
    assert (("breast", "cancer"), "Disease") in new
    assert all(s.words[0].startswith("word") for s in sentences[20:]), "what surrounds a mention stays"


def test_without_known_mentions_they_are_replaced_by_each_other(tmp_path: Path) -> None:
    train, lexicon = tmp_path / "train.tsv", tmp_path / "lexicon"
    train.write_text("a\tB-X\nof\tO\n\nb\tB-X\nof\tO\n\nc\tB-Y\nof\tO\n")
    lexicon.mkdir()
    write_terms(lexicon / "terms.jsonl", [Term("aspirin", ("user",))])
    resampled_data.augment(train, lexicon, tmp_path / "more", resampled_data.AugmentConfig(rate=1.0, seed=1))
    for sentence in read_labelled(tmp_path / "more" / resampled_data.TRAIN).sentences:
        for start, _, kind in sentence.mentions:
            assert sentence.words[start] in {"X": "ab", "Y": "c"}[kind]
