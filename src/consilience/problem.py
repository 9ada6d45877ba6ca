"""What is asked: content parts (text, image, audio) and a problem whose truth is known.

Every class is frozen and round-trips through JSON (`to_json` / `from_json`). Media travel as base64 of a
lossless file format, so that a digest names the same bytes on every machine.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import wave
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from PIL import Image as PILImage

from consilience.errors import InputError

AnswerType = Literal["integer", "decimal", "fraction", "choice", "string", "box", "point", "boxes"]
Modality = Literal["text", "image", "audio"]


@dataclass(frozen=True)
class Text:
    """Plain text shown to the policy."""

    text: str

    def to_json(self) -> dict[str, Any]:
        return {"type": "text", "text": self.text}


@dataclass(frozen=True, eq=False)
class Image:
    """A picture. pixels: uint8, (H, W) grey or (H, W, 3) RGB; made read-only."""

    pixels: np.ndarray

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if self.pixels.dtype != np.uint8 or not (len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)):
            raise InputError(f"an image needs uint8 pixels (H, W) or (H, W, 3), not {self.pixels.dtype} {shape}.")
        self.pixels.setflags(write=False)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(repr(self.pixels.shape).encode() + self.pixels.tobytes()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Image) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def png(self) -> bytes:
        """The picture as PNG bytes."""
        buffer = io.BytesIO()
        PILImage.fromarray(self.pixels).save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()

    @classmethod
    def decode(cls, data: bytes, name: str = "image") -> Image:
        """Decode a PNG, JPEG or other file Pillow reads; `name` is used in the error sentence.

        Raises:
            InputError: the bytes are no readable picture.
        """
        try:
            picture = PILImage.open(io.BytesIO(data))
            picture.load()
        except Exception as error:  # Pillow raises many types for broken files
            raise InputError(f"{name} is not a readable picture ({error}).") from None
        return cls(np.array(picture if picture.mode == "L" else picture.convert("RGB")))

    def to_json(self) -> dict[str, Any]:
        return {"type": "image", "png": base64.b64encode(self.png()).decode()}


@dataclass(frozen=True, eq=False)
class Audio:
    """A mono sound. samples: int16 (T,); rate in Hz."""

    samples: np.ndarray
    rate: int

    def __post_init__(self) -> None:
        if self.samples.dtype != np.int16 or self.samples.ndim != 1:
            raise InputError(f"audio needs int16 samples (T,), not {self.samples.dtype} {self.samples.shape}.")
        if self.rate <= 0:
            raise InputError(f"audio needs a positive sample rate, not {self.rate}.")
        self.samples.setflags(write=False)

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(str(self.rate).encode() + self.samples.tobytes()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Audio) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def wav(self) -> bytes:
        """The sound as 16-bit PCM WAV bytes."""
        buffer = io.BytesIO()
        with wave.open(buffer, "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(self.rate)
            out.writeframes(self.samples.astype("<i2").tobytes())
        return buffer.getvalue()

    @classmethod
    def decode(cls, data: bytes, name: str = "audio") -> Audio:
        """Decode 16-bit PCM WAV; several channels are averaged.

        Raises:
            InputError: the bytes are no readable 16-bit WAV.
        """
        try:
            with wave.open(io.BytesIO(data)) as source:
                if source.getsampwidth() != 2:
                    raise InputError(f"{name} must be 16-bit PCM, not {8 * source.getsampwidth()}-bit.")
                frames = np.frombuffer(source.readframes(source.getnframes()), "<i2")
                channels, rate = source.getnchannels(), source.getframerate()
        except (wave.Error, EOFError) as error:
            raise InputError(f"{name} is not a readable WAV file ({error}).") from None
        if channels > 1:
            frames = frames.reshape(-1, channels).mean(axis=1)
        return cls(frames.astype(np.int16), rate)

    def to_json(self) -> dict[str, Any]:
        return {"type": "audio", "wav": base64.b64encode(self.wav()).decode()}


Part = Text | Image | Audio


def part_from_json(data: Mapping[str, Any]) -> Part:
    """Inverse of the parts' `to_json`.

    Raises:
        InputError: the part's type is unknown or its payload is missing.
    """
    try:
        match data["type"]:
            case "text":
                return Text(data["text"])
            case "image":
                return Image.decode(base64.b64decode(data["png"]))
            case "audio":
                return Audio.decode(base64.b64decode(data["wav"]))
    except KeyError as error:
        raise InputError(f"a content part lacks the field {error}.") from None
    raise InputError(f"unknown content part type {data['type']!r}: text, image and audio are known.")


@dataclass(frozen=True)
class Message:
    """One chat turn. role is "system", "user" or "assistant"."""

    role: str
    parts: tuple[Part, ...]

    @classmethod
    def user(cls, *parts: Part | str) -> Message:
        return cls("user", tuple(Text(p) if isinstance(p, str) else p for p in parts))

    @property
    def text(self) -> str:
        """All text parts, joined by newlines."""
        return "\n".join(p.text for p in self.parts if isinstance(p, Text))

    def to_json(self) -> dict[str, Any]:
        return {"role": self.role, "parts": [p.to_json() for p in self.parts]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Message:
        return cls(data["role"], tuple(part_from_json(p) for p in data["parts"]))


@dataclass(frozen=True)
class Evidence:
    """Where an answer comes from. boxes: (x1, y1, x2, y2) and points: (x, y), in pixels of the picture, or
    seconds on the x axis for sound; ids name objects of the scene (also in a text scene)."""

    ids: tuple[str, ...] = ()
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    points: tuple[tuple[float, float], ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {"ids": list(self.ids), "boxes": [list(b) for b in self.boxes], "points": [list(p) for p in self.points]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Evidence:
        boxes = tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in data.get("boxes", ()))
        points = tuple((float(x), float(y)) for x, y in data.get("points", ()))
        return cls(tuple(data.get("ids", ())), boxes, points)


@dataclass(frozen=True)
class Problem:
    """A question whose truth is known.

    `truth` is the world's own record (scene graph, program, level, …): plain JSON, never shown to a policy.
    `demonstration` is a worked solution in the house format `reasoning</think>answer`, or empty.
    """

    id: str
    world: str
    task: str
    modality: Modality
    prompt: tuple[Part, ...]
    answer: str
    answer_type: AnswerType
    evidence: Evidence = Evidence()
    demonstration: str = ""
    split: str = "train"
    seed: int = 0
    truth: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def question(self) -> str:
        """The prompt's text parts, joined by newlines."""
        return self.messages[0].text

    @property
    def messages(self) -> tuple[Message, ...]:
        return (Message("user", self.prompt),)

    @property
    def images(self) -> tuple[Image, ...]:
        return tuple(p for p in self.prompt if isinstance(p, Image))

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "world": self.world,
            "task": self.task,
            "modality": self.modality,
            "prompt": [p.to_json() for p in self.prompt],
            "answer": self.answer,
            "answer_type": self.answer_type,
            "evidence": self.evidence.to_json(),
            "demonstration": self.demonstration,
            "split": self.split,
            "seed": self.seed,
            "truth": dict(self.truth),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Problem:
        fields = dict(data)
        fields["prompt"] = tuple(part_from_json(p) for p in data["prompt"])
        fields["evidence"] = Evidence.from_json(data.get("evidence", {}))
        try:
            return cls(**fields)
        except TypeError as error:
            raise InputError(f"a problem record has wrong fields ({error}).") from None


def dumps(value: Any) -> str:
    """Canonical JSON: sorted keys, no spaces, no NaN; the form that hashes and files use."""
    return _encode(value)


_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
