r"""Credentials that tell themselves: by their shape, or by the words right around them.

    ghp_…, AKIA…, sk-ant-…, a JSON web token                 SHAPES, by their first letters
    a private key, user:password@host, Authorization: …     CONTEXTS

Nothing is guessed from how random a text looks, so digests, UUIDs and images stay. Every pattern
begins with a literal that `in` finds fast, and takes linear time.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SHORTEST_SHAPE = 16  # characters that a text with one of SHAPES has at least
LONGEST = 8192  # characters of a value that is looked at closely

# Kind, literal start and what follows: the tokens that tell themselves by their first letters.
SHAPES = r"""
aws-access-key      AKIA|ASIA [A-Z0-9]{16}(?![A-Za-z0-9])
google-api-key      AIza [\w-]{35}(?![\w-])
google-token        ya29. [\w.-]{20,}
google-token        GOCSPX- [\w-]{20,}
azure-key           AccountKey (?:=|%3D)[A-Za-z0-9+/%]{40,}={0,2}
azure-key           SharedAccessKey (?:=|%3D)[A-Za-z0-9+/%]{32,}={0,2}
github-token        ghp_|gho_|ghu_|ghs_|ghr_ \w{30,}
github-token        github_pat_ \w{22,}
gitlab-token        glpat- [\w.-]{20,}
gitlab-token        gldt-|glrt-|glptt-|glcbt-|glft-|glsoat-|glagent- [\w.-]{20,}
slack-token         xox [abeoprs]-[\w-]{10,}
slack-token         xapp- \d-[\w-]{20,}
openai-key          sk- (?:[A-Za-z0-9]{32,}|(?:proj|svcacct|admin|or-v1|lf)-[\w-]{20,})
anthropic-key       sk-ant- [\w-]{20,}
huggingface-token   hf_ [A-Za-z0-9]{30,}
pypi-token          pypi- (?=[\w-]{0,64}\d)(?=[\w-]{0,64}[A-Z])[\w-]{32,}
npm-token           npm_ [A-Za-z0-9]{36}(?![A-Za-z0-9])
stripe-key          sk_|rk_ (?:live|test)_[A-Za-z0-9]{16,}
stripe-key          whsec_ [A-Za-z0-9+/]{24,}={0,2}
sendgrid-key        SG. [\w-]{16,32}\.[\w-]{16,64}
twilio-key          SK [0-9a-f]{32}(?![A-Za-z0-9])
databricks-token    dapi [0-9a-f]{32}(?:-\d+)?(?![A-Za-z0-9])
jwt                 eyJ [\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)+
neptune-token       eyJhcGlf [\w+/-]{40,}={0,2}
digitalocean-token  dop_v1_|doo_v1_|dor_v1_ [0-9a-f]{64}
vault-token         hvs.|hvb.|hvr. [\w-]{24,}
linear-key          lin_api_ [A-Za-z0-9]{32,}
notion-token        ntn_ [A-Za-z0-9]{40,}
grafana-token       glsa_ \w{32,}
grafana-token       glc_ [A-Za-z0-9+/]{32,}={0,2}
newrelic-key        NRAK- [A-Z0-9]{27}
shopify-token       shpat_|shpca_|shppa_|shpss_ [0-9a-fA-F]{32}
square-token        sq0 (?:atp|csp)-[\w-]{22,}
groq-key            gsk_ [A-Za-z0-9]{32,}
perplexity-key      pplx- [A-Za-z0-9]{32,}
replicate-token     r8_ [A-Za-z0-9]{37,}
xai-key             xai- [A-Za-z0-9]{40,}
nvidia-key          nvapi- [\w-]{40,}
langsmith-key       lsv2_ (?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{8,}
pinecone-key        pcsk_ \w{40,}
docker-token        dckr_pat_ [\w-]{20,}
figma-token         figd_ [\w-]{32,}
postman-key         PMAK- [0-9a-f]{24}-[0-9a-f]{34}
age-key             AGE-SECRET-KEY-1 [0-9A-Z]{58}
supabase-token      sbp_ [0-9a-f]{40}
planetscale-token   pscale_ (?:tkn|pw|oauth)_[\w.-]{32,}
prefect-token       pnu_|pnb_ [A-Za-z0-9]{36}
sentry-token        sntrys_|sntryu_ [\w+/=-]{40,}
kaggle-token        KGAT_ [0-9a-f]{32}
"""

# Kind, a literal that must occur, and a pattern whose group 1 is the secret (or all of it). Both
# are for text in small letters; CHECKS look at the text itself.
CONTEXTS = (
    ("url-password", "://", r"""://[^\s:/?\#"'@<>]*+:([^\s/"'<>]+)@(?!sha\d)"""),
    (
        "private-key",
        "private key",
        r"""(-----begin[ ][a-z0-9 ]{0,24}private[ ]key(?:[ ]block)?-----
            (?: (?:[a-z0-9+/=\s\\"',:.]|-(?!----))*+ -----end[ ][a-z0-9 ]{0,24}private[ ]key
                (?:[ ]block)?-----
            | (?:[\s"',]|\\[nr])*+ [a-z0-9+/]{16} (?:[a-z0-9+/=\s]|\\[nr])*+ ))""",
    ),
    ("authorization", "bearer", r"bearer\s{1,4}([\w.~+/-]{8,}={0,2})"),
    ("basic-authorization", "basic", r"basic\s{1,4}([a-z0-9+/]{6,}={0,2})"),
    (
        "password",
        "auth(",
        r"""(?:basic|digest)auth\(\s*(?:"[^"\n]*+"|'[^'\n]*+'|[\w.]++)\s*,\s*
            ["']([^"'\n]++)["']""",
    ),
    ("secret", "secret", r"""secret(?:str|bytes)\(\s*b?["']([^"'\n]++)["']"""),
    (
        "password",
        "curl",
        r"""curl\b[^\n]{0,150}?\s(?:-u|--user)[ =]{1,4}["']?[^\s:"']{1,64}+:([^\s"'{}$]+)""",
    ),
    ("azure-signature", "sig=", r"sig=(?<!\wsig=)([\w%+/-]{32,}={0,2})"),
    ("azure-secret", "q~", r"(?<![\w~.-])([\w~.]{3}\dq~[\w~.-]{31,34})(?![\w~.-])"),
    (
        "aws-secret-key",
        "aws",
        r"""aws[\w ]{0,24}["']?\s{0,4}[=:]\s{0,4}["']?([a-z0-9+/]{40})(?![a-z0-9+/=])""",
    ),
    (
        "aws-secret-key",
        "akia",
        r"""akia[a-z0-9]{16}[\s,:;|"']{1,8}([a-z0-9+/]{40})(?![a-z0-9+/=])""",
    ),
    ("webhook", "hooks.slack.com", r"hooks\.slack\.com/(?:services|workflows)/([\w/-]{20,})"),
    ("webhook", "/api/webhooks/", r"discord(?:app)?\.com/api/webhooks/\d+/([\w-]{40,})"),
    ("telegram-token", ":aa", r"(?<!\w)(\d{8,10}:aa[\w-]{32,36})(?![\w-])"),
    ("terraform-token", ".atlasv1.", r"(?<!\w)([a-z0-9]{14}\.atlasv1\.[\w-]{40,})"),
    (
        "kaggle-key",
        "username",
        r"""username["']\s*+:[^{}\n]{1,80}?["']key["']\s*+:\s*+["']([0-9a-f]{32})["']""",
    ),
)


