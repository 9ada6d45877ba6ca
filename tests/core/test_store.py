import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consilience.errors import InputError
from consilience.problem import Audio, Image, Message
from consilience.protocols import Sampling
from consilience.store import Store, key_of, sample_stored
from consilience.trace import Call, Usage

PICTURE = Image(np.arange(12, dtype=np.uint8).reshape(3, 4))
SOUND = Audio(np.arange(5, dtype=np.int16), 8000)
PROMPT = (Message.user(PICTURE, "How many?"), Message.user(SOUND))


def call(text, **fields):
    return Call(text, usage=Usage(3, 4), tokens=(1, 2), logprobs=(-0.1, -2.5), **fields)


def test_stored_calls_come_back_whole_also_after_reopening(tmp_path):
    first = call("7</think>7", reasoning=None, seconds=0.25, model="m")
    with Store(tmp_path / "new" / "t.db") as store:
        store.put("a", first)
        store.put_many({"b": call("é"), "c": call("")})
        assert store.get("a") == first
        assert store.get("none") is None
    with Store(tmp_path / "new" / "t.db") as store:
        assert store.get_many(["c", "none", "a", "a"]) == {"a": first, "c": call("")}
        assert len(store) == 3


def test_the_first_call_under_a_key_stays_and_failed_calls_are_not_kept(tmp_path):
    with Store(tmp_path / "t.db") as store:
        store.put("a", call("first"))
        store.put("a", call("second"))
        store.put_many(
            {"b": call("", finish="error"), "c": call("", finish="cancelled"), "d": call("x", finish="length")}
        )
        assert store.get("a").text == "first"
        assert set(store.get_many("abcd")) == {"a", "d"}


def test_more_keys_than_sqlite_binds_at_once(tmp_path):
    calls = {f"k{i}": call(str(i)) for i in range(2500)}
    with Store(tmp_path / "t.db") as store:
        store.put_many(calls)
        assert store.get_many(calls) == calls


def test_a_key_depends_on_everything_that_decides_the_sample():
    base = ("m", PROMPT, Sampling(), 0)
    brighter = Image(PICTURE.pixels + np.uint8(1))
    others = [
        ("n", PROMPT, Sampling(), 0),
        ("m", PROMPT[:1], Sampling(), 0),
        ("m", (Message("system", PROMPT[0].parts), PROMPT[1]), Sampling(), 0),
        ("m", (Message.user("How many?", PICTURE), PROMPT[1]), Sampling(), 0),
        ("m", (Message.user(brighter, "How many?"), PROMPT[1]), Sampling(), 0),
        ("m", (PROMPT[0], Message.user(Audio(SOUND.samples, 16000))), Sampling(), 0),
        ("m", PROMPT, Sampling(temperature=0.9), 0),
        ("m", PROMPT, Sampling(stop=("x",)), 0),
        ("m", PROMPT, Sampling(seed=1), 0),
        ("m", PROMPT, Sampling(extra={"effort": "high"}), 0),
        ("m", PROMPT, Sampling(), 1),
    ]
    assert len({key_of(*arguments) for arguments in (base, *others)}) == len(others) + 1
    again = (Message.user(Image(PICTURE.pixels.copy()), "How many?"), PROMPT[1])
    assert key_of("m", again, Sampling(temperature=1, extra={}), 0) == key_of(*base)


def test_keys_are_stable_across_versions():
    key = key_of("m", (Message.user("q"),), Sampling(max_tokens=8, seed=3), 2)
    assert key == "5685176058aea4088939baffbf76d6cda987f8a62490c1e239603e352ebc941f"


@given(st.lists(st.tuples(st.sampled_from(["system", "user"]), st.lists(st.text(max_size=4), max_size=3)), max_size=3))
def test_text_cannot_be_moved_between_parts_or_messages_unnoticed(turns):
    messages = tuple(Message(role, Message.user(*texts).parts) for role, texts in turns)
    joined = tuple(Message.user("".join(texts)) for _, texts in turns)
    same = key_of("m", messages, Sampling(), 0) == key_of("m", joined, Sampling(), 0)
    assert same == (messages == joined)


