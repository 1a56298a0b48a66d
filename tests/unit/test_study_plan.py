"""Pieces of work: shared where they are the same, new where anything that matters is."""

from dataclasses import replace
from pathlib import Path

import pytest
import tiny_study

from mslm_cli.studies.plan import Made, Piece, Planner, Runtime, Setting, Trial, shared
from mslm_cli.studies.spec import Arm, read_study

ALL_ARMS = """
[[arm]]
kind = "more-updates"
[[arm]]
kind = "augment"
[[arm]]
kind = "word"
[[arm]]
kind = "mslm"
weights = ["uniform", "ratio:2"]
"""


@pytest.fixture
def setting(workplace: Path) -> Setting:
    study = read_study(tiny_study.write(workplace, tiny_study.HEAD + ALL_ARMS))
    return Setting(study, workplace, workplace / "encoder", False, 64, {"toy": 100}, 1.2, Runtime(1))


def trials(setting: Setting) -> dict[tuple[str, int], Trial]:
    planner = Planner(setting)
    return {(t.arm.name, t.seed): t for t in planner.trials(setting.study.arms())}


def of_stage(found: list[Trial], stage: str) -> set[str]:
    return {piece.key for piece in shared(found) if piece.stage == stage}


def model_of(piece: Piece) -> object:
    return dict(piece.inputs)["model"]


def test_arms_share_all_that_they_have_in_common(setting: Setting) -> None:
    found = list(trials(setting).values())
    assert len(found) == 12
    assert len(of_stage(found, "lexicon")) == 1
    # those of word, from which the head is warmed up too, and of mslm, whatever its weights
    assert len(of_stage(found, "shards")) == 2
    # one warmed-up head, and an adaptation for each arm and seed
    assert len(of_stage(found, "encoder")) == 1 + 3 * 2
    assert len(of_stage(found, "ner")) == len(of_stage(found, "eval")) == 12


def test_every_adaptation_starts_from_one_head_and_vanilla_from_the_encoder_itself(setting: Setting) -> None:
    found = trials(setting)
    starts = set()
    for (name, _), trial in found.items():
        encoder = model_of(trial.ner)
        if name in ("vanilla", "more-updates", "augment"):
            assert encoder == setting.model
        else:
            assert isinstance(encoder, Made)
            start = model_of(encoder.piece)
            assert isinstance(start, Made)
            assert start.piece.config.model_dump()["epochs"] == 0
            starts.add(start.piece.key)
    assert len(starts) == 1


def test_an_encoder_with_a_head_needs_no_warming_up(setting: Setting) -> None:
    trial = trials(replace(setting, has_head=True))["word", 1]
    encoder = model_of(trial.ner)
    assert isinstance(encoder, Made)
    assert model_of(encoder.piece) == setting.model


def test_dev_and_test_data_are_not_learnt_from(setting: Setting) -> None:
    held_out = {setting.root / name for name in ("dev.tsv", "test.tsv")}
    for piece in shared(list(trials(setting).values())):
        used = {material for role, material in piece.inputs if material in held_out}
        assert not used or piece.stage in ("ner", "eval"), piece.stage
        assert setting.root / "test.tsv" not in used or piece.stage == "eval"


def test_more_updates_cost_as_much_as_the_adaptation(setting: Setting) -> None:
    """300 tokens, each 1.2 times as dear as one of fine-tuning, are 3.6 passes over 100."""
    found = trials(setting)
    epochs = {name: found[name, 1].ner.config.model_dump()["epochs"] for name in ("vanilla", "more-updates")}
    assert epochs == {"vanilla": 1, "more-updates": 5}


def test_a_grown_study_needs_only_what_is_new(setting: Setting) -> None:
    before = {piece.key for piece in shared(list(trials(setting).values()))}
    more_seeds = replace(setting, study=setting.study.model_copy(update={"seeds": (1, 2, 3)}))
    new = [p for p in shared(list(trials(more_seeds).values())) if p.key not in before]
    assert {p.config.model_dump().get("seed") for p in new if p.stage in ("ner", "encoder")} == {3}
    assert {p.stage for p in new} == {"encoder", "ner", "eval", "augment"}


def test_what_changes_the_result_changes_the_key(setting: Setting) -> None:
    before = trials(setting)["mslm uniform", 1].key
    faster = replace(setting, runtime=Runtime(2, "auto", True))
    assert trials(faster)["mslm uniform", 1].key == before
    (setting.root / "text-of-train.txt").write_text("another text about heart failure\n")
    assert trials(setting)["mslm uniform", 1].key != before


def test_short_trials_are_short_and_never_see_the_test_data(setting: Setting) -> None:
    planner = Planner(setting)
    arm = Arm("x", "mslm", {"elm_rate": 0.5, "blm_rate": 0.1}, {"weights": "uniform"}, "terms")
    trial = planner.trial(setting.study.data[0], arm, 0, share=0.25)
    assert trial.score is None
    assert trial.probe is None
    assert all(material != setting.root / "test.tsv" for p in trial.pieces() for _, material in p.inputs)
    updates = [p.config.model_dump()["updates"] for p in trial.pieces() if p.stage == "encoder"]
    assert updates == [None, 1]


ANY = Arm("x", "mslm", {"elm_rate": 0.5, "blm_rate": 0.1}, {"weights": "uniform"}, "terms")


def with_tuning(setting: Setting, n_tokens: int, **options: object) -> Setting:
    finetuning = setting.study.finetune.model_copy(update=options)
    study = setting.study.model_copy(update={"finetune": finetuning})
    return replace(setting, study=study, train_tokens={"toy": n_tokens})


@pytest.mark.parametrize("epochs", [1, 2, 3, 4, 5, 20])
@pytest.mark.parametrize("share", [1 / 16, 0.1, 1 / 4, 0.5])
def test_a_short_trial_is_fine_tuned_for_its_share_of_the_whole(setting: Setting, epochs: int, share: float) -> None:
    planner = Planner(with_tuning(setting, 10_000_000, epochs=epochs))
    ner = planner.trial(setting.study.data[0], ANY, 0, share).ner
    train = dict(ner.inputs)["train"]
    assert isinstance(train, Made)
    assert train.piece.stage == "sample"
    passes = ner.config.model_dump()["epochs"]
    assert train.piece.config.model_dump()["share"] * passes == pytest.approx(share * epochs)


@pytest.mark.parametrize(("n_tokens", "n_updates"), [(20_000, 64), (1_000_000, 1_000_000 * 4 / 1024 / 16), (5_000, 19)])
def test_a_short_trial_makes_enough_updates_to_be_told_from_others(
    setting: Setting, n_tokens: int, n_updates: float
) -> None:
    planner = Planner(with_tuning(setting, n_tokens, epochs=4, tokens_per_update=1024))
    ner = planner.trial(setting.study.data[0], ANY, 0, 1 / 16).ner
    train = dict(ner.inputs)["train"]
    assert isinstance(train, Made)
    made = train.piece.config.model_dump()["share"] * ner.config.model_dump()["epochs"] * n_tokens / 1024
    assert made == pytest.approx(n_updates, abs=1)


def test_a_short_trial_is_scored_on_no_more_sentences_than_it_learns_from(setting: Setting) -> None:
    ner = Planner(setting).trial(setting.study.data[0], ANY, 0, 1 / 16).ner
    train, dev = (dict(ner.inputs)[role] for role in ("train", "dev"))
    assert isinstance(dev, Made)
    assert dict(dev.piece.inputs)["beside"] == train
