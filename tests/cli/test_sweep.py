"""``mslm sweep`` and ``mslm study``: a whole study of tiny trials."""

import json
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_study
from typer.testing import Result

from mslm_cli.corpus.readers import read_labelled
from mslm_cli.studies import estimate, sweep, verdict
from mslm_cli.studies.queue import JOURNAL

Mslm = Callable[..., Result]

SWEEP = ("sweep", "study.toml", "-o", "study", "--threads", "1")


@pytest.fixture(scope="module")
def swept(chain: Path, mslm: Mslm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with study.toml and the study made of it."""
    folder = tmp_path_factory.mktemp("swept")
    shutil.copytree(chain, folder, dirs_exist_ok=True)
    tiny_study.write(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done = mslm(*SWEEP)
    assert (done.exit_code, done.stdout) == (0, "study\n"), done.stderr
    return folder


@pytest.fixture
def study(swept: Path, in_tmp: Path) -> Path:
    """The working folder, with a copy of all that ``swept`` holds."""
    shutil.copytree(swept, in_tmp, dirs_exist_ok=True)
    return in_tmp


def made(folder: Path) -> dict[str, int]:
    """The pieces of work that are there, and when they were made."""
    return {path.name: path.stat().st_mtime_ns for path in (folder / "study" / "work").iterdir()}


def trials_in_journal(folder: Path) -> list[str]:
    """The lines of Optuna's journal that are about trials."""
    return [line for line in (folder / "study" / JOURNAL).read_text().splitlines() if '"op_code":0' not in line]


def test_the_verdict_has_every_arm_and_the_best_model_can_be_used(study: Path, mslm: Mslm) -> None:
    verdict = json.loads(Path("study/verdict.json").read_bytes())
    assert [arm["name"] for arm in verdict["arms"]] == ["vanilla", "word", "mslm"]
    assert verdict["outcome"] == "few seeds"
    assert verdict["use"] == verdict["best"]["arm"] == "vanilla"
    for arm in verdict["arms"]:
        on = arm["data"]["toy"]
        assert on["seeds"] == [1, 2]
        assert on["f1"]["low"] <= on["f1"]["value"] <= on["f1"]["high"]
        assert on["cost"]["finetune_tokens"] > 0
        assert (on["cost"]["adapt_tokens"] > 0) == (arm["kind"] in ("word", "mslm"))
        for of_length in on["outcomes"].values():
            found = sum(of_length[o] for o in ("exact", "wrong boundary", "missed"))
            assert found == pytest.approx(1 if of_length["n_gold"] else 0)
        assert sum(on["slices"][f"words: {n}"]["n_gold"] for n in ("1", "2", "3+")) == 30
        assert sum(on["slices"][f"in train: {n}"]["n_gold"] for n in ("seen", "unseen")) == 30
    scored = mslm("eval", "study/best", "--data", "test.tsv", "-o", "again", "--json")
    assert scored.exit_code == 0, scored.stderr
    seed = verdict["best"]["models"]["toy"]["seed"]
    of_seeds = verdict["arms"][0]["data"]["toy"]["f1_of_seeds"]
    assert json.loads(scored.stdout)["exact_match"]["f1"] == pytest.approx(of_seeds[seed - 1])


def test_the_table_is_at_most_80_columns_wide_and_ends_with_the_sentence(
    study: Path, mslm: Mslm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = mslm(*SWEEP)
    lines = done.stderr.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("strict F1 on toy"))
    end = next(i for i, line in enumerate(lines) if line.startswith("* best on dev"))
    assert max(map(len, lines[start:end])) <= 80
    assert [line.split()[0] for line in lines[start + 2 : end]] == ["vanilla", "word", "mslm"]
    assert "No conclusion: " in lines[-2]


def test_finished_work_is_not_repeated(study: Path, mslm: Mslm) -> None:
    before, journal = made(study), trials_in_journal(study)
    done = mslm(*SWEEP)
    assert done.exit_code == 0
    assert made(study) == before
    assert trials_in_journal(study) == journal


def test_an_extended_study_makes_only_what_is_new(study: Path, mslm: Mslm) -> None:
    before = made(study)
    Path("study.toml").write_text(Path("study.toml").read_text() + '\n[[arm]]\nkind = "augment"\n')
    done = mslm(*SWEEP)
    assert done.exit_code == 0, done.stderr
    after = made(study)
    assert before.items() <= after.items()
    new = sorted(name.split("-")[0] for name in after.keys() - before.keys())
    assert new == ["augment", "augment", "eval", "eval", "ner", "ner"]
    verdict = json.loads(Path("study/verdict.json").read_bytes())
    assert [arm["name"] for arm in verdict["arms"]] == ["vanilla", "word", "mslm", "augment"]


def test_missing_work_is_made_again(study: Path, mslm: Mslm) -> None:
    before = Path("study/verdict.json").read_bytes()
    lost = next(Path("study/work").glob("eval-*"))
    shutil.rmtree(lost)
    assert mslm(*SWEEP).exit_code == 0
    assert lost.is_dir()
    assert Path("study/verdict.json").read_bytes() == before


def test_a_failing_arm_does_not_stop_the_others(study: Path, mslm: Mslm) -> None:
    arm = '\n[[arm]]\nkind = "mslm"\nname = "greedy"\nelm_rate = 1.0\nbudget = 0.01\n'
    Path("study.toml").write_text(Path("study.toml").read_text() + arm)
    done = mslm(*SWEEP)
    assert done.exit_code == 5
    assert "2 of 8 trials failed" in done.stderr
    assert "toy · greedy · seed 1: a budget of 0.01" in done.stderr
    verdict = json.loads(Path("study/verdict.json").read_bytes())
    assert [arm["name"] for arm in verdict["arms"]] == ["vanilla", "word", "mslm"]
    assert set(verdict["failed"]) == {"toy · greedy · seed 1", "toy · greedy · seed 2"}


def test_the_search_finds_rates_without_the_test_data(study: Path, mslm: Mslm) -> None:
    before = made(study)
    done = mslm(*SWEEP, "--search")
    assert done.exit_code == 0, done.stderr
    found = json.loads(Path("study/search.json").read_bytes())
    assert set(found["rungs"][0]["dev_score"]) == {"elm 0.25 blm 0.1 uniform", "elm 0.75 blm 0.1 uniform"}
    assert found["winner"] in found["rungs"][0]["dev_score"]
    new = sorted(name.split("-")[0] for name in made(study).keys() - before.keys())
    # two short trials without the test data, then the winner with both seeds
    assert new == ["encoder"] * 4 + ["eval"] * 2 + ["ner"] * 4 + ["sample"] * 2 + ["shards"] * 2
    assert f"mslm {found['winner']} (searched)" in [
        arm["name"] for arm in json.loads(Path("study/verdict.json").read_bytes())["arms"]
    ]


def test_a_dry_run_prints_the_plan_and_does_nothing(study: Path, mslm: Mslm) -> None:
    before = made(study)
    Path("study.toml").write_text(Path("study.toml").read_text().replace("[1, 2]", "[1, 2, 3]"))
    done = mslm(*SWEEP, "--dry-run", "--json")
    assert done.exit_code == 0, done.stderr
    plan = json.loads(done.stdout)
    assert len(plan["trials"]) == 9
    left = {stage: row["n"] - row["n_done"] for stage, row in plan["stages"].items()}
    assert left == {"lexicon": 0, "shards": 0, "encoder": 2, "ner": 3, "eval": 3}
    assert plan["stages"]["lexicon"]["seconds"] == 0 < plan["stages"]["encoder"]["seconds"]
    assert plan["disk_bytes"] > 0
    assert made(study) == before
    assert mslm(*SWEEP, "--dry-run").stdout == ""


@pytest.mark.parametrize(
    ("old", "new", "code", "message"),
    [
        (
            'text = ["text-of-train.txt"]',
            'text = ["test.tsv"]',
            3,
            "test.tsv: the test data of toy are also text test.tsv",
        ),
        ('dev = "dev.tsv"', 'dev = "train.tsv"', 3, "train.tsv: the dev data of toy are also the training data of toy"),
        (
            'test = "test.tsv"',
            'test = "tset.tsv"',
            3,
            "tset.tsv: no such file or folder (paths are relative to data_root",
        ),
        ('kind = "word"', 'kind = "wort"', 2, "study.toml:36: arm[1].kind: expected"),
        ('model = "encoder"', 'model = "./nowhere"', 5, "no such folder"),
    ],
)
def test_mistakes_are_found_before_any_work(
    workplace: Path, mslm: Mslm, old: str, new: str, code: int, message: str
) -> None:
    text = tiny_study.HEAD + tiny_study.ARMS
    assert old in text
    tiny_study.write(workplace, text.replace(old, new))
    done = mslm(*SWEEP)
    assert done.exit_code == code
    assert message in done.stderr
    assert not Path("study/work").exists() or not any(Path("study/work").iterdir())


def test_test_data_in_a_folder_of_text_are_found(workplace: Path, mslm: Mslm) -> None:
    tiny_study.write(workplace, (tiny_study.HEAD + tiny_study.ARMS).replace('"text-of-train.txt"', '"texts"'))
    (workplace / "texts").mkdir()
    shutil.copy("text-of-train.txt", "texts")
    shutil.copy("test.tsv", "texts/more.tsv")
    done = mslm(*SWEEP)
    assert done.exit_code == 3
    assert "test.tsv: the test data of toy are also text texts" in done.stderr


def test_a_second_data_set_has_its_own_model(study: Path, mslm: Mslm) -> None:
    """It is the dev data of the first one here, so that there is something to score on."""
    second = '[[data]]\nname = "toy 2"\ntrain = "train.tsv"\ntest = "dev.tsv"\ndev_share = 0.3\n'
    Path("study.toml").write_text(
        Path("study.toml").read_text().replace("[lexicon.terms]", f"{second}\n[lexicon.terms]")
    )
    done = mslm(*SWEEP)
    assert done.exit_code == 0, done.stderr
    verdict = json.loads(Path("study/verdict.json").read_bytes())
    assert {name: model["path"] for name, model in verdict["best"]["models"].items()} == {
        "toy": "best/toy",
        "toy 2": "best/toy 2",
    }
    assert sorted(path.name for path in Path("study/best").iterdir()) == ["toy", "toy 2"]
    assert "on average over 2 data sets" in verdict["sentence"]
    f1 = [[arm["data"][data]["f1"]["value"] for data in ("toy", "toy 2")] for arm in verdict["arms"]]
    assert [arm["f1"]["value"] for arm in verdict["arms"]] == pytest.approx([sum(pair) / 2 for pair in f1])


def test_shares_of_the_labels_are_an_axis_of_the_study(study: Path, mslm: Mslm) -> None:
    before = made(study)
    Path("study.toml").write_text("label_shares = [0.2, 0.5, 1]\n" + Path("study.toml").read_text())
    plan = json.loads(mslm(*SWEEP, "--dry-run", "--json").stdout)
    assert len(plan["trials"]) == 18
    assert plan["stages"]["ner"] == plan["stages"]["ner"] | {"n": 18, "n_done": 6}
    assert plan["stages"]["subset"]["n"] == 8
    verdict = json.loads(Path("study/verdict.json").read_bytes())
    done = mslm(*SWEEP)
    assert done.exit_code == 0, done.stderr
    assert before.items() <= made(study).items(), "what was made with all labels is kept"
    again = json.loads(Path("study/verdict.json").read_bytes())
    found = again.pop("labels")["toy"]
    assert again == verdict
    numbers = [of["n_labelled"] for of in found["shares"]]
    assert numbers == sorted(numbers)
    assert numbers[-1] == sum(len(read_labelled(Path(f)).sentences) for f in ("train.tsv", "dev.tsv"))
    for of in found["shares"]:
        assert list(of["arms"]) == ["vanilla", "word", "mslm"]
    assert found["sentence"].startswith(f"With your {numbers[-1]:,.0f} labelled sentences, nothing can be shown yet")
    page = Path("study/index.html").read_text()
    assert f"<h1>{found['sentence']}</h1>" in page
    assert "Label efficiency on toy" in page
    assert Path("study/charts/label-efficiency-0.svg").is_file()
    assert "strict F1 over labelled sentences, toy" in done.stderr


def test_without_a_test_set_every_labelled_sentence_is_scored_once(
    workplace: Path, mslm: Mslm, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tiny_study.HEAD.replace('test = "test.tsv"', "folds = 3").replace("[1, 2]", "[1]")
    tiny_study.write(workplace, text + '[[arm]]\nkind = "finetune"\nfinetune = { epochs = 2 }\n')
    monkeypatch.setattr(sweep, "_PAGE_EVERY_S", 0)
    done = mslm(*SWEEP)
    assert done.exit_code == 0, done.stderr
    found = json.loads(Path("study/verdict.json").read_bytes())
    whole = read_labelled(Path("train.tsv")).sentences
    assert found["n_sentences"]["toy"] == len(whole)
    assert "progress" not in found
    for arm in found["arms"]:
        on = arm["data"]["toy"]
        assert on["seeds"] == [1]
        assert sum(on["slices"][f"words: {n}"]["n_gold"] for n in ("1", "2", "3+")) == sum(
            len(s.mentions) for s in whole
        )
        assert sum(of["n_gold"] for of in on["outcomes"].values()) == sum(len(s.mentions) for s in whole)
    assert Path("study/best/manifest.json").is_file()


def test_the_page_grows_as_trials_finish(study: Path, mslm: Mslm, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says how far the study is; the final verdict is the same as without interim pages."""
    before = Path("study/verdict.json").read_bytes()
    for lost in sorted(Path("study/work").glob("eval-*"))[:3]:
        shutil.rmtree(lost)
    written = []
    write = verdict.write

    def write_and_read(*given: Any) -> Any:
        found = write(*given)
        written.append((found.get("progress"), Path("study/index.html").read_text()))
        return found

    monkeypatch.setattr(verdict, "write", write_and_read)
    monkeypatch.setattr(sweep, "_PAGE_EVERY_S", 0)
    assert mslm(*SWEEP).exit_code == 0
    *interim, (last, page) = written
    assert interim
    for progress, shown in interim:
        assert progress["n_planned"] == 6
        assert f"So far: {progress['n_done']} of 6 trials." in shown
    assert last is None
    assert "So far" not in page
    assert Path("study/verdict.json").read_bytes() == before


def test_a_folder_that_is_not_a_study_is_left_alone(workplace: Path, mslm: Mslm) -> None:
    tiny_study.write(workplace)
    done = mslm("sweep", "study.toml", "-o", "ner")
    assert done.exit_code == 2
    assert "ner exists and is not a study" in done.stderr


def test_data_may_be_anywhere(workplace: Path, mslm: Mslm, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_study.write(workplace)
    (workplace / "elsewhere").mkdir()
    for name in ("text-of-train.txt", "train.tsv", "dev.tsv", "test.tsv"):
        (workplace / name).rename(workplace / "elsewhere" / name)
    assert mslm(*SWEEP, "--dry-run").exit_code == 3
    assert mslm(*SWEEP, "--dry-run", "--data-root", "elsewhere").exit_code == 0
    monkeypatch.setenv("MSLM_DATA_ROOT", "elsewhere")
    assert mslm(*SWEEP, "--dry-run").exit_code == 0


@pytest.fixture
def fast_machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """A machine that needs ``seconds`` for each token of fine-tuning, and nothing for the rest."""
    speed = {"seconds": 1e-9}
    monkeypatch.setattr(estimate, "measure", lambda _: estimate.Speed(1e-9, 1e-9, 1e-9, 1e-9, speed["seconds"], 1, 1))
    return speed


def test_study_writes_the_file_that_sweep_reads(
    workplace: Path, mslm: Mslm, fast_machine: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_study.write(workplace)
    options = (
        "--train train.tsv --dev dev.tsv --test test.tsv --text text-of-train.txt --model encoder --seeds 2 -o out"
    )
    shown = mslm("study", *options.split(), "--dry-run", "--json")
    assert shown.exit_code == 0, shown.stderr
    plan = json.loads(shown.stdout)
    assert [t["arm"] for t in plan["trials"][:6]] == [
        "word",
        "vanilla",
        "more-steps",
        "span",
        "mslm elm 0.5 uniform",
        "mslm elm 0.5 ratio:2",
    ]
    assert not [path for path in Path().iterdir() if "out" in path.name], "a dry run leaves nothing"
    assert mslm("study", *options.split(), "--dry-run", "--epochs", "2").exit_code == 0
    monkeypatch.setattr(sweep, "run", lambda *_: {})
    assert mslm("study", *options.split()).exit_code == 0
    again = json.loads(mslm("sweep", "out/study.toml", "-o", "out", "--dry-run", "--json").stdout)
    assert again["trials"] == plan["trials"]
    other = mslm("study", *options.split(), "--epochs", "2")
    assert other.exit_code == 2
    assert "continue with `mslm sweep out/study.toml -o out`" in other.stderr


LIMITED = (
    "study --train train.tsv --dev dev.tsv --test test.tsv --source other.tsv --model encoder -o out".split()  # noqa: SIM905 - as it is typed
)


def test_a_time_limit_chooses_what_fits_it(workplace: Path, mslm: Mslm, fast_machine: dict[str, float]) -> None:
    tiny_study.write(workplace)
    shutil.copy("train.tsv", "other.tsv")
    found = {}
    for seconds in (1e-9, 1e-3, 1e3):
        fast_machine["seconds"] = seconds
        done = mslm(*LIMITED, "--minutes", "30", "--dry-run", "--json")
        assert done.exit_code == 0, done.stderr
        found[seconds] = json.loads(done.stdout)["trials"]
    assert len(found[1e-9]) > len(found[1e-3]) > len(found[1e3]) == 6
    assert {t["arm"] for t in found[1e3]} == {"vanilla", "transfer from other"}
    assert {t.get("label_share", 1) for t in found[1e-9]} == {0.02, 0.05, 0.1, 0.25, 0.5, 1}
    assert "measuring the speed of this machine" in done.stderr


def test_a_study_within_a_time_limit_goes_on_with_what_was_chosen(
    workplace: Path, mslm: Mslm, fast_machine: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_study.write(workplace)
    shutil.copy("train.tsv", "other.tsv")
    monkeypatch.setattr(sweep, "run", lambda *_: {})
    assert mslm(*LIMITED, "--minutes", "30").exit_code == 0
    chosen = Path("out/study.toml").read_text()
    fast_machine["seconds"] = 1e3
    assert mslm(*LIMITED, "--minutes", "30").exit_code == 0
    assert Path("out/study.toml").read_text() == chosen
    other = mslm(*LIMITED)
    assert other.exit_code == 2
    assert "continue with `mslm sweep out/study.toml -o out`" in other.stderr


def test_study_needs_a_test_set_or_folds(workplace: Path, mslm: Mslm, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_study.write(workplace)
    monkeypatch.setattr(sweep, "run", lambda *_: {})
    command = ["study", "--train", "train.tsv", "--text", "text-of-train.txt", "--model", "encoder", "-o", "out"]
    for options in ((), ("--test", "test.tsv", "--folds", "5")):
        done = mslm(*command, *options)
        assert done.exit_code == 2
        assert "either --test or --folds (with few labels: --folds 5)" in done.stderr
    assert mslm(*command, "--folds", "5").exit_code == 0
    written = tomllib.loads(Path("out/study.toml").read_text())
    assert written["data"] == [{"name": workplace.name, "train": "../train.tsv", "folds": 5}]
    assert written["train_text"] is False


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--minutes", "30", "--overnight"), "--minutes and --overnight both limit the time"),
        (("--overnight", "--seeds", "5"), "--seeds cannot be set beside --overnight"),
        (("--minutes", "30", "--tokens", "9"), "--tokens cannot be set beside --minutes"),
    ],
)
def test_what_a_time_limit_chooses_cannot_be_set(mslm: Mslm, options: tuple[str, ...], message: str) -> None:
    done = mslm(*LIMITED, *options)
    assert done.exit_code == 2
    assert message in done.stderr


def test_a_path_cannot_end_a_comment_of_the_study_file(
    workplace: Path, mslm: Mslm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "run", lambda *_: {})
    output = "out\nseeds = [9]\x1b"
    data = "--train train.tsv --dev dev.tsv --test test.tsv --model encoder"
    done = mslm("study", *data.split(), "-o", output)
    assert done.exit_code == 0, done.stderr
    written = Path(output, "study.toml").read_text()
    assert tomllib.loads(written)["seeds"] == [1, 2, 3]
    assert written.splitlines()[0].endswith(r"-o out\nseeds = [9]\x1b`: finished work is kept.")


def test_arms_that_learn_from_more_than_the_labels(workplace: Path, mslm: Mslm) -> None:
    """Another corpus first, or at the same time; a model's own labels; hidden words; and two at once."""
    arms = """
[label]
min_confidence = 0.0

[[source]]
name = "other"
train = "train.tsv"
epochs = 1

[[arm]]
kind = "transfer"
source = "other"

[[arm]]
kind = "also"
source = "other"

[[arm]]
kind = "silver"
source = "other"

[[arm]]
kind = "finetune"
finetune = { mask_mentions = 0.3 }

[[arm]]
kind = "word"
source = "other"
"""
    tiny_study.write(workplace, tiny_study.HEAD.replace("seeds = [1, 2]", "seeds = [1]") + arms)
    done = mslm("sweep", "study.toml", "-o", "study", "--threads", "1", "--json")
    assert done.exit_code == 0, done.stderr
    verdict = json.loads(done.stdout)
    names = {"vanilla", "transfer from other", "also from other", "silver from other", "finetune mask-mentions 0.3"}
    scored = json.dumps(verdict)
    assert all(name in scored for name in names | {"word from other"})
    assert "failed" not in done.stderr
