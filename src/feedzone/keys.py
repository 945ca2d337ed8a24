"""The keys that encrypt tokens: from TOKEN_ENCRYPTION_KEYS, or from a file that feedzone makes for itself."""

from __future__ import annotations

import contextlib
import os
import tempfile
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
        said = str(problem).removeprefix("TOKEN_ENCRYPTION_KEYS").removeprefix(": ").strip()
        raise SettingsError(f"{source}: {said}") from None


def _key_file(path: Path) -> str:
    """Read the key file, or make it. Only its owner may read it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _make(path)
        return path.read_text(encoding="ascii").strip()
    except UnicodeDecodeError:
        raise SettingsError(f"{path} does not hold keys in base64 or hex") from None
    except OSError as problem:
        raise SettingsError(
            f"TOKEN_ENCRYPTION_KEYS is not set and {path} cannot be used: {problem.strerror}"
        ) from None


def _make(path: Path) -> None:
    """Whole or not at all, and whoever comes second keeps the first one's."""
    handle, draft = tempfile.mkstemp(dir=path.parent)  # readable by its owner alone
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(new_key() + "\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        os.unlink(draft)
