"""Standard streams that are closed or full, names that are not UTF-8, signals at any time, and terminals."""

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mslm_cli import artifacts, console

MSLM = f"exec {shlex.quote(sys.executable)} -m mslm_cli"
EXTRACT = "extract-terms text.txt --pipeline none"


def shell(command: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["bash", "-c", command], input=stdin, capture_output=True, check=False)


@pytest.mark.parametrize(
    ("redirected", "exit_code"),
    [
        *(pytest.param(one, 0, marks=pytest.mark.slow) for one in (">&-", "2>&-", "<&-", "2>/dev/full")),
        (">&- 2>&- <&-", 0),
        (">/dev/full", 5),
    ],
)
def test_an_artifact_is_whole_whatever_the_streams_are(workplace: Path, redirected: str, exit_code: int) -> None:
    done = shell(f"{MSLM} {EXTRACT} -o out {redirected}")
    assert done.returncode == exit_code, done.stderr
    artifacts.load(Path("out"), "lexicon")
    if redirected == ">/dev/full":
        assert done.stderr.splitlines()[-1] == b"error: No space left on device"


@pytest.mark.parametrize("redirected", [">&-", ">/dev/full"])
def test_results_that_cannot_be_printed_are_an_error(workplace: Path, redirected: str) -> None:
    done = shell(f"{MSLM} match text.txt --lexicon lexicon {redirected}")
    assert done.returncode == 5
    assert done.stderr.count(b"\n") == 1
    assert done.stderr.startswith(b"error: ")


def test_an_error_has_its_exit_code_when_it_cannot_be_printed(workplace: Path) -> None:
    for redirected in ("2>&-", "2>/dev/full"):
        assert shell(f"{MSLM} match nowhere.txt --lexicon lexicon {redirected}").returncode == 3


@pytest.mark.parametrize(
    ("command", "exit_code", "said"),
    [
        ("match text.txt --lexicon -", 4, b"expected the path of an artifact on standard input, found nothing"),
        ("extract-terms - -o out", 3, b"<stdin>"),
    ],
)
def test_a_closed_standard_input_is_empty(workplace: Path, command: str, exit_code: int, said: bytes) -> None:
    done = shell(f"{MSLM} {command} <&-")
    assert done.returncode == exit_code, done.stderr
    assert said in done.stderr
    assert not Path("out").exists()


@pytest.mark.parametrize("module", ["typer", "mslm_cli.cli.adapt", "rich.console"])
@pytest.mark.parametrize(
    ("number", "exit_code", "said"), [("SIGINT", 130, b"interrupted"), ("SIGTERM", 143, b"terminated")]
)
def test_a_signal_while_modules_are_imported_ends_it_quietly(
    in_tmp: Path, module: str, number: str, exit_code: int, said: bytes
) -> None:
    program = f"""
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test in the background inherits that it is ignored
class Watch:
    def find_spec(self, name, *_):
        if name == {module!r}:
            os.kill(os.getpid(), signal.{number})
sys.meta_path.insert(0, Watch())
from mslm_cli.__main__ import main
sys.argv = ["mslm", "adapt", "--help"]
main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == exit_code
    assert done.stderr == b"error: " + said + b"\n"


def test_an_ignored_signal_stays_ignored(in_tmp: Path) -> None:
    program = (
        "import os, signal\nfrom mslm_cli.__main__ import main\nimport sys; sys.argv = ['mslm', '--version']\nmain()"
    )
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        done = subprocess.run(
            [sys.executable, "-c", f"import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n{program}"],
            capture_output=True,
            check=False,
        )
    finally:
        signal.signal(signal.SIGTERM, before)
    assert done.returncode == 0, done.stderr


NAME = b"te\xffxt\\.txt"


def test_names_that_are_not_utf8_are_kept(workplace: Path) -> None:
    Path("text.txt").rename(os.fsdecode(NAME))
    source = shlex.quote(os.fsdecode(NAME))
    extract = f"{MSLM} extract-terms {source} --pipeline none"
    done = shell(f"{extract} -o out")
    assert done.returncode == 0, done.stderr
    manifest = artifacts.load(Path("out"), "lexicon").manifest
    assert [i.path for i in manifest.inputs if i.role == "text"] == [r"te\xffxt\\.txt"]
    found = shell(f"{MSLM} match {source} --lexicon lexicon")
    assert found.returncode == 0, found.stderr
    assert {json.loads(line)["doc"].split(":")[0] for line in found.stdout.splitlines()} == {r"te\xffxt\\.txt"}
    for command, exit_code, said in (
        (f"{MSLM} match 'nowhere\udcff' --lexicon lexicon", 3, rb"error: nowhere\xff"),
        (f"{extract} -o 'out\udcff'", 2, rb"error: out\xff: cannot be created: the path is not UTF-8"),
    ):
        refused = shell(command)
        assert refused.returncode == exit_code
        assert said in refused.stderr


def test_a_quoted_tilde_is_the_home_folder(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(workplace))
    done = shell(f"{MSLM} match '~/text.txt' --lexicon '~/lexicon' -o '~/out'")
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode() == f"{workplace}/out\n"
    assert not Path("~").exists()
    refused = shell(f"{MSLM} match '~no-such-user/text.txt' --lexicon lexicon")
    assert refused.returncode == 2
    assert b"no such user" in refused.stderr


ESCAPES = "\x1b]0;title\x07 \x1b[2J \x9b31m \x7f \r\x08"


def test_control_characters_are_shown_and_not_sent(capsys: pytest.CaptureFixture[str]) -> None:
    console.note(f"note {ESCAPES}")
    console.warn(f"warn {ESCAPES}")
    console.error(f"error {ESCAPES}")
    console.table(ESCAPES, ["", ESCAPES], [["x", ESCAPES]])
    console.styled_result([(ESCAPES, "bold")])
    captured = capsys.readouterr()
    shown = captured.out + captured.err + console.marked(ESCAPES, [(0, 2, ESCAPES)])
    assert not [c for c in shown if c != "\n" and not c.isprintable()]
    assert shown.count(r"\x1b]0;title\x07 \x1b[2J \x9b31m \x7f") >= 6


def test_a_pipe_gets_the_bytes_of_a_path_and_a_terminal_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    console.made(Path("a\x1b[2Jb"))
    assert capsys.readouterr().out == "a\x1b[2Jb\n"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.stdout, "isatty", lambda: True)
        console.made(Path("a\x1b[2Jb"))
        assert capsys.readouterr().out == "a\\x1b[2Jb\n"
