"""Pieces of work: shared where they are the same, new where anything that matters is."""

from dataclasses import replace
from pathlib import Path

import pytest
import tiny_study

from mslm_cli.studies.nodes import OutputOf, StageNode, Trial
from mslm_cli.studies.plan import PlanContext, Planner, Runtime, shared
from mslm_cli.studies.resampled_data import TEST
from mslm_cli.studies.spec import Arm, read_study

ALL_ARMS = """
[[arm]]
kind = "more-steps"
[[arm]]
kind = "augment"
[[arm]]
kind = "word"
[[arm]]
kind = "mslm"
weights = ["uniform", "ratio:2"]
"""


@pytest.fixture
def context(workplace: Path) -> PlanContext:
    study = read_study(tiny_study.write(workplace, tiny_study.HEAD + ALL_ARMS))
    return PlanContext(study, workplace, workplace / "encoder", False, 64, {"toy": 100}, 1.2, Runtime(1))


def trials(context: PlanContext) -> dict[tuple[str, int], Trial]:
    planner = Planner(context)
    return {(t.arm.name, t.seed): t for t in planner.trials(context.study.arms())}


def of_stage(found: list[Trial], stage: str) -> set[str]:
    return {node.key for node in shared(found) if node.stage == stage}


def model_of(node: StageNode) -> object:
    return dict(node.inputs)["model"]


def test_arms_share_common_work(context: PlanContext) -> None:
    found = list(trials(context).values())
    assert len(found) == 12
    assert len(of_stage(found, "lexicon")) == 1
    # those of word, from which the head is warmed up too, and of mslm, whatever its weights
    assert len(of_stage(found, "shards")) == 2
    # one warmed-up head, and an adaptation for each arm and seed
    assert len(of_stage(found, "encoder")) == 1 + 3 * 2
    assert len(of_stage(found, "ner")) == len(of_stage(found, "eval")) == 12


def test_every_adaptation_starts_from_one_head_and_vanilla_from_the_encoder_itself(context: PlanContext) -> None:
    found = trials(context)
    starts = set()
    for (name, _), trial in found.items():
        encoder = model_of(trial.ner)
        if name in ("vanilla", "more-steps", "augment"):
            assert encoder == context.model
        else:
            assert isinstance(encoder, OutputOf)
            start = model_of(encoder.node)
            assert isinstance(start, OutputOf)
            assert start.node.config.model_dump()["epochs"] == 0
            starts.add(start.node.key)
    assert len(starts) == 1


def test_an_encoder_with_a_head_needs_no_warming_up(context: PlanContext) -> None:
    trial = trials(replace(context, has_head=True))["word", 1]
    encoder = model_of(trial.ner)
    assert isinstance(encoder, OutputOf)
    assert model_of(encoder.node) == context.model


def test_dev_and_test_data_are_not_learnt_from(context: PlanContext) -> None:
    held_out = {context.root / name for name in ("dev.tsv", "test.tsv")}
    for node in shared(list(trials(context).values())):
        used = {dependency for role, dependency in node.inputs if dependency in held_out}
        assert not used or node.stage in ("ner", "eval"), node.stage
        assert context.root / "test.tsv" not in used or node.stage == "eval"


def test_more_steps_cost_as_much_as_the_adaptation(context: PlanContext) -> None:
    """300 tokens, each 1.2 times as dear as one of fine-tuning, are 3.6 passes over 100."""
    found = trials(context)
    epochs = {name: found[name, 1].ner.config.model_dump()["epochs"] for name in ("vanilla", "more-steps")}
    assert epochs == {"vanilla": 1, "more-steps": 5}


def test_an_extended_study_needs_only_what_is_new(context: PlanContext) -> None:
    before = {node.key for node in shared(list(trials(context).values()))}
    more_seeds = replace(context, study=context.study.model_copy(update={"seeds": (1, 2, 3)}))
    new = [p for p in shared(list(trials(more_seeds).values())) if p.key not in before]
    assert {p.config.model_dump().get("seed") for p in new if p.stage in ("ner", "encoder")} == {3}
    assert {p.stage for p in new} == {"encoder", "ner", "eval", "augment"}


def test_what_changes_the_result_changes_the_key(context: PlanContext) -> None:
    before = trials(context)["mslm uniform", 1].key
    faster = replace(context, runtime=Runtime(2, "auto", True))
    assert trials(faster)["mslm uniform", 1].key == before
    (context.root / "text-of-train.txt").write_text("another text about heart failure\n")
    assert trials(context)["mslm uniform", 1].key != before


