"""Reading one answer: cleaning its wrapping, telling value from unit, and building its syntax tree."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from consilience.verify.answers import lexicon as lex
from consilience.verify.answers.grammar import parse_tokens
from consilience.verify.answers.limits import Malformed, TooLarge
from consilience.verify.answers.scan import STOP, Token, braced, normalise, tokenise
from consilience.verify.answers.tree import Apply, Node, Number, Symbol, variables
from consilience.verify.answers.units import (
    CURRENCY_SIGNS,
    NO_UNIT,
    PLAIN_SYMBOLS,
    PREFIXES,
    SINGLE_LETTERS,
    UNITS,
    Suffix,
    convertible,
    lookup,
    read_suffix,
)

_FENCES = (("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)"), ("$", "$"), ("**", "**"), ("```", "```"), ("`", "`"))
_TRAILING = re.compile(r"(?:\s|\\\\|\\[ ,;]|[,;:]|(?<!\.)\.|\\newline)+$")
_LEADING = re.compile(r"^(?:\s|\\[ ,;!:]|[:=,;]|\\displaystyle)+")
_PART = re.compile(r"(?:(?<=[\s,;.}])|^)(?:\\text(?:bf)?\{\s*)?\(([A-Ha-h])\)(?:\s*\})?\s*")
_SINGLE_BOX = re.compile(r"^\\f?boxed\s*(?=\{)")


@dataclass(frozen=True)
class Answer:
    """One answer as read. text: cleaned; node: its tree, None when it is no mathematics; unit: what followed the
    value; fault: why there is no tree ("malformed" or "too_large")."""

    text: str
    node: Node | None
    unit: Suffix | None = None
    fault: str = ""


def clean(text: str) -> str:
    """The answer without maths delimiters, bold, code marks, boxes, a leading "=" and trailing punctuation."""
    before = None
    while before != text:
        before = text
        text = _TRAILING.sub("", _LEADING.sub("", text))
        for opener, closer in _FENCES:
            inner = text[len(opener) : -len(closer)]
            fenced = len(text) > len(opener) + len(closer) and text.startswith(opener) and text.endswith(closer)
            if fenced and opener not in inner and closer not in inner and not inner.endswith("\\"):
                text = inner
        box = _SINGLE_BOX.match(text)
        if box or (text.startswith("{") and text.endswith("}")):
            try:
                inner, end = braced(text, box.end() if box else 0)
            except Malformed:
                return text
            text = inner if end == len(text) else text
        text = text.replace("$", " ") if text.count("$") > 1 and "\\$" not in text else text
    return text


def read(text: str, *, measured: bool = False) -> Answer:
    """The answer that a text states. Never raises: what cannot be read has no tree and says why.

    measured: a quantity is expected, so that letters behind a number are its unit wherever they can be one (5 mT).
    """
    cleaned = clean(text)
    if not cleaned:
        return Answer("", None, None, "empty")
    parts = _parts(cleaned)
    if parts:
        return _of_parts(cleaned, parts)
    try:
        tokens = tokenise(normalise(cleaned))
        dollars = [token for token in tokens[1:] if token.text == "$"]
        if len(dollars) and tokens[-2].text != "$":
            tokens = [token for at, token in enumerate(tokens) if at == 0 or token.text != "$"]  # stray delimiters
        return (_measured(cleaned, tokens) if measured else None) or _read_tokens(cleaned, tokens)
    except TooLarge as limit:
        return Answer(cleaned, None, None, f"too_large:{limit}")
    except (Malformed, RecursionError, ValueError, OverflowError):
        return Answer(cleaned, None, None, "malformed")


def _parts(text: str) -> list[str]:
    """The parts of "(a) 5, (b) 7"; empty unless the labels run from (a) on."""
    labels = list(_PART.finditer(text)) if "(b)" in text.lower() else []
    if len(labels) < 2 or labels[0].start() or [m[1].lower() for m in labels] != list("abcdefgh"[: len(labels)]):
        return []
    ends = [*(match.start() for match in labels[1:]), len(text)]
    return [text[match.end() : end].strip(" ,;.\n") for match, end in zip(labels, ends, strict=True)]


def _of_parts(cleaned: str, parts: list[str]) -> Answer:
    """An answer of several labelled parts: a tuple, each part in base units if it has a unit."""
    nodes: list[Node] = []
    for part in map(read, parts):
        if part.node is None:
            return Answer(cleaned, None, None, part.fault)
        unit = part.unit.unit if part.unit else NO_UNIT
        measured = Apply("*", (Number(unit.factor), part.node, Symbol(f"unit {unit.dimension} {unit.degrees}")))
        nodes.append(part.node if unit == NO_UNIT else measured)
    return Answer(cleaned, Apply("()", tuple(nodes)))


def _read_tokens(cleaned: str, tokens: list[Token]) -> Answer:
    currency = None
    if tokens[0].text in CURRENCY_SIGNS and tokens[0].kind == "op":
        currency, tokens = UNITS[CURRENCY_SIGNS[tokens[0].text]], tokens[1:]
    for split in _splits(tokens):
        suffix = read_suffix(tokens[split:-1])
        if suffix is None:
            continue
        try:
            node = parse_tokens([*tokens[:split], STOP])
        except Malformed:
            continue
        if not _can_be_measured(node, suffix, written_out=tokens[split].kind != "word"):
            continue
        if suffix.multiplier == Fraction(1, 100):
            node = Apply("percent", (node,))
        elif suffix.multiplier != 1:
            node = Apply("*", (Number(suffix.multiplier), node))
        unit = suffix.unit if currency is None else currency.times(suffix.unit)
        return Answer(cleaned, node, Suffix(unit, Fraction(1), suffix.nouns))
    compound = _compound(tokens)
    if compound is not None:
        return Answer(cleaned, *compound)
    node, degrees = _degrees(parse_tokens(tokens))
    return Answer(cleaned, node, Suffix(currency) if currency else degrees)


def _measured(cleaned: str, tokens: list[Token]) -> Answer | None:
    """A number without variables followed by nothing but known units; None where the text is something else."""
    for split in range(1, len(tokens) - 1):
        begins = tokens[split].kind in ("word", "text", "cmd") or tokens[split].text in ("/", "°", "^")
        suffix = read_suffix(tokens[split:-1], measured=True) if begins and _ends_value(tokens[split - 1]) else None
        if suffix is None or suffix.nouns or suffix.multiplier != 1 or suffix.unit == NO_UNIT:
            continue
        try:
            node = parse_tokens([*tokens[:split], STOP])
        except Malformed:
            continue
        if _can_be_measured(node, suffix, written_out=False):
            return Answer(cleaned, node, suffix)
    return None


def _degrees(node: Node) -> tuple[Node, Suffix | None]:
    """A degree sign behind the whole answer is its unit; cos 20° stays a cosine."""
    match node:
        case Apply("deg", (value,)):
            return value, Suffix(UNITS["degree"])
        case Apply("=", (name, Apply("deg", (value,)))):
            return Apply("=", (name, value)), Suffix(UNITS["degree"])
    return node, None


def _can_be_measured(node: Node, suffix: Suffix, *, written_out: bool) -> bool:
    """Whether words behind a value can be its unit: not of a list, and 3x m is no length unless m is \\text{m}."""
    value = node.args[-1] if isinstance(node, Apply) and node.head == "=" else node
    if isinstance(value, Apply) and value.head in ("list", "or"):
        return not suffix.nouns
    return written_out or suffix.unit == NO_UNIT or not variables(value)


def _splits(tokens: list[Token]) -> list[int]:
    """Positions where a unit may begin: behind the end of a value, on a word that can be a unit or a noun."""
    plain = not any(token.kind == "cmd" for token in tokens)
    temperature = any(token.text in ("C", "F", "celsius", "fahrenheit") for token in tokens[-3:])
    return [
        at
        for at in range(1, len(tokens) - 1)
        if _ends_value(tokens[at - 1]) and _begins_unit(tokens[at], tokens[at + 1], plain, temperature)
    ]


def _ends_value(token: Token) -> bool:
    if token.kind == "num" or token.text in (")", "}", "%", "]", "|", "!"):
        return True
    return token.kind in ("word", "cmd") and (token.text in lex.SYMBOL_COMMANDS or token.text in lex.CONSTANT_WORDS)


def _begins_unit(token: Token, following: Token, plain: bool, temperature: bool) -> bool:
    word = token.text
    if word == "min" and token.kind in ("word", "text"):
        return following.text not in ("(", "\\{", "{", "_")
    match token.kind:
        case "text":
            return word not in lex.SEPARATORS and word not in lex.FUNCTIONS and not word.startswith(("and ", "or "))
        case "word":
            if word in lex.FUNCTIONS or word in lex.CONSTANT_WORDS or word in lex.SEPARATORS:
                return False
            if word in PREFIXES and following.text == "Omega" and not following.spaced:
                return True
            if len(word) == 1:
                return plain and token.spaced and word in SINGLE_LETTERS and following.kind in ("stop", "op")
            if len(word) <= 3 and lookup(word) is not None:
                return word in PLAIN_SYMBOLS
            return lookup(word) is not None or (len(word) > 2 and (token.spaced or not plain))
        case "cmd":
            return (
                word == "Omega"
                or (word == "mu" and following.kind == "text")
                or (word in ("circ", "degree") and following.text in ("C", "F"))
            )
        case "op":
            if word in ("^", "°"):
                return temperature
            return word in ("€", "£", "$")
    return False


def _compound(tokens: list[Token]) -> tuple[Node, Suffix] | None:
    """3 hours 20 minutes: a sum of quantities that measure the same, in the first one's unit."""
    if len(tokens) < 5 or any(token.kind not in ("num", "word", "text") for token in tokens[:-1]):
        return None
    numbers = [at for at, token in enumerate(tokens) if token.kind == "num"]
    if len(numbers) < 2 or numbers[0] != 0:
        return None
    parts: list[Node] = []
    first: Suffix | None = None
    for start, end in zip(numbers, [*numbers[1:], len(tokens) - 1], strict=True):
        words = [token for token in tokens[start + 1 : end] if token.text != "and"]
        suffix = read_suffix(words)
        if suffix is None or suffix.unit == NO_UNIT or suffix.nouns:
            return None
        first = first or suffix
        if not convertible(first.unit, suffix.unit) or suffix.unit.degrees != first.unit.degrees:
            return None
        number = parse_tokens([tokens[start], STOP])
        parts.append(Apply("*", (Number(suffix.unit.factor / first.unit.factor), number)))
    return (Apply("+", tuple(parts)), first) if first else None
