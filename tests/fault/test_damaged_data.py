"""100 damaged files of all formats: each is read, or refused in one line that names it, and nothing is left behind.

With MSLM_ALL_FAULTS=1 they are 1,000.
"""

import os
from collections.abc import Callable
from pathlib import Path

import damaged_data
import pytest
from typer.testing import Result

Mslm = Callable[..., Result]

SEED, N = 20261127, 1000 if os.environ.get("MSLM_ALL_FAULTS") else 100
CASES = list(damaged_data.damaged_files(SEED, N))


@pytest.fixture(scope="module")
def lexicon(tmp_path_factory: pytest.TempPathFactory, mslm: Mslm) -> Path:
    """A lexicon with which text is read."""
    folder = tmp_path_factory.mktemp("lexicon")
    (folder / "text.txt").write_text("zorblatitis of the quuxamab in zorblatitis")
    (folder / "terms.txt").write_text("zorblatitis\nquuxamab\n")
    arguments = ("--terms", folder / "terms.txt", "--pipeline", "none", "-o", folder / "lexicon")
    assert mslm("extract-terms", folder / "text.txt", *arguments).exit_code == 0
    return folder / "lexicon"


@pytest.mark.parametrize("first", range(0, N, 20))
def test_damaged_files(in_tmp: Path, mslm: Mslm, lexicon: Path, first: int) -> None:
    for case in CASES[first : first + 20]:
        folder = in_tmp / case.name.replace(" ", "-")
        folder.mkdir()
        for name, content in case.files.items():
            (folder / name).write_bytes(content)
        path = folder / case.path
        for command in (
            ("convert", path, "--to", "conll", "-o", folder / "output"),
            ("convert", path, "--to", "jsonl", "-o", folder / "output"),
            ("match", path, "--lexicon", lexicon, "-o", folder / "output"),
        ):
            done = mslm(*command)
            said = f"{case.name}: {command[0]}: {done.exit_code}: {done.stderr}"
            assert done.exit_code in (0, 3), said
            assert "Traceback" not in done.stderr, said
            if done.exit_code == 3:
                (error,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
                assert done.stderr.splitlines()[-1] == error, said
                assert str(path.with_suffix("")) in error, said
                assert {file.name for file in folder.iterdir()} == case.files.keys(), said
            else:
                (folder / "output").unlink()


def test_every_format_is_damaged_and_some_files_stay_sound(in_tmp: Path, mslm: Mslm) -> None:
    """The damage is neither too weak to be seen nor so strong that all files are refused at their first byte."""
    assert {case.name.split()[1] for case in CASES} == damaged_data.sound_files().keys()
    n_read = 0
    for case in CASES[:100:5]:
        for name, content in case.files.items():
            Path(name).write_bytes(content)
        n_read += mslm("convert", case.path, "--to", "jsonl", "-o", "output", "--overwrite").exit_code == 0
    assert 2 < n_read < 15
