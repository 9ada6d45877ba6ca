"""From written mathematics (LaTeX, plain text, Unicode) to tokens, in linear time."""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

from consilience.verify.answers.limits import MAX_CHARACTERS, MAX_TOKENS, Malformed, TooLarge


class Token(NamedTuple):
    """One token. kind: num, word (letters), cmd (LaTeX command, without backslash), text (\\text{…}), begin, end
    (environments), op, or stop. spaced: white space stood before it. depth: how many brackets are open around it."""

    kind: str
    text: str
    spaced: bool
    depth: int


def names(listed: str) -> frozenset[str]:
    """The words of a list as a set, to keep vocabularies readable."""
    return frozenset(listed.split())


STOP = Token("stop", "", False, 0)

_CHARACTERS = str.maketrans(
    {
        **dict.fromkeys("−–—‒﹣－", "-"),
        **dict.fromkeys("×✕✖⨯", r"\times "),
        **dict.fromkeys("·⋅∙•∗", r"\cdot "),
        **dict.fromkeys("\u00a0\u2002\u2003\u2009\u200a\u202f\u3000", " "),
        **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u2061\u2062", ""),
        **dict.fromkeys("‘’′", "'"),
        **dict.fromkeys("“”″", '"'),
        **dict.fromkeys("∅⌀", r"\emptyset "),
        **dict.fromkeys("…⋯", r"\ldots "),
        "÷": r"\div ",
        "∕": "/",
        "⁄": "/",
        "±": r"\pm ",
        "∓": r"\mp ",
        "≤": "<=",
        "⩽": "<=",
        "≥": ">=",
        "⩾": ">=",
        "≠": "!=",
        "≈": r"\approx ",
        "≡": r"\equiv ",
        "∈": r"\in ",
        "∪": r"\cup ",
        "∩": r"\cap ",
        "∖": r"\setminus ",
        "∞": r"\infty ",
        "√": r"\sqrt ",
        "∛": r"\sqrt[3]",
        "∜": r"\sqrt[4]",
        "π": r"\pi ",
        "ϕ": r"\phi ",
        "∑": r"\sum ",
        "∏": r"\prod ",
        "∫": r"\int ",
        "ℝ": r"\mathbb{R}",
        "ℤ": r"\mathbb{Z}",
        "ℕ": r"\mathbb{N}",
        "ℚ": r"\mathbb{Q}",
        "ℂ": r"\mathbb{C}",
        "→": r"\to ",
        "⌊": r"\lfloor ",
        "⌋": r"\rfloor ",
        "⌈": r"\lceil ",
        "⌉": r"\rceil ",
        "⟨": r"\langle ",
        "⟩": r"\rangle ",
        "º": "°",
        "˚": "°",
        "∘": "°",
        "℃": "°C",
        "℉": "°F",
        "µ": "μ",
        **dict.fromkeys("\u00c5\u212b", " angstrom "),
    }
)
_RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱ"
_LOWERED = "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₙᵢ"
_FLAT = str.maketrans(_RAISED + _LOWERED, "0123456789+-=()ni" * 2)
_RAISED_RUN, _LOWERED_RUN = re.compile(f"[{_RAISED}]+"), re.compile(f"[{_LOWERED}]+")
_VULGAR = re.compile("[¼-¾⅐-⅞]")
_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda nu xi omicron pi rho sigma tau upsilon phi chi "
    "psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega"
)
_GREEK_TABLE = str.maketrans(
    {letter: f"\\{name} " for letter, name in zip("αβγδεζηθικλνξοπρστυφχψωΓΔΘΛΞΠΣΦΨΩ", _GREEK.split(), strict=True)}
)

_TABS = re.compile(r"\t(?=(?:ext|imes|frac|heta|an|au|o)\b|ext|frac)")
_GROUPING = re.compile(r"(?<=\d)(?:\s*\{\s*,\s*\}\s*|,\s*(?:\\[!,;: ]\s*)+|\\[,;:! ]\s*)(?=\d{3}(?!\d))", re.ASCII)
_DOUBLED = re.compile(r"\\\\(?=[A-Za-z])")
_GLUED = re.compile(r"(?<=[\d)\]}])(or|and)(?=[A-Z(\\{])")
_LISTED = re.compile(r"\d, ", re.ASCII)
_SPACES = re.compile(r"\s+")

_SKIPPED = names(
    "left right big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr displaystyle textstyle limits nolimits "
    "angle measuredangle triangle quad qquad hfill "
    "nonumber notag mathstrut strut middle rm bf it allowbreak enspace thinspace scriptstyle"
)
_TEXT = names("text textbf textit textrm texttt textsf textnormal textup mathrm mathtt mbox hbox operatorname emph")
_TRANSPARENT = names("mathbf mathit mathsf mathcal mathscr mathfrak boldsymbol bm underline ensuremath")
_MARKUP = re.compile(r"\\[A-Za-z]+|[{}$~]|\\[ ,;:!]")
_WORDS_ONLY = re.compile(r"[^0-9()\[\]=<>+*/^]*[A-Za-z\u00c0-\uffff][^0-9()\[\]=<>+*/^]*")
_TOKEN = re.compile(
    r"""(?P<space>(?:\s|~|\\[,;:!>\ ]|\\\n)+)
    |(?P<num>[1-9]\d{0,2}(?:(?:,\d{3})+|(?:[ ]\d{3})+(?!\ *[/,]))(?!\d)(?:\.\d+)?
        |(?:\d+(?:\.\d+)?|\.\d+)(?:[eE](?:-?\d{1,9}|\+\d{2,9})(?![\w.]))?)
    |\\(?P<env>begin|end)\s*\{\s*(?P<envname>[A-Za-z]+)\*?\s*\}
    |\\(?P<cmd>[A-Za-z]+)\*?
    |\\(?P<escaped>[{}%$|&\#_])
    |(?P<word>[A-Za-zμ]+)
    |(?P<op>\\\\|<=|>=|=<|=>|!=|==|:=|->|\*\*|!!|\.{2,}|[-+*/^_=<>(){}\[\]|,;:!'%°&$€£¥?."@])""",
    re.VERBOSE | re.ASCII,
)
_ESCAPED = {"{": "\\{", "}": "\\}", "|": "|", "%": "%", "$": "$", "&": "&", "#": "#", "_": "_"}
_ALIASES = {"=<": "<=", "==": "=", ":=": "=", "**": "^", "=>": ">="}
_OPEN, _CLOSE = frozenset({"(", "[", "\\{"}), frozenset({")", "]", "\\}"})


