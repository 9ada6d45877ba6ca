"""One run, one directory: configuration, metrics, checkpoints and stages, killable at any moment.

    run_dir/
      config.json            the configuration, and under CIRCUMSTANCES when, where and by which command it ran
      metrics.jsonl          one record a line: stage, step, numbers; other *.jsonl files likewise
      checkpoints/<stage>-<step>/
      state.json             the last commit: stages done, checkpoints, length of every *.jsonl, finished or not

`state.json` is the only authority. A checkpoint or a finished stage is a commit: it becomes true in the one
rename that replaces `state.json`. Opening a run again discards everything written after the last commit, so that a
killed and resumed run ends in the same lines as an unbroken one, but for fields ending in `_s` (seconds).
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import itertools
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from consilience.errors import CheckpointMismatch, InputError
from consilience.files import atomic_write, differences, locked, plain, read_json, sync, unlock, writing
from consilience.machine import machine, versions
from consilience.problem import dumps

CIRCUMSTANCES = ("command", "created", "machine", "versions", "out", "resume", "part")
"""Keys of config.json that say how a run came about; configurations that differ only in them are equal."""

METRICS = "metrics.jsonl"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Checkpoint:
    """A committed checkpoint: the stage and step after which it was taken, and its directory."""

    stage: str
    step: int
    path: Path


@dataclass(frozen=True)
class _State:
    """What state.json holds. lengths: bytes of each *.jsonl file that belong to the commit."""

    done: tuple[str, ...] = ()
    checkpoints: tuple[tuple[str, int], ...] = ()
    lengths: Mapping[str, int] = field(default_factory=dict)
    elapsed_s: float = 0.0
    finished: bool = False

    @classmethod
    def read(cls, path: Path) -> _State:
        data = read_json(path)
        try:
            data["done"] = tuple(data["done"])
            data["checkpoints"] = tuple((str(stage), int(step)) for stage, step in data["checkpoints"])
            return cls(**data)
        except (TypeError, ValueError, KeyError):
            raise InputError(f"{path} is not the state of a run: start anew with another --out.") from None


class Run:
    """A run directory that this process writes. Use `Run.create`, `Run.open` or `start`, then close it or use `with`.

    A second process, or a second `Run` in this one, cannot open the same directory until this one is closed or
    its process has ended in whatever way. Methods may be called from several threads.

        with Run.create(path, config) as run:
            for stage in run.pending(("warm", "rl")):
                with run.stage(stage):
                    ...
                    run.log(step, loss=0.3)
                    with run.checkpoint(step) as folder:
                        save(folder / "model.safetensors")
            run.finish()
    """

    def __init__(self, directory: Path, config: Mapping[str, Any], held: int, keep: int) -> None:
        self.directory = directory
        self.config = dict(config)
        self._state = _State.read(directory / "state.json")
        self._stage = ""
        self._keep = keep
        self._lock = held
        self._opened = time.monotonic()
        self._before_s = self._state.elapsed_s
        self._guard = threading.RLock()

    @classmethod
    def create(cls, directory: Path, config: Mapping[str, Any], *, keep: int = 2) -> Run:
        """Begin a run in a directory that holds none yet.

        Args:
            directory: made if missing.
            config: JSON-able; tuples become lists. `created`, `machine` and `versions` are added.
            keep: checkpoints kept of the running stage; a finished stage keeps its last one.

        Raises:
            InputError: the directory holds a run, is in use, or cannot be written.
        """
        with locked(directory) as held:
            if (directory / "config.json").exists():
                raise InputError(
                    f"{directory} already holds a run: add --resume to continue it, or choose another --out."
                )
            full = {**json.loads(dumps(config)), **_circumstances()}
            atomic_write(directory / "state.json", dumps(vars(_State())))
            _write_config(directory, full)
            return cls(directory, full, held, keep)

    @classmethod
    def open(cls, directory: Path, config: Mapping[str, Any] | None = None, *, keep: int = 2) -> Run:
        """Continue a run: whatever was written after its last commit is discarded. config.json names the last command.

        Args:
            config: what the caller is about to do; None accepts the run's own.

        Raises:
            InputError: there is no run, it is in use, or its files are damaged.
            CheckpointMismatch: the run has another configuration; the sentence names the fields.
        """
        if not (directory / "config.json").is_file():
            raise InputError(f"{directory} holds no run to resume: leave out --resume to start one there.")
        with locked(directory) as held:
            stored = read_json(directory / "config.json")
            if config is not None and (fields := differing_fields(stored, config)):
                raise CheckpointMismatch(
                    f"{directory} was made with another configuration ({', '.join(fields)}): "
                    "use the same settings or another --out."
                )
            if config and config.get("command", stored.get("command")) != stored.get("command"):
                stored["command"] = config["command"]
                _write_config(directory, stored)
            run = cls(directory, stored, held, keep)
            run._discard_uncommitted()
            return run

    @property
    def finished(self) -> bool:
        """Whether `finish` was called, in this session or an earlier one."""
        return self._state.finished

    @property
    def elapsed_s(self) -> float:
        """Seconds spent on this run: committed sessions before this one, plus this one."""
        return self._before_s + time.monotonic() - self._opened

    def done(self, stage: str) -> bool:
        """Whether a stage has finished."""
        return stage in self._state.done

    def pending(self, stages: Iterable[str]) -> list[str]:
        """The stages that have not finished yet, in the order given."""
        return [stage for stage in stages if not self.done(stage)]

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Name what runs now. Leaving the block without an exception marks the stage done: a commit.

        Raises:
            ValueError: the stage is done, another is running, or the name is not letters, digits, `.`, `_`, `-`.
        """
        if not _NAME.fullmatch(name):
            raise ValueError(f"a stage name is made of letters, digits, '.', '_' and '-', not {name!r}")
        if self._stage or self.done(name):
            raise ValueError(f"stage {name!r} cannot begin: it is done, or stage {self._stage!r} is still running")
        self._stage = name
        try:
            yield
            self._commit(done=(*self._state.done, name), checkpoints=self._kept(name, 1))
        finally:
            self._stage = ""

    def log(self, step: int, **numbers: Any) -> None:
        """Append one record `{"stage", "step", **numbers}` to metrics.jsonl, flushed to disk.

        NumPy and tensor scalars become numbers; NaN and infinities become null. Log a step before its checkpoint.

        Raises:
            ValueError: no stage is running.
            InputError: the directory is not writable or full.
        """
        self._require_stage()
        self.append(METRICS, [{"stage": self._stage, "step": step, **numbers}])

    def append(self, name: str, records: Iterable[Mapping[str, Any]]) -> None:
        """Append records to the JSON Lines file `name` of this run, flushed once; they count from the next commit on.

        Raises:
            InputError: the directory is not writable or full.
        """
        if not (_NAME.fullmatch(name) and name.endswith(".jsonl")):
            raise ValueError(f"an appended file is named <name>.jsonl, not {name!r}")
        payload = b"".join(dumps(plain(record)).encode() + b"\n" for record in records)
        path = self.directory / name
        with self._guard:
            if name not in self._state.lengths:
                self._save(replace(self._state, lengths={**self._state.lengths, name: 0}))
            with writing(path), path.open("ab") as out:
                out.write(payload)
                out.flush()
                os.fsync(out.fileno())

    def write_json(self, name: str, value: Any) -> None:
        """Write a whole JSON file of this run at once (tables.json, …); see `files.atomic_write`."""
        atomic_write(self.directory / name, json.dumps(plain(value), indent=2, ensure_ascii=False) + "\n")

    @contextlib.contextmanager
    def checkpoint(self, step: int) -> Iterator[Path]:
        """Give an empty directory to fill; leaving the block without an exception commits it together with all
        lines appended so far, and drops the stage's oldest checkpoints beyond `keep`.

        Raises:
            ValueError: no stage is running, or the step has its checkpoint already.
            InputError: the directory is not writable or full.
        """
        self._require_stage()
        key = (self._stage, step)
        if key in self._state.checkpoints:
            raise ValueError(f"stage {self._stage!r} already has a checkpoint of step {step}")
        final = self._path(key)
        partial = final.with_name(f".{final.name}.partial")
        with writing(partial):
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        try:
            yield partial
            with writing(final):
                for path in (*partial.rglob("*"), partial):
                    sync(path)
                shutil.rmtree(final, ignore_errors=True)
                partial.replace(final)
                sync(final.parent)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        self._commit(checkpoints=self._kept(self._stage, self._keep, key))

    def latest(self, stage: str | None = None) -> Checkpoint | None:
        """The newest committed checkpoint, of one stage or of all; None where there is none."""
        found = [pair for pair in self._state.checkpoints if stage is None or pair[0] == stage]
        return Checkpoint(*found[-1], self._path(found[-1])) if found else None

    def finish(self) -> None:
        """Mark the run finished: `find_resumable` no longer offers it."""
        self._commit(finished=True)

    def close(self) -> None:
        """Release the directory. Closing twice is allowed; lines after the last commit are discarded on resume."""
        unlock(self._lock)
        self._lock = -1

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _kept(self, stage: str, keep: int, *new: tuple[str, int]) -> tuple[tuple[str, int], ...]:
        """The committed checkpoints and `new`, with only the last `keep` of this stage, which come last."""
        others = [pair for pair in self._state.checkpoints if pair[0] != stage]
        mine = [pair for pair in self._state.checkpoints if pair[0] == stage]
        return (*others, *[*mine, *new][-max(keep, 1) :])

    def _path(self, key: tuple[str, int]) -> Path:
        return self.directory / "checkpoints" / f"{key[0]}-{key[1]:08d}"

    def _require_stage(self) -> None:
        if not self._stage:
            raise ValueError("no stage is running: use `with run.stage(name):`")

    def _commit(self, **changes: Any) -> None:
        with self._guard:
            lengths = {name: _size(self.directory / name) for name in self._state.lengths}
            self._save(replace(self._state, lengths=lengths, elapsed_s=round(self.elapsed_s, 3), **changes))
            self._drop_orphans()

    def _save(self, state: _State) -> None:
        atomic_write(self.directory / "state.json", dumps(vars(state)))
        self._state = state

    def _drop_orphans(self) -> None:
        """Remove checkpoint directories that the last commit does not name."""
        folder = self.directory / "checkpoints"
        known = {self._path(key) for key in self._state.checkpoints}
        for path in folder.iterdir() if folder.is_dir() else ():
            if path not in known:
                shutil.rmtree(path, ignore_errors=True)

    def _discard_uncommitted(self) -> None:
        for name, length in self._state.lengths.items():
            path = self.directory / name
            if _size(path) < length:
                raise InputError(
                    f"{path} is shorter than when the run was saved: restore it or start with another --out."
                )
            if path.exists():
                with writing(path):
                    os.truncate(path, length)
        for key in self._state.checkpoints:
            if not self._path(key).is_dir():
                raise InputError(f"the checkpoint {self._path(key)} is gone: restore it or start with another --out.")
        self._drop_orphans()


