"""Values written as the Python of config files."""

import re
import textwrap
from collections.abc import Mapping
from keyword import iskeyword

LINE_LENGTH = 100


def is_name(text: object) -> bool:
    """Whether something can name a variable or argument."""
    return isinstance(text, str) and text.isidentifier() and not iskeyword(text)


class Name(str):
    """A variable of the config, or an expression, to be written as it is."""


def code(value: object, indent: int = 0, used: int = 0) -> str:
    """Python that makes a value of dicts, lists, tuples and plain values, as configs write it.

    Args:
        indent: Columns before what follows on lines of their own.
        used: Columns that are taken on the first line, and behind the last one.
    """
    if isinstance(value, Name):
        return str(value)
    items = None
    if isinstance(value, Mapping):
        if all(is_name(key) for key in value):
            opening, closing, items = 'dict(', ')', [(f'{k}=', v) for k, v in value.items()]
        else:
            opening, closing, items = '{', '}', [(f'{k!r}: ', v) for k, v in value.items()]
    elif isinstance(value, (list, tuple)):
        opening, closing = '[]' if isinstance(value, list) else '()'
        items = [('', item) for item in value]
    if not items:
        return repr(value) if items is None else opening + closing
    flat = ', '.join(key + code(item) for key, item in items)
    flat += ',' if isinstance(value, tuple) and len(value) == 1 else ''
    line = opening + flat + closing
    if indent + used + len(line) <= LINE_LENGTH and '\n' not in line:
        return line
    inner = ' ' * (indent + 4)
    if all(not key and not re.search(r'\s', code(item)) for key, item in items):
        # words and numbers, many to a line
        wrapped = textwrap.wrap(
            ', '.join(code(item) for _, item in items) + ',',
            LINE_LENGTH,
            initial_indent=inner,
            subsequent_indent=inner,
            break_long_words=False,
            break_on_hyphens=False,
        )
        return '\n'.join([opening, *wrapped, ' ' * indent + closing])
    lines = [f'{inner}{key}{code(item, indent + 4, len(key) + 1)},\n' for key, item in items]
    return f'{opening}\n{"".join(lines)}{" " * indent}{closing}'


def assignment(name: str, value: object) -> str:
    """A line, or several, that assign a value to a variable."""
    return f'{name} = {code(value, used=len(name) + 3)}\n'
