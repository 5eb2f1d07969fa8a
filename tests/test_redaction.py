from __future__ import annotations

import inspect
import json
import os
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings, strategies as st
from redaction_corpus import ordinary, secrets, sinks

from mlops_nb.redaction import is_secret_name, read_secrets, redact_text, redact_value

if TYPE_CHECKING:
    from collections.abc import Callable

NONE: dict[str, str] = {}  # an environment without secrets
CORPUS = secrets()
FORMS = sorted(sinks(CORPUS[0]))
KEY = "Zk3" + "xQ9w" * 5  # of no known shape
PARTS = (
    *("password", "api_key", "token", "auth", "dsn", " = ", "=", ": ", ":", '"', "'", '\\"', "("),
    *("://", "u:p4ss@h", "[redacted:token]", "[redacted:", "]", "\n", "\x1b[33m", "--", "-p "),
    *("Bearer ", "Basic ", "gh" + "p_", KEY, KEY[:9], ",", "\u0130", "-----BEGIN PRIVATE KEY-----"),
)
SECRET_NAMES = """
    api_key apikey APIKey secret password passwd pwd token access_token private_key credential jwt
    credentials auth bearer connection_string dsn X_TOKEN OPENAI_API_KEY dbPassword clientSecret
    aws_secret_access_key password2 api_key_prod model.api_key svc__password PGPASSWORD auth_tokens
    x-api-key db_pass GITHUB_TOKEN hfToken SECRET_KEY_BASE AZURE_STORAGE_CONNECTION_STRING
    connectionString Authorization"""
ORDINARY_NAMES = """
    num_tokens max_tokens tokenizer use_cls_token token_count pad_token_id key keys primary_key x
    sort_key author authority secretary password_length n_secrets tokens eos_token public_key
    keyboard compass bypass passengers token_pattern useAuth has_password api_key_file secret_name
    time_per_token next_page_token auth_method connection dsn_name AWS_ACCESS_KEY_ID monkey
    password_hash_rounds"""


def test_the_corpus_has_three_hundred_secrets_of_thirty_kinds() -> None:
    assert len(CORPUS) >= 300
    assert len({secret.kind for secret in CORPUS}) >= 30
    assert len({secret.text for secret in CORPUS}) == len(CORPUS)


@pytest.mark.parametrize("form", FORMS)
def test_secrets_are_gone_from_every_sink(form: str) -> None:
    left = Counter[str]()
    for secret in CORPUS:
        text = sinks(secret)[form]
        assert all(_holds(text, part) for part in secret.parts), text
        redacted = redact_text(text, environ=NONE)
        left[secret.kind] += any(_holds(redacted, part) for part in secret.parts)
    missed = left.total()
    print(f"{form}: recall {1 - missed / len(CORPUS):.4f} of {len(CORPUS)}; left: {+left}")
    assert missed <= len(CORPUS) * 0.01, +left


def _holds(text: str, part: str) -> bool:
    """Whether a part of a secret stands in a text, as it is or as a URL or JSON writes it."""
    forms = {part, quote(part, safe=""), quote(quote(part, safe=""), safe="")}
    return any(form in text for form in forms | {json.dumps(part)[1:-1], repr(part)[1:-1]})


@pytest.mark.parametrize("before", ["\\n", "%3D", "=", ">", "\x1b[33m", "(", "-", " ", "_"])
def test_a_token_begins_after_an_escape_or_a_mark_but_not_in_a_word(before: str) -> None:
    token = "gh" + "p_" + KEY + KEY[:10]
    assert redact_text(before + token, environ=NONE) == f"{before}[redacted:github-token]"
    assert redact_text("x" + token, environ=NONE) == "x" + token


def test_params_of_secret_names_are_gone() -> None:
    values = {s.name: redact_value(s.name, s.text, environ=NONE) for s in CORPUS if s.name}
    assert len(values) >= 6
    assert all(value.startswith("[redacted:") for value in values.values())


