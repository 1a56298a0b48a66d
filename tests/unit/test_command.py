"""How options become a configuration, and errors exit codes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mslm_cli import artifacts, config, errors, signals
from mslm_cli.cli.app import app
from mslm_cli.config import AdaptConfig, ExtractTermsConfig, FinetuneConfig, PreprocessConfig
from mslm_cli.options import Config
from mslm_cli.stages import extract_terms
from mslm_cli.workspace import RunOptions

Mslm = Callable[..., Result]
Captured = dict[str, Any]


@pytest.fixture
def captured(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Captured:
    """What ``mslm extract-terms`` hands to its stage, which does nothing."""
    found: Captured = {}

    def run(texts: list[Path], output: Path, config: ExtractTermsConfig, **others: object) -> Path:
        found.update(others, texts=texts, output=output, config=config)
        return output

    monkeypatch.setattr(extract_terms, "run", run)
    return found


def test_without_options_the_configuration_is_the_default(captured: Captured, mslm: Mslm) -> None:
    done = mslm("extract-terms", "a.txt", "b.txt", "-o", "out")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "out\n", "")
    assert captured == {
        "texts": [Path("a.txt"), Path("b.txt")],
        "output": Path("out"),
        "config": ExtractTermsConfig(),
        "given": extract_terms.TermInputs([], [], [], None),
        "options": RunOptions(),
    }


def test_flags_win_over_the_file_and_the_file_over_defaults(captured: Captured, mslm: Mslm) -> None:
    Path("options.toml").write_text("min-count = 7\nmax_words = 3\none_per_line = true\n")
    default = ExtractTermsConfig().min_count
    mslm("extract-terms", "a.txt", "-o", "out", "--config", "options.toml", "--min-count", default)
    assert captured["config"] == ExtractTermsConfig(min_count=default, max_words=3, one_per_line=True)


def test_a_file_may_hold_a_table_for_each_command(captured: Captured, mslm: Mslm) -> None:
    Path("options.toml").write_text("[extract-terms]\nmin-count = 7\n\n[adapt]\nepochs = 3\n")
    mslm("extract-terms", "a.txt", "-o", "out", "--config", "options.toml")
    assert captured["config"] == ExtractTermsConfig(min_count=7)
    Path("options.toml").write_text("[adapt]\nepochs = 3\n")
    mslm("extract-terms", "a.txt", "-o", "out", "--config", "options.toml")
    assert captured["config"] == ExtractTermsConfig()


@pytest.mark.parametrize(
    ("command", "chosen"),
    [
        ("extract-terms", ExtractTermsConfig(min_count=3, encoding="latin-1")),
        ("preprocess", PreprocessConfig(mask_replace=(0.5, 0.25, 0.25), lowercase=False, copies=4)),
        ("adapt", AdaptConfig(weights="ratio:3", epochs=2)),
        ("finetune", FinetuneConfig(overlap=3, seed=9)),
    ],
)
def test_the_manifest_repeats_what_made_it(in_tmp: Path, command: str, chosen: Config) -> None:
    with artifacts.ArtifactBuild("lexicon", Path("made"), chosen, []).publish():
        pass
    repeated = config.read_config_file(Path("made/manifest.json"), command, [command])
    assert type(chosen).build(Path("made/manifest.json"), **repeated) == chosen


def test_every_option_reads_what_its_help_shows_as_default(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each default, given on the command line as help shows it, is the default."""
    seen: list[Config] = []
    build = Config.build.__func__  # type: ignore[attr-defined]  # the function behind the class method

    def spy(cls: type[Config], *file: Path, **options: object) -> Config:
        seen.append(build(cls, *file, **options))
        raise errors.UsageError("seen enough")

    monkeypatch.setattr(Config, "build", classmethod(spy))
    required = {
        "extract-terms": "x -o out",
        "preprocess": "x -o out",
        "adapt": "x -o out",
        "finetune": "--train x --dev x -o out",
        "eval": "x --data x -o out",
    }
    models = [ExtractTermsConfig, PreprocessConfig, AdaptConfig, FinetuneConfig, config.EvalConfig]
    for (command, arguments), model in zip(required.items(), models, strict=True):
        options: list[str] = []
        for name, field in model.model_fields.items():
            flag, value = f"--{name.replace('_', '-')}", field.default
            if isinstance(value, tuple):
                options += [flag, ",".join(map(str, value))]
            elif value is not None and not isinstance(value, bool):
                options += [flag, str(value)]
        refused = CliRunner().invoke(app, [command, *arguments.split(), *options])
        assert refused.stderr == "error: seen enough\n", refused.stderr
        assert seen[-1] == model()


