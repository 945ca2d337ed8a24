"""Sealed tokens open for their owner only, with the key that sealed them, and with nothing altered."""

from __future__ import annotations

import base64
import hashlib
import traceback

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from feedzone.errors import FeedzoneError, SettingsError
from feedzone.vault import InvalidKeys, Tampered, UnknownKey, Vault, VaultError, new_key

OLD, NEW = bytes(range(32)), b"\xfb\xff" * 16
TOKEN, OWNER = "a4b945687g-token", "athlete:134815"
texts = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.fixture
def vault() -> Vault:
    return Vault([NEW, OLD])


@given(texts, texts)
def test_opens_what_it_sealed(text, owner):
    vault = Vault([NEW])
    assert vault.open(vault.seal(text, owner=owner), owner=owner) == text


def test_the_format_can_be_opened_without_us(vault):
    version, key_id, payload = vault.seal(TOKEN, owner=OWNER).split(".")
    raw = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    plain = AESGCM(NEW).decrypt(raw[:12], raw[12:], f"v1.{key_id}.{OWNER}".encode())
    assert (version, key_id, plain) == ("v1", hashlib.sha256(NEW).hexdigest()[:8], TOKEN.encode())


def test_a_text_sealed_by_an_earlier_release_still_opens():
    # Made once with AESGCM alone: nonce 00..0b, key 00..1f.
    sealed = "v1.630dcd29.AAECAwQFBgcICQoLJja0IvHQ9CO6Jrr_3oIdA_luZmJYyifJEktKqVHX8fY"
    assert Vault([NEW, OLD]).open(sealed, owner=OWNER) == TOKEN


def test_no_two_seals_are_alike(vault):
    assert len({vault.seal(TOKEN, owner=OWNER) for _ in range(100)}) == 100


def test_another_owner_cannot_open(vault):
    with pytest.raises(Tampered, match="another owner"):
        vault.open(vault.seal(TOKEN, owner=OWNER), owner="athlete:134816")


def test_every_altered_character_is_noticed(vault):
    sealed = vault.seal(TOKEN, owner=OWNER)
    for index, char in enumerate(sealed):
        altered = sealed[:index] + ("A" if char != "A" else "B") + sealed[index + 1 :]
        with pytest.raises(VaultError):
            vault.open(altered, owner=OWNER)


def test_spare_bits_of_the_last_character_count(vault):
    sealed = vault.seal("x" * 3, owner=OWNER)
    spellings = {
        sealed[:-1] + last for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    }
    opened = 0
    for spelling in spellings:
        try:
            vault.open(spelling, owner=OWNER)
        except Tampered:
            continue
        opened += 1
    assert opened == 1


@pytest.mark.parametrize(
    "text",
    ["", "plain-token", "v1..", "v1.00000000.", "v2.630dcd29.AAAA", "v1.630dcd29.AAAA", "v1.630dcd29.A"],
)
def test_what_was_never_sealed(vault, text):
    with pytest.raises(Tampered):
        vault.open(text, owner=OWNER)
    with pytest.raises(Tampered):
        vault.needs_rotation(text)


def test_every_cut_is_noticed(vault):
    sealed = vault.seal(TOKEN, owner=OWNER)
    for length in range(len(sealed)):
        with pytest.raises(Tampered):
            vault.open(sealed[:length], owner=OWNER)


def test_rotation(vault):
    old = Vault([OLD]).seal(TOKEN, owner=OWNER)
    assert vault.needs_rotation(old)
    renewed = vault.seal(vault.open(old, owner=OWNER), owner=OWNER)
    assert not vault.needs_rotation(renewed)
    assert Vault([NEW]).open(renewed, owner=OWNER) == TOKEN


def test_a_missing_key_is_named():
    with pytest.raises(UnknownKey, match=r"key 630dcd29.*add it to TOKEN_ENCRYPTION_KEYS again") as caught:
        Vault([NEW]).open(Vault([OLD]).seal(TOKEN, owner=OWNER), owner=OWNER)
    assert caught.value.key_id == "630dcd29"


@pytest.mark.parametrize(
    "spell",
    [
        lambda key: base64.b64encode(key).decode(),
        lambda key: base64.urlsafe_b64encode(key).decode(),
        lambda key: base64.b64encode(key).decode().rstrip("="),
        lambda key: base64.urlsafe_b64encode(key).decode().rstrip("="),
        bytes.hex,
        lambda key: key.hex().upper(),
    ],
)
def test_spellings_of_keys(spell):
    vault = Vault.parse(f" {spell(NEW)} ,\n{spell(OLD)}")
    assert Vault([NEW]).open(vault.seal(TOKEN, owner=OWNER), owner=OWNER) == TOKEN
    assert vault.open(Vault([OLD]).seal(TOKEN, owner=OWNER), owner=OWNER) == TOKEN


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        (" ", "is empty"),
        ("hunter2-hunter2!", "key 1 is neither"),
        (f"{NEW.hex()},sécret", "key 2 is neither"),
        (f"{NEW.hex()},", "key 2 has 0 bytes"),
        (f"{NEW.hex()},{OLD.hex()}ab", "key 2 has 49 bytes"),
        (f"{NEW.hex()[:62]}", "key 1 has 46 bytes"),
        (f"{NEW.hex()},{OLD.hex()},{base64.b64encode(NEW).decode()}", "key 3 repeats"),
    ],
)
def test_a_bad_key_is_placed_and_never_shown(text, said):
    with pytest.raises(InvalidKeys, match=said) as caught:
        Vault.parse(text)
    assert isinstance(caught.value, SettingsError)
    assert isinstance(caught.value, FeedzoneError)
    shown = "".join(traceback.format_exception(caught.value, chain=True)[-1:])
    assert not any(part.strip() and part.strip() in shown for part in text.split(","))


def test_errors_say_how_to_make_a_key():
    for text in ("", "nope!", "YWJj"):
        with pytest.raises(InvalidKeys, match="feedzone keys new"):
            Vault.parse(text)


def test_a_short_key_is_refused():
    with pytest.raises(InvalidKeys, match="key 2 has 16 bytes"):
        Vault([NEW, OLD[:16]])


def test_new_keys_parse_and_differ():
    keys = [new_key() for _ in range(20)]
    assert len(set(keys)) == 20
    Vault.parse(",".join(keys))


def test_repr_shows_ids_and_no_keys(vault):
    assert repr(vault) == f"Vault(keys=['{hashlib.sha256(NEW).hexdigest()[:8]}', '630dcd29'])"
    assert str(vault) == repr(vault)
