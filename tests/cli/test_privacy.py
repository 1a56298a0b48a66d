"""What artifacts do not hold: where they were made, by whom, on which machine."""

import getpass
import platform
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

Mslm = Callable[..., Result]

USER, HOST = "maria.mustermann", "laptop-of-maria"


def test_no_file_names_the_folder_the_user_or_the_machine(
    chain: Path, tmp_path: Path, mslm: Mslm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Absolute paths go in everywhere; none comes out."""
    for variable in ("USER", "LOGNAME", "USERNAME"):
        monkeypatch.setenv(variable, USER)
    for module, name in ((platform, "node"), (socket, "gethostname")):
        monkeypatch.setattr(module, name, lambda: HOST)
    monkeypatch.setenv("HOSTNAME", HOST)
    monkeypatch.chdir(tmp_path)
    home = tmp_path / USER / "work"
    home.mkdir(parents=True)
    encoder, text, train, dev, test = (
        chain / name for name in ("encoder", "text.txt", "train.tsv", "dev.tsv", "test.tsv")
    )
    for command in (
        ("extract-terms", text, "-o", home / "lexicon"),
        ("match", text, "--lexicon", home / "lexicon", "-o", home / "matches.jsonl"),
        (
            "preprocess",
            text,
            "--lexicon",
            home / "lexicon",
            "--model",
            encoder,
            "--max-length",
            64,
            "-o",
            home / "shards",
        ),
        ("adapt", home / "shards", "--model", encoder, "--epochs", 1, "--head-warmup-steps", 2, "-o", home / "adapted"),
        ("finetune", "--train", train, "--dev", dev, "--model", home / "adapted", "--epochs", 1, "-o", home / "ner"),
        ("eval", home / "ner", "--data", test, "--train", train, "--lexicon", home / "lexicon", "-o", home / "scores"),
        ("predict", home / "ner", text, "-o", home / "mentions.jsonl"),
        ("predict", home / "ner", text, "--to", "brat", "-o", home / "brat"),
        ("predict", home / "ner", text, "--to", "html", "-o", home / "page.html"),
    ):
        made = mslm(*command)
        assert made.exit_code == 0, made.stderr
    private = {USER, HOST, str(tmp_path), str(chain), str(Path.home()), socket.getfqdn()}
    private |= {name for name in (getpass.getuser(), platform.uname().node) if len(name) > 5}
    files = [path for path in home.rglob("*") if path.is_file()]
    assert len(files) > 40
    found = {
        (path.relative_to(home).as_posix(), word)
        for path in files
        for word in private
        if len(word) > 5 and word.encode() in path.read_bytes()
    }
    assert found == set()
