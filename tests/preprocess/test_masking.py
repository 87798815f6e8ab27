"""What is masked in a person's own text, what is left as it is, and how long it takes."""

from __future__ import annotations

import base64
import random
import time

import pytest

from preprocess.sources.masking import PLACEHOLDER, mask

HEX = "a3f1c09be7d24856aa10cd3e9b7f62e8d0c4b519"
FOUND = {
    "API key": [
        "sk-proj-a1B2c3D4e5F6g7H8i9J0",
        "ghp_" + "a1B2c3" * 6,
        "hf_" + "aBcDeFgHiJkLmNoPqRsTuVwX",
        "AIza" + "Sy0123456789abcdefABCDEF0123456789a",
        "rpa_A1B2C3D4E5F6G7H8I9J0K1L2M3N4O5P6",
        "npm_aB3dE5gH7jK9mN1pQ3sT5vX7zA9cE1gI3kM5",
        "glpat-ab1_12-cdEf34567890",
        "github_pat_11ABCDEFG0abcdefghij_klmnopqrstuvwxyz0123456789",
        "key-3ax6xnjp29jd6fds4gc373sgvjxteol0",
        "SG.abcdefghijklmnopqrstuv.wxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789abc",
    ],
    "token": [
        "Authorization: Bearer abcdef0123456789abcdef",
        "Authorization: Basic dXNlcjpwYXNz",
        "Basic dXNlcjpwYXNzd29yZDEyMw==",
        "X-Api-Key: abc123def456",
        "https://x.example/cb?token=abc123def456",
        "https://h/p?next=1&access_token=zyx987wvu654",
        "https://h/#access_token=zyx987wvu654",
        "https://s3.example/x?X-Amz-Signature=0a1b2c3d4e5f60718293a4b5c6d7e8f9",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
    ],
    "private key": [
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nabc\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blb\n-----END OPENSSH PRIVATE KEY-----",
        "-----BEGIN PGP PRIVATE KEY BLOCK-----\nlQVY\n-----END PGP PRIVATE KEY BLOCK-----",
    ],
    "SSH key": [
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0gkq1n2m3b4v5c6x7z8l9k0j1h2g3f4d5s jo@laptop",
        "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQC7x jo@host",
    ],
    "cookie": ["Cookie: sessionid=abc123; csrftoken=def456", "Set-Cookie: sid=31d4d96e; Path=/"],
    "secret": [
        f"wandb login {HEX}",
        f"my W&B key is {HEX}",
        f"WANDB_API_KEY={HEX}",
        f"machine api.wandb.ai login user password {HEX}",
        HEX,
        "password = 'hunter2hunter2'",
        "password: hunter2!",
        "my password is hunter2hunter2",
        "postgres://bob:s3cretpw@db/prod",
        "redis://:s3cr3tpw@cache:6379/0",
        "mongodb+srv://u:pa%40ss@c0.example.net",
        "curl -u admin:hunter2",
        "curl -X POST --user admin:hunter2",
        "curl -uadmin:hunter2",
        "mysql --password=s3cr3t",
        "redis-cli -a s3cr3tpw",
        "DB_PASSWORD=hunter2",
        "DB_PASSWORD: correcthorse",
        'PASSWORD="correct horse"',
        "MY_SECRET = correcthorsebattery",
        "export GITHUB_TOKEN=abcdefghijkl",
        "SOME_KEY=k3y9f8a7b6c5d4e3",
        "STRIPE_KEY: 51H8abcDEF1234567",
        "API_TOKEN: 7f3e9a2c",
        "SERVICE_KEY=abcdefgh12345678",
        "SECRET_KEY=django-insecure-x",
        "PASSWORD_2: correcthorse",
        "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "'api_key': 'abcd1234efgh5678'",
        "AKIAIOSFODNN7EXAMPLE",
        "x8Kq2LmZ0pRt7VwY3nBc5DfG9hJk1SaE4uI",
    ],
    "e-mail address": ["jo.doe+x@mail.example.org", "first.last@sub.example.co.uk"],
    "phone number": [
        "+49 30 901820",
        "(415) 555-2671",
        "415-555-2671",
        "415 555 2671",
        "415.555.2671",
        "1-800-555-0199",
        "5552345678",
        "030 901820 33",
        "(030) 901820 33",
        "0171/2345678",
        "01712345678",
        "020 7946 0958",
        "07911 123456",
        "06 12 34 56 78",
        "98765 43210",
        "tel. 612 345 678",
        "phone: 901820 33",
    ],
    "card number": ["4111 1111 1111 1111", "4111111111111111", "3782 822463 10005"],
    "bank account": ["DE89 3704 0044 0532 0130 00", "GB29NWBK60161331926819"],
    "social security number": ["078-05-1120"],
    "IP address": ["8.8.8.8", "2606:4700:4700::1111", "2a01:4f8:c17:b8f::2"],
}
LEFT = [
    "use 10.0.0.1 and 127.0.0.1:8080 or 192.168.1.20, ::1, fe80::1, 2001:db8::1",
    "a commit 9eab36895ddcd6d2447059ab83ae4758afaff1ac",
    "git checkout 9eab36895ddcd6d2447059ab83ae4758afaff1ac",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "the password is stored hashed; the token bucket refills at 100 tokens a second",
    "the secret: nobody waits. The key: measure first. Password: required",
    "1,250,000,000 requests a day at 12:30 on 2025-11-23, version 1.2.3.4567",
    "sleep 1700000000, 2147483647, 4294967295, 5368709120 bytes, 3600000000, 100 000 000 requests",
    "call it 1000000 times, a ring of 1048576 entries, text of 2500000 characters, call 12345678 rows",
    "sizes 512 512 1024, 256 512 1024 and 65536 32768; hours 06 12 18 24 30; 800 600 1200",
    "3.14159265358979, 10.5281/zenodo.1234567, ISBN 978-3-16-148410-0, 2019-2024",
    "await asyncio.gather(*(fetch(session, url) for url in urls))",
    "a very_long_function_name_that_has_many_words_in_it_and_more",
    "key_value_store_implementation",
    "getUserByEmailAndPasswordResetTokenV2",
    "pk_user_accounts_id_constraint and sk-learn-pipeline-of-many-parts",
    "/usr/lib/python3/dist-packages/Crypto/Cipher/AES12345.py",
    "…/Crypto/Cipher/AES12345.py",
    "token = get_token(); api_key = os.environ['API_KEY']; secret = settings.SECRET_KEY",
    "def login(token: str, password: str | None = None): max_tokens = 4096",
    "MAX_TOKENS = 4096, PRIMARY KEY (id), partition_key = user_id, sorted(key=len)",
    "TOKENIZER=gpt2-large MAX_TOKENS=100k TOKEN_LIMIT=8192 SORT_KEY=created_at PASSES=three",
    "PASSWORD=${DB_PASSWORD} TOKEN=$TOKEN API_KEY=your-key-here SECRET=<secret>",
    "Authorization: Bearer <token>",
    "https://x.example/?page=2&sort=name&token=<your token>",
    "x[1::2], a[::2], std::vector<int>, 12:30:45, 00:1a:2b:3c:4d:5e",
    "docker run -u 1000:1000 image; git@github.com:owner/name.git; lodash@4.17.21; @app.route",
    "550e8400-e29b-41d4-a716-446655440000",
    "cookie: chocolate chip",
    "00 10 2e 3f 06 12 34 56 78 9a bc de",
]


