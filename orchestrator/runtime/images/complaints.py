"""What skopeo says when it fails, without what its log puts around it. Pure."""

from __future__ import annotations

import re

MAX_LENGTH = 500

_FATAL = re.compile(r'level=(?:fatal|error) msg="((?:[^"\\]|\\.)*)"')
_OPENINGS = re.compile(
    r'^(?:Error parsing image name "[^"]*": '
    r"|Error retrieving manifest for image: "
    r"|[Ii]nitializing source docker://\S+: "
    r"|copying image \d+/\d+ from manifest list: )+"
)


def registry_words(said: str) -> str:
    """The last complaint in what skopeo has written to standard error, as one line."""
    found = _FATAL.findall(said)
    lines = said.strip().splitlines()
    told = _unquoted(found[-1]) if found else (lines[-1] if lines else "")
    words = " ".join(_OPENINGS.sub("", told).split()) or "skopeo failed without a word"
    words = _once(words)
    return words if len(words) <= MAX_LENGTH else f"{words[: MAX_LENGTH - 3]}..."


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", lambda found: " " if found[1] in "nrt" else found[1], text)


def _once(words: str) -> str:
    """`manifest unknown: manifest unknown` is said once."""
    parts = words.split(": ")
    return ": ".join(
        part for index, part in enumerate(parts) if index == 0 or part != parts[index - 1]
    )
