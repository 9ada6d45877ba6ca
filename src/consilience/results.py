"""RESULTS.md: every measured number in one file, each section written by the run that measured it, never by hand.

A section stands between `<!-- begin NAME -->` and `<!-- end NAME -->`; updating one leaves the others as they are.
Text outside sections is kept, above them.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from consilience.errors import InputError
from consilience.files import atomic_write, read_json, writing

HEADER = """# Results

Every number here was written by the run named in its section. Intervals are 95 %; n counts what was sampled.
"""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ABSOLUTE = re.compile(r"([\s=:'\"])(/(?!/)[^\s'\"]+)")
"""A path of this machine, of which a published command keeps the last part."""
_SECTION = re.compile(r"<!-- begin (\S+) -->\n.*?<!-- end \1 -->\n", re.DOTALL)


def record(path: Path, run: Path) -> str:
    """Write the section of a run from its directory: config.json, tables.json and claims.json; returns its name.

    A study's section bears the recipe's name, that of any other run the scale as well (`par-laptop`).

    Raises:
        InputError: `run` holds no run, a file of it is broken, or `path` cannot be written.
    """
    config = read_json(run / "config.json")
    tables, claims = (read_json(run / name) if (run / name).exists() else [] for name in ("tables.json", "claims.json"))
    name = config.get("recipe", run.parent.name)
    if not config.get("study", True):
        name += f"-{config['scale']}"
    update(path, name, section(config, tables, claims))
    return str(name)


def section(
    config: Mapping[str, Any], tables: Sequence[Mapping[str, Any]], claims: Sequence[Mapping[str, Any]] = ()
) -> str:
    """Markdown of one section: where the numbers come from, the tables, the claims. Same input, same text.

    Args:
        config: `command`, `created` and `machine` are printed where present, as `Run.create` records them; of an
            absolute path in the command, its last part.
        tables: mappings with title, columns, rows and perhaps note; a cell is text, a number or a mapping with value,
            low, high and perhaps n.
        claims: rows of claims.json.
    """
    parts = [_origin(config)]
    for table in tables:
        note = f"\n{table['note']}\n" if table.get("note") else ""
        parts.append(f"### {table['title']}\n\n{markdown_table(table['columns'], table['rows'])}{note}")
    if claims:
        rows = [[row["sentence"], row, row["verdict"].replace("_", " "), row.get("note", "")] for row in claims]
        parts.append("### Claims\n\n" + markdown_table(["claim", "measured", "verdict", "why"], rows))
    return "\n".join(parts)


def _origin(config: Mapping[str, Any]) -> str:
    machine = config.get("machine") or {}
    cores = f"{machine['cores']} cores" if machine.get("cores") else ""
    command = f"`{_ABSOLUTE.sub(_last, config['command'])}`" if config.get("command") else ""
    facts = (command, str(config.get("created", ""))[:10], machine.get("processor"), cores, machine.get("accelerator"))
    return " · ".join(str(fact) for fact in facts if fact) + "\n"


def _last(path: re.Match[str]) -> str:
    return path[1] + path[2].rstrip("/").rpartition("/")[2]


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table; cells as `section` describes them."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join("| " + " | ".join(_cell(cell) for cell in line) + " |\n" for line in lines)


def _cell(cell: Any) -> str:
    if isinstance(cell, Mapping):
        if cell.get("value") is None:
            return "—"
        low, high = cell.get("low"), cell.get("high")
        interval = "" if low is None or high is None else f" [{_number(low)}, {_number(high)}]"
        return _number(cell["value"]) + interval + (f" (n={cell['n']})" if cell.get("n") else "")
    if cell is None:
        return "—"
    if isinstance(cell, int | float):
        return _number(cell)
    return str(cell).replace("|", "\\|").replace("\n", " ").replace("<!--", "&lt;!--")


def _number(value: float) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    size = abs(value)
    if size >= 1000 or (size >= 2 and float(value).is_integer()):  # counts, also as means
        return f"{value:,.0f}" if math.isfinite(value) and size < 1e7 else f"{value:.3g}"
    if size >= 100:
        return f"{value:.1f}"
    return f"{value:.3f}" if value == 0 or size >= 0.001 else f"{value:.3g}"


def update(path: Path, name: str, text: str) -> None:
    """Put `text` as section `name` into the file, which is made if missing; sections are kept in order of name.

    Several runs may update one file at once.

    Raises:
        InputError: the name has other characters than letters, digits, `.`, `_`, `-`; the file's markers do not pair
            up; or it cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"a section of {path.name} is named by letters, digits, '.', '_' and '-', not {name!r}.")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path.parent):
            old = path.read_text("utf-8") if path.exists() else HEADER
            atomic_write(path, _with_section(old, name, f"## {name}\n\n{text.strip()}\n", path))


def _with_section(document: str, name: str, text: str, path: Path) -> str:
    sections = {match[1]: match[0] for match in _SECTION.finditer(document)}
    rest = _SECTION.sub("", document)
    if "<!-- begin " in rest or "<!-- end " in rest:
        raise InputError(
            f"{path} has a section marker without its partner: restore the file, it is not edited by hand."
        )
    sections[name] = f"<!-- begin {name} -->\n{text}<!-- end {name} -->\n"
    return rest.rstrip() + "\n\n" + "\n".join(sections[key] for key in sorted(sections))


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Wait for, then hold, the directory's advisory lock."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
