"""The web page in a real browser: asking, watching, stopping, pictures, history, keys; without outside help."""

import os

import pytest
from browser import PROGRAM, browser
from serve_helpers import gateway, until

from consilience.policy.loopback import Answer
from consilience.serve.keys import Keyring, add_key

pytestmark = pytest.mark.skipif(
    PROGRAM is None and not os.environ.get("CI"), reason="needs Chromium (required in continuous integration)"
)
SAID = ("The answer is 408", "The answer is 408", "The answer is 398", "The answer is 408", "So the answer is 408")
NASTY = "<img src=x onerror=alert(1)><script>document.title='owned'</script>"


def mixed(request, number):
    return Answer(SAID[number % 5], reasoning=f"way {number}", delay=0.05)


async def asked(page, url, question="How much is 17 times 24?"):
    await page.open(url)
    await page.until("document.getElementById('model')?.textContent === 'base' && document.activeElement.id === 'text'")
    await page.write(question)
    await page.press("Enter", 13, control=True)


async def test_a_question_from_the_keyboard_fills_rounds_and_ends_with_support_and_cost():
    async with gateway(mixed) as stage, browser() as page:
        await asked(page, stage.url)
        await page.until("document.querySelector('.facts')?.hidden === false")
        cards = await page.js("[...document.querySelectorAll('.card')].map(card => card.innerText)")
        assert len(cards) == 5
        marks = await page.js("[...document.querySelectorAll('.card .mark')].map(mark => mark.textContent)")
        assert sorted(marks) == ["A", "A", "A", "A", "B"]
        assert await page.js("document.querySelector('.answer .text').textContent") == "So the answer is 408"
        facts = await page.js("document.querySelector('.facts').innerText")
        assert "75 %" in facts
        assert "5 calls" in facts
        assert "agrees, 75 % support" in facts
        await page.until("document.querySelectorAll('#history button').length === 1")
        assert page.problems == []
        assert all(address.startswith((stage.url, "about:")) for address in page.addresses)


async def test_a_stored_run_is_shown_again_as_it_was():
    async with gateway(mixed) as stage, browser() as page:
        await asked(page, stage.url)
        await page.until("document.querySelectorAll('#history button').length === 1")
        look = "[...document.querySelectorAll('.card p, .card .mark, .answer .text')].map(n => n.textContent).join('|')"
        before = await page.js(look)
        await page.js("document.getElementById('run').replaceChildren(); 1")
        await page.js("document.querySelector('#history button').click()")
        await page.until("document.querySelectorAll('.card').length === 5")
        assert await page.js(look) == before
        assert page.problems == []


async def test_text_of_models_stays_text():
    async with gateway(Answer(NASTY, reasoning=NASTY)) as stage, browser() as page:
        await asked(page, stage.url, NASTY)
        await page.until("document.querySelectorAll('#history button').length === 1")
        assert await page.js("document.querySelector('.answer .text').textContent") == NASTY
        assert await page.js("document.title") == "Consilience"
        assert await page.js("document.querySelectorAll('#run img').length") == 0
        assert page.problems == []


def searched(request, number):
    begun = request["messages"][-1]["role"] == "assistant"
    text = r"so \boxed{408}" if begun else (f"{NASTY}\n\n", "add rows\n\n")[number % 2]
    return Answer(text, logprobs=(-0.1 - 0.2 * (number % 2),))


async def test_a_search_is_drawn_as_a_tree_live_and_stored():
    async with gateway(searched) as stage, browser() as page:
        await page.open(stage.url)
        await page.until("document.getElementById('model')?.textContent === 'base'")
        await page.js("document.getElementById('strategy').value = 'mcts'; document.getElementById('text').focus()")
        await page.write("How much?")
        await page.press("Enter", 13, control=True)
        await page.until("document.querySelector('.search')?.hidden === false")
        look = "[...document.querySelectorAll('.tree svg > g')].map(node => node.textContent).join('|')"
        drawn = await page.js(look)
        assert "408" in drawn
        assert NASTY in drawn
        assert "Plain voting" not in await page.js("document.querySelector('.answer').innerText")
        assert await page.js("document.querySelectorAll('.tree .chosen.edge').length") >= 1
        assert await page.js("document.querySelectorAll('#run img, #run script').length") == 0
        wide = "getComputedStyle(document.querySelector('.tree .chosen.edge')).strokeWidth"
        assert await page.js(wide) == "2.5px"  # the page's own style, which its policy lets through
        await page.until("document.querySelectorAll('#history button').length === 1")
        await page.js("document.getElementById('run').replaceChildren(); 1")
        await page.js("document.querySelector('#history button').click()")
        await page.until("document.querySelector('.search')?.hidden === false")
        assert await page.js(look) == drawn
        assert page.problems == []
        assert await page.js("document.title") == "Consilience"


