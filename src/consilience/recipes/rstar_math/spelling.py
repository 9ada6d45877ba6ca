"""Short spellings of what the format repeats: one unused control byte for each piece, as the published recipe adds its
tags to the tokenizer as tokens. A house model then reads and writes a step in about a dozen tokens."""

from __future__ import annotations

import re

from consilience.reason.code_steps import (
    ANSWER,
    CODE,
    END_OF_ANSWER,
    END_OF_CODE,
    END_OF_OUTPUT,
    END_OF_STEP,
    LAST_STEP,
    OUTPUT,
)

PIECES = (
    f"{CODE}\n",
    f"\n{END_OF_STEP}\n",
    f"# {LAST_STEP}\nprint(x)",
    f"\n{END_OF_CODE}",
    f"\n{OUTPUT}",
    END_OF_OUTPUT,
    f"\n{ANSWER}\\boxed{{",
    f"}}{END_OF_ANSWER}",
    "# ",
    "x = ",
)
_MARKS = tuple(chr(code) for code in (1, 2, 3, 4, 5, 6, 7, 14, 15, 16))
_SHORT = dict(zip(PIECES, _MARKS, strict=True))
_LONG = dict(zip(_MARKS, PIECES, strict=True))
_PIECE = re.compile("|".join(re.escape(piece) for piece in sorted(PIECES, key=len, reverse=True)))
_MARK = re.compile("[" + "".join(_MARKS) + "]")
STOP = tuple(_SHORT[piece] for piece in (f"\n{END_OF_STEP}\n", f"\n{END_OF_CODE}", f"}}{END_OF_ANSWER}"))
"""Where a step ends, in short spelling."""


def short(text: str) -> str:
    """Text with its pieces as marks. Marks in the text itself, which no problem here has, are left out."""
    return _PIECE.sub(lambda match: _SHORT[match[0]], _MARK.sub("", text))


def long(text: str) -> str:
    """Inverse of `short`."""
    return _MARK.sub(lambda match: _LONG[match[0]], text)