# Texts that are no secret, whatever stands before them.
PLACEHOLDER = re.compile(
    r"""\[redacted:[a-z-]+\] | \{\{?[^{}"]*\}?\} | \$\{[^{}]*\} | \$\([^()]*\) | \$[A-Z_][A-Z0-9_]*
    | <[^<>]*> | %\(\w+\)s | %[srd] | \*+ | \.+ | env:\w+ | \[[A-Z]+\]
    | [\w-]{0,12}(?:\.{3}|…|[xX]{3,}|\*{3,})[\w-]{0,12}(?:\.{3})?
    | (?i:none|null|nil|true|false|yes|no|on|off|nan|undefined)""",
    re.VERBOSE,
)
NUMBER = re.compile(r"[+-]?(?:\d+|\d*\.\d*(?:e[+-]?\d+)?|\d+e[+-]?\d+|0x[0-9a-f]+)", re.IGNORECASE)
WORDS = re.compile(r"(?:[A-Z]?[a-z]{1,15}|[A-Z]{1,16})(?:[-_ .](?:[A-Z]?[a-z]{1,15}|[A-Z]{1,16}))?")
PATH = re.compile(
    r"(?:[~.]{0,2}/|[A-Za-z]:[\\/]|file:|sqlite:)[^\n]*"
    r"|[\w./-]+\.(?:json|pem|key|crt|cer|p12|pfx|txt|ya?ml|toml|env|ini|cfg|csv|parquet|py|ipynb)"
)
ORDINARY = re.compile(r"[\d.:T+Z -]+|[\w.-]+:\d{1,5}|https?://[^@?=]*")
CODE = re.compile(r"[A-Za-z]*+\d{0,2}(?:[_.]++[A-Za-z]*+\d{0,2})*+")
RUN = re.compile(r"[A-Za-z0-9+]{16,}")
DIGIT = re.compile(r"\d").search


