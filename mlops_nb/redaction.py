"""Secrets out of everything that is kept: `[redacted:KIND]` stands where one stood.

Three things tell a secret:

    its shape     ghp_…, AKIA…, a private key, user:password@host    credentials.py
    its name      api_key = "…", {"password": "…"}, --token …        assignments.py
    its origin    the value of an environment variable so named      here

Every rule gives spans of the text; the spans are joined and replaced, all else stays byte for byte.
"""

from __future__ import annotations

import json
import os
import re
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING
from urllib.parse import quote

from mlops_nb.assignments import find_assigned, is_harmless, kind_of_name
from mlops_nb.credentials import WORDS, Span, find_credentials, is_ordinary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

ROUNDS = 8  # of redaction, until nothing is found: what a first round replaced may lay more open
SHORTEST = 8  # characters of an environment variable's value that is looked for
MARKER = re.compile(r"\[redacted:[a-z-]+\]")
COLOUR = re.compile(r"(?:\x1b|\\u001b|\\x1b)\[[0-9;]*m")


def redact_text(text: str, *, environ: Mapping[str, str] = os.environ) -> str:
    """The text with `[redacted:KIND]` for every secret, all else byte for byte; raises nothing.

    For free text: source, outputs, tracebacks, JSON, YAML, command lines. Plain assignments of a
    name or a call (`token = load()`) are code and stay.
    """
    for _ in range(ROUNDS):
        spans = list(_spans(text, environ))
        if not spans:
            break
        text = _replace(text, spans)
    return text


def redact_value(name: str, value: str, *, environ: Mapping[str, str] = os.environ) -> str:
    """The value of a param, tag or metric: redacted whole under a secret's name, else as text."""
    kind = kind_of_name(name)
    if not kind:
        return redact_text(value, environ=environ)
    return value if is_harmless(value, kind) else f"[redacted:{kind}]"


def is_secret_name(name: str) -> bool:
    """Whether a name says its value is a secret: `api_key`, `dbPassword`; not `num_tokens`."""
    return bool(kind_of_name(name))


def read_secrets(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The secrets in the environment, as they are and as they may be quoted, longest first."""
    found = set()
    for name, value in environ.items():
        if is_secret_name(name):
            found.add(value.strip())
        if "://" in value:
            found |= {value[s.start : s.end] for s in find_credentials(value, value.lower())}
    found = {v for v in found if len(v) >= SHORTEST and not is_ordinary(v) and "[redact" not in v}
    forms = {form for value in found for form in _forms(value)}
    return tuple(sorted(forms, key=lambda form: (-len(form), form)))


def _forms(value: str) -> Iterator[str]:
    yield value
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield repr(value)[1:-1]
    yield quote(value, safe="", errors="replace")


def _spans(text: str, environ: Mapping[str, str]) -> Iterator[Span]:
    """Where the secrets of a text are, in any order, also one within another."""
    coloured = "\x1b" in text or "\\u001b" in text or "\\x1b" in text
    plain, cuts = _without_colours(text) if coloured else (text, [])
    # The one letter whose small form is longer than itself would shift all that follows.
    small = plain.replace("\u0130", "I").lower()
    spans = [*find_credentials(plain, small), *find_assigned(plain, small)]
    spans += _known(plain, environ)
    if spans and "[redacted:" in plain:
        marks = [match.span() for match in MARKER.finditer(plain)]
        spans = [span for span in spans if not _cuts_a_marker(span, marks)]
    return (_uncut(span, cuts) for span in spans) if cuts else iter(spans)


def _replace(text: str, spans: Iterable[Span]) -> str:
    """The text with one marker for each stretch of spans that overlap; the first names it."""
    parts, done = [], 0
    for span in _joined(spans):
        parts += [text[done : span.start], f"{span.quote}[redacted:{span.kind}]{span.quote}"]
        done = span.end
    return "".join([*parts, text[done:]])


def _joined(spans: Iterable[Span]) -> list[Span]:
    joined: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        if joined and span.start < joined[-1].end:
            joined[-1] = joined[-1]._replace(end=max(span.end, joined[-1].end))
        else:
            joined.append(span)
    return joined


def _cuts_a_marker(span: Span, marks: list[tuple[int, int]]) -> bool:
    """Whether a span is a marker, lies in one or takes only a part of one."""
    first = bisect_right(marks, span.start, key=lambda mark: mark[1])
    last = bisect_left(marks, span.end, key=lambda mark: mark[0])
    met = marks[first:last]
    return bool(met) and (
        met[0][0] < span.start or span.end < met[-1][1] or met == [(span.start, span.end)]
    )


def _without_colours(text: str) -> tuple[str, list[tuple[int, int]]]:
    """The text a terminal shows, and per escape (its place there, characters left out so far)."""
    parts, cuts, done, gone = [], [], 0, 0
    for match in COLOUR.finditer(text):
        parts.append(text[done : match.start()])
        done, gone = match.end(), gone + len(match[0])
        cuts.append((done - gone, gone))
    return "".join([*parts, text[done:]]), cuts


def _uncut(span: Span, cuts: list[tuple[int, int]]) -> Span:
    """A span of the shown text in the text with its colours."""

    def place(at: int) -> int:
        before = bisect_right(cuts, at, key=lambda cut: cut[0])
        return at + (cuts[before - 1][1] if before else 0)

    return span._replace(start=place(span.start), end=place(span.end - 1) + 1)


def _known(plain: str, environ: Mapping[str, str]) -> Iterator[Span]:
    """The values of secret environment variables in a text; a word or two holds none."""
    if len(plain) < SHORTEST or (len(plain) < 64 and WORDS.fullmatch(plain)):
        return
    for secret in _secrets_now(environ):
        at = plain.find(secret)
        while at >= 0:
            yield Span(at, at + len(secret), "environment")
            at = plain.find(secret, at + len(secret))


def _secrets_now(environ: Mapping[str, str]) -> tuple[str, ...]:
    """`read_secrets`, read again only after a change."""
    # Reading os.environ decodes every variable; the bytes under it compare within a microsecond.
    data = getattr(environ, "_data", environ)
    seen, secrets = _latest[0]
    if data != seen:
        seen = dict(data)
        secrets = read_secrets({os.fsdecode(name): os.fsdecode(seen[name]) for name in seen})
        _latest[0] = (seen, secrets)
    return secrets


_latest: list[tuple[dict[str, str], tuple[str, ...]]] = [({}, ())]
