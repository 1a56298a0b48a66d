"""STUDY.toml: its arms, and mistakes in it named by line and key."""

from pathlib import Path

import pytest

from mslm_cli.errors import UsageError
from mslm_cli.fsio import resource
from mslm_cli.studies.spec import read_study

DATA = """
[[data]]
name = "toy"
train = "train.tsv"
test = "test.tsv"
"""


def arms_of(folder: Path, text: str) -> list[str]:
    path = folder / "study.toml"
    path.write_text(DATA + text)
    return [arm.name for arm in read_study(path).arms()]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model = minilm", "study.toml:1: not TOML: Invalid value"),
        (DATA, "study.toml: arm: is missing"),
        (DATA + '[[arm]]\nkind = "mslm"\nelm_rate = [0.5, 1.5]\n', "study.toml:8: arm[1].elm_rate[2]: expected less"),
        (DATA + '[[arm]]\nkind = "spam"\n', "study.toml:7: arm[1].kind: expected vanilla"),
        (
            DATA + '[[arm]]\nkind = "mslm"\n\n[[arm]]\nkind = "span"\nweights = "uniform"\n',
            "study.toml:9: arm[2]: weights",
        ),
        (DATA + '[[arm]]\nkind = "mslm"\nweight = 2\n', "study.toml:8: arm[1].weight: unknown key"),
        (DATA + '[[arm]]\nkind = "mslm"\nweights = "ratio"\n', "study.toml:8: arm[1].weights[1]: String should match"),
        (DATA + '[[arm]]\nkind = "mslm"\nbudget = 0.2\nblm_rate = 0.1\n', "give only one"),
        (DATA + '[[arm]]\nkind = "mslm"\nlexicon = "mine"\n', "no [lexicon.mine] for arm 'mslm'"),
        (DATA + '[[arm]]\nkind = "mslm"\n[[arm]]\nkind = "mslm"\n', "two arms are named 'mslm'"),
        (DATA + '[[arm]]\nkind = "mslm"\n[adapt]\nseed = 3\n', "adapt.seed is set by the study"),
        (DATA + '[[arm]]\nkind = "mslm"\n[adapt]\ntokens = 0\n', "study.toml:9: adapt.tokens: expected greater"),
        (
            DATA + '[[arm]]\nkind = "mslm"\n[finetune]\nspeed = 0\n',
            "study.toml:9: finetune.speed: unknown key",
        ),
        (DATA + '[[arm]]\nkind = "transfer"\n', "study.toml:6: arm[1]: transfer needs a source"),
        (DATA + '[[arm]]\nkind = "transfer"\nsource = "x"\n', "no [[source]] is named 'x', for arm 'transfer'"),
        (
            DATA + '[[arm]]\nkind = "more-steps"\nlike = "vanilla"\n',
            "no arm 'vanilla' with adaptation or transfer, for more-steps",
        ),
        (DATA + '[[arm]]\nkind = "finetune"\n', "study.toml:6: arm[1]: kind 'finetune' needs options"),
        (
            DATA + '[[arm]]\nkind = "finetune"\nfinetune = { epoch = 3 }\n',
            "finetune.epoch of arm 'finetune': unknown key",
        ),
        (
            DATA + '[[arm]]\nkind = "finetune"\nname = "long"\nfinetune = { epochs = 0 }\n',
            "finetune.epochs of arm 'long': expected a positive",
        ),
        (DATA + '[[arm]]\nkind = "finetune"\nfinetune = { seed = 3 }\n', "finetune.seed is set by the study"),
        (DATA + '[[arm]]\nkind = "word"\nfinetune = { epochs = 3 }\n', "finetune does not apply to kind 'word'"),
        (
            DATA + '[[source]]\nname = "s"\ntrain = "t"\n[[source]]\nname = "s"\ntrain = "t"\n[[arm]]\nkind = "word"\n',
            "two sources are named 's'",
        ),
        ('[[data]]\nname = "a"\ntrain = "t"\n[[arm]]\nkind = "word"\n', "data[1]: needs either test, or folds"),
        (DATA + 'folds = 5\n[[arm]]\nkind = "word"\n', "study.toml:2: data[1]: needs either test, or folds"),
        ("label_shares = [0.5, 1, 0.5]\n" + DATA + '[[arm]]\nkind = "mslm"\n', "label share 0.5 is listed twice"),
        (
            "label_shares = [0, 1]\n" + DATA + '[[arm]]\nkind = "mslm"\n',
            "study.toml:1: label_shares[1]: expected greater",
        ),
        ("seeds = [1, 2, 1]\n" + DATA + '[[arm]]\nkind = "mslm"\n', "seed 1 is listed twice"),
        (
            '[[data]]\nname = "a/b"\ntrain = "t"\ntest = "t"\n[[arm]]\nkind = "mslm"\n',
            "study.toml:2: data[1].name: expected",
        ),
        (
            DATA + '[[arm]]\nkind = "mslm"\n[lexicon.none]\nfrom_text = false\n',
            "lexicon.none: a lexicon needs from_text",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place(in_tmp: Path, text: str, message: str) -> None:
    path = Path("study.toml")
    path.write_text(text)
    with pytest.raises(UsageError) as raised:
        read_study(path)
    assert message in str(raised.value)
    assert str(raised.value).startswith("study.toml")


def test_several_values_are_an_arm_for_each_combination(tmp_path: Path) -> None:
    text = """
[[arm]]
kind = "mslm"
elm_rate = [0.25, 0.5]
weights = ["uniform", "ratio:2"]
[[arm]]
kind = "span"
"""
    assert arms_of(tmp_path, text) == [
        "vanilla",
        "mslm elm 0.25 uniform",
        "mslm elm 0.25 ratio:2",
        "mslm elm 0.5 uniform",
        "mslm elm 0.5 ratio:2",
        "span",
    ]


def test_a_name_is_kept_and_extended_if_needed(tmp_path: Path) -> None:
    text = '[lexicon.a]\n[lexicon.b]\n[[arm]]\nkind = "mslm"\nname = "ours"\nblm_rate = 0.1\nlexicon = ["a", "b"]\n'
    assert arms_of(tmp_path, text) == ["vanilla", "ours a", "ours b"]


def test_vanilla_is_always_included_and_first(tmp_path: Path) -> None:
    text = '[[arm]]\nkind = "word"\n[[arm]]\nkind = "vanilla"\nname = "plain"\n'
    assert arms_of(tmp_path, text) == ["plain", "word"]


def test_an_arm_with_its_own_rates_ignores_the_shared_budget(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(DATA + '[shards]\nbudget = 0.2\n[[arm]]\nkind = "mslm"\nblm_rate = 0.1\n[[arm]]\nkind = "span"\n')
    _, mslm, span = read_study(path).arms()
    assert mslm.masking == {"blm_rate": 0.1, "budget": None}
    assert span.masking == {}


def test_only_mslm_has_weights(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(DATA + '[[arm]]\nkind = "mslm"\n[[arm]]\nkind = "span"\n')
    _, mslm, span = read_study(path).arms()
    assert (mslm.adapt, span.adapt) == ({}, {"weights": "uniform"})


@pytest.mark.parametrize("path", sorted(resource("recipes").glob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_can_be_read(path: Path) -> None:
    assert len(read_study(path).arms()) > 2
