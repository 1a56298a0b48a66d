"""The formats that can be read, one module each.

Installed packages add to the table through entry points of the group ``mslm.formats``, each a ``Format``.
"""

from mslm_cli.corpus.formats import (
    bioc,
    brat,
    conll,
    docbin,
    jsonl,
    label_studio,
    parquet,
    pubtator,
    table,
    text,
)
from mslm_cli.corpus.formats.format import Format
from mslm_cli.corpus.options import GROUP
from mslm_cli.plugins import Table

_MODULES = (parquet, docbin, brat, bioc, label_studio, pubtator, jsonl, table, conll, text)

FORMATS: Table[Format] = Table(GROUP, Format, [(module.FORMAT.name, module.FORMAT) for module in _MODULES])
"""By name, in the order in which ``--format auto`` tries them."""