@pytest.mark.parametrize(
    ("kind", "text"), [(kind, text) for kind, texts in FOUND.items() for text in texts]
)
def test_masking_finds(kind, text):
    masked, found = mask(f"before {text} after")
    assert found[kind] == 1, (masked, found)
    assert masked.startswith("before ")
    assert f"[masked {kind}]" in masked
    assert text[-5:] not in masked
    assert PLACEHOLDER.search(masked)


@pytest.mark.parametrize("text", LEFT)
def test_masking_leaves(text):
    assert mask(f"so {text} now") == (f"so {text} now", {})


def test_what_is_masked_is_not_masked_again():
    masked, _ = mask("write to jo@example.org")
    assert mask(masked) == (masked, {})


_draw = random.Random(1)
LONG = {
    "base64url": base64.urlsafe_b64encode(_draw.randbytes(75_000)).decode(),
    "a hex dump": " ".join(f"{byte:02x}" for byte in _draw.randbytes(33_000)),
    "hex digits": _draw.randbytes(50_000).hex(),
    "digits": "".join(_draw.choices("0123456789", k=100_000)),
    "pairs of digits": " ".join(f"{_draw.randrange(100):02d}" for _ in range(33_000)),
    **{
        repr(part): part * (100_000 // len(part))
        for part in (
            *(
                "a",
                "a@",
                "a.",
                "ab:",
                "-",
                "_key",
                "x-",
                "1.",
                "+1 ",
                "(555)",
                "://a:",
                "sk-",
                "a-",
            ),
            *("curl -", "token=", "password: ", "cookie: a=", "?token=a", "machine a login b "),
            *("-----BEGIN PRIVATE KEY", "Authorization: ", "call ", "AB12 ", "[masked "),
        )
    },
}


@pytest.mark.parametrize("name", LONG)
def test_time_grows_with_the_length_alone(name):
    def seconds(text: str) -> float:
        started = time.process_time()
        mask(text)
        return time.process_time() - started

    seconds("")  # the detectors are loaded
    assert seconds(LONG[name]) < 5  # 0.1 to 0.9 s alone; a quadratic pattern took 8.6 s and more
