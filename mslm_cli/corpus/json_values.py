"""JSON that strangers wrote: parsed, or refused with its place."""

import json
import re

from mslm_cli.errors import DataError

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse_json(text: str, name: str, line: int = 1) -> object:
    """The JSON value that ``text`` is, which begins in ``line`` of the file that messages call ``name``.

    Raises:
        DataError: it is not JSON, or holds half of a surrogate pair, which is no character.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        at = line + error.lineno - 1 if isinstance(error, json.JSONDecodeError) else line
        raise DataError(f"not JSON: {error}", path=name, line=at) from error
    if _SURROGATE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            code = ord(str(error.object)[error.start])
            message = f"\\u{code:04x} is half of a surrogate pair, and no character"
            raise DataError(message, path=name, line=line, hint="export the data again, as UTF-8") from error
    return value