def test_short_trials_are_short_and_never_see_the_test_data(context: PlanContext) -> None:
    planner = Planner(context)
    arm = Arm("x", "mslm", {"elm_rate": 0.5, "blm_rate": 0.1}, {"weights": "uniform"}, "terms")
    trial = planner.trial(context.study.data[0], arm, 0, share=0.25)
    assert trial.score is None
    assert trial.probe is None
    assert all(dependency != context.root / "test.tsv" for p in trial.nodes() for _, dependency in p.inputs)
    steps = [p.config.model_dump()["steps"] for p in trial.nodes() if p.stage == "encoder"]
    assert steps == [None, 1]


ANY = Arm("x", "mslm", {"elm_rate": 0.5, "blm_rate": 0.1}, {"weights": "uniform"}, "terms")


def with_tuning(context: PlanContext, n_tokens: int, **options: object) -> PlanContext:
    finetuning = context.study.finetune.model_copy(update=options)
    study = context.study.model_copy(update={"finetune": finetuning})
    return replace(context, study=study, train_tokens={"toy": n_tokens})


@pytest.mark.parametrize("epochs", [1, 2, 3, 4, 5, 20])
@pytest.mark.parametrize("share", [1 / 16, 0.1, 1 / 4, 0.5])
def test_a_short_trial_is_fine_tuned_for_its_share_of_the_whole(
    context: PlanContext, epochs: int, share: float
) -> None:
    planner = Planner(with_tuning(context, 10_000_000, epochs=epochs))
    ner = planner.trial(context.study.data[0], ANY, 0, share).ner
    train = dict(ner.inputs)["train"]
    assert isinstance(train, OutputOf)
    assert train.node.stage == "sample"
    passes = ner.config.model_dump()["epochs"]
    assert train.node.config.model_dump()["share"] * passes == pytest.approx(share * epochs)


@pytest.mark.parametrize(("n_tokens", "n_steps"), [(20_000, 64), (1_000_000, 1_000_000 * 4 / 1024 / 16), (5_000, 19)])
def test_a_short_trial_makes_enough_steps(context: PlanContext, n_tokens: int, n_steps: float) -> None:
    planner = Planner(with_tuning(context, n_tokens, epochs=4, tokens_per_step=1024))
    ner = planner.trial(context.study.data[0], ANY, 0, 1 / 16).ner
    train = dict(ner.inputs)["train"]
    assert isinstance(train, OutputOf)
    made = train.node.config.model_dump()["share"] * ner.config.model_dump()["epochs"] * n_tokens / 1024
    assert made == pytest.approx(n_steps, abs=1)


def test_a_short_trial_is_scored_on_no_more_sentences_than_it_learns_from(context: PlanContext) -> None:
    ner = Planner(context).trial(context.study.data[0], ANY, 0, 1 / 16).ner
    train, dev = (dict(ner.inputs)[role] for role in ("train", "dev"))
    assert isinstance(dev, OutputOf)
    assert dict(dev.node.inputs)["beside"] == train


SHARES = (0.02, 0.25, 1.0)


def with_shares(context: PlanContext, text: str = tiny_study.HEAD + ALL_ARMS) -> PlanContext:
    study = read_study(tiny_study.write(context.root, f"label_shares = {list(SHARES)}\n{text}"))
    return replace(context, study=study)


def by_share(context: PlanContext) -> dict[tuple[str, int, float], Trial]:
    planner = Planner(context)
    return {(t.arm.name, t.seed, t.label_share): t for t in planner.trials(context.study.arms())}


def labelled(trial: Trial) -> list[object]:
    """Train and dev of a trial, before augmentation."""
    train = dict(trial.score.inputs)["train"] if trial.score else None
    return [train, dict(trial.ner.inputs)["dev"]]


def test_every_arm_is_tried_with_every_share_of_the_labels(context: PlanContext) -> None:
    found = by_share(with_shares(context))
    assert len(found) == 12 * len(SHARES)
    whole = trials(context)
    for (arm, seed, share), trial in found.items():
        assert labelled(trial) == labelled(found["vanilla", seed, share]), "the same sentences for all arms"
        if share == 1:
            assert trial.key == whole[arm, seed].key, "finished work with all labels is kept"
            assert labelled(trial) == [context.root / "train.tsv", context.root / "dev.tsv"]
            assert trial.title == whole[arm, seed].title
        else:
            for part, least in zip(labelled(trial), (0, 50), strict=True):
                assert isinstance(part, OutputOf)
                assert part.node.config.model_dump()["share"] == share
                assert (part.node.config.model_dump()["least"], part.node.config.model_dump()["seed"]) == (least, seed)
            assert trial.probe is None
            assert f"{100 * share:g} % of the labels" in trial.title
    assert len(of_stage(list(found.values()), "subset")) == 2 * 2 * 2, "two parts, two seeds, two shares"
    assert of_stage(list(found.values()), "encoder") == of_stage(list(whole.values()), "encoder")