def normalise(text: str) -> str:
    """Unicode mathematics written in ASCII and LaTeX, doubled backslashes and eaten escapes repaired."""
    if not text.isascii():
        text = _RAISED_RUN.sub(lambda m: "^{" + m[0].translate(_FLAT) + "}", text)
        text = _LOWERED_RUN.sub(lambda m: "_{" + m[0].translate(_FLAT) + "}", text)
        text = _VULGAR.sub(_vulgar, text).translate(_CHARACTERS)
        text = unicodedata.normalize("NFKC", text).translate(_CHARACTERS).translate(_GREEK_TABLE)
    if "\x0c" in text or "\x08" in text or "\t" in text:
        text = _TABS.sub(r"\\t", text.replace("\x0c", "\\f").replace("\x08", "\\b"))
    if "\\\\" in text and "\\begin" not in text:
        text = _DOUBLED.sub(r"\\", text)
    if "or" in text or "and" in text:
        text = _GLUED.sub(r" \1 ", text)
    if "\\" in text or "{," in text:
        text = _GROUPING.sub(lambda m: "," if "," in m[0] else "", text)
    return text


def _vulgar(match: re.Match[str]) -> str:
    over, _, under = unicodedata.normalize("NFKC", match[0]).partition("⁄")
    return rf"\frac{{{over}}}{{{under}}}" if under else match[0]


def tokenise(text: str) -> list[Token]:
    """Tokens of a normalised text, ended by `STOP`.

    Raises:
        Malformed: a character that no answer has.
        TooLarge: more than 2,000 characters or tokens.
    """
    if len(text) > MAX_CHARACTERS:
        raise TooLarge("characters")
    tokens: list[Token] = []
    _tokenise(text, tokens, depth=0, level=0)
    tokens.append(STOP)
    return tokens


def _tokenise(text: str, tokens: list[Token], depth: int, level: int) -> None:
    position, spaced = 0, False
    grouped_inside = bool(_LISTED.search(text))
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise Malformed(f"unexpected character {text[position]!r}")
        kind, value, position = match.lastgroup or "", match[0], match.end()
        if kind == "space":
            spaced = True
            continue
        if kind == "num" and " " in value:
            value = value.replace(" ", "")
        if kind == "num" and "," in value and depth and not grouped_inside:
            value = value[: value.index(",")]  # (1,234) is a pair, not a thousand
            position = match.start() + len(value)
        elif kind == "cmd":
            kind, value, position = _command(match["cmd"], text, position)
            if kind == "text" and not _WORDS_ONLY.fullmatch(value) and level < 3:
                _tokenise(value, tokens, depth, level + 1)
                continue
        elif kind == "envname":
            kind, value = match["env"], match["envname"]
        elif kind == "escaped":
            kind, value = "op", _ESCAPED[match["escaped"]]
        elif kind == "op":
            value = _ALIASES.get(value, value)
        elif kind == "word" and level:
            kind = "text"
        if not kind:
            spaced = True
            continue
        depth -= value in _CLOSE and depth > 0
        tokens.append(Token(kind, value, spaced, depth))
        depth += value in _OPEN
        spaced = False
        if len(tokens) > MAX_TOKENS:
            raise TooLarge("tokens")


def _command(name: str, text: str, position: int) -> tuple[str, str, int]:
    """What a LaTeX command stands for: token kind (empty for white space), text, position after it."""
    following = text[position : position + 1]
    if name == "mathbb" and following == "{":
        content, position = braced(text, position)
        return "cmd", "mathbb" + content.strip(), position
    if name in _TEXT and following == "{":
        content, position = braced(text, position)
        return "text", _SPACES.sub(" ", _MARKUP.sub(" ", content)).strip(), position
    if name in ("left", "right") and following == ".":
        return "", "", position + 1
    if name in ("left", "right") and following == "|":
        return "op", "|(" if name == "left" else "|)", position + 1
    if name in ("vert", "Vert"):
        return "op", "|", position
    if name in ("lvert", "lVert", "rvert", "rVert"):
        return "op", "|(" if name[0] == "l" else "|)", position
    if name in ("hspace", "vspace", "phantom", "label", "tag", "color", "textcolor") and following == "{":
        return "", "", braced(text, position)[1]
    if name in _SKIPPED or name in _TEXT or name in _TRANSPARENT:
        return "", "", position
    if name.startswith("quad") and name[4:].isalpha():
        return "word", name[4:], position  # \\quadx
    return "cmd", name, position


def braced(text: str, position: int) -> tuple[str, int]:
    """The content of the brace group that opens at `position`, and the position after it.

    Raises:
        Malformed: the group never closes.
    """
    level, index = 0, position
    while index < len(text):
        character = text[index]
        if character == "\\":
            index += 2
            continue
        level += (character == "{") - (character == "}")
        index += 1
        if level == 0:
            return text[position + 1 : index - 1], index
    raise Malformed("an open brace")