def test_ordinary_params_stay() -> None:
    pairs = list(ordinary())
    changed = [(n, v) for n, v in pairs if redact_value(n, v, environ=NONE) != v]
    named = sorted({name for name, _ in pairs if is_secret_name(name)})
    print(f"params: {len(changed)} of {len(pairs)} changed; secret names: {named}")
    assert len(pairs) == 10_000
    assert len(changed) <= len(pairs) * 0.005, changed[:20]


@pytest.mark.parametrize("template", ["{0} = {1!r}", "f({0}={1!r})", "{0}: {1}", "{0}={1}"])
def test_ordinary_texts_stay(template: str) -> None:
    texts = [template.format(name, value) for name, value in ordinary()]
    changed = [text for text in texts if redact_text(text, environ=NONE) != text]
    print(f"{template}: {len(changed)} of {len(texts)} changed")
    assert len(changed) <= len(texts) * 0.005, changed[:20]


def test_the_source_of_a_library_stays_but_for_its_examples_of_secrets() -> None:
    import sklearn.feature_extraction.text as tokens
    import sklearn.linear_model._logistic as logistic

    for module in (tokens, logistic):
        source = inspect.getsource(module)
        assert redact_text(source, environ=NONE) == source


@pytest.mark.parametrize("name", SECRET_NAMES.split())
def test_a_secret_name_is_known(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ORDINARY_NAMES.split())
def test_an_ordinary_name_is_none(name: str) -> None:
    assert not is_secret_name(name)


def test_an_empty_name_is_none() -> None:
    assert not is_secret_name("")
    assert not is_secret_name("_" * 1000)


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ('api_key = "abc"  # mine', 'api_key = "[redacted:api-key]"  # mine'),
        ('f(password="a b", n=1)', 'f(password="[redacted:password]", n=1)'),
        ('os.environ["X_TOKEN"] = "abc"', 'os.environ["X_TOKEN"] = "[redacted:token]"'),
        ("{'password': 'pw', 'n': 1}", "{'password': '[redacted:password]', 'n': 1}"),
        ("postgresql://u:pw@h/db", "postgresql://u:[redacted:url-password]@h/db"),
        ("redis://:p@ss@h:1/0", "redis://:[redacted:url-password]@h:1/0"),
        ("run a.ipynb -p token abc -p n 5", "run a.ipynb -p token [redacted:token] -p n 5"),
        ("x --password=abc -v", "x --password=[redacted:password] -v"),
        ("x --password abc -v", "x --password [redacted:password] -v"),
        ('["--password", "abc"]', '["--password", "[redacted:password]"]'),
        ("%env API_TOKEN=abc", "%env API_TOKEN=[redacted:token]"),
        ("export API_TOKEN=abc\nls", "export API_TOKEN=[redacted:token]\nls"),
        ("a: 1\npassword: hunter\nb: 2", "a: 1\npassword: [redacted:password]\nb: 2"),
        ('setenv("API_TOKEN", "ab1")', 'setenv("API_TOKEN", "[redacted:token]")'),
        ("Server=h;Pwd=abc;Db=d", "Server=h;Pwd=[redacted:password];Db=d"),
        ("Authorization: Bearer abc", "Authorization: Bearer [redacted:authorization]"),
        ('auth=("me", "hunter2")', 'auth=("me", "[redacted:authorization]")'),
        ("{'password': 12345678}", "{'password': \"[redacted:password]\"}"),
        ("curl -u me:pw1 h", "curl -u me:[redacted:password] h"),
        (
            'api_keys = ["a1b",\n  "c2d"]',
            'api_keys = ["[redacted:api-key]",\n  "[redacted:api-key]"]',
        ),
        ('password = """a\nb"""', 'password = """[redacted:password]"""'),
        ('"api_key = \\"abc\\"\\n"', '"api_key = \\"[redacted:api-key]\\"\\n"'),
        ("name: DB_PASSWORD\n  value: hunter2", "name: DB_PASSWORD\n  value: [redacted:password]"),
        ("password='it\\'s' + x", "password='[redacted:password]' + x"),
        ('password = "cut off', 'password = "[redacted:password]'),
    ],
)
def test_only_the_value_is_replaced(text: str, redacted: str) -> None:
    assert redact_text(text, environ=NONE) == redacted


