"""How large each scale is, and which schedules it compares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from consilience.errors import InputError, UnknownName
from consilience.reason.pacore import parse_schedule


@dataclass(frozen=True)
class Sizes:
    """Counts of everything that takes time.

    simulated: problems of the simulation. problems: problems the model answers. widths: trajectories of the one round
    before the last, in rising order. deep: a schedule of two rounds to add ("32,4"), "" for none. ablations: also
    measure the sequential schedule and the one without compaction. max_tokens: of one trajectory, 0 leaves it to the
    server. concurrency: problems under way at once. level, modality: of the digits world; several names take turns.
    questions: a file of questions (JSON Lines) in place of the digits world.
    """

    simulated: int
    problems: int
    widths: tuple[int, ...]
    deep: str = ""
    ablations: bool = True
    max_tokens: int = 128
    concurrency: int = 64
    level: str = "easy,medium"
    modality: str = "image,text"
    questions: str = ""


SCALES: Mapping[str, Sizes] = {
    "smoke": Sizes(simulated=6, problems=4, widths=(2, 4), max_tokens=40),
    "laptop": Sizes(simulated=1000, problems=80, widths=(2, 4, 8, 16)),
    "study": Sizes(simulated=2000, problems=500, widths=(4, 8, 16, 32), deep="32,4"),
    "gpu": Sizes(simulated=2000, problems=500, widths=(4, 8, 16, 32), deep="32,4", max_tokens=2048),
    "paper": Sizes(
        simulated=0, problems=1_000_000, widths=(4, 16), deep="32,4", ablations=False, max_tokens=0, concurrency=4
    ),
}
SEEDS = {"study": 3, "training": 2}
"""Seeds a study samples with, and trains with; other scales take one."""


def sizes_of(scale: str, study: bool, settings: Mapping[str, Any]) -> Sizes:
    """The sizes of a scale with the caller's settings on top. Widths are written "4,16".

    Raises:
        UnknownName: a setting is not a field of `Sizes`.
        InputError: a setting has the wrong type or an impossible value.
    """
    base = SCALES["study" if study and scale == "laptop" else scale]
    types = {f.name: type(getattr(base, f.name)) for f in fields(Sizes)}
    chosen: dict[str, Any] = {}
    for name, value in settings.items():
        if name not in types:
            raise UnknownName("setting", name, types)
        wanted = str if types[name] is tuple else types[name]
        given = str(value) if wanted is str and type(value) is int else value
        if not isinstance(given, wanted) or (wanted is int and isinstance(given, bool)):
            raise InputError(f"setting {name}={value!r} must be of type {wanted.__name__}.")
        chosen[name] = parse_schedule(given) if name == "widths" else given
    sizes = replace(base, **chosen)
    _check(sizes)
    return sizes


def _check(sizes: Sizes) -> None:
    from consilience.worlds.digit_questions import LEVELS

    least = {"simulated": 0, "problems": 1, "max_tokens": 0, "concurrency": 1}
    for name, low in least.items():
        if getattr(sizes, name) < low:
            raise InputError(f"setting {name}={getattr(sizes, name)} must be at least {low}.")
    if not sizes.widths or list(sizes.widths) != sorted(set(sizes.widths)):
        raise InputError(f"setting widths={','.join(map(str, sizes.widths))} must rise, as in widths=2,4,8,16.")
    if len(parse_schedule(sizes.deep)) not in (0, 2):
        raise InputError(f"setting deep={sizes.deep!r} must be a schedule of two rounds, as in deep=32,4, or empty.")
    if sizes.questions and not Path(sizes.questions).is_file():
        raise InputError(f"there is no file {sizes.questions!r}: questions=FILE names questions as JSON Lines.")
    for level in sizes.level.split(","):
        if level not in LEVELS:
            raise UnknownName("level", level, LEVELS)
    for modality in sizes.modality.split(","):
        if modality not in ("image", "text"):
            raise UnknownName("modality", modality, ("image", "text"))
