"""How a prediction is compared with a gold, read as the gold's kind."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Protocol

from consilience.verify.answers.answer import Answer, read
from consilience.verify.answers.kinds import Gold, infer
from consilience.verify.answers.limits import Meter
from consilience.verify.answers.outcome import Outcome, different, equal, every, unknown
from consilience.verify.answers.structures import (
    compare_matrices,
    compare_nodes,
    compare_regions,
    compare_sets,
    compare_tuples,
)
from consilience.verify.answers.texts import (
    boolean,
    bracketed_choice,
    calendar,
    choice,
    choice_set,
    choice_with_content,
    clock,
    same_words,
    unwrap,
)
from consilience.verify.answers.tree import BRACKETS, Apply, Node, Number, Symbol, Words, variables, walk
from consilience.verify.answers.units import NO_UNIT, Unit, convertible, kelvin
from consilience.verify.answers.views import (
    as_assignments,
    as_elements,
    as_ratio,
    as_region,
    as_tuple,
    as_value,
    is_relation,
    strip_name,
)

_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+", re.ASCII)
_LETTERS = re.compile(r"[a-z]{2,4}|[A-Z]{2,4}")


class View(Protocol):
    """One of the views of `views`: the parts of an answer, or None."""

    def __call__(self, node: Node, *, lenient: bool = False) -> list[Node] | None: ...


class Rule(Protocol):
    """One of the comparisons of `structures`."""

    def __call__(self, a: Sequence[Node], b: Sequence[Node], meter: Meter, *, lenient: bool = False) -> Outcome: ...


def compare_answers(prediction: Answer, gold: Gold, meter: Meter, *, lenient: bool = False) -> Outcome:
    """Whether a prediction agrees with the gold, read as the gold's kind.

    Raises:
        OutOfBudget: the meter ran out.
    """
    if gold.kind in ("choice", "choices", "boolean", "time", "date", "text"):
        return _compare_text(prediction, gold, meter, lenient)
    if re.search("[A-Za-z]{3,}", gold.text) and prediction.text.casefold().split() == gold.text.casefold().split():
        return equal("text")
    prediction = _reread(prediction, gold)
    node, truth = prediction.node, gold.answer.node
    if node is None or truth is None:
        same = same_words(prediction.text, gold.text)
        fault = prediction.fault or "text"
        return equal("text") if same else unknown("parse", fault) if fault != "text" else different("text")
    if isinstance(node, Words) and gold.kind != "set":
        return different("text")
    match gold.kind:
        case "value":
            return _compare_value(prediction, node, truth, meter, lenient)
        case "quantity":
            return _compare_quantity(prediction, gold.answer, meter, lenient)
        case "ratio":
            return _compare_ratio(node, truth, meter)
        case "set":
            return _both(as_elements, compare_sets, node, truth, meter, lenient)
        case "tuple":
            return _compare_tuple(node, truth, meter, lenient)
        case "matrix":
            return compare_matrices(strip_name(node), strip_name(truth), meter, lenient=lenient)
        case "assignments":
            return _compare_assignments(node, truth, meter, lenient)
        case "region":
            return _compare_region(node, truth, meter, lenient)
    return _compare_relation(node, truth, meter, lenient)


def _reread(prediction: Answer, gold: Gold) -> Answer:
    """What is read the gold's way: a comma as decimal or between elements, "3 to 4" as a ratio."""
    single = gold.kind in ("value", "quantity")
    if single and _DECIMAL_COMMA.fullmatch(prediction.text) and isinstance(prediction.node, Apply):
        return read(prediction.text.replace(",", "."))
    if gold.kind in ("set", "tuple", "assignments") and isinstance(prediction.node, Number) and "," in prediction.text:
        return read(prediction.text.replace(",", ", "))
    if gold.kind == "ratio" and " to " in prediction.text:
        return read(re.sub(r"\s+to\s+", ":", prediction.text))
    return prediction


def _compare_text(prediction: Answer, gold: Gold, meter: Meter, lenient: bool) -> Outcome:
    text, truth = prediction.text, gold.text
    match gold.kind:
        case "choice":
            return _compare_choice(prediction, gold, meter, lenient)
        case "choices":
            found = choice_set(text)
            return equal("choices") if found is not None and found == choice_set(truth) else different("choices")
        case "boolean":
            value = boolean(text)
            return equal("boolean") if value is not None and value == boolean(truth) else different("boolean")
        case "time":
            if lenient and clock(text) is None and prediction.node is not None and gold.answer.node is not None:
                return _compare_ratio(prediction.node, gold.answer.node, meter)  # 11:21 may be a ratio after all
            return _same(_on_24_hours(clock(text)), _on_24_hours(clock(truth)), "time")
        case "date":
            return _same(calendar(text), calendar(truth), "date")
    if same_words(text, truth):
        return equal("text")
    letters = _LETTERS.fullmatch(unwrap(text)) and _LETTERS.fullmatch(unwrap(truth))
    if letters and prediction.node is not None and gold.answer.node is not None:
        return compare_nodes(prediction.node, gold.answer.node, meter)
    return different("text")