class Span(NamedTuple):
    """Where a secret stands, from `start` to before `end`."""

    start: int
    end: int
    kind: str
    quote: str = ""  # what the marker needs around it to be a value where a number stood


def find_credentials(plain: str, small: str) -> Iterator[Span]:
    """The credentials in a text that is also given in small letters, character for character."""
    if len(plain) >= SHORTEST_SHAPE:
        for literal in {match[1] for match in _LITERALS.finditer("\n" + plain)}:
            for kind, pattern in _SHAPES[literal]:
                yield from (Span(*match.span(), kind) for match in pattern.finditer(plain))
    for kind, literal, pattern in _CONTEXTS:
        if literal in small:
            for match in pattern.finditer(small):
                span = Span(*match.span(1), kind)
                if CHECKS.get(kind, _is_filled)(plain[span.start : span.end]):
                    yield span


def is_ordinary(value: str) -> bool:
    """Whether a text says too much else to be looked for as a secret: a word, a path, a number."""
    short = value if len(value) <= LONGEST else ""
    forms = (NUMBER, PLACEHOLDER, WORDS, ORDINARY)
    return any(form.fullmatch(short) for form in forms) or is_path(short)


def is_path(word: str) -> bool:
    """Whether a text is a path or a file's name, and not a key that begins with a slash."""
    return PATH.fullmatch(word) is not None and not any(map(_is_mixed, RUN.findall(word)))


def _is_mixed(value: str) -> bool:
    """Whether capitals, small letters and digits occur, as in no digest."""
    return (
        any(map(str.isupper, value)) and any(map(str.islower, value)) and DIGIT(value) is not None
    )


def _is_filled(value: str) -> bool:
    return PLACEHOLDER.fullmatch(value[:LONGEST]) is None


def _is_random(value: str) -> bool:
    return CODE.fullmatch(value[:LONGEST]) is None


def _is_user_and_password(value: str) -> bool:
    """Whether a text is base64 of `user:password`."""
    try:
        text = base64.b64decode(value + "=" * (-len(value) % 4)).decode()
    except (binascii.Error, ValueError):
        return False
    return ":" in text and text.isprintable()


def _read_shapes() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """By a literal start that is no other's beginning: the kinds and patterns of SHAPES."""
    rows = [
        (literal, kind, rest)
        for kind, literals, rest in (line.split() for line in SHAPES.strip().splitlines())
        for literal in literals.split("|")
    ]
    shapes: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for literal, kind, rest in sorted(rows):
        start = next((known for known in shapes if literal.startswith(known)), literal)
        left = r"[\w-]" if literal in ("eyJ", "pypi-") else "[A-Za-z0-9]"
        word = re.escape(literal)
        # What goes before must end a word, as do `\\n` in JSON and `%3D` in a URL.
        edge = rf"(?:(?<!{left}{word})|(?<=\\[nrt]{word})|(?<=%[0-9A-F]{{2}}{word}))"
        shapes.setdefault(start, []).append((kind, re.compile(word + edge + rest, re.ASCII)))
    return shapes


def _branching(words: Iterable[str]) -> str:
    """A pattern for any of the words that tries one letter after the other."""
    branches: dict[str, list[str]] = {}
    for word in words:
        branches.setdefault(word[:1], []).append(word[1:])
    if "" in branches:
        return ""
    choices = [re.escape(letter) + _branching(rest) for letter, rest in branches.items()]
    return choices[0] if len(choices) == 1 else f"(?:{'|'.join(choices)})"


_SHAPES = _read_shapes()
_LITERALS = re.compile(rf"[^A-Za-z0-9](?:[nrt]|[0-9A-F]{{2}})?(?=({_branching(_SHAPES)}))")
_CONTEXTS = tuple(
    (kind, literal, re.compile(pattern, re.VERBOSE)) for kind, literal, pattern in CONTEXTS
)
CHECKS = {
    "authorization": _is_random,
    "basic-authorization": _is_user_and_password,
    "aws-secret-key": _is_mixed,
}
