"""``mslm probe``: what it prints, what it refuses, and what it finds in encoders that are known."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from typer.testing import Result

from mslm_cli.training.model import MLM_HEAD, load_masked_lm

Mslm = Callable[..., Result]
KINDS = ["mention", "generic_span", "mention_word", "generic_word"]


@pytest.fixture
def held_out(workplace: Path) -> Path:
    """Sentences like those of the chain, none of which it has seen."""
    diseases = ("chronic kidney disease", "heart failure", "breast cancer", "colon cancer", "diabetes mellitus")
    # each word of a sentence is as frequent as the disease that it names
    texts = [
        "Aspirin showed risk of {} before therapy in {} cells .",
        "The dose was induced by {} and {} mutation type .",
        "A protein had familial {} with {} renal polyposis .",
        "Study after acute {} are to {} hepatic syndrome .",
        "Drug gene tumour is for {} toxicity {} warfarin .",
    ]
    lines = [texts[n % 5].format(diseases[n % 5], 200 + n) for n in range(100)]
    Path("held_out.txt").write_text("\n\n".join(lines) + "\n")
    Path("general.txt").write_text("\n\n".join(f"The dose in {n} cells was of a type ." for n in range(300, 330)))
    return workplace


def probed(mslm: Mslm, *arguments: object) -> dict[str, Any]:
    result = mslm("probe", *arguments, "--lexicon", "lexicon", "--replicates", 50, "--max-length", 64, "--json")
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_scores_of_four_kinds_with_intervals(held_out: Path, mslm: Mslm) -> None:
    found = probed(mslm, "adapted", "held_out.txt", "--items", 40)
    assert found["encoders"] == ["adapted"]
    assert list(found["scores"]["adapted"]) == KINDS
    assert found["n_items"]["mention"] == found["n_items"]["generic_span"] > 0
    assert found["n_items"]["mention_word"] == found["n_items"]["generic_word"] > 0
    assert found["resampled"] == {"text": "documents"}
    for of in found["scores"]["adapted"].values():
        assert set(of) == {"loss", "top1", "top5", "reciprocal_rank"}
        for score in of.values():
            assert score["low"] <= score["value"] <= score["high"]
        assert of["top1"]["value"] <= of["top5"]["value"] <= 1
        assert of["top1"]["value"] <= of["reciprocal_rank"]["value"] <= 1
    scores = found["scores"]["adapted"]
    gap = found["gap"]["adapted"]["mention"]["loss"]
    assert gap["value"] == pytest.approx(scores["mention"]["loss"]["value"] - scores["generic_span"]["loss"]["value"])


def test_a_probe_is_reproducible(held_out: Path, mslm: Mslm) -> None:
    arguments = ("adapted", "held_out.txt", "--items", 20, "--general", "general.txt")
    assert probed(mslm, *arguments) == probed(mslm, *arguments)
    assert probed(mslm, *arguments, "--seed", 1) != probed(mslm, *arguments)


def test_two_encoders_are_compared_on_the_same_items(held_out: Path, mslm: Mslm) -> None:
    training = ["--tokens-per-step", 128, "--learning-rate", 0.01, "--threads", 1]
    masking = ["--lexicon", "lexicon", "--model", "encoder", "--max-length", 64, "--copies", 9]
    assert mslm("preprocess", "held_out.txt", *masking, "-o", "of-held-out").exit_code == 0
    made = mslm("adapt", "of-held-out", "--model", "adapted", "--epochs", 30, *training, "-o", "better")
    assert made.exit_code == 0, made.stderr
    found = probed(mslm, "adapted", "held_out.txt", "--against", "better", "--general", "general.txt")
    assert list(found["difference"]) == [*KINDS, "general_span", "general_word"]
    for kind, of in found["difference"].items():
        one, other = (found["scores"][name][kind]["loss"]["value"] for name in ("adapted", "better"))
        assert of["loss"]["value"] == pytest.approx(other - one)
    assert found["difference"]["mention"]["loss"]["high"] < 0, (
        "what was trained on this very text restores its terms better"
    )
    paired = found["difference"]["mention"]["loss"]
    alone = [found["scores"][name]["mention"]["loss"] for name in ("adapted", "better")]
    assert paired["high"] - paired["low"] <= sum(score["high"] - score["low"] for score in alone)


def test_a_fresh_head_is_refused_unless_it_is_warmed_up(held_out: Path, mslm: Mslm) -> None:
    arguments = ("encoder", "held_out.txt", "--items", 20)
    refused = mslm("probe", *arguments, "--lexicon", "lexicon")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "encoder: has no MLM head" in refused.stderr
    assert "--warm-up-head" in refused.stderr.splitlines()[-1]
    cold = probed(mslm, *arguments, "--warm-up-head", "--head-steps", 1)
    warm = probed(mslm, *arguments, "--warm-up-head", "--head-steps", 200)
    assert cold["warmed_up"] == warm["warmed_up"] == ["encoder"]
    assert (
        warm["scores"]["encoder"]["generic_word"]["loss"]["value"]
        < cold["scores"]["encoder"]["generic_word"]["loss"]["value"] - 0.2
    )


def test_a_fine_tuned_encoder_keeps_its_mlm_head_aside(held_out: Path, mslm: Mslm) -> None:
    model, fresh = load_masked_lm(Path("ner"), allow_pickle=False, seed=0)
    assert not fresh
    head = load_file(Path("ner", MLM_HEAD))
    before = load_masked_lm(Path("adapted"), allow_pickle=False, seed=0)[0].state_dict()
    assert head
    for name, tensor in model.state_dict().items():
        if name in head:
            assert tensor.equal(before[name])
    assert any(not t.equal(before[n]) for n, t in model.state_dict().items() if n.startswith("bert."))
    found = probed(mslm, "adapted", "held_out.txt", "--against", "ner", "--general", "general.txt", "--items", 20)
    assert found["difference"]["general_word"]["loss"]["value"] != 0
    save_file({name: tensor + 1 for name, tensor in head.items()}, Path("ner", MLM_HEAD))
    assert (
        load_masked_lm(Path("ner"), allow_pickle=False, seed=0)[0]
        .state_dict()["cls.predictions.bias"]
        .equal(before["cls.predictions.bias"] + 1)
    )


def test_an_encoder_without_an_mlm_head_leaves_none_to_its_ner_model(held_out: Path, mslm: Mslm) -> None:
    training = ["--train", "train.tsv", "--dev", "dev.tsv", "--epochs", 1, "--threads", 1]
    assert mslm("finetune", *training, "--model", "encoder", "-o", "vanilla").exit_code == 0
    assert not Path("vanilla", MLM_HEAD).exists()
    refused = mslm("probe", "vanilla", "held_out.txt", "--lexicon", "lexicon")
    assert refused.exit_code == 2


def test_seen_text_is_reported(held_out: Path, mslm: Mslm) -> None:
    result = mslm("probe", "adapted", "text.txt", "--lexicon", "lexicon", "--items", 5, "--replicates", 5, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["seen_upstream"]["adapted"]["preprocess"] == 60
    assert "60 of 60 sentences were seen by `preprocess`: not held out" in result.stderr


def test_a_table_on_stdout(held_out: Path, mslm: Mslm) -> None:
    result = mslm("probe", "adapted", "held_out.txt", "--lexicon", "lexicon", "--items", 9, "--against", "ner")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split("  ")[0] for line in lines if line.endswith("top-5")] == ["adapted", "ner", "ner minus adapted"]
    assert "95 % intervals by bootstrap over documents of the text" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (("adapted", "no.txt"), 3, "no.txt"),
        (("adapted", "general.txt"), 3, "no terms of lexicon"),
        (("lexicon", "held_out.txt"), 4, "config.json"),
        (("adapted", "held_out.txt", "--against", "adapted"), 2, "the same encoder is given twice"),
    ],
)
def test_invalid_probes_are_refused(
    held_out: Path, mslm: Mslm, arguments: tuple[str, ...], exit_code: int, said: str
) -> None:
    refused = mslm("probe", *arguments, "--lexicon", "lexicon")
    assert refused.exit_code == exit_code, refused.stderr
    assert refused.stdout == ""
    assert said in refused.stderr.splitlines()[-1]