def test_labels_outside_the_share_are_not_used(context: PlanContext) -> None:
    text = tiny_study.HEAD.replace('pipeline = "none"', 'pipeline = "none"\nfrom_labels = true') + ALL_ARMS
    found = by_share(with_shares(context, text))
    for (arm, seed, share), trial in found.items():
        for node in trial.nodes():
            used = dict(node.inputs).get("labels")
            assert used in (None, labelled(found["vanilla", seed, share])[0]), (arm, node.stage)


def test_the_answer_comes_first_then_vanillas_curve(context: PlanContext) -> None:
    context = with_shares(context)
    study = context.study.model_copy(update={"seeds": (1, 2, 3, 4)})
    found = Planner(replace(context, study=study)).trials(study.arms())
    n_arms = len(study.arms())
    first, curve = found[: 3 * n_arms], found[3 * n_arms : 3 * n_arms + 6]
    assert {(t.label_share, t.seed) for t in first} == {(1.0, seed) for seed in (1, 2, 3)}
    assert {t.arm.name for t in curve} == {"vanilla"}
    assert [t.seed for t in found].index(4) == len(SHARES) * 3 * n_arms


def test_more_steps_spends_the_adaptation_on_fewer_sentences(context: PlanContext) -> None:
    found = by_share(with_shares(context))
    epochs = [found["more-steps", 1, share].ner.config.model_dump()["epochs"] for share in SHARES]
    assert epochs == [1 + 180, 1 + 15, 1 + 4]


def test_the_verdict_is_about_the_largest_share(context: PlanContext) -> None:
    study = context.study.model_copy(update={"label_shares": (0.5, 0.1)})
    planner = Planner(replace(context, study=study))
    assert planner.trial(study.data[0], ANY, 1).label_share == study.full_share == 0.5


TRANSFER_ARMS = """
[[source]]
name = "other"
train = "dev.tsv"
dev_share = 0.2
map = { Disease = "Disorder" }
epochs = 2

[[arm]]
kind = "transfer"
source = "other"

[[arm]]
kind = "transfer"
name = "gentle"
source = "other"
finetune = { learning_rate = 1e-4 }

[[arm]]
kind = "finetune"
finetune = { label_pieces = "all" }
"""


def test_transfer_goes_on_from_the_model_of_another_corpus(context: PlanContext) -> None:
    found = by_share(with_shares(context, tiny_study.HEAD + TRANSFER_ARMS))
    models = set()
    for (arm, seed, _), trial in found.items():
        model = model_of(trial.ner)
        if arm not in ("transfer from other", "gentle"):
            assert model == context.model
            continue
        assert isinstance(model, OutputOf)
        source = model.node
        models.add(source.key)
        assert trial.trained == [source, trial.ner]
        assert model_of(source) == context.model
        options = source.config.model_dump()
        assert (source.stage, options["seed"], options["epochs"]) == ("ner", seed, 2)
        train, dev = (dict(source.inputs)[role] for role in ("train", "dev"))
        assert isinstance(train, OutputOf)
        assert isinstance(dev, OutputOf)
        assert train.node.config.model_dump()["names"] == {"Disease": "Disorder"}
        split = {
            m.node.key for part in (train, dev) for m in dict(part.node.inputs).values() if isinstance(m, OutputOf)
        }
        assert len(split) == 1
    assert len(models) == 2, "one for each seed, whatever the share of the labels"


def test_seeds_can_share_the_model_of_a_source(context: PlanContext) -> None:
    text = TRANSFER_ARMS.replace("epochs = 2", "per_seed = false")
    found = by_share(with_shares(context, tiny_study.HEAD + text))
    models = [model_of(t.ner) for (arm, _, _), t in found.items() if arm == "gentle"]
    assert len({m.node.key for m in models if isinstance(m, OutputOf)}) == 1


