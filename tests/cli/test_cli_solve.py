import asyncio
import base64
import io
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage

from consilience import registry
from consilience.cli import main
from consilience.cli.solve_view import call_text, printable
from consilience.policy.loopback import Answer, LoopbackServer
from consilience.trace import Call, Usage

Captured = pytest.CaptureFixture[str]
Serve = Callable[[Callable[[Any, int], Answer]], LoopbackServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a scripted server on the loopback device, in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    servers: list[LoopbackServer] = []

    def start(behaviour: Callable[[Any, int], Answer]) -> LoopbackServer:
        server = LoopbackServer(behaviour)
        asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result(10)
        servers.append(server)
        return server

    yield start
    for server in servers:
        asyncio.run_coroutine_threadsafe(server.__aexit__(None, None, None), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


def picture(path: str) -> None:
    PILImage.fromarray(np.zeros((40, 60, 3), np.uint8)).save(path)


def test_a_picture_and_a_question(serve: Serve, capsys: Captured) -> None:
    server = serve(lambda request, number: Answer("A cup <box>10 20 50 60</box> stands there.</think>1 cup"))
    picture("cups.png")
    words = ["solve", "--image", "cups.png", "--question", "How many cups?", "--model", "openai:m"]
    assert main([*words, "--base-url", server.base_url]) == 0
    text = capsys.readouterr().out
    assert "question How many cups?" in text
    assert "answer   1 cup" in text
    assert "A cup" in text
    assert "picture  cups.cited.png" in text
    drawn = PILImage.open("cups.cited.png")
    assert drawn.size == (420, 280)
    assert (np.abs(np.asarray(drawn).astype(int) - (240, 130, 0)) < 30).all(axis=-1).any()
    (request,) = server.requests
    parts = request["messages"][0]["content"]
    sent = base64.b64decode(parts[0]["image_url"]["url"].split(",")[1])
    assert PILImage.open(io.BytesIO(sent)).size == (60, 40)
    assert "How many cups?" in json.dumps(parts)
    assert "cite it as <box>" in json.dumps(parts)


def test_a_problem_of_a_world_is_checked(serve: Serve, capsys: Captured) -> None:
    problem = registry.load("world", "digits")().problem(8, split="test", task="count", modality="image", level="clean")
    server = serve(lambda request, number: Answer(problem.demonstration))
    words = ["solve", "--world", "digits", "--seed", "8", "--task", "count", "--modality", "image", "--level", "clean"]
    assert main([*words, "--model", "vllm:m", "--base-url", server.base_url, "--json", "--out", "here.png"]) == 0
    payload = json.loads(capsys.readouterr().out)
    assert payload["truth"] == payload["answer"] == problem.answer
    assert payload["verdict"]["evidence"]["answer_score"] == 1.0
    assert payload["picture"] == "here.png"
    assert payload["trace"]["strategy"] == "direct"
    assert Path("here.png").read_bytes().startswith(b"\x89PNG")


def test_an_answer_that_was_cut_off_is_not_right(serve: Serve, capsys: Captured) -> None:
    problem = registry.load("world", "sums")().problem(1, split="test")
    server = serve(lambda request, number: Answer(problem.demonstration, finish="length"))
    words = ["solve", "--world", "sums", "--seed", "1", "--model", "openai:m", "--base-url", server.base_url]
    assert main(words) == 0
    assert "verdict  wrong: The response was cut off" in capsys.readouterr().out


def test_vote_shows_every_generation_and_the_support(serve: Serve, capsys: Captured) -> None:
    server = serve(lambda request, number: Answer(f"thinking {number}</think>{42 if number % 4 else 41}"))
    words = ["solve", "--text", "What is 6 times 7?", "--model", "openai:m", "--base-url", server.base_url]
    assert main([*words, "--strategy", "vote"]) == 0
    text = capsys.readouterr().out
    assert "answer   42" in text
    assert text.count("→ 4") == len(server.requests)
    assert "support  75%" in text


def searched(request: Any, number: int) -> Answer:
    """The first steps are two ways, what follows them an answer."""
    begun = request["messages"][-1]["role"] == "assistant"
    text = rf"so \boxed{{{7 + number % 2}}}" if begun else ("count \x1b[31mdots\n\n", "add rows\n\n")[number % 2]
    return Answer(text, logprobs=(-0.1 - 0.2 * (number % 2),))


def test_a_search_ends_with_its_tree(serve: Serve, capsys: Captured) -> None:
    server = serve(searched)
    words = ["solve", "--text", "How many?", "--model", "openai:m", "--base-url", server.base_url]
    assert main([*words, "--strategy", "mcts:2"]) == 0
    text = capsys.readouterr().out
    tree = [line for line in text.splitlines() if " Q +" in line or " Q -" in line]
    assert tree[0].startswith("0  Q ")
    assert any("── 0.1" in line for line in tree)
    assert any("■ 7" in line or "■ 8" in line for line in tree)
    assert "\x1b" not in text
    assert text.index(tree[0]) < text.index("answer   ")


def test_text_of_a_model_cannot_steer_the_terminal(serve: Serve, capsys: Captured) -> None:
    server = serve(lambda request, number: Answer("\x1b[2J[bold]x[/bold]\x07</think>\x1b[31m1\u202e"))
    assert main(["solve", "--text", "q", "--model", "openai:m", "--base-url", server.base_url]) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\u202e" not in text
    assert "[bold]x[/bold]" in text


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--text", "q", "--model", "openai:m", "--base-url", "http://127.0.0.1:9/v1"], "127.0.0.1:9"),
        (["--text", "q", "--model", "openai:m"], "needs a key: set OPENAI_API_KEY"),
        (["--text", "q", "--model", "openai:"], "lacks a name"),
        (["--text", "q", "--model", "gpt"], "unknown model 'gpt'"),
        (["--text", "q", "--model", "nano", "--base-url", "http://x/v1"], "is not served"),
        (["--text", "q", "--strategy", "vot"], "unknown strategy 'vot': did you mean 'vote'?"),
        (["--text", "q", "--strategy", "pacore:0"], "write pacore:32,4"),
        (["--world", "digits", "--out", "a.gif"], "ends in .png"),
        (["--image", "broken.png", "--question", "q"], "broken.png is not a readable picture"),
    ],
)
def test_bad_input(words: list[str], sentence: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    Path("broken.png").write_bytes(b"no picture")
    assert main(["solve", *words]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert [p.name for p in Path.cwd().iterdir()] == ["broken.png"]


def test_one_line_a_generation() -> None:
    call = Call("a\nb</think> 7 ", usage=Usage(completion=1200), finish="length")
    assert call_text(call, short=True) == "7  (1,200 tokens, cut off)  a b"
    assert call_text(call, short=False) == "a\nb\n→ 7  (1,200 tokens, cut off)"
    assert call_text(Call("", finish="error", error="no\x1b answer"), short=True) == "failed: no� answer"
    assert printable("é\t\n7") == "é\t\n7"
