"""Synthetic secrets, built from parts so that none stands here, and ordinary names and values."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import string
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ALNUM = string.ascii_letters + string.digits
HEX = "0123456789abcdef"
URLSAFE = ALNUM + "-_"
BASE64 = ALNUM + "+/"


@dataclass(frozen=True)
class Secret:
    """A secret as it is pasted, the parts that must not be left, and a name that tells it."""

    kind: str
    text: str
    parts: tuple[str, ...]
    name: str = ""  # empty: its shape tells it under any name


def _draw(rng: random.Random, letters: str, n: int) -> str:
    return "".join(rng.choices(letters, k=n))


def _base64(rng: random.Random, n_bytes: int) -> str:
    return base64.b64encode(rng.randbytes(n_bytes)).decode()


def _segment(rng: random.Random, value: object) -> str:
    text = json.dumps(value) + " " * rng.randrange(3)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _jwt(rng: random.Random) -> str:
    head = _segment(rng, {"alg": "HS256", "typ": "JWT"})
    return f"{head}.{_segment(rng, {'sub': rng.randrange(10**9)})}.{_draw(rng, URLSAFE, 43)}"


# Kind, first letters in parts, alphabet, length.
SIMPLE: tuple[tuple[str, tuple[str, ...], str, int], ...] = (
    ("aws access key", ("AK", "IA"), string.ascii_uppercase + "234567", 16),
    ("aws session key id", ("AS", "IA"), string.ascii_uppercase + "234567", 16),
    ("google api key", ("AI", "za"), URLSAFE, 35),
    ("google oauth token", ("ya", "29."), URLSAFE, 60),
    ("google client secret", ("GOC", "SPX-"), URLSAFE, 28),
    ("github classic", ("gh", "p_"), ALNUM, 36),
    ("github oauth", ("gh", "o_"), ALNUM, 36),
    ("github server", ("gh", "s_"), ALNUM, 36),
    ("github user", ("gh", "u_"), ALNUM, 36),
    ("github refresh", ("gh", "r_"), ALNUM, 76),
    ("github fine grained", ("github", "_pat_"), ALNUM, 82),
    ("gitlab personal", ("gl", "pat-"), URLSAFE, 20),
    ("gitlab runner", ("gl", "rt-"), URLSAFE, 20),
    ("openai legacy", ("s", "k-"), ALNUM, 48),
    ("openai project", ("s", "k-", "proj-"), URLSAFE, 120),
    ("anthropic", ("s", "k-", "ant-", "api03-"), URLSAFE, 95),
    ("hugging face", ("h", "f_"), ALNUM, 34),
    ("pypi", ("py", "pi-", "AgEIcHlw"), URLSAFE, 150),
    ("npm", ("np", "m_"), ALNUM, 36),
    ("stripe secret", ("s", "k_", "live_"), ALNUM, 24),
    ("stripe restricted", ("r", "k_", "live_"), ALNUM, 24),
    ("twilio", ("S", "K"), HEX, 32),
    ("databricks", ("da", "pi"), HEX, 32),
    ("slack app", ("xa", "pp-", "1-"), ALNUM, 40),
    ("digitalocean", ("do", "p_v1_"), HEX, 64),
    ("vault", ("hv", "s."), URLSAFE, 40),
    ("groq", ("gs", "k_"), ALNUM, 52),
    ("linear", ("lin", "_api_"), ALNUM, 40),
    ("shopify", ("shp", "at_"), HEX, 32),
    ("docker hub", ("dckr", "_pat_"), URLSAFE, 27),
    ("replicate", ("r", "8_"), ALNUM, 37),
)


def _slack(rng: random.Random) -> Secret:
    letter = rng.choice("abprs")
    digits = "-".join(_draw(rng, string.digits, 12) for _ in range(2))
    text = f"xo{'x'}{letter}-{digits}-{_draw(rng, ALNUM, 24)}"
    return Secret("slack", text, (text[-24:],))


def _slack_webhook(rng: random.Random) -> Secret:
    path = f"T{_draw(rng, ALNUM, 8)}/B{_draw(rng, ALNUM, 8)}/{_draw(rng, ALNUM, 24)}"
    return Secret("slack webhook", f"https://hooks.slack{'.com'}/services/{path}", (path[-24:],))


def _sendgrid(rng: random.Random) -> Secret:
    last = _draw(rng, URLSAFE, 43)
    return Secret("sendgrid", f"S{'G.'}{_draw(rng, URLSAFE, 22)}.{last}", (last,))


def _pem(rng: random.Random) -> Secret:
    body = _base64(rng, 600)
    lines = tuple(body[i : i + 64] for i in range(0, len(body), 64))
    label = rng.choice(["RSA ", "EC ", "", "OPENSSH "]) + "PRIVATE" + " KEY"
    text = "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----"])
    return Secret("private key", text, lines)


def _azure_storage(rng: random.Random) -> Secret:
    key = _base64(rng, 64)
    account = _draw(rng, string.ascii_lowercase, 9)
    text = f"DefaultEndpointsProtocol=https;AccountName={account};Account{'Key'}={key};"
    return Secret("azure storage", text + "EndpointSuffix=core.windows.net", (key,))


def _azure_signature(rng: random.Random) -> Secret:
    signature = quote(_base64(rng, 32), safe="")
    url = "https://acct.blob.core.windows.net/c/b?sv=2024-11-04&se=2026-01-01&sp=r"
    return Secret("azure signature", f"{url}&sig={signature}", (signature,))


def _json_web_token(rng: random.Random) -> Secret:
    text = _jwt(rng)
    return Secret("json web token", text, (text[-43:],))


def _url(rng: random.Random) -> Secret:
    scheme = rng.choice(["postgresql", "mysql+pymysql", "mongodb+srv", "redis", "amqp", "https"])
    password = _draw(rng, ALNUM + "!$%*+-_~", 14)
    user = rng.choice(["svc", "admin", ""])
    text = f"{scheme}://{user}:{password}@db.example.org:5432/flights"
    return Secret("url password", text, (password,))


def _bearer(rng: random.Random) -> Secret:
    token = _draw(rng, ALNUM, 40)
    return Secret("bearer", f"Bearer {token}", (token,))


def _basic(rng: random.Random) -> Secret:
    pair = f"svc-{rng.randrange(99)}:{_draw(rng, ALNUM, 12)}"
    token = base64.b64encode(pair.encode()).decode()
    return Secret("basic", f"Basic {token}", (token,))


def _password(rng: random.Random) -> Secret:
    letters = ALNUM + "!#$%&()*+,-./:;=?@^_~|"
    text = rng.choice(ALNUM) + _draw(rng, letters, 13) + rng.choice(string.digits)
    return Secret("password", text, (text,), "DB_PASSWORD")


def _phrase(rng: random.Random) -> Secret:
    words = ("correct", "horse", "battery", "tiger", "monkey", "dragon", "summer", "winter")
    text = rng.choice(words) + str(rng.randrange(100, 9999))
    return Secret("weak password", text, (text,), "smtpPassword")


def _aws_secret(rng: random.Random) -> Secret:
    text = _draw(rng, BASE64, 39) + "7"
    return Secret("aws secret key", text, (text,), "aws_secret_access_key")


def _hex_key(rng: random.Random) -> Secret:
    text = _draw(rng, HEX, 40)
    return Secret("wandb key", text, (text,), "WANDB_API_KEY")


def _uuid_key(rng: random.Random) -> Secret:
    text = str(uuid.UUID(int=rng.getrandbits(128)))
    return Secret("uuid key", text, (text,), "heroku_api_key")


def _client_secret(rng: random.Random) -> Secret:
    text = _draw(rng, URLSAFE, 31) + "9"
    return Secret("client secret", text, (text,), "clientSecret")


SPECIAL: tuple[Callable[[random.Random], Secret], ...] = (
    *(_slack, _slack_webhook, _sendgrid, _pem, _azure_storage, _azure_signature, _json_web_token),
    *(_url, _bearer, _basic, _password, _phrase, _aws_secret, _hex_key, _uuid_key, _client_secret),
)


def secrets(each: int = 12, *, seed: int = 7) -> list[Secret]:
    """`each` secrets of every kind; the same for the same seed."""
    rng = random.Random(seed)
    found = [make(rng) for make in SPECIAL for _ in range(each)]
    for kind, start, letters, length in SIMPLE:
        for _ in range(each):
            body = _draw(rng, letters, length - 1) + rng.choice([c for c in letters if c.isalnum()])
            found.append(Secret(kind, "".join(start) + body, (body,)))
    return found


def sinks(secret: Secret) -> dict[str, str]:
    """The secret as it stands in the texts that we keep, by the form."""
    name, text = secret.name or "value", secret.text
    indented = text.replace("\n", "\n    ")
    one_line = text.replace("\n", "\\n")
    return {
        "bare": text if not secret.name else f"{name}={text}",
        "assignment": f"import os\n{name} = {text!r}\nprint(1)",
        "annotated": f"{name}: str = {text!r}",
        "subscript": f'os.environ["{name}"] = {text!r}',
        "keyword": f"client = connect(host='h', {name}={text!r}, n_jobs=4)",
        "dict": repr({"n_jobs": 4, name: text, "depth": 3}),
        "url": f"GET https://api.example.org/v1/items?page=2&{name}={quote(text, safe='')}&n=5"
        if "://" not in text and "\n" not in text and " " not in text
        else f"see {one_line} for it",
        "traceback": f'  File "a.py", line 3, in <module>\n    f({name}={one_line!r})\nE: bad',
        "coloured": f"\x1b[32m      3\x1b[39m {name} = \x1b[33m{one_line!r}\x1b[39m\n",
        "json": json.dumps({"name": "x", name: text, "n": 1}, indent=1),
        "cell": json.dumps([f"{name} = {text!r}\n", "print(1)"]),
        "yaml": f"n: 1\n{name}: |\n    {indented}\nm: 2"
        if "\n" in text
        else f"n: 1\n{name}: {json.dumps(text) if _needs_quotes(text) else text}\nm: 2",
        "parameter": json.dumps({"key": name, "value": text}),
    }


def _needs_quotes(text: str) -> bool:
    return any(mark in text for mark in (": ", " #")) or text[0] in "!&*|>%@`" or text[-1] == ":"


_METRICS = "accuracy auc f1 loss rmse mae r2 log_loss precision recall brier ndcg perplexity"
_PIECES = """
    num_tokens max_tokens use_cls_token token_count pad_token_id n_secrets tokens_per_second
    max_new_tokens tokenizer tokenizer_name vocab_size primary_key sort_key foreign_key key keys
    author authority secretary password_length num_attention_heads token_pattern partition_key
    group_keys eos_token bos_token mask_token unk_token sep_token token_type_ids keyword keyboard
    use_auth has_password is_secret passenger_count bypass pass_through compass auth_method
    prompt_tokens completion_tokens total_tokens cache_key_prefix secret_count credential_type
    token_embedding_dim key_padding_mask passes n_passes monkey turkey tokens accessible
    authentication_type authored_by mean_passengers password_hash_rounds token_dropout"""
_WORDS = "lbfgs auto sqrt gini entropy relu adam linear rbf mean median constant balanced"
METRICS, PIECES, WORDS = _METRICS.split(), _PIECES.split(), _WORDS.split()


def ordinary(n: int = 10_000, *, seed: int = 11) -> Iterator[tuple[str, str]]:
    """Names and values of runs that hold no secret; the same for the same seed."""
    rng = random.Random(seed)
    known = list(_estimator_params())
    makers: tuple[Callable[[random.Random], tuple[str, str]], ...] = (
        *(_number, _digest, _uuid, _date, _path, _column, _model, _piece, _image, _address),
    )
    for i in range(n):
        yield known[i] if i < min(len(known), n // 3) else makers[i % len(makers)](rng)


def _estimator_params() -> Iterator[tuple[str, str]]:
    """Every parameter of every estimator of scikit-learn with its default."""
    from sklearn.utils import all_estimators

    for name, kind in all_estimators():
        try:
            params = kind().get_params()
        except TypeError:  # one that wraps another
            continue
        yield from ((f"{name}__{key}", str(value)) for key, value in params.items())
        yield name, repr(kind())


def _number(rng: random.Random) -> tuple[str, str]:
    name = rng.choice(METRICS) + rng.choice(["", "_train", "_val", "/test", "_std"])
    return name, rng.choice([f"{rng.random():.6f}", str(rng.randrange(10**9)), "1e-05", "nan"])


def _digest(rng: random.Random) -> tuple[str, str]:
    algorithm = rng.choice(["md5", "sha1", "sha256", "sha512", "blake2b"])
    value = hashlib.new(algorithm, rng.randbytes(8)).hexdigest()
    name = rng.choice(["mlflow.source.git.commit", "digest", "md5", "dataset_hash", "cell_id"])
    return name, rng.choice([value, f"sha256:{value}", value[:8], f"flights@{value[:12]}"])


def _uuid(rng: random.Random) -> tuple[str, str]:
    value = uuid.UUID(int=rng.getrandbits(128), version=4)
    return rng.choice(["run_id", "session", "request_id"]), rng.choice([str(value), value.hex])


def _date(rng: random.Random) -> tuple[str, str]:
    day = f"20{rng.randrange(10, 30)}-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}"
    return rng.choice(["start", "created_at", "month"]), rng.choice([day, f"{day}T12:30:00+00:00"])


def _path(rng: random.Random) -> tuple[str, str]:
    part = f"{rng.choice(WORDS)}-{rng.randrange(10**4)}"
    templates = (
        *("/mnt/data/{}.parquet", "s3://bucket/raw/{}/part-0001.parquet", "data/{}.csv"),
        *("C:\\Users\\me\\{}.xlsx", "../notebooks/{}.ipynb", "models:/churn-{}/3"),
        *("https://example.org/{}?page=2&sort=asc", "sqlite:///data/{}.db"),
    )
    return rng.choice(["path", "source", "artifact_uri", "url"]), rng.choice(templates).format(part)


def _column(rng: random.Random) -> tuple[str, str]:
    columns = rng.sample([*PIECES, *METRICS, "dep_delay", "carrier", "customer_key"], 4)
    return rng.choice(["columns", "features", "target"]), str(columns)


def _model(rng: random.Random) -> tuple[str, str]:
    depth, rate = rng.randrange(2, 40), round(rng.random(), 4)
    return rng.choice(["model", "estimator"]), rng.choice(
        [
            f"RandomForestClassifier(max_depth={depth}, n_jobs=-1)",
            f"Pipeline(steps=[('scale', StandardScaler()), ('svc', SVC(C={rate}))])",
            f"HistGradientBoostingRegressor(learning_rate={rate}, max_iter={depth * 10})",
            f"bert-base-uncased-finetuned-{depth}",
            f"sk-learn-pipeline-with-{depth}-steps-and-scaling",
        ]
    )


def _piece(rng: random.Random) -> tuple[str, str]:
    values = ("True", "None", "32000", "0.1", "[CLS]", "</s>", "cls", "id", "hf_tokenizer_fast")
    return rng.choice(PIECES), rng.choice(values)


def _image(rng: random.Random) -> tuple[str, str]:
    return "image/png", "iVBORw0KGgoAAAANSUhEUg" + _draw(rng, BASE64, 400) + "=="


def _address(rng: random.Random) -> tuple[str, str]:
    values = (
        *("user@example.org", "http://localhost:5000", "python:3.11-slim@sha256:" + "ab" * 32),
        *("docker://ubuntu:22.04@sha256:" + "cd" * 32, "git@example.org:team/flights.git"),
        *("postgresql://db.example.org:5432/flights", "basic usage of authentication"),
        *(f"mlflow=={rng.randrange(2, 4)}.{rng.randrange(20)}.0", "bearer of bad news"),
    )
    return rng.choice(["contact", "tracking_uri", "image", "remote", "note"]), rng.choice(values)