async def test_the_policy_lets_no_other_script_run():
    async with gateway(mixed) as stage, browser() as page:
        await page.open(stage.url)
        await page.until("document.getElementById('model')?.textContent === 'base'")
        await page.js("document.body.append(Object.assign(document.createElement('script'), {text: 'window.bad = 1'}))")
        assert await page.js("window.bad") is None
        assert any("Content Security Policy" in problem for problem in page.problems)


async def test_escape_stops_the_work_upstream():
    async with gateway(Answer("late", delay=30)) as stage, browser() as page:
        await asked(page, stage.url)
        await page.until("document.querySelectorAll('.card').length === 4")
        await page.press("Escape", 27)
        await page.until("document.getElementById('error').textContent.startsWith('Stopped')")
        await until(lambda: stage.upstream.aborted == 4)
        await page.until("document.querySelector('#history button')?.innerText.includes('stopped')")


async def test_a_dropped_picture_is_shown_and_sent():
    drop = """(async () => {
        const canvas = document.createElement('canvas'); canvas.width = canvas.height = 8;
        const blob = await new Promise(done => canvas.toBlob(done));
        const data = new DataTransfer(); data.items.add(new File([blob], 'a.png', {type: 'image/png'}));
        document.dispatchEvent(new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true}));
    })()"""
    async with gateway(mixed) as stage, browser() as page:
        await page.open(stage.url)
        await page.until("document.getElementById('model')?.textContent === 'base'")
        await page.js(drop)
        await page.until("document.querySelectorAll('.thumb img').length === 1")
        await page.js("document.getElementById('text').focus()")
        await page.write("What is it?")
        await page.press("Enter", 13, control=True)
        await page.until("document.querySelectorAll('#history button').length === 1")
        assert await page.js("document.querySelectorAll('.question img').length") == 1
        sent = stage.upstream.requests[0]["messages"][0]["content"]
        assert [part["type"] for part in sent] == ["image_url", "text"]


async def test_errors_are_told_in_words():
    async with gateway(Answer(status=500)) as stage, browser() as page:
        await asked(page, stage.url)
        await page.until("document.getElementById('error')?.hidden === false")
        assert "the upstream answered 500" in await page.js("document.getElementById('error').textContent")


async def test_with_keys_the_page_asks_for_one(tmp_path):
    secret = add_key(tmp_path / "keys.json", "alice")
    async with gateway(mixed, keyring=Keyring(tmp_path / "keys.json")) as stage, browser() as page:
        await page.open(stage.url)
        await page.until("document.getElementById('keybox')?.hidden === false && document.activeElement.id === 'key'")
        await page.write(secret)
        await page.press("Enter", 13, text="\r")
        await page.until("document.getElementById('model').textContent === 'base'")


@pytest.mark.parametrize("width", [360, 1280])
async def test_nothing_runs_out_of_the_window(width):
    async with gateway(mixed) as stage, browser() as page:
        await page.open(stage.url, width=width)
        await page.until("document.getElementById('model')?.textContent === 'base'")
        assert await page.js("document.documentElement.scrollWidth <= innerWidth")


CONTRAST = """(pairs => {
    const light = colour => {
        const [r, g, b] = colour.match(/[0-9.]+/g).slice(0, 3).map(Number).map(v => v / 255)
            .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const probe = document.body.appendChild(document.createElement('i'));
    const value = name => { probe.style.color = `var(--${name})`; return light(getComputedStyle(probe).color); };
    return pairs.map(([a, b]) => [value(a), value(b)]).map(([a, b]) => (Math.max(a, b) + .05) / (Math.min(a, b) + .05));
})"""


@pytest.mark.parametrize("dark", [False, True])
async def test_text_is_legible_on_both_backgrounds(dark):
    """Contrast of 4.5 and more, as WCAG 2 asks of text (1.4.3, AA)."""
    grounds = [("ink", "paper"), ("ink", "card"), ("soft", "paper"), ("soft", "card"), ("bad", "card"), ("ink", "wash")]
    marks = [("card", f"g{place}") for place in range(6)] + [("accent-ink", "accent"), ("accent", "card")]
    async with gateway(mixed) as stage, browser() as page:
        await page.open(stage.url, dark=dark)
        await page.until("document.getElementById('model')?.textContent === 'base'")
        found = await page.js(f"{CONTRAST}({[list(pair) for pair in grounds + marks]})")
        paper = await page.js("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(20, 23, 26)") == dark
    poor = [(pair, round(value, 2)) for pair, value in zip(grounds + marks, found, strict=True) if value < 4.5]
    assert not poor
