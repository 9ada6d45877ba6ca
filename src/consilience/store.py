"""The one trajectory store: generations already paid for, found again by what was asked and how.

A single SQLite file in write-ahead mode: a put that has returned survives SIGKILL of the process, many threads and
processes may read and write at once, and whatever a killed writer left unfinished is dropped by SQLite itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from consilience.errors import InputError
from consilience.problem import Message, Text, dumps
from consilience.protocols import Policy, Sampling
from consilience.trace import Call

_SCHEMA = 1
_BATCH = 500  # bound parameters a query, below every SQLite build's limit
_WAIT_S = 60.0  # for another process's write


def key_of(model: str, messages: Sequence[Message], sampling: Sampling, index: int) -> str:
    """SHA-256 (hex) of model, sampling parameters, prompt and sample index.

    Pictures and sounds enter by the digest of their content; 1 and 1.0 are the same number.
    """
    prompt = [
        [message.role, [[p.text] if isinstance(p, Text) else [type(p).__name__, p.digest] for p in message.parts]]
        for message in messages
    ]
    how = _canonical_sampling(sampling) if sampling.extra else _usual_sampling(sampling)
    return hashlib.sha256(f"[{dumps(model)},{how},{dumps(prompt)},{index:d}]".encode()).hexdigest()


def _canonical_sampling(sampling: Sampling) -> str:
    return dumps(_canonical(sampling.to_json()))


_usual_sampling = lru_cache(maxsize=128)(_canonical_sampling)
"""Of samplings without `extra`, in which 1 and True would be equal and yet not the same."""


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Store:
    """A mapping from `key_of` to `Call` in the file `path` (made if missing).

    The first call put under a key stays: a key names one sample for good. Failed calls (finish "error" or
    "cancelled") are not kept, so that a later attempt samples anew. Safe to share between threads and to carry
    into forked or spawned workers.

    Raises:
        InputError: the file is no trajectory store, comes from a newer version, or cannot be written.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._guard = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0
        self._inherited: list[sqlite3.Connection | None] = []
        with self._transaction():
            pass

    def get(self, key: str) -> Call | None:
        """The call stored under a key, or None."""
        return self.get_many([key]).get(key)

    def get_many(self, keys: Iterable[str]) -> dict[str, Call]:
        """The calls that are stored among these keys, by key."""
        wanted = list(dict.fromkeys(keys))
        found: dict[str, Call] = {}
        with self._transaction() as connection:
            for start in range(0, len(wanted), _BATCH):
                batch = wanted[start : start + _BATCH]
                marks = ",".join("?" * len(batch))
                rows = connection.execute(f"SELECT key, call FROM calls WHERE key IN ({marks})", batch)
                found |= {key: Call.from_json(json.loads(text)) for key, text in rows}
        return found

    def put(self, key: str, call: Call) -> None:
        """Store one call; see `put_many`."""
        self.put_many({key: call})

    def put_many(self, calls: Mapping[str, Call]) -> None:
        """Store calls in one transaction: all of them or none."""
        rows = [(k, dumps(call.to_json())) for k, call in calls.items() if call.finish not in ("error", "cancelled")]
        with self._transaction() as connection:
            connection.executemany("INSERT OR IGNORE INTO calls VALUES (?, ?)", rows)

    def __len__(self) -> int:
        with self._transaction() as connection:
            return int(connection.execute("SELECT count(*) FROM calls").fetchone()[0])

    def close(self) -> None:
        """Close the file; it is opened again when next used."""
        with self._guard:
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
            self._connection = None

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[type[Store], tuple[Path]]:
        return Store, (self.path,)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        if self._process != os.getpid():  # a fork: SQLite connections and held locks must not cross it
            self._guard = threading.Lock()
            self._inherited.append(self._connection)
            self._connection, self._process = None, os.getpid()
        with self._guard:
            try:
                if self._connection is None:
                    self._connection = _connect(self.path)
                with self._connection:
                    yield self._connection
            except (sqlite3.Error, OSError) as error:
                raise InputError(f"cannot use the trajectory store {self.path} ({error}): name another file.") from None


def _connect(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=_WAIT_S, check_same_thread=False)
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if version > _SCHEMA or (tables and "calls" not in tables):
            raise InputError(f"{path} is no trajectory store of this version: name another file.")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        with connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS calls (key TEXT PRIMARY KEY, call TEXT NOT NULL) WITHOUT ROWID"
            )
            connection.execute(f"PRAGMA user_version = {_SCHEMA}")
    except BaseException:
        connection.close()
        raise
    return connection


async def sample_stored(
    store: Store, policy: Policy, messages: Sequence[Message], sampling: Sampling, *, n: int = 1
) -> list[Call]:
    """n generations of a policy, of which only those missing in the store are sampled, then stored.

    With a seed, sample i has seed `sampling.seed + i` whichever samples were missing. Failed calls are returned and
    not stored.

    Raises:
        PolicyError: as the policy does; what was sampled before is stored.
    """
    keys = [key_of(policy.name, messages, sampling, i) for i in range(n)]
    found = store.get_many(keys)
    for first, last in _gaps([key in found for key in keys]):
        part = sampling if sampling.seed is None else sampling.with_seed(sampling.seed + first)
        calls = await policy.sample(messages, part, n=last - first)
        found |= dict(zip(keys[first:last], calls, strict=True))
        store.put_many({key: found[key] for key in keys[first:last]})
    return [found[key] for key in keys]


def _gaps(present: Sequence[bool]) -> list[tuple[int, int]]:
    """Half-open ranges of consecutive False."""
    edges = [i for i in range(len(present) + 1) if (i == 0 or present[i - 1]) != (i == len(present) or present[i])]
    return list(zip(edges[::2], edges[1::2], strict=True))
