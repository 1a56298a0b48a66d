"""What an artifact is made by: a change to the code that decides its content counts, a change to a report does not."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import plugin
import pytest

from mslm_cli import code_identity
from mslm_cli.errors import UsageError
from mslm_cli.studies.spec import read_study
from mslm_cli.studies.sweep import claim, claim_code, code_versions

PACKAGE = Path(code_identity.__file__).parent
Sources = dict[str, dict[str, str]]
HERE: Sources = {stage: code_identity.sources_of(stage, {}) for stage in code_identity.STAGES}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package, to be changed."""
    shutil.copytree(PACKAGE, tmp_path / "mslm_cli", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "resources").symlink_to(PACKAGE.parent / "resources")
    return tmp_path


def run(root: Path, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment, cwd=cwd or root, capture_output=True, text=True, check=False)


def sources(root: Path) -> Sources:
    """What is found where the package is in ``root``; resources are those of this package."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(code_identity, "__file__", str(root / "mslm_cli" / "code_identity.py"))
        patched.setenv("MSLM_CACHE", str(root / "cache"))
        code_identity._closure.cache_clear()
        try:
            return {stage: code_identity.sources_of(stage, {}) for stage in code_identity.STAGES}
        finally:
            code_identity._closure.cache_clear()


def in_child(root: Path, expression: str) -> dict[str, str]:
    """What an expression is in a process that imports the package from ``root``."""
    script = f"import json; from mslm_cli import code_identity; print(json.dumps(code_identity.{expression}))"
    done = run(root, "-c", script)
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


def change(root: Path, file: str, old: str, new: str) -> None:
    path = root / "mslm_cli" / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def touched(before: Sources, after: Sources) -> set[str]:
    return {stage for stage in before if before[stage] != after[stage]}


@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("masking/random.py", {"shards", "encoder", "ner", "eval", "probe", "silver"}),
        ("masking/weights.py", {"encoder", "probe"}),
        ("terms/termhood.py", {"lexicon"}),
        (
            "corpus/labels.py",
            {"lexicon", "shards", "encoder", "ner", "eval", "probe", "split", "sample", "augment", "silver"},
        ),
        ("evaluation/exact_match.py", {"ner", "eval", "silver"}),
        ("training/losses.py", {"encoder", "ner", "eval", "probe", "silver"}),
        ("stages/finetune.py", {"ner"}),
    ],
)
def test_a_change_counts_for_the_artifacts_that_it_decides(copy: Path, file: str, stages: set[str]) -> None:
    with (copy / "mslm_cli" / file).open("a", encoding="utf-8") as source:
        source.write("ADDED = 1\n")
    assert touched(HERE, sources(copy)) == stages


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("masking/strategies.py", '"""The masking strategies', '"""All masking strategies'),
        ("masking/strategies.py", "\n\n\ndef ", "\n\n\n# a comment\ndef "),
        ("masking/budget.py", "raise UsageError(", "raise UsageError('sorry: ' "),
        ("stages/preprocess.py", 'console.note(f"', 'console.note(f"by the way, '),
        ("stages/preprocess.py", '"of DS-terms"', '"in DS-terms"'),
        ("stages/adapt.py", "console.note(", "console.warn("),
        ("reporting/charts.py", "\n\n\n", "\n\n\nADDED = 1\n\n\n"),
        ("evaluation/tables.py", "\n\n\n", "\n\n\nADDED = 1\n\n\n"),
        ("training/model_card.py", "\n\n\n", "\n\n\nADDED = 1\n\n\n"),
        ("training/checkpoint.py", "\n\n\n", "\n\n\nADDED = 1\n\n\n"),
        ("console.py", "\n\n\n", "\n\n\nADDED = 1\n\n\n"),
        ("errors.py", "\n\n\n", "\n\n\nADDED = 1\n\n\n"),
        ("fsio.py", "\n\n\n", "\n\n\nADDED = 1\n\n\n"),
        ("signals.py", "\n\n\n", "\n\n\nADDED = 1\n\n\n"),
        ("config.py", "description=", "title='x', description="),
    ],
)
def test_reporting_code_does_not_count(copy: Path, file: str, old: str, new: str) -> None:
    change(copy, file, old, new)
    assert touched(HERE, sources(copy)) == set()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"by": "other", "modules": {}}', '{"modules": {"a": 1}}'])
def test_the_cache_changes_nothing(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    monkeypatch.setenv("MSLM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    kept = tmp_path / "cache" / "code.json"
    kept.write_text(content)
    assert in_child(copy, "sources_of('matches', {})") == code_identity.sources_of("matches", {})
    written = kept.read_bytes()
    assert in_child(copy, "sources_of('matches', {})") == code_identity.sources_of("matches", {})
    assert kept.read_bytes() == written, "all was there"
    change(copy, "terms/matcher.py", "\n\n\n", "\n\n\nADDED = 1\n\n\n")
    after = in_child(copy, "sources_of('matches', {})")
    assert code_identity.difference(code_identity.sources_of("matches", {}), after) == ["terms.matcher"]


def test_a_resource_counts_where_it_is_read(copy: Path) -> None:
    (copy / "resources").unlink()
    shutil.copytree(PACKAGE.parent / "resources", copy / "resources")
    words = copy / "resources" / "stopwords-en.txt"
    words.write_text(words.read_text() + "aardvark\n")
    after = {stage: in_child(copy, f"sources_of('{stage}', {{}})") for stage in ("lexicon", "shards", "encoder")}
    assert {stage for stage, found in after.items() if found != HERE[stage]} == {"lexicon"}
    assert code_identity.difference(HERE["lexicon"], after["lexicon"]) == ["resource stopwords-en.txt"]


def test_a_plug_in_counts_where_an_option_names_it(copy: Path) -> None:
    (copy / "odd_masks.py").write_text("import odd_rates\nWIDTH = 1\n")
    (copy / "odd_rates.py").write_text("RATE = 1\n")
    metadata = copy / "odd-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[mslm.strategies]\nodd = odd_masks:STRATEGY\n")

    def shards(strategy: str) -> dict[str, str]:
        return in_child(copy, f"sources_of('shards', {{'strategy': '{strategy}'}})")

    odd, word = shards("odd"), shards("word")
    assert code_identity.difference(word, odd) == ["odd_masks"]
    (copy / "odd_masks.py").write_text("import odd_rates\nWIDTH = 2\n")
    assert code_identity.difference(odd, shards("odd")) == ["odd_masks"]
    assert shards("word") == word


def test_up_to_date_means_made_by_this_code(copy: Path, tmp_path: Path, tiny_encoder: Path) -> None:
    """The command line, on a copy with one line of a report changed, then with one line of masking changed."""
    (tmp_path / "text.txt").write_text("aspirin relieves pain in most of the patients\n" * 5)
    command = [
        "-m",
        "mslm_cli",
        "preprocess",
        "text.txt",
        "--model",
        str(tiny_encoder),
        "--strategy",
        "word",
        "--max-length",
        "16",
        "-o",
        "out",
    ]
    assert run(copy, *command, cwd=tmp_path).returncode == 0
    change(copy, "stages/preprocess.py", '"of DS-terms"', '"in DS-terms"')
    assert "up to date" in run(copy, *command, cwd=tmp_path).stderr
    change(copy, "masking/random.py", "np.uint64(27)", "np.uint64(28)")
    refused = run(copy, *command, cwd=tmp_path)
    assert refused.returncode == 2
    assert "out exists: made with other code (masking.random) (choose another -o, or use --overwrite)" in refused.stderr


STUDY = 'text = ["a.txt"]\n[[data]]\nname = "toy"\ntrain = "train.tsv"\ntest = "test.tsv"\n[[arm]]\nkind = "vanilla"\n'


def test_a_study_continues_with_other_code_only_if_told_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "study.toml"
    file.write_text(STUDY)
    study, output = read_study(file), tmp_path / "study"
    claim(output, STUDY)
    claim_code(output, study, accept=False)
    assert code_versions(output) == 1
    claim_code(output, study, accept=False)
    assert code_versions(output) == 1

    real = code_identity.sources_of
    monkeypatch.setattr(
        code_identity, "sources_of", lambda stage, options: real(stage, options) | {"mslm_cli.training.losses": "other"}
    )
    with pytest.raises(
        UsageError, match=r"this study was begun with other code \(training.losses\).*--accept-other-code"
    ):
        claim_code(output, study, accept=False)
    claim_code(output, study, accept=True)
    assert code_versions(output) == 2
    claim_code(output, study, accept=False)
    assert code_versions(output) == 2, "accepted once and for all"


def test_a_study_counts_the_source_of_its_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin.install(tmp_path / "site", monkeypatch, "mslm.tasks", "toy", "ENTRY = 1\n")
    file = tmp_path / "study.toml"
    for task, is_counted in (("ner", False), ("toy", True)):
        file.write_text(f'{STUDY}[finetune]\ntask = "{task}"\n')
        output = tmp_path / task
        claim(output, file.read_text())
        claim_code(output, read_study(file), accept=False)
        assert ("mslm_toy" in json.loads((output / "code.json").read_text())[-1]) == is_counted