def test_true_is_not_one_in_what_a_policy_is_told_besides():
    asked = (Message.user("How much is 2 + 2?"),)
    keys = [key_of("m", asked, Sampling(seed=1, extra={"think": one}), 0) for one in (True, 1, 1.0)]
    assert keys[0] != keys[1] == keys[2]


def test_unusable_files_are_one_sentence(tmp_path):
    (tmp_path / "text").write_text("not a database, long enough to have a header " * 10)
    with pytest.raises(InputError, match="cannot use the trajectory store"):
        Store(tmp_path / "text")
    with pytest.raises(InputError, match="cannot use the trajectory store"):
        Store(tmp_path / "text" / "below.db")
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE mine (x)")
    other.close()
    with pytest.raises(InputError, match="no trajectory store of this version"):
        Store(tmp_path / "other.db")
    Store(tmp_path / "newer.db").close()
    newer = sqlite3.connect(tmp_path / "newer.db")
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(InputError, match="no trajectory store of this version"):
        Store(tmp_path / "newer.db")


def test_threads_share_one_store(tmp_path):
    store = Store(tmp_path / "t.db")

    def work(worker):
        for i in range(50):
            store.put(f"{worker}-{i}", call(f"{worker}-{i}"))
            assert store.get(f"{worker}-{i}").text == f"{worker}-{i}"

    threads = [threading.Thread(target=work, args=(w,)) for w in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store) == 400


WRITER = """
import sys
from consilience.store import Store
from consilience.trace import Call
store = Store(sys.argv[1])
for i in range(int(sys.argv[3])):
    store.put(f"{sys.argv[2]}-{i}", Call(str(i) * 50))
    print(i, flush=True)
"""


def writer(path, name, count):
    command = [sys.executable, "-c", WRITER, str(path), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_several_processes_create_and_fill_one_store(tmp_path):
    processes = [writer(tmp_path / "t.db", str(i), 60) for i in range(4)]
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    with Store(tmp_path / "t.db") as store:
        assert len(store) == 240


def test_every_acknowledged_put_survives_sigkill(tmp_path):
    process = writer(tmp_path / "t.db", "k", 10**6)
    with process.stdout:
        for _ in range(200):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        acknowledged = 200 + sum(line.endswith("\n") for line in process.stdout)
    process.wait()
    with Store(tmp_path / "t.db") as store:
        assert len(store.get_many(f"k-{i}" for i in range(acknowledged))) == acknowledged
        store.put("after", call("ok"))
        assert store.get("after").text == "ok"


def test_a_store_crosses_pickling_and_forking(tmp_path):
    store = Store(tmp_path / "t.db")
    store.put("parent", call("p"))
    assert pickle.loads(pickle.dumps(store)).get("parent") == call("p")
    child = os.fork()
    if child == 0:
        ok = store.get("parent") == call("p")
        store.put("child", call("c"))
        os._exit(0 if ok else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert store.get("child") == call("c")


class Counting:
    """A policy that says which seed it was asked for; sample 2 fails."""

    name = "counting"

    def __init__(self):
        self.asked = []

    async def sample(self, messages, sampling, *, n=1):
        self.asked.append((sampling.seed, n))
        return [
            call(f"seed {sampling.seed + i}", finish="error" if sampling.seed + i == 102 else "stop") for i in range(n)
        ]

    async def close(self):
        pass


async def test_only_missing_samples_are_sampled_each_with_its_own_seed(tmp_path):
    policy, settings = Counting(), Sampling(seed=100)
    with Store(tmp_path / "t.db") as store:
        first = await sample_stored(store, policy, PROMPT, settings, n=4)
        assert [c.text for c in first] == [f"seed {100 + i}" for i in range(4)]
        second = await sample_stored(store, policy, PROMPT, settings, n=6)
        assert [c.text for c in second] == [f"seed {100 + i}" for i in range(6)]
        assert policy.asked == [(100, 4), (102, 1), (104, 2)]
        assert await sample_stored(store, policy, PROMPT, settings, n=2) == first[:2]
        assert len(policy.asked) == 3
