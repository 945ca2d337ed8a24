"""The key file: made once, for its owner's eyes only; and errors that name the setting."""

from __future__ import annotations

import os
import stat

import pytest

from feedzone.errors import SettingsError
from feedzone.vault import KEY_FILE, load_vault, new_key


def test_makes_a_key_file_that_only_its_owner_may_read(tmp_path):
    home = tmp_path / "new" / "home"
    before = os.umask(0)
    try:
        load_vault("", home)
    finally:
        os.umask(before)
    assert stat.S_IMODE((home / KEY_FILE).stat().st_mode) == 0o600


def test_what_was_sealed_opens_after_a_restart(tmp_path):
    sealed = load_vault("", tmp_path).seal("token", owner="athlete:1")
    key = (tmp_path / KEY_FILE).read_text()
    assert load_vault("", tmp_path).open(sealed, owner="athlete:1") == "token"
    assert (tmp_path / KEY_FILE).read_text() == key


def test_the_setting_goes_first_and_makes_no_file(tmp_path):
    key = new_key()
    sealed = load_vault(key, tmp_path).seal("token", owner="athlete:1")
    assert load_vault(f"{new_key()},{key}", tmp_path).open(sealed, owner="athlete:1") == "token"
    assert not (tmp_path / KEY_FILE).exists()


@pytest.mark.parametrize("setting", ["canary", "ü" * 43, "00" * 31, f"{'A' * 43},canary"])
def test_a_bad_key_is_named_by_its_setting_and_never_shown(tmp_path, setting):
    with pytest.raises(SettingsError, match="TOKEN_ENCRYPTION_KEYS") as caught:
        load_vault(setting, tmp_path)
    assert "canary" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"canary\n", b"\xff\xfe\x00canary"])
def test_a_bad_key_file_is_named_by_its_path_and_never_shown(tmp_path, content):
    (tmp_path / KEY_FILE).write_bytes(content)
    with pytest.raises(SettingsError, match=KEY_FILE) as caught:
        load_vault("", tmp_path)
    assert "canary" not in str(caught.value)


def test_a_home_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"TOKEN_ENCRYPTION_KEYS is not set and .*file"):
        load_vault("", tmp_path / "file" / "home")
