"""`consilience solve`: one problem, the reasoning as it comes, the answer, and the places it cites."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consilience.cli import Out
from consilience.cli.run import natural
from consilience.cli.worlds import open_problem, problem_options
from consilience.errors import InputError, PolicyError

if TYPE_CHECKING:
    from consilience.problem import Problem
    from consilience.protocols import Event, Policy, Strategy
    from consilience.trace import Trace
    from consilience.verdict import Verdict

EXAMPLES = (
    "consilience solve --world digits --seed 7",
    'consilience solve --image photo.png --question "How many cups?" --model openai:NAME --strategy pacore-low',
    'consilience solve --text "What is 17 + 25?" --strategy vote --json',
)
LOCAL_TOKENS, SERVED_TOKENS = 256, 8192
FORMAT_NOTE = (
    "Think first. Where a place in the picture supports your answer, cite it as <box>x1 y1 x2 y2</box> or "
    "<point>x y</point> in percent of the picture's width and height, from its upper left corner. "
    "End your thinking with </think> and write only the answer after it."
)


def arguments(parser: argparse.ArgumentParser) -> None:
    from consilience.reason import known_names

    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--image", type=Path, metavar="F", help="a picture file; needs --question")
    source.add_argument("--text", metavar="Q", help="a question without a picture")
    source.add_argument("--world", metavar="W", help="a problem of this world, with --seed; its truth is known")
    parser.add_argument("--question", metavar="Q", help="the question about --image")
    problem_options(parser)
    parser.add_argument("--seed", type=natural, default=0, metavar="N", help="of the world's problem and of sampling")
    parser.add_argument("--model", default="nano", metavar="M", help="nano | PATH | openai:NAME | hf:NAME | vllm:NAME")
    parser.add_argument("--base-url", default="", metavar="URL", help="address of the server for openai: and vllm:")
    parser.add_argument(
        "--strategy",
        default="direct",
        metavar="S",
        help=f"how thought is spent: {', '.join(known_names())} (default direct)",
    )
    parser.add_argument("--max-tokens", type=positive, metavar="N", help="tokens of one generation at most")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where the picture with the cited places goes (.png)")


def positive(text: str) -> int:
    """A whole number, 1 or larger, as argparse wants it."""
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


positive.__name__ = "positive whole number"


def run(args: argparse.Namespace, out: Out) -> Any:
    from consilience.policy import open_policy
    from consilience.reason import strategy

    if args.out and args.out.suffix.lower() != ".png":
        raise InputError(f"--out is a picture and ends in .png, not {args.out.name!r}.")
    problem = posed(args)
    chosen = strategy(args.strategy, stream="off" if args.json or not sys.stdout.isatty() else "all")
    policy = open_policy(args.model, base_url=args.base_url)
    trace = asyncio.run(answered(problem, policy, chosen, args, quiet=args.json))
    verdict = checked(problem, trace) if args.world else None
    picture = saved_picture(problem, trace, args.out or Path(f"{problem.id.replace('/', '-')}.cited.png"))
    payload = {
        "problem": problem.id,
        "question": problem.question,
        "answer": answer_of(trace.response),
        "truth": problem.answer if args.world else None,
        "verdict": verdict.to_json() if verdict else None,
        "picture": str(picture) if picture else None,
        "trace": trace.to_json(),
    }
    if not args.json:
        from consilience.cli.solve_view import tree_text

        if tree := tree_text(trace, width=shutil.get_terminal_size((120, 24)).columns, colour=sys.stdout.isatty()):
            out(f"{tree}\n")
    for line in summary(payload, trace):
        out(line)
    return payload


def posed(args: argparse.Namespace) -> Problem:
    """The problem that the options name.

    Raises:
        InputError: the picture cannot be read, or a question is missing, empty or out of place.
    """
    from consilience.problem import Image, Problem, Text

    if args.question is not None and args.image is None:
        raise InputError("--question belongs to --image: ask without a picture with --text.")
    if args.world:
        return open_problem(args)  # type: ignore[no-any-return]
    question = (args.text if args.image is None else args.question or "").strip()
    if not question:
        raise InputError(
            "the question is empty: say what to answer with " + ("--text." if args.image is None else "--question.")
        )
    if args.image is None:
        return Problem("text", "user", "ask", "text", (Text(question),), "", "string")
    try:
        data = args.image.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the picture {args.image} ({error.strerror}).") from None
    prompt = (Image.decode(data, str(args.image)), Text(question))
    return Problem(args.image.stem, "user", "ask", "image", prompt, "", "string")


async def answered(
    problem: Problem, policy: Policy, strategy: Strategy, args: argparse.Namespace, *, quiet: bool
) -> Trace:
    """Run the strategy to its end, shown live unless quiet; the policy is closed in any case."""
    from consilience.cli.solve_view import open_view
    from consilience.protocols import Sampling

    served = ":" in args.model
    if served and not args.world:
        problem = with_note(problem)
    sampling = Sampling(max_tokens=args.max_tokens or (SERVED_TOKENS if served else LOCAL_TOKENS), seed=args.seed)
    try:
        with open_view(problem, f"{policy.name}, {strategy.name}", quiet=quiet) as view:
            return await followed(strategy(problem, policy, sampling), view)
    finally:
        await policy.close()


async def followed(events: AsyncIterator[Event], view: Callable[[Event], None]) -> Trace:
    """Show the events of a strategy and return the trace that the last one carries."""
    trace = None
    async for event in events:
        view(event)
        trace = event.trace or trace
    if trace is None:
        raise PolicyError("the strategy ended without an answer.")
    return trace


def with_note(problem: Problem) -> Problem:
    """The problem with a note on how to cite and where the answer goes, for models that were not trained on it."""
    from consilience.problem import Text

    return dataclasses.replace(problem, prompt=(*problem.prompt, Text(FORMAT_NOTE)))


def answer_of(response: str) -> str:
    """What stands after the reasoning."""
    from consilience.verify.markup import split_response

    return split_response(response)[1].strip()


def checked(problem: Problem, trace: Trace) -> Verdict:
    """The verdict on answer and cited places, for a problem whose truth is known."""
    from consilience.verify.check import CombinedVerifier

    cut_off = any(call.truncated and call.full_text == trace.response for call in trace.calls)
    return CombinedVerifier()(problem, trace.response, truncated=cut_off)


def saved_picture(problem: Problem, trace: Trace, path: Path) -> Path | None:
    """Save the problem's first picture with the cited and, where known, the true places; None where there are none.

    Raises:
        InputError: the path cannot be written.
    """
    from consilience.files import atomic_write
    from consilience.report import draw_citations
    from consilience.verify.markup import parse_places

    if not problem.images:
        return None
    image = problem.images[0]
    cited = list(dict.fromkeys(place.scaled(image.size) for place in parse_places(trace.response)))
    truth = problem.evidence.boxes or problem.evidence.points
    if not (cited or truth):
        return None
    atomic_write(path, draw_citations(image, cited, truth).png())
    return path


def summary(payload: dict[str, Any], trace: Trace) -> list[str]:
    """What a person reads below the reasoning."""
    from consilience.report.tree import printable

    usage = trace.usage
    cost = f"{len(trace.calls)} {'generation' if len(trace.calls) == 1 else 'generations'}, {usage.completion:,} tokens"
    lines = [f"answer   {printable(payload['answer']) or '(none)'}"]
    if len(trace.calls) > 1:
        lines.append(f"support  {trace.support:.0%} of the last round agree")
    if payload["verdict"]:
        right = payload["verdict"]["evidence"].get("answer_score", payload["verdict"]["score"]) >= 1
        lines.append(f"verdict  {'right' if right else 'wrong'}: {printable(payload['verdict']['reason'])}")
    seconds = float(trace.detail.get("seconds", trace.seconds))
    lines.append(f"cost     {cost}{' (estimated)' if usage.estimated else ''}, {seconds:.1f} s")
    if payload["picture"]:
        lines.append(f"picture  {payload['picture']}")
    return lines
