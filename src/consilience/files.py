"""Files written whole or not at all, and JSON read with errors a person can act on."""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from consilience.errors import InputError


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an operating system error inside the block into a sentence about `path`.

    Raises:
        InputError: the block raised OSError (no permission, no space, a file where a directory belongs, …).
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"cannot write {path} ({reason}): choose a writable place with free space.") from None


def atomic_write(path: Path, data: str | bytes) -> None:
    """Write a file under a temporary name beside it, flush it to disk, then rename: readers see old or new, never half.

    Missing parent directories are made. Text is written as UTF-8.

    Raises:
        InputError: the place is not writable or full.
    """
    payload = data.encode() if isinstance(data, str) else data
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as out:
                out.write(payload)
                out.flush()
                os.fsync(out.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync(path.parent)


def sync(path: Path) -> None:
    """Flush a file, or the entries of a directory, so that it outlives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: Path) -> Any:
    """A whole JSON file.

    Raises:
        InputError: the file is missing, unreadable or not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.") from None
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}).") from None
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON ({error}).") from None


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a JSON Lines file. An unfinished last line, as a killed writer leaves it, is skipped.

    Raises:
        InputError: the file is missing, or a finished line is no JSON object.
    """
    try:
        source = path.open("rb")
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}).") from None
    with source:
        for number, line in enumerate(source, 1):
            if not line.endswith(b"\n"):
                return
            try:
                record = json.loads(line)
            except ValueError:
                record = None
            if not isinstance(record, dict):
                raise InputError(f"{path}, line {number} is no JSON object.")
            yield record


def plain(value: Any) -> Any:
    """The value as strict JSON can hold it: NumPy and tensor scalars as numbers, arrays as lists, NaN and infinities
    as None, mappings with string keys."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Dotted names of the fields in which two nested JSON-able mappings differ, sorted; tuples equal lists."""
    flat_a, flat_b = _flatten(plain(a)), _flatten(plain(b))
    missing = object()
    return sorted(
        name for name in flat_a.keys() | flat_b.keys() if flat_a.get(name, missing) != flat_b.get(name, missing)
    )


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    if not (isinstance(value, dict) and value):
        return {prefix: value} if prefix else {}
    return {
        k: v for key, item in value.items() for k, v in _flatten(item, f"{prefix}.{key}" if prefix else key).items()
    }


_HELD: set[int] = set()


def lock(directory: Path) -> int:
    """Lock a directory for this holder alone; the kernel lets go when the process ends, however it ends.

    Returns:
        A handle for `unlock`.

    Raises:
        InputError: another process, or another holder in this one, has it; or the directory is not writable.
    """
    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
        handle = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise InputError(
            f"{directory} is in use by another run: wait for it, stop it, or choose another --out."
        ) from None
    _HELD.add(handle)
    return handle


def unlock(handle: int) -> None:
    """Release a lock; a handle that is not held (any more) is ignored."""
    if handle in _HELD:
        _HELD.discard(handle)
        os.close(handle)


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[int]:
    """A lock that outlives the block, unless the block fails; see `lock`."""
    held = lock(directory)
    try:
        yield held
    except BaseException:
        unlock(held)
        raise


def _drop_inherited_locks() -> None:
    """A forked worker must not keep its parent's lock alive after the parent was killed."""
    for handle in tuple(_HELD):
        unlock(handle)


os.register_at_fork(after_in_child=_drop_inherited_locks)
