"""Users and roles, and the words in which etcd refuses (api/v3rpc/rpctypes/error.go)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pilothouse.etcd.contract import StoreError
from pilothouse.etcd.server.auth.accounts import Access, Accounts, Permission, User, decoded
from pilothouse.etcd.server.auth.ranges import OPEN_END, KeyRange
from pilothouse.etcd.wire.errors import Refused


def _with_root() -> Accounts:
    return Accounts().add_user("root", User(b"h")).grant_role("root", "root")


def _with_alice() -> Accounts:
    accounts = _with_root().add_user("alice", User(b"h")).add_role("reader")
    accounts = accounts.grant_permission("reader", Permission(Access.READ, KeyRange(b"a", b"c")))
    return accounts.grant_role("alice", "reader")


def test_enabling_needs_a_user_root_with_the_role_root() -> None:
    with pytest.raises(Refused, match="etcdserver: root user does not exist"):
        Accounts().enable()
    with pytest.raises(Refused, match="etcdserver: root user does not have root role"):
        Accounts().add_user("root", User()).enable()
    assert _with_root().enable().enabled


def test_every_change_has_a_revision_and_enabling_has_none() -> None:
    accounts = _with_root()
    assert accounts.revision == 3
    assert accounts.enable().revision == 3
    assert accounts.enable().enable() == accounts.enable()
    assert accounts.enable().disable().revision == 4
    assert accounts.disable() is accounts
    assert accounts.grant_role("root", "root") is accounts


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.add_user("", User()), "user name is empty"),
        (lambda a: a.add_user("alice", User()), "user name already exists"),
        (lambda a: a.delete_user("bob"), "user name not found"),
        (lambda a: a.delete_user("root"), "invalid auth management"),
        (lambda a: a.change_password("bob", b""), "user name not found"),
        (lambda a: a.grant_role("bob", "reader"), "user name not found"),
        (lambda a: a.grant_role("alice", "writer"), "role name not found"),
        (lambda a: a.revoke_role("alice", "writer"), "role is not granted to the user"),
        (lambda a: a.revoke_role("root", "root"), "invalid auth management"),
        (lambda a: a.add_role(""), "role name is empty"),
        (lambda a: a.add_role("reader"), "role name already exists"),
        (lambda a: a.delete_role("writer"), "role name not found"),
        (lambda a: a.delete_role("root"), "invalid auth management"),
        (lambda a: a.grant_permission("reader", None), "permission not given"),
        (
            lambda a: a.grant_permission("reader", Permission(Access.READ, KeyRange(b"b", b"a"))),
            "invalid auth management",
        ),
        (
            lambda a: a.grant_permission("writer", Permission(Access.READ, KeyRange(b"b"))),
            "role name not found",
        ),
        (
            lambda a: a.revoke_permission("reader", KeyRange(b"a")),
            "permission is not granted to the role",
        ),
        (lambda a: a.user("bob"), "user name not found"),
        (lambda a: a.role("writer"), "role name not found"),
    ],
)
def test_refusals_in_etcds_words(change: Callable[[Accounts], object], message: str) -> None:
    with pytest.raises(Refused) as refused:
        change(_with_alice().enable())
    assert str(refused.value) == f"etcdserver: {message}"


def test_root_can_go_while_authentication_is_disabled() -> None:
    accounts = _with_root().add_role("root").delete_role("root")
    assert accounts.users["root"].roles == ()
    assert "root" not in accounts.delete_user("root").users


def test_rights_are_of_all_roles_together() -> None:
    accounts = _with_alice().add_role("more").grant_role("alice", "more")
    accounts = accounts.grant_permission("more", Permission(Access.READWRITE, KeyRange(b"c", b"e")))
    assert accounts.may("alice", Access.READ, KeyRange(b"b", b"d"))
    assert not accounts.may("alice", Access.WRITE, KeyRange(b"b", b"d"))
    assert accounts.may("alice", Access.WRITE, KeyRange(b"c"))
    assert accounts.may("root", Access.WRITE, KeyRange(OPEN_END, OPEN_END))
    assert not accounts.may("bob", Access.READ, KeyRange(b"b"))


def test_a_permission_granted_again_is_replaced() -> None:
    keys = KeyRange(b"a", b"c")
    accounts = _with_alice().grant_permission("reader", Permission(Access.WRITE, keys))
    assert accounts.role("reader") == (Permission(Access.WRITE, keys),)
    assert not accounts.may("alice", Access.READ, KeyRange(b"b"))
    assert accounts.revoke_permission("reader", keys).role("reader") == ()


def test_a_role_that_is_deleted_is_nobodys() -> None:
    assert _with_alice().delete_role("reader").user("alice").roles == ()


def test_the_role_root_may_do_everything_once_it_exists() -> None:
    assert _with_root().add_role("root").role("root") == (
        Permission(Access.READWRITE, KeyRange(b"", OPEN_END)),
    )


def test_accounts_are_the_same_after_a_restart() -> None:
    accounts = _with_alice().enable().add_user("card", User(no_password=True))
    assert decoded(accounts.encoded()) == accounts
    assert decoded(b"") == Accounts()


@pytest.mark.parametrize("record", [b"{", b"[]", b'{"format": 9}', b'{"format": 1}'])
def test_a_record_that_cannot_be_read_is_refused(record: bytes) -> None:
    with pytest.raises(StoreError):
        decoded(record)


def test_a_password_is_not_shown() -> None:
    assert "secret-hash" not in repr(Accounts().add_user("a", User(b"secret-hash")))