def _on_24_hours(time: tuple[int, int, int, str] | None) -> tuple[int, int, int] | None:
    """A clock time without its half of the day; one without a mark is on 24 hours already."""
    if time is None:
        return None
    hour, minute, second, half = time
    return (hour % 12 + 12 * (half == "p") if half else hour), minute, second


def _same(found: object, truth: object, method: str) -> Outcome:
    return equal(method) if found is not None and found == truth else different(method)


def _compare_choice(prediction: Answer, gold: Gold, meter: Meter, lenient: bool) -> Outcome:
    """A letter, a letter with its content, or (with the choices known) the content alone."""
    stated_gold = bracketed_choice(gold.text)
    truth = stated_gold[0] if stated_gold else choice(gold.text)
    letter = choice(prediction.text)
    if letter is not None:
        return _same(letter, truth, "choice")
    both = choice_with_content(prediction.text)
    if both is not None and (not gold.choices or both[0] in gold.choices):
        letter, content = both
        if gold.choices:
            stated = Gold(gold.choices[letter], infer(gold.choices[letter]))
            if compare_answers(read(content), stated, meter, lenient=lenient).state == "different":
                return unknown("choice", "letter_and_content_disagree")
        return _same(letter, truth, "choice")
    matches = [
        letter
        for letter, content in gold.choices.items()
        if compare_answers(prediction, Gold(content, infer(content)), meter, lenient=lenient).state == "equal"
    ]
    if len(matches) > 1:
        return unknown("choice", "several_choices_match")
    return _same(matches[0], truth, "choice_content") if matches else different("choice")


def _compare_value(prediction: Answer, node: Node, truth: Node, meter: Meter, lenient: bool) -> Outcome:
    wanted = as_value(truth, lenient=lenient)
    found = as_value(node, lenient=lenient)
    if isinstance(node, Apply) and node.head == "or" and found is None:
        return unknown("hedge", "hedge")
    if found is None or wanted is None:
        if is_relation(node) and is_relation(truth):
            return compare_nodes(node, truth, meter, lenient=lenient)
        elements = as_elements(node)
        if elements is not None and len(elements) == 1 and wanted is not None:
            return compare_nodes(elements[0], wanted, meter, lenient=lenient)
        return different("kind_mismatch")
    if prediction.unit is not None and prediction.unit.unit != NO_UNIT:
        angle = prediction.unit.unit.degrees == 1 and any(part == Symbol("pi") for part in walk(wanted))
        found = Apply("deg", (found,)) if angle else found
        return compare_nodes(found, wanted, meter, lenient=lenient).noting("unit_dropped")
    outcome = compare_nodes(found, wanted, meter, lenient=lenient)
    if lenient and outcome.state == "different" and _without_letters(found) is not None and not variables(wanted):
        return compare_nodes(_without_letters(found) or found, wanted, meter, lenient=True).noting("unit_dropped")
    return outcome


def _without_letters(node: Node) -> Node | None:
    """5 for 5·m^2: a number times letters that may be units; only the lenient policy asks."""
    match node:
        case Apply("*", (Number() as first, *rest)):
            symbols = [part.args[0] if isinstance(part, Apply) and part.head == "^" else part for part in rest]
            if all(isinstance(symbol, Symbol) and symbol.name in ("m", "c", "k", "g", "s", "d") for symbol in symbols):
                return first
    return None


def _scaled(node: Node, unit: Unit) -> Node:
    """A quantity in base units, written digits kept for a factor that is a power of ten."""
    if isinstance(node, Number) and not unit.degrees and node.decimals is not None:
        digits = len(str(unit.factor.numerator)) - len(str(unit.factor.denominator))
        return Number(node.value * unit.factor, node.decimals - digits)
    value: Node = Apply("*", (Number(unit.factor), node)) if unit.factor != 1 else node
    for _ in range(abs(unit.degrees)):
        value = (
            Apply("deg", (value,)) if unit.degrees > 0 else Apply("/", (value, Apply("deg", (Number(Fraction(1)),))))
        )
    return value


def _in_kelvin(node: Node, scale: Fraction, shift: Fraction) -> Node:
    """A temperature in kelvin, written digits kept where the scale is one."""
    if isinstance(node, Number) and scale == 1 and node.decimals is not None:
        return Number(node.value + shift, node.decimals)
    return Apply("*", (Number(scale), Apply("+", (node, Number(shift)))))