@pytest.mark.parametrize(
    "text",
    [
        *("token = load(x)", "token = next_one", "password = getpass()", "f(token=token)"),
        *("def f(password: str, token: Optional[str] = None):", "api_key = os.environ['API_KEY']"),
        *('print("password:", given, "!")', 'print("token=" + token)', 'getpass("Password: ")'),
        *('df["token"] = df["text"].str.split()', 'if token == "the": n += 1', 'password = ""'),
        *("api_key: ${API_KEY}", "api_key=env:API_KEY", 'f"pg://{user}:{password}@{host}"'),
        *('add_argument("--token", type=str)', 'drop("password", "salary")', "token = None"),
        *('usecols=["user", "password", "mail"]', "docker://ubuntu:22.04@sha256:abc", "auth=0.93"),
        *('headers = {"Authorization": f"Bearer {token}"}', "class A:\n  token: str\n  b: int"),
        *("private_key = '~/.ssh/id_rsa'", "credentials = 'service_account.json'", "basic usage"),
        *('if "-----BEGIN PRIVATE KEY-----" in text: pass', "the tokenizer: fast", "auth='basic'"),
    ],
)
def test_code_that_holds_no_secret_stays(text: str) -> None:
    assert redact_text(text, environ=NONE) == text


def test_a_secret_in_colours_goes_and_the_rest_keeps_its_colours() -> None:
    text = f"\x1b[32m3\x1b[39m api_key \x1b[38;5;241m=\x1b[39m \x1b[33m'{KEY}'\x1b[39m\n\x1b[31mE"
    assert redact_text(text, environ=NONE) == text.replace(KEY, "[redacted:api-key]")


def test_the_traceback_that_ipython_draws_holds_no_secret() -> None:
    from IPython.core.ultratb import VerboseTB

    code = compile(f"def f(password):\n    raise ValueError\nf(password='{KEY}')", "cell", "exec")
    try:
        exec(code, {})
    except ValueError:
        text = VerboseTB(theme_name="linux").text(*sys.exc_info())
    assert KEY in text
    assert KEY not in redact_text(text, environ=NONE)


def test_values_of_secret_environment_variables_go_wherever_they_stand() -> None:
    environ = {"MY_TOKEN": KEY, "HOME": "/home/me", "DATABASE_URL": "pg://u:Tr0ub4dor&@h/d"}
    assert redact_text(f"<{KEY}>", environ=environ) == "<[redacted:environment]>"
    assert redact_value("note", f"x{KEY}", environ=environ) == "x[redacted:environment]"
    assert redact_text("try Tr0ub4dor& now", environ=environ) == "try [redacted:environment] now"
    assert redact_text("in /home/me", environ=environ) == "in /home/me"


@pytest.mark.parametrize(
    "value", ["short", "postgres", "/run/secrets/a", "12345678", "true", "a.b:5000", "my-password"]
)
def test_ordinary_values_of_secret_environment_variables_stay(value: str) -> None:
    assert read_secrets({"MY_PASSWORD": value}) == ()


def test_a_variable_that_is_set_later_is_known_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert redact_text(f"a {KEY}") == f"a {KEY}"
    monkeypatch.setenv("LATE_API_KEY", KEY)
    assert redact_text(f"a {KEY}") == "a [redacted:environment]"
    monkeypatch.delenv("LATE_API_KEY")
    assert redact_text(f"a {KEY}") == f"a {KEY}"


def test_an_environment_value_is_found_as_json_and_urls_write_it() -> None:
    value = 'p"ä/ss wört9'
    environ = {"DB_PASSWORD": value}
    for text in (
        json.dumps({"x": value}, ensure_ascii=False),
        "http://h/?x=p%22%C3%A4%2Fss%20w%C3%B6rt9",
    ):
        assert "rt9" not in redact_text(text, environ=environ)


@pytest.mark.parametrize(
    "value", ["", "None", "true", "0.93", "7", "env:X", "***", "[CLS]", "a.pem"]
)
def test_a_value_that_is_no_secret_stays_under_a_secret_name(value: str) -> None:
    assert redact_value("token", value, environ=NONE) == value