def start(
    root: Path, recipe: str, config: Mapping[str, Any], *, out: Path | None = None, resume: bool = False, keep: int = 2
) -> Run:
    """Create or resume a run as the command line promises.

    Without `resume` a new run begins in `out`, by default `<root>/<recipe>/<time>-<digest of config>`. With it the run
    in `out` goes on, or begins where `out` holds none yet; without `out`, the newest unfinished run of equal
    configuration goes on.

    Raises:
        InputError: `out` holds a run and `resume` is not set; or there is nothing to resume, in use, or unwritable.
        CheckpointMismatch: the run in `out` has another configuration.
    """
    home = root / recipe
    if not resume:
        return Run.create(out or _new_directory(home, config), config, keep=keep)
    if out is not None:
        return (
            Run.open(out, config, keep=keep) if (out / "config.json").is_file() else Run.create(out, config, keep=keep)
        )
    found = find_resumable(home, config)
    if found is None:
        raise InputError(
            f"{home} has no unfinished run of this configuration{_nearest(home, config)}: leave out --resume."
        )
    return Run.open(found, config, keep=keep)


def find_resumable(root: Path, config: Mapping[str, Any]) -> Path | None:
    """The newest unfinished run among the directories of `root` whose configuration equals `config`, or None."""
    equal = (path for path, stored in _unfinished(root) if not differing_fields(stored, config))
    return next(equal, None)


