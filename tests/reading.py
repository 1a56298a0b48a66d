"""What is read from files, whole."""

from pathlib import Path

from mslm_cli.corpus.documents import Document
from mslm_cli.corpus.options import DataOptions
from mslm_cli.corpus.readers import read_documents


def documents(*files: Path, **options: object) -> list[Document]:
    return list(read_documents(files, DataOptions.build(**options)))


def texts(*files: Path, **options: object) -> list[str]:
    return [document.text for document in documents(*files, **options)]
