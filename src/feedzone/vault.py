"""Token encryption: AES-256-GCM with keys that can be rotated; each text is bound to its owner.

A sealed text is `v1.<key id>.<base64url(nonce || ciphertext || tag)>`. The key id is the first 8 hex digits
of the key's SHA-256. It names the key that opens the text, and is no help in guessing 32 random bytes.
Version, key id and owner are authenticated too: a text that is moved to another athlete's row does not open.

Nonces are 96 random bits, safe for 2^32 seals with one key (NIST SP 800-38D section 8.3): 80 years at 100
seals a minute.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .domain.wording import count
from .errors import FeedzoneError, SettingsError

VERSION = "v1"
KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
_HOW = "each is 32 bytes in base64 or hex; `feedzone keys new` makes one"


class VaultError(FeedzoneError):
    """A token could not be encrypted or decrypted."""


class InvalidKeys(VaultError, SettingsError):
    """TOKEN_ENCRYPTION_KEYS does not hold usable keys."""


class UnknownKey(VaultError):
    """A token is encrypted with a key that is missing in TOKEN_ENCRYPTION_KEYS.

    `key_id` is the id of the missing key.
    """

    def __init__(self, key_id: str) -> None:
        self.key_id = key_id
        super().__init__(
            f"a token is encrypted with key {key_id}, which is missing: add it to TOKEN_ENCRYPTION_KEYS again"
        )


class Tampered(VaultError):
    """An encrypted token was altered, cut short, or belongs to another owner."""


class Vault:
    """Seals with the first key and opens with any of them. Its repr shows key ids, never keys."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Take `keys` of 32 bytes each, newest first.

        Raises InvalidKeys, whose message names the position of the wrong key (from 1).
        """
        if not keys:
            raise InvalidKeys(f"TOKEN_ENCRYPTION_KEYS is empty: {_HOW}")
        self._ciphers: dict[str, AESGCM] = {}
        for position, key in enumerate(keys, 1):
            if len(key) != KEY_BYTES:
                raise InvalidKeys(f"TOKEN_ENCRYPTION_KEYS: key {position} has {len(key)} bytes; {_HOW}")
            if (key_id := _key_id(key)) in self._ciphers:
                raise InvalidKeys(f"TOKEN_ENCRYPTION_KEYS: key {position} repeats an earlier one")
            self._ciphers[key_id] = AESGCM(key)
        self._newest = next(iter(self._ciphers))

    @property
    def key_ids(self) -> frozenset[str]:
        return frozenset(self._ciphers)

    @classmethod
    def parse(cls, text: str) -> Vault:
        """Return the vault for a TOKEN_ENCRYPTION_KEYS setting: keys separated by commas, newest first.

        Raises InvalidKeys, whose message never contains a part of the setting.
        """
        if not text.strip():
            return cls(())
        return cls([_parse_key(part.strip(), position) for position, part in enumerate(text.split(","), 1)])

    def seal(self, plaintext: str, *, owner: str) -> str:
        """Encrypt for `owner` with the newest key. The result differs each time."""
        nonce = os.urandom(NONCE_BYTES)
        secret = self._ciphers[self._newest].encrypt(nonce, plaintext.encode(), _bound(self._newest, owner))
        return f"{VERSION}.{self._newest}.{_encode(nonce + secret)}"

    def open(self, sealed: str, *, owner: str) -> str:
        """Decrypt a text that was sealed for `owner`. Raises UnknownKey or Tampered."""
        key_id, payload = _split(sealed)
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise UnknownKey(key_id)
        try:
            plain = cipher.decrypt(payload[:NONCE_BYTES], payload[NONCE_BYTES:], _bound(key_id, owner))
        except InvalidTag:
            raise Tampered from None
        return plain.decode()

    def needs_rotation(self, sealed: str) -> bool:
        """Return whether an older key sealed the text. Raises Tampered when it is not a sealed text."""
        return _split(sealed)[0] != self._newest

    def __repr__(self) -> str:
        return f"Vault(keys={list(self._ciphers)})"


def new_key() -> str:
    """Return a new random key in the form TOKEN_ENCRYPTION_KEYS takes (base64url, 43 characters)."""
    return _encode(os.urandom(KEY_BYTES))


def _parse_key(text: str, position: int) -> bytes:
    # 64 hex digits are also valid base64, but of 48 bytes: try hex first, and nothing is ambiguous.
    if re.fullmatch(r"[0-9A-Fa-f]{64}", text):
        return bytes.fromhex(text)
    standard = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except (binascii.Error, ValueError):
        # `from None`, because the cause quotes its input, which is a key.
        raise InvalidKeys(
            f"TOKEN_ENCRYPTION_KEYS: key {position} is neither base64 nor hex; {_HOW}"
        ) from None


def _key_id(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()[:8]


def _bound(key_id: str, owner: str) -> bytes:
    return f"{VERSION}.{key_id}.{owner}".encode()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _split(sealed: str) -> tuple[str, bytes]:
    match = re.fullmatch(rf"{VERSION}\.([0-9a-f]{{8}})\.([A-Za-z0-9_-]+)", sealed)
    if match is None:
        raise Tampered
    key_id, text = match.groups()
    try:
        payload = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise Tampered from None
    # Base64 ignores spare bits at its end: accept only the spelling that `seal` writes.
    if len(payload) < NONCE_BYTES + TAG_BYTES or _encode(payload) != text:
        raise Tampered
    return key_id, payload


KEY_FILE = "token.key"


def load_vault(setting: str, home: Path) -> Vault:
    """Return the vault with the keys of the setting; without one, with the key in FEEDZONE_HOME.

    Raises SettingsError, whose message names the setting or the file and never shows a key.
    """
    path = home / KEY_FILE
    source = "TOKEN_ENCRYPTION_KEYS" if setting else str(path)
    text = setting or _key_file(path)
    try:
        return Vault.parse(text)
    except VaultError as problem:
        detail = str(problem).removeprefix("TOKEN_ENCRYPTION_KEYS").removeprefix(": ").strip()
        raise SettingsError(f"{source}: {detail}") from None


def require_keys(setting: str, home: Path, athletes_by_key: Mapping[str, int]) -> None:
    """Check that the keys decrypt all stored tokens, before anything creates a new key beside them.

    `athletes_by_key`: the number of athletes by the id of the key of their tokens.
    Raises SettingsError, whose message names their number.
    """
    if not athletes_by_key:
        return
    path = home / KEY_FILE
    is_lost = not setting and not path.exists()
    known = frozenset[str]() if is_lost else load_vault(setting, home).key_ids
    concerned = sum(number for key_id, number in athletes_by_key.items() if key_id not in known)
    if concerned:
        source = "TOKEN_ENCRYPTION_KEYS" if setting else str(path)
        problem = f"{source} is {'missing' if is_lost else 'wrong'}"
        raise SettingsError(
            f"{problem}: it does not decrypt the stored tokens of {count(concerned, 'athlete')}. Restore the "
            "key; if it is lost, `feedzone keys forget-lost` deletes these tokens, and their athletes must "
            "connect again"
        )


def _key_file(path: Path) -> str:
    """Read the key file, or create it. Only its owner may read it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _create(path)
        return path.read_text(encoding="ascii")
    except UnicodeDecodeError:
        raise SettingsError(f"{path} does not contain keys in base64 or hex") from None
    except OSError as problem:
        raise SettingsError(
            f"TOKEN_ENCRYPTION_KEYS is not set and {path} cannot be used ({problem.strerror}): "
            "set it, or let feedzone write there"
        ) from None


def _create(path: Path) -> None:
    """Create the key file atomically. If another process creates it first, keep that one."""
    handle, draft = tempfile.mkstemp(dir=path.parent)  # readable only by its owner
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(new_key() + "\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        os.unlink(draft)
