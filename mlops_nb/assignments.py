r"""Secrets by their names: which names are a secret's, and where a text gives one its value.

    api_key = "…"    connect(password="…")    os.environ["X_TOKEN"] = "…"      in source
    {"password": "…"}    password: …    X_TOKEN=…    ;Password=…;              in data
    --password=…    -p token …    ?token=…                                    on command lines

A name counts by whole words and by what it ends in: `dbPassword` and `api_key_2`, but neither
`num_tokens` nor `password_length` nor `author`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from mlops_nb.credentials import CODE, DIGIT, LONGEST, NUMBER, PLACEHOLDER, RUN, Span, is_path

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_NAME = 128  # characters at a name's end that are looked at
MOST_STRINGS = 50  # of a list or tuple under one name
SHORTEST = 8  # digits of a number that is a key

# One of these is in every secret-looking name; what such a name ends in tells its kind.
STEMS = ("pass", "pwd", "secret", "token", "key", "auth", "bearer", "cred", "dsn", "conn", "jwt")
ENDING = re.compile(
    r"""(?:^|_)(?:
      (?P<password> [a-z]*passwords? | [a-z]*passwd | passphrases? | passcode | (?!old)[a-z]*pwd
        | (?:db|user|smtp|mail|email|ssh|ftp|admin|root|mysql|pg|postgres|my|login|sudo|redis|mongo
            |proxy)_?pass )
    | (?P<api_key> api_?keys? | [a-z]*apikey
        | (?:openai|anthropic|azure|aws|stripe|sendgrid|twilio|wandb|huggingface|hf|cohere|mistral
            |kaggle|datadog|neptune|comet|groq|gemini|pinecone)_key )
    | (?P<private_key> (?:ssh_|rsa_|tls_|ssl_)?private_?keys? )
    | (?P<secret_key> (?:secret|access|auth|encryption|signing|master|storage|subscription|shared
        |fernet|hmac)_?keys? | secret_key_base )
    | (?P<secret> secrets? | [a-z]*clientsecret )
    | (?P<token> token | (?:access|api|auth|bearer|refresh|session)_?tokens | jwt
        | [a-z]*(?:access|api|auth|oauth|bearer|refresh|session|github|gitlab|hf)token )
    | (?P<authorization> auth | authorization | bearer )
    | (?P<credentials> credentials? | creds? )
    | (?P<connection_string> dsn | conn(?:ection)?_?str(?:ing)? )
    )$""",
    re.VERBOSE,
)
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[A-Z]|\d+")
TAIL = re.compile(
    r"""value|val|plain|plaintext|raw|b64|base|encoded|prod|production|dev|test|staging
    |live|old|new|current|backup|secondary|default|local""",
    re.VERBOSE,
)
# Before a secret's name these make it a count, a switch or a state.
SWITCH = re.compile(
    r"""n|num|number|count|max|min|total|avg|mean|sum|len|size|is|has|have|use|uses|no|not|with
    |without|enabled?|disable|requires?|required|allow|show|hide|include|exclude|skip|check|verify
    |validate|per|missing|wrong|invalid|valid|forgot|reset""",
    re.VERBOSE,
)
# Before `token` these make it a piece of text or of a page.
PIECE = re.compile(
    r"""pad|eos|bos|cls|sep|mask|unk|bot|eot|boi|eoi|fim|image|special|next|prev|previous|start|end
    |stop|first|last|word|sub|text|input|output|prompt|completion|cached|audio|vision|video|patch
    |class|reg|register|query|latent|dist|blank|newline|space|page|continuation|per|any|each
    |current""",
    re.VERBOSE,
)
VAGUE = ("token", "authorization", "credentials", "connection-string")

# The rest of a name that holds a stem, and what stands between a name and its value.
AFTER = r"""[\w-]{0,48}+ (?P<close>\\{0,3}["'] [ ]{0,3} \]?)?+
    (?P<sign> [ \t]{0,20}+ :[ ]{0,4}[a-z_][\w.\[\]|,]{0,48}(?:[ ]\|[ ]\w{1,24})?[ ]{0,4}
              =(?=[ ]{0,4}[rbf]?["'(\[]) [ ]{0,4}
            | [ \t]{0,20}+ [!:]?={1,2}(?!=)>? [ \t]{0,20}+
            | \s{0,20}+ (?: ,?\s{0,20}+\\{0,3}["']?value\\{0,3}["']?[ ]{0,4}[:=] | : | , )
              \s{0,80}+ )"""
OPTIONS = (
    ("--", r"--([a-z][\w-]{2,48}+)(?:[\"']\s{0,4},\s{0,20}|=|[ \t]{1,8})"),
    ("-p", r"-p(?<![\w-]-p)[ \t]{1,8}([\w-]{3,64}+)[ \t]{1,8}"),
    ("-r", r"-r(?<![\w-]-r)[ \t]{1,8}([\w-]{3,64}+)[ \t]{1,8}"),
    ("%env", r"%env[ \t]{1,8}([\w-]{3,64}+)(?:=|[ \t]{1,8})"),
)
SHELL = re.compile(r"(?:^|[\s!])(?:export|set|-e|-t|tag|env|arg|--env|--build-arg)\s+[\"']?$")

OPENING = re.compile(
    r"""(?P<bracket>[\[(]\s{0,40})?(?P<prefix>[rbfu]{0,2})(?P<quote>\\{0,3}(?:\"{3}|'{3}|["'`]))"""
)
NEXT = re.compile(r"""\s{0,40},?\s{0,40}(?P<prefix>[rbfu]{0,2})(?P<quote>\\{0,3}["'])""")
CLOSING = {
    quote: re.compile(rf"(?:[^{quote}\\\n]|\\[^\n])*+(?P<end>{quote})?")
    for quote in ("'", '"', "`")
}
SCHEME = re.compile(r"(?:bearer|basic|token|digest|apikey|bot)[ ]{1,4}")
# A bare value: what is looked at, by manner, and what goes with it if it is longer.
_CODE_VALUE = re.compile(r"""[^\s"'`\\,;&<>(){}\[\]]{1,512}""")
BARE = {
    "code": _CODE_VALUE,
    "dict": _CODE_VALUE,
    "shell": re.compile(r"""[^\s"'`;&|<>\[]{1,512}"""),
    "line": re.compile(r"""(?![&*!|>%@#])[^\s"'`{}\[\]][^\s"'`]*+(?=[ \t]*(?:#[^\n]*)?(?:\n|$))"""),
}
LONGER = re.compile(r"""[^\s"'`;&|<>\[\]{}(),\\]*+""")
# What a text goes on with after a string's end, if its quote was taken for a beginning.
AFTER_STRING = re.compile(r"[\s,)\]};:]|\+\s|\+[a-zA-Z_.()\[\]]*\+?$")
LINE_START = re.compile(r"(?:^|\n)[ \t-]*$")
LINKS = ("?", "&", ";", "--")
CALLED = re.compile(r"\(\s*\\{0,3}[\"']$")
TYPE = re.compile(r"str|string|text|object|bytes|int|integer|bool|boolean|float|any")
PROSE = re.compile(r"is|to|and|or|for|the|an?|option|flag|must|if|in|as|with|of|from")
PHRASE = re.compile(r"[A-Za-z]{1,20}(?:[-_ .:]{1,2}[A-Za-z]{1,20})*[-_ .:]?")
OPTION = re.compile(r"--?[a-z][a-z-]*(?:=.*)?|\$\w+")
CALL = re.compile(r"[\w.]+[\[(].*[\])]")
VARIABLE = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")


class Named(NamedTuple):
    """A secret's name before its value."""

    kind: str
    manner: str  # how the value follows, see `_manner`
    alone: bool = False  # the name is one vague word, such as token, that means text as well


@lru_cache(maxsize=4096)
def kind_of_name(name: str) -> str:
    """The kind of secret a name announces, `api-key` for `OPENAI_API_KEY`, or nothing."""
    words = _words_of(name)
    if len(words) > 1 and SWITCH.fullmatch(words[0]):
        return ""
    while words:
        match = ENDING.search("_".join(words))
        if match and match.lastgroup:
            text = words[-1] == "token" and words[-2:-1] and PIECE.fullmatch(words[-2])
            return "" if text else match.lastgroup.replace("_", "-")
        if not TAIL.fullmatch(words.pop()):
            break
    return ""


def _words_of(name: str) -> list[str]:
    """The words in small letters of a name's last part: `db.userPassword2` as user, password."""
    last = re.split(r"[./:]", name[-LONGEST_NAME:])[-1]
    return [word.lower() for word in WORD.findall(last) if not word.isdigit()]


def find_assigned(plain: str, small: str) -> Iterator[Span]:
    """The values under secret names in a text that is also given in small letters."""
    stems = [stem for stem in STEMS if stem in small]
    for stem in stems:
        yield from _under_names(plain, small, stem)
    for literal, pattern in _OPTIONS if stems else ():
        if literal in small:
            yield from _under_options(plain, small, pattern)


def _under_names(plain: str, small: str, stem: str) -> Iterator[Span]:
    at, done = small.find(stem), 0
    while at >= 0:
        # What lies in a value that goes is not looked at again: many would take for ever.
        if at >= done and (match := _AFTER.match(small, at + len(stem))):
            for span in _assigned(plain, small, at, match):
                done = span.end
                yield span
        at = small.find(stem, at + 1)


def _under_options(plain: str, small: str, pattern: re.Pattern[str]) -> Iterator[Span]:
    done = 0
    for match in pattern.finditer(small):
        if match.start() >= done and (kind := kind_of_name(plain[slice(*match.span(1))])):
            manner = "string" if "," in match[0] else "shell"
            for span in _value(plain, small, match.end(), Named(kind, manner)):
                done = span.end
                yield span


def _assigned(plain: str, small: str, start: int, match: re.Match[str]) -> Iterator[Span]:
    """The spans of the values after a name with a stem at `start`, if it is a secret's name."""
    low = max(start - 64, 0)
    while start > low and (plain[start - 1].isalnum() or plain[start - 1] in "_-"):
        start -= 1
    name = plain[start : match.start("close" if match["close"] else "sign")]
    if kind := kind_of_name(name):
        manner = _manner(plain, small[max(start - 16, 0) : start], name, match)
        alone = kind in VAGUE and "_" not in name and name[1:].islower()
        yield from _value(plain, small, match.end(), Named(kind, manner, alone))


def _manner(plain: str, before: str, name: str, match: re.Match[str]) -> str:
    """How a value follows its name.

    "pair", "string": only a quoted one counts. "dict", "line" (YAML), "code": a bare one, too, if
    it is no code. "shell": whatever stands there. Empty: no value follows.
    """
    sign, closed = match["sign"].strip(), bool(match["close"])
    if sign == ",":
        return "pair" if closed and CALLED.search(before) else ""
    if "\n" in match["sign"]:
        return ("string" if closed else "line") if "value" in sign else ""
    if closed:
        return "dict"
    if sign in ("==", "!=", ":="):
        return "string"
    lone = LINE_START.search(before) is not None if len(before) < 16 or "\n" in before else False
    if sign == "=":
        tight = plain[match.start("sign")] == "=" and not plain[match.end() - 1].isspace()
        if before.endswith(LINKS) or SHELL.search(before) or (lone and tight and name.isupper()):
            return "shell"
    return "line" if lone and sign == ":" else "code"


def _value(plain: str, small: str, at: int, named: Named) -> Iterator[Span]:
    if not named.manner:
        return
    if opening := OPENING.match(small, at):
        yield from _quoted(plain, small, opening, named)
    elif named.manner not in ("pair", "string"):
        yield from _bare(plain, small, at, named)


def _quoted(plain: str, small: str, opening: re.Match[str], named: Named) -> Iterator[Span]:
    """The strings from an opening quote on: one, or all of a list or tuple."""
    match: re.Match[str] | None = opening
    for _ in range(MOST_STRINGS):
        if match is None:
            return
        start = match.end()
        end, closed = _closing(small, start, match["quote"])
        value = plain[start:end]
        formatted = "f" in match["prefix"] and "{" in value
        if not formatted and not _is_kept(value, named):
            yield Span(start, end, named.kind)
        if not closed or not opening["bracket"]:
            return
        match = NEXT.match(small, end + len(match["quote"]))


def _closing(small: str, start: int, mark: str) -> tuple[int, bool]:
    """Where a string that began before `start` ends, and whether its closing quote is there."""
    if mark in CLOSING:
        match = CLOSING[mark].match(small, start)
        assert match is not None  # it matches nothing, too
        return (match.start("end"), True) if match["end"] else (match.end(), False)
    limit = len(small) if mark in ('"""', "'''") else small.find("\n", start, start + LONGEST)
    limit = limit if limit >= 0 else min(start + LONGEST, len(small))
    end = small.find(mark, start, limit)
    return (end, True) if end >= 0 else (limit, False)


def _bare(plain: str, small: str, at: int, named: Named) -> Iterator[Span]:
    """The span of a value without quotes."""
    scheme = SCHEME.match(small, at) if named.kind == "authorization" else None
    match = BARE[named.manner].match(plain, scheme.end() if scheme else at)
    if match is None:
        return
    value = match[0].rstrip(":,.")[:LONGEST]
    word = scheme is None and _is_word(value, named)
    if word or is_harmless(value, named.kind) or OPTION.fullmatch(value):
        return
    number = NUMBER.fullmatch(value) is not None
    following = plain[match.end() : match.end() + 1]
    if not (scheme or number or named.manner == "shell") and _is_code(value, following, named):
        return
    mark = '"' if number and named.manner in ("dict", "code") else ""
    rest = LONGER.match(plain, match.end()) if match.end() - match.start() == 512 else None
    yield Span(match.start(), rest.end() if rest else match.start() + len(value), named.kind, mark)


def _is_word(value: str, named: Named) -> bool:
    """Whether a value is but a word of prose, a type, or the method of an authorization."""
    word = value.lower()
    if TYPE.fullmatch(word) or PROSE.fullmatch(word) or not any(map(str.isalnum, word)):
        return True
    return named.kind == "authorization" and PHRASE.fullmatch(value) is not None


def _is_code(value: str, following: str, named: Named) -> bool:
    """Whether a bare value is a name, a call or a type instead of a value."""
    if (following and following in "([") or CALL.fullmatch(value):
        return True
    if CODE.fullmatch(value) is None:
        return False
    if named.manner != "line" or named.alone:
        return True
    # In YAML, `hunter2` and, as a password, `hunter`; in a class body `Token` and `api.Token`.
    word = value.isalpha() and value.islower() and named.kind == "password"
    return not (word or (value.isalnum() and not value.isalpha()))


def _is_kept(value: str, named: Named) -> bool:
    """Whether a string under a secret's name is none itself."""
    if is_harmless(value, named.kind):
        return True
    if named.manner == "string" and value.startswith("-"):
        return True  # of a list of options
    if named.manner not in ("dict", "pair") and AFTER_STRING.match(value):
        return True  # the quote closed a string: print("password:", given)
    if named.manner == "shell":
        return False
    if named.manner == "pair" and PHRASE.fullmatch(value):
        return True
    return (
        _is_word(value.strip(), named)
        or _names_a_secret(value, named)
        or (named.alone and DIGIT(value) is None and (" " in value or RUN.search(value) is None))
    )


def _names_a_secret(value: str, named: Named) -> bool:
    """Whether a string says where a secret is: `OPENAI_API_KEY`, or only `api_key` again."""
    if VARIABLE.fullmatch(value):
        return bool(kind_of_name(value))
    match = ENDING.fullmatch(value.lower().replace("-", "_"))
    return match is not None and (match.lastgroup or "").replace("_", "-") == named.kind


def is_harmless(value: str, kind: str) -> bool:
    """Whether a value is no secret under any name: nothing, a switch, a small number, a path."""
    word = value.strip()
    if not word or len(word) > LONGEST:
        return not word
    if NUMBER.fullmatch(word):
        return not word.isdigit() or len(word) < (4 if kind == "password" else SHORTEST)
    if PLACEHOLDER.fullmatch(word):
        return True
    return is_path(word) and (kind != "password" or word.count("/") > 1)


_AFTER = re.compile(AFTER, re.VERBOSE)
_OPTIONS = tuple((literal, re.compile(pattern)) for literal, pattern in OPTIONS)
