"""Sealed tokens open only unaltered, for their owner, with their key; a key file holds the first key."""

from __future__ import annotations

import base64
import hashlib
import os
import stat
import traceback

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from feedzone.errors import FeedzoneError, SettingsError
from feedzone.vault import KEY_FILE, InvalidKeys, Tampered, UnknownKey, Vault, VaultError, load_vault, new_key

OLD, NEW = bytes(range(32)), b"\xfb\xff" * 16
TOKEN, OWNER = "a4b945687g-token", "athlete:134815"
texts = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.fixture
def vault() -> Vault:
    return Vault([NEW, OLD])


@given(texts, texts)
def test_a_sealed_text_opens_for_its_owner(text, owner):
    vault = Vault([NEW])
    assert vault.open(vault.seal(text, owner=owner), owner=owner) == text


def test_a_sealed_text_opens_with_a_standard_library_for_aes_gcm(vault):
    version, key_id, payload = vault.seal(TOKEN, owner=OWNER).split(".")
    raw = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    plain = AESGCM(NEW).decrypt(raw[:12], raw[12:], f"v1.{key_id}.{OWNER}".encode())
    assert (version, key_id, plain) == ("v1", hashlib.sha256(NEW).hexdigest()[:8], TOKEN.encode())


def test_a_text_sealed_by_an_earlier_release_still_opens():
    # Made once with AESGCM itself: nonce 00..0b, key 00..1f.
    sealed = "v1.630dcd29.AAECAwQFBgcICQoLJja0IvHQ9CO6Jrr_3oIdA_luZmJYyifJEktKqVHX8fY"
    assert Vault([NEW, OLD]).open(sealed, owner=OWNER) == TOKEN


def test_sealing_the_same_text_twice_gives_different_results(vault):
    assert len({vault.seal(TOKEN, owner=OWNER) for _ in range(100)}) == 100


def test_another_owner_cannot_open(vault):
    with pytest.raises(Tampered, match="another owner"):
        vault.open(vault.seal(TOKEN, owner=OWNER), owner="athlete:134816")


def test_every_altered_character_is_detected(vault):
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
def test_a_text_that_was_never_sealed_does_not_open(vault, text):
    with pytest.raises(Tampered):
        vault.open(text, owner=OWNER)
    with pytest.raises(Tampered):
        vault.needs_rotation(text)


def test_every_truncation_is_detected(vault):
    sealed = vault.seal(TOKEN, owner=OWNER)
    for length in range(len(sealed)):
        with pytest.raises(Tampered):
            vault.open(sealed[:length], owner=OWNER)


def test_after_a_rotation_old_texts_open_and_need_rotation(vault):
    old = Vault([OLD]).seal(TOKEN, owner=OWNER)
    assert vault.needs_rotation(old)
    renewed = vault.seal(vault.open(old, owner=OWNER), owner=OWNER)
    assert not vault.needs_rotation(renewed)
    assert Vault([NEW]).open(renewed, owner=OWNER) == TOKEN


def test_the_error_for_a_missing_key_names_it():
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
def test_keys_may_be_written_in_base64_or_hex(spell):
    vault = Vault.parse(f" {spell(NEW)} ,\n{spell(OLD)}")
    assert Vault([NEW]).open(vault.seal(TOKEN, owner=OWNER), owner=OWNER) == TOKEN
    assert vault.open(Vault([OLD]).seal(TOKEN, owner=OWNER), owner=OWNER) == TOKEN


@pytest.mark.parametrize(
    ("text", "message"),
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
def test_the_error_for_an_invalid_key_gives_its_position_and_not_the_key(text, message):
    with pytest.raises(InvalidKeys, match=message) as caught:
        Vault.parse(text)
    assert isinstance(caught.value, SettingsError)
    assert isinstance(caught.value, FeedzoneError)
    shown = "".join(traceback.format_exception(caught.value, chain=True)[-1:])
    assert not any(part.strip() and part.strip() in shown for part in text.split(","))


def test_errors_name_the_command_that_makes_a_key():
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


# The key file


def test_without_a_setting_a_key_file_is_made_that_only_its_owner_may_read(tmp_path):
    home = tmp_path / "new" / "home"
    before = os.umask(0)
    try:
        load_vault("", home)
    finally:
        os.umask(before)
    assert stat.S_IMODE((home / KEY_FILE).stat().st_mode) == 0o600


def test_a_text_sealed_with_the_key_file_opens_after_a_restart(tmp_path):
    sealed = load_vault("", tmp_path).seal("token", owner="athlete:1")
    key = (tmp_path / KEY_FILE).read_text()
    assert load_vault("", tmp_path).open(sealed, owner="athlete:1") == "token"
    assert (tmp_path / KEY_FILE).read_text() == key


def test_with_the_setting_no_key_file_is_made(tmp_path):
    key = new_key()
    sealed = load_vault(key, tmp_path).seal("token", owner="athlete:1")
    assert load_vault(f"{new_key()},{key}", tmp_path).open(sealed, owner="athlete:1") == "token"
    assert not (tmp_path / KEY_FILE).exists()


@pytest.mark.parametrize("setting", ["canary", "ü" * 43, "00" * 31, f"{'A' * 43},canary"])
def test_the_error_for_an_invalid_key_names_the_setting_and_not_the_key(tmp_path, setting):
    with pytest.raises(SettingsError, match="TOKEN_ENCRYPTION_KEYS") as caught:
        load_vault(setting, tmp_path)
    assert "canary" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"canary\n", b"\xff\xfe\x00canary"])
def test_the_error_for_an_invalid_key_file_names_its_path_and_not_the_key(tmp_path, content):
    (tmp_path / KEY_FILE).write_bytes(content)
    with pytest.raises(SettingsError, match=KEY_FILE) as caught:
        load_vault("", tmp_path)
    assert "canary" not in str(caught.value)


def test_the_error_for_an_unwritable_home_names_it(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"TOKEN_ENCRYPTION_KEYS is not set and .*file"):
        load_vault("", tmp_path / "file" / "home")


def test_keys_of_the_setting_go_before_a_key_file(tmp_path):
    """A leftover file must not be used once TOKEN_ENCRYPTION_KEYS is set."""
    from_file = load_vault("", tmp_path)
    from_setting = load_vault(new_key(), tmp_path)
    assert from_file.key_ids.isdisjoint(from_setting.key_ids)
