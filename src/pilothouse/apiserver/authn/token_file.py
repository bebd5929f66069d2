"""Static tokens: kube-apiserver's --token-auth-file, `token,user,uid,"group1,group2"` a line."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

from pilothouse.apiserver.authn.chain import with_group
from pilothouse.apiserver.request import UserInfo


class TokenFile:
    """Tokens are kept and looked up by their digest: a lookup's time tells nothing about them."""

    def __init__(self, path: Path) -> None:
        self._users: dict[bytes, UserInfo] = {}
        with path.open(newline="") as file:
            for number, row in enumerate(csv.reader(file), 1):
                if not row:
                    continue
                if len(row) < 3:
                    raise ValueError(f"{path}:{number}: need at least token, user name and user ID")
                token, user, uid = (cell.strip() for cell in row[:3])
                if not token or not user:
                    raise ValueError(f"{path}:{number}: token and user name must not be empty")
                groups = tuple(g.strip() for g in row[3].split(",")) if len(row) > 3 and row[3] else ()
                self._users[_digest(token)] = with_group(UserInfo(user, uid, groups))

    def authenticate(self, token: str) -> UserInfo | None:
        return self._users.get(_digest(token))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
