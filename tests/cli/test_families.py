"""Every encoder family with a tokenizer of its kind goes through the whole chain."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from encoders import FAMILIES, model_batch, save, selection
from transformers import AutoModelForMaskedLM, AutoModelForTokenClassification
from typer.testing import Result

from mslm_cli import models
from mslm_cli.masking.shards import ShardReader
from mslm_cli.stages import show_masks
from mslm_cli.training.model import load_masked_lm, logits_at

Mslm = Callable[..., Result]
BYTE_LEVEL = ["roberta", "modernbert"]


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def made(chain: Path, family: str, tmp_path_factory: pytest.TempPathFactory, mslm: Mslm) -> Path:
    """A folder in which the chain has run with an encoder of the family."""
    folder = tmp_path_factory.mktemp(family)
    for name in ("text.txt", "train.tsv", "dev.tsv", "test.tsv"):
        shutil.copyfile(chain / name, folder / name)
    shutil.copytree(chain / "lexicon", folder / "lexicon")
    save(family, (chain / "text.txt").read_text().split("\n\n"), folder / "encoder")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        masking = "--max-length 128 --budget 0.2 --elm-rate 0.3"
        for command in (
            f"preprocess text.txt --lexicon lexicon --model encoder {masking} -o shards",
            "adapt shards --model encoder --epochs 1 --tokens-per-step 256 --threads 1 -o adapted",
            "finetune --train train.tsv --dev dev.tsv --model adapted --epochs 1 --threads 1 -o ner",
            "eval ner --data test.tsv -o scores",
        ):
            done = mslm(*command.split())
            assert done.exit_code == 0, done.stderr
    return folder


def test_what_is_written_opens_with_transformers(made: Path) -> None:
    before, after = (
        load_masked_lm(made / f, allow_pickle=False, seed=0)[0].state_dict() for f in ("encoder", "adapted")
    )
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    for auto, name in ((AutoModelForMaskedLM, "adapted"), (AutoModelForTokenClassification, "ner")):
        _, report = auto.from_pretrained(made / name, output_loading_info=True)
        assert not report["missing_keys"]
        assert not report["unexpected_keys"]
    assert json.loads((made / "scores" / "results.json").read_text())["exact_match"]["gold"] == 30


def test_words_are_those_of_the_text_and_special_tokens_are_never_masked(made: Path) -> None:
    tokenizer = models.load_tokenizer(made / "shards" / "tokenizer")
    reader = ShardReader(made / "shards")
    assert len(reader) > 10
    text = (made / "text.txt").read_text().split("\n\n")
    for index, sequence in enumerate(show_masks.run(made / "shards", len(reader), 0)):
        special = [i in tokenizer.all_special_ids for i in sequence.ids]
        # what is unknown to the vocabulary is not predicted either
        assert [word is None for word in sequence.word_ids] == special
        assert not any(kind for kind, is_special in zip(sequence.kind, special, strict=True) if is_special)
        assert (special[0], special[-1]) == (True, True)
        words = sorted({word for word in sequence.word_ids if word is not None})
        if tokenizer.unk_token_id not in sequence.ids:
            decoded = tokenizer.decode(sequence.ids, skip_special_tokens=True)
            assert "".join(decoded.split()) == "".join(text[index].split())
            assert len(words) == len(text[index].split())


def test_mentions_are_found_and_masked_whole(made: Path) -> None:
    stats = json.loads((made / "shards" / "stats.json").read_text())
    assert stats["realised"]["all_tokens"] == pytest.approx(0.2, abs=0.002)
    # two diseases in each of 60 sentences
    assert stats["n_mentions"] >= 118
    tokenizer = models.load_tokenizer(made / "shards" / "tokenizer")
    found = set()
    for sequence in show_masks.run(made / "shards", 1000, 0):
        for start, end in sequence.spans:
            assert set(sequence.kind[start:end]) in ({0}, {2})
            found.add(tokenizer.decode(sequence.ids[start:end]).strip().lower())
    assert {"heart failure", "chronic kidney disease", "breast cancer"} <= found


def test_the_first_word_is_encoded_like_any_other(made: Path, family: str) -> None:
    for name in ("shards/tokenizer", "adapted", "ner"):
        tokenizer = models.load_tokenizer(made / name)
        whole = tokenizer("kidney kidney", add_special_tokens=False)["input_ids"]
        assert whole == tokenizer(["kidney", "kidney"], is_split_into_words=True, add_special_tokens=False)["input_ids"]
        assert whole[: len(whole) // 2] == whole[len(whole) // 2 :]
        if family in BYTE_LEVEL:
            assert tokenizer.convert_ids_to_tokens(whole)[0].startswith("Ġ")


def test_logits_at_selected_positions_equal_the_full_ones(made: Path) -> None:
    model = load_masked_lm(made / "encoder", allow_pickle=False, seed=0)[0].eval()
    reader = ShardReader(made / "shards")
    ids = [reader[i].input_ids for i in range(3)]
    longest = max(map(len, ids))
    padded = np.full((3, longest), model.config.pad_token_id, dtype=np.int64)
    mask = np.zeros((3, longest), dtype=np.int64)
    for row, sequence in enumerate(ids):
        padded[row, : len(sequence)], mask[row, : len(sequence)] = sequence, 1
    batch = model_batch(torch.from_numpy(padded), torch.from_numpy(mask))
    positions = torch.tensor([1, 4, longest + 2, 2 * longest + 5])
    whole = model(**batch.inputs).logits
    chosen = logits_at(model, batch, selection(batch, positions))
    torch.testing.assert_close(chosen, whole.flatten(0, 1)[positions], rtol=1e-5, atol=1e-6)
    alone = model(input_ids=torch.from_numpy(ids[0][None].astype(np.int64))).logits[0]
    torch.testing.assert_close(alone, whole[0, : len(ids[0])], rtol=1e-4, atol=1e-5)