def differing_fields(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Dotted names of the fields in which two configurations differ, CIRCUMSTANCES aside, sorted."""
    return [name for name in differences(a, b) if name.split(".")[0] not in CIRCUMSTANCES]


def _unfinished(root: Path) -> list[tuple[Path, dict[str, Any]]]:
    """(directory, configuration) of each readable unfinished run directly under `root`, newest first."""
    found = []
    for path in root.glob("*/config.json"):
        with contextlib.suppress(InputError):
            if not _State.read(path.with_name("state.json")).finished:
                found.append((path.parent, read_json(path)))
    return sorted(found, key=lambda pair: (str(pair[1].get("created", "")), pair[0].name), reverse=True)


def _nearest(root: Path, config: Mapping[str, Any]) -> str:
    runs = _unfinished(root)
    if not runs:
        return ""
    path, stored = runs[0]
    return f" ({path.name} differs in {', '.join(differing_fields(stored, config))})"


def _write_config(directory: Path, config: Mapping[str, Any]) -> None:
    atomic_write(directory / "config.json", json.dumps(config, indent=2, ensure_ascii=False) + "\n")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _new_directory(home: Path, config: Mapping[str, Any]) -> Path:
    digest = hashlib.sha256(dumps({k: v for k, v in config.items() if k not in CIRCUMSTANCES}).encode()).hexdigest()
    name = f"{datetime.datetime.now(datetime.UTC):%Y%m%d-%H%M%S}-{digest[:6]}"
    numbered = (home / (name if i == 1 else f"{name}-{i}") for i in itertools.count(1))
    return next(path for path in numbered if not path.exists())


def _circumstances() -> dict[str, Any]:
    return {
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        "machine": machine(),
        "versions": versions(("consilience", "numpy", "scipy", "torch", "transformers")),
    }
