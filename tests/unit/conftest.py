"""Files that the tests of several formats read."""

from pathlib import Path

import pytest
from sample_data import ANN, PUBTATOR, TEXT


@pytest.fixture
def pubtator(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text(PUBTATOR)
    return path


@pytest.fixture
def brat(tmp_path: Path) -> Path:
    folder = tmp_path / "brat"
    folder.mkdir()
    (folder / "a.txt").write_text(TEXT)
    (folder / "a.ann").write_text(ANN)
    (folder / "annotation.conf").write_text("[entities]\nDisease\nDrug\n")
    return folder