@pytest.mark.parametrize("command", ["finetune", "eval", "compare"])
def test_commands_that_need_labels_have_no_option_for_plain_text(command: str) -> None:
    refused = CliRunner().invoke(app, [command, "--one-per-line"])
    assert refused.exit_code == 2
    assert "--one-per-line" in refused.stderr
    assert config.FinetuneConfig.build(one_per_line=True) == config.FinetuneConfig(one_per_line=True)


class UnforeseenError(Exception):
    """Something that nobody foresaw."""


@pytest.mark.parametrize(
    ("error", "exit_code", "line"),
    [
        (errors.UsageError("no such strategy", hint="choose another"), 2, "error: no such strategy (choose another)"),
        (errors.DataError("unknown tag", path="a.tsv", line=3), 3, "error: a.tsv:3: unknown tag"),
        (errors.ArtifactError("shards: damaged"), 4, "error: shards: damaged"),
        (errors.UnavailableError("no CUDA"), 5, "error: no CUDA"),
        (errors.DivergedError("loss nan"), 6, "error: loss nan"),
        (KeyboardInterrupt(), 130, "error: interrupted"),
        (signals.Terminated(), 143, "error: terminated"),
        (PermissionError(13, "Permission denied", "out"), 5, "error: out: Permission denied"),
        (OSError(28, "No space left on device"), 5, "error: No space left on device"),
        (
            UnforeseenError("why [bold]not[/bold]\n\n  and so on"),
            1,
            "error: internal error: UnforeseenError: why [bold]not[/bold] and so on",
        ),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(
    captured: Captured, mslm: Mslm, monkeypatch: pytest.MonkeyPatch, error: BaseException, exit_code: int, line: str
) -> None:
    def fail(*_: object, **__: object) -> Path:
        raise error

    monkeypatch.setattr(extract_terms, "run", fail)
    for verbosity in ([], ["-q"], ["-v"]):
        failed = mslm("extract-terms", "a.txt", "-o", "out", *verbosity)
        assert (failed.exit_code, failed.stdout) == (exit_code, "")
        assert failed.stderr.startswith(line)
        assert len(failed.stderr.splitlines()) == 1
    debugged = mslm("extract-terms", "a.txt", "-o", "out", "--debug")
    assert debugged.exit_code == exit_code
    assert ("Traceback" in debugged.stderr) == (exit_code not in (130, 143))
    assert debugged.stderr.splitlines()[-1].startswith(line)


def test_a_bug_asks_to_be_reported(captured: Captured, mslm: Mslm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract_terms, "run", lambda *_, **__: 1 / 0)
    failed = mslm("extract-terms", "a.txt", "-o", "out")
    assert failed.exit_code == 1
    assert "ZeroDivisionError" in failed.stderr
    assert "--debug" in failed.stderr


def test_the_pipe_carries_one_path(monkeypatch: pytest.MonkeyPatch, in_tmp: Path, mslm: Mslm) -> None:
    for stdin, said in (
        ("a path/with spaces\n", "a path/with spaces: no such ner"),
        ("\n", "found nothing"),
        ("", "found nothing"),
    ):
        refused = mslm("eval", "-", "--data", "x", "-o", "out", stdin=stdin)
        assert refused.exit_code == 4
        assert said in refused.stderr