def _compare_quantity(prediction: Answer, gold: Answer, meter: Meter, lenient: bool) -> Outcome:
    found, wanted = (as_value(a.node, lenient=lenient) if a.node is not None else None for a in (prediction, gold))
    if found is None or wanted is None:
        hedged = isinstance(prediction.node, Apply) and prediction.node.head == "or"
        return unknown("hedge", "hedge") if hedged else different("kind_mismatch")
    unit = prediction.unit.unit if prediction.unit else NO_UNIT
    truth = gold.unit.unit if gold.unit else NO_UNIT
    if unit == truth:
        return compare_nodes(found, wanted, meter, lenient=lenient)
    outcome = different("dimension", "unit_missing" if unit == NO_UNIT else "other_dimension")
    thermometer, reference = kelvin(unit), kelvin(truth)
    if thermometer and reference:
        return compare_nodes(_in_kelvin(found, *thermometer), _in_kelvin(wanted, *reference), meter, lenient=lenient)
    if convertible(unit, truth):
        outcome = compare_nodes(_scaled(found, unit), _scaled(wanted, truth), meter, lenient=lenient)
    if unit == NO_UNIT and lenient and outcome.state != "equal":
        return compare_nodes(found, wanted, meter, lenient=True).noting("unit_missing")
    return outcome


def _compare_ratio(node: Node, truth: Node, meter: Meter) -> Outcome:
    wanted, found = as_ratio(truth), as_ratio(node)
    if wanted is None:
        return different("kind_mismatch")
    if found is None:
        value = as_value(node, lenient=True)
        found = [value, Number(Fraction(1))] if value is not None else []
    if len(found) != len(wanted):
        return different("length")
    crossed = (
        (Apply("*", (x, wanted[0])), Apply("*", (y, found[0]))) for x, y in zip(found[1:], wanted[1:], strict=True)
    )
    return every("ratio", (compare_nodes(x, y, meter) for x, y in crossed))


def _both(view: View, rule: Rule, node: Node, truth: Node, meter: Meter, lenient: bool) -> Outcome:
    found, wanted = view(node, lenient=lenient), view(truth, lenient=lenient)
    if found is None or wanted is None:
        return different("kind_mismatch")
    return rule(found, wanted, meter, lenient=lenient)


def _compare_tuple(node: Node, truth: Node, meter: Meter, lenient: bool) -> Outcome:
    stripped, wanted = strip_name(node, lenient=lenient), strip_name(truth, lenient=lenient)
    region = as_region(stripped) if is_relation(stripped) or is_relation(node) else None
    if region is not None and as_region(wanted) is not None:
        return compare_regions(region, as_region(wanted) or [], meter, lenient=lenient)
    brackets = [part.head for part in (stripped, wanted) if isinstance(part, Apply) and part.head in BRACKETS]
    if len(set(brackets)) > 1:
        return different("bracket")
    return _both(as_tuple, compare_tuples, node, truth, meter, lenient)


def _compare_assignments(node: Node, truth: Node, meter: Meter, lenient: bool) -> Outcome:
    wanted, found = as_assignments(truth), as_assignments(node)
    if wanted is None:
        return different("kind_mismatch")
    if found is not None:
        if found.keys() != wanted.keys():
            return different("names")
        return every("assignments", (compare_nodes(found[k], wanted[k], meter, lenient=lenient) for k in wanted))
    values = as_tuple(node, lenient=lenient)
    if values is None or len(values) != len(wanted):
        elements = as_elements(truth)
        others = as_elements(node)
        if lenient and elements is not None and others is not None:
            return compare_sets(others, elements, meter, lenient=True)
        return different("kind_mismatch")
    in_order = compare_tuples(values, list(wanted.values()), meter, lenient=lenient)
    if in_order.state != "equal" and lenient:
        return compare_sets(values, list(wanted.values()), meter, lenient=True)
    return in_order


def _compare_region(node: Node, truth: Node, meter: Meter, lenient: bool) -> Outcome:
    stripped, wanted = strip_name(node, lenient=lenient), strip_name(truth, lenient=lenient)
    found, target = as_region(stripped), as_region(wanted)
    if found is None or target is None:
        return compare_nodes(stripped, wanted, meter, lenient=lenient)
    return compare_regions(found, target, meter, lenient=lenient)


def _compare_relation(node: Node, truth: Node, meter: Meter, lenient: bool) -> Outcome:
    if is_relation(node):
        outcome = compare_nodes(node, truth, meter, lenient=lenient)
        if outcome.state == "equal" or not (isinstance(node, Apply) and node.head == "in"):
            return outcome
    found, target = as_region(strip_name(node)), as_region(truth)
    if found is not None and target is not None:
        return compare_regions(found, target, meter, lenient=lenient)
    value = as_value(truth, lenient=lenient)
    other = as_value(node, lenient=lenient)
    if lenient and value is not None and other is not None:
        return compare_nodes(other, value, meter, lenient=True)
    return different("kind_mismatch") if not is_relation(node) else compare_nodes(node, truth, meter, lenient=lenient)