def test_options_of_fine_tuning_are_those_of_the_arm(context: PlanContext) -> None:
    study = read_study(tiny_study.write(context.root, tiny_study.HEAD + TRANSFER_ARMS))
    found = {name: trial.ner.config.model_dump() for (name, _), trial in trials(replace(context, study=study)).items()}
    rates = {name: options["learning_rate"] for name, options in found.items()}
    assert rates == {
        "vanilla": 0.01,
        "transfer from other": 0.01,
        "gentle": 1e-4,
        "finetune label-pieces all": 0.01,
    }
    assert found["finetune label-pieces all"]["label_pieces"] == "all"


def test_more_steps_can_cost_as_much_as_transfer(context: PlanContext) -> None:
    """Two passes over 130 tokens are 2.6 passes over 100."""
    text = TRANSFER_ARMS + '[[arm]]\nkind = "more-steps"\nlike = ["transfer from other", "gentle"]\n'
    study = read_study(tiny_study.write(context.root, tiny_study.HEAD + text))
    found = trials(replace(context, study=study, source_tokens={"other": 130}))
    assert found["more-steps like gentle", 1].ner.config.model_dump()["epochs"] == 1 + 3
    assert found["more-steps like transfer from other", 1].key == found["more-steps like gentle", 1].key


def test_folds_are_never_learnt_from_nor_read_as_text_by_their_own_trials(context: PlanContext) -> None:
    text = tiny_study.HEAD.replace('test = "test.tsv"', "folds = 3").replace('dev = "dev.tsv"\n', "") + ALL_ARMS
    context = with_shares(context, text)
    found = Planner(context).trials(context.study.arms())
    assert len(found) == 12 * len(SHARES) * 3
    assert len({trial.key for trial in found}) == len(found)
    for trial in found:
        folds = {node.config.model_dump()["number"] for node in trial.nodes() if node.stage == "fold"}
        assert folds == {trial.fold}
        assert trial.score is not None
        for node in trial.nodes():
            for role, dependency in node.inputs:
                if node.stage != "fold":
                    assert dependency != context.root / "train.tsv", (node.stage, role)
                if isinstance(dependency, OutputOf) and dependency.name == TEST:
                    assert (node, role) == (trial.score, "data")
        assert f"fold {trial.fold + 1}" in trial.title


COMPANION_ARMS = """
[[source]]
name = "other"
train = "other.tsv"
dev = "dev.tsv"
map = { Disorder = "Disease" }

[[arm]]
kind = "also"
source = "other"

[[arm]]
kind = "silver"

[[arm]]
kind = "silver"
name = "silver after other"
source = "other"
finetune = { silver_weight = 1.0 }

[[arm]]
kind = "word"
source = "other"
"""


def with_companions(context: PlanContext) -> dict[tuple[str, int], Trial]:
    (context.root / "other.tsv").write_text("insulin\tB-Disorder\n")
    study = read_study(tiny_study.write(context.root, tiny_study.HEAD + COMPANION_ARMS))
    return trials(replace(context, study=study))


def test_companions_and_what_is_learnt_first(context: PlanContext) -> None:
    found = with_companions(context)
    vanilla, also, silver, both, word = (
        found[name, 1] for name in ("vanilla", "also from other", "silver", "silver after other", "word from other")
    )
    assert [need.stage for need in also.ner.needs()] == ["rename"]
    assert dict(also.ner.inputs)["model"] == context.model
    labelled = dict(silver.ner.inputs)["silver"]
    assert isinstance(labelled, OutputOf)
    assert labelled.node.stage == "silver"
    # the teacher is vanilla's model, made once for both
    assert labelled.node.needs()[0].key == vanilla.ner.key
    assert [node.stage for node in silver.trained] == ["ner", "ner"]
    # its weight is the student's alone; teacher and student start from the other corpus
    student = dict(both.ner.inputs)
    assert both.ner.config.model_dump()["silver_weight"] == 1.0
    assert isinstance(student["silver"], OutputOf)
    teacher = student["silver"].node.needs()[0]
    assert dict(teacher.inputs)["model"] == student["model"]
    assert teacher.config.model_dump()["silver_weight"] != 1.0
    # an adapted encoder learns the other corpus before the target
    (first,) = word.ner.needs()
    assert (first.stage, [need.stage for need in first.needs() if need.stage == "encoder"]) == ("ner", ["encoder"])
    assert {node.stage for node in word.trained} == {"encoder", "ner"}
    assert len(word.trained) == 3


def test_each_seed_draws_its_own_sentences_to_label(context: PlanContext) -> None:
    found = with_companions(context)
    seeds = [dict(found["silver", seed].ner.inputs)["silver"].node.config.model_dump()["seed"] for seed in (1, 2)]
    assert seeds == [1, 2]