def test_a_param_under_a_secret_name_goes_whole() -> None:
    assert redact_value("api_key", "abc def", environ=NONE) == "[redacted:api-key]"
    assert redact_value("model/db.password", "1234567", environ=NONE) == "[redacted:password]"
    assert redact_value("n_tokens", "5", environ=NONE) == "5"


@given(st.lists(st.sampled_from(PARTS) | st.text(max_size=6)).map("".join))
@example("token: token: " + KEY)
@example("password=[redacted:password] x")
@settings(max_examples=400, deadline=None)
def test_redaction_is_idempotent_and_never_raises(text: str) -> None:
    environ = {"A_SECRET": KEY[:9] + "7", "B_SECRET": "a7]" + KEY}
    redacted = redact_text(text, environ=environ)
    assert redact_text(redacted, environ=environ) == redacted
    value = redact_value("token", text, environ=environ)
    assert redact_value("token", value, environ=environ) == value


@given(st.text(alphabet="abc xyz\n\t019.,;()[]{}<>+*/#ÄßİK\u200b", max_size=300))
def test_a_text_without_secrets_is_identical(text: str) -> None:
    assert redact_text(text, environ=NONE) == text


def test_small_letters_keep_their_place() -> None:
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    assert len(every.replace("\u0130", "I").lower()) == len(every)
    assert redact_text(f"İİ password='{KEY}'", environ=NONE) == "İİ password='[redacted:password]'"


@pytest.mark.parametrize(
    "part",
    [
        *(
            "ey" + "J",
            "-ey" + "J",
            "token",
            "token ",
            "token=",
            'token="',
            "token='''",
            'token=\\"',
        ),
        *("a" * 64, "://", "://a:", "://a:b@", "-----BEGIN PRIVATE KEY-----", "curl -u ", "aws "),
        *(" ", "-", "--token ", "-p ", 'auth("', 'password: (["', "pyp" + "i-", "Bearer ", "a_"),
        *("password\n", "key-", "[redacted:", "[redacted:token]", "\x1b[3", "\x1b[33m", "_", "x=("),
        *(
            "username':",
            ".atlasv1.",
            "9" * 9 + ":aa",
            "S" + "G.a",
            "secretstr(",
            '\\"',
            "passwordauth",
        ),
        *(
            "token=''' ",
            'token=["a",',
            "sig=",
            "q~1",
            "basic a",
            "token: a|",
            "conn_str\t=\t",
            "--token=",
        ),
        *(
            "--token=a",
            "token=/",
            "token:",
            "- token: ",
            "?token=",
            "token: x #",
            "token=a.",
            "token=[",
        ),
    ],
)
def test_a_megabyte_made_to_be_slow_takes_linear_time(part: str) -> None:
    text = part * (1_000_000 // len(part))
    began = time.process_time()
    redact_text(text, environ=NONE)
    seconds = time.process_time() - began
    assert seconds < 10, f"{part!r}: {seconds:.1f} s"  # 1 or 2 s; quadratic takes minutes


def test_a_long_text_takes_milliseconds_and_a_param_microseconds() -> None:
    import sklearn.linear_model._logistic as logistic

    source = (inspect.getsource(logistic) * 3)[:100_000]
    long = _best(lambda: redact_text(source), 1)
    param = _best(lambda: redact_value("learning_rate", "0.001"), 1000)
    words = _best(lambda: redact_value("estimator", "SVC(C=0.5, kernel='rbf')"), 1000)
    print(f"100 kB {long * 1e3:.1f} ms; {param * 1e6:.1f} us; {words * 1e6:.1f} us an estimator")
    print(f"{len(os.environ)} environment variables")
    assert long < 0.025  # five times the aim, for a machine under load
    assert max(param, words) < 25e-6


def _best(call: Callable[[], object], times: int) -> float:
    found = []
    for _ in range(7):
        began = time.perf_counter()
        for _ in range(times):
            call()
        found.append((time.perf_counter() - began) / times)
    return min(found)
