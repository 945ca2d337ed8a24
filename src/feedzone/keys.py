"""The keys that encrypt tokens: from TOKEN_ENCRYPTION_KEYS, or from a file that feedzone makes for itself."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import SettingsError
from .vault import Vault, VaultError, new_key

KEY_FILE = "token.key"


def load_vault(setting: str, home: Path) -> Vault:
    """The vault. Raises SettingsError that names TOKEN_ENCRYPTION_KEYS and never shows a key."""
    path = home / KEY_FILE
    source = "TOKEN_ENCRYPTION_KEYS" if setting else str(path)
    text = setting or _key_file(path)
    try:
        return Vault.parse(text)
    except VaultError as problem:
        raise SettingsError(f"{source}: {problem}") from None


def _key_file(path: Path) -> str:
    """Read the key file, or make it. Only its owner may read it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return path.read_text(encoding="ascii").strip()
        with os.fdopen(handle, "w", encoding="ascii") as file:
            key = new_key()
            file.write(key + "\n")
        return key
    except OSError as problem:
        raise SettingsError(
            f"TOKEN_ENCRYPTION_KEYS is not set and {path} cannot be used: {problem.strerror}"
        ) from None
