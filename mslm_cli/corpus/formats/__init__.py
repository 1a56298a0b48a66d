"""The forms of data that can be read, one module each.

Installed packages add to the table through entry points of the group ``mslm.formats``, each a ``Format``.
"""

from mslm_cli.corpus.formats import conll, text
from mslm_cli.corpus.formats.format import Format
from mslm_cli.corpus.options import GROUP
from mslm_cli.plugins import Table

FORMATS: Table[Format] = Table(GROUP, Format, [(f.name, f) for f in (conll.FORMAT, text.FORMAT)])
"""By name, in the order in which ``--format auto`` tries them."""
