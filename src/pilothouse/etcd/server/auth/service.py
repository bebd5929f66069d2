"""The Auth service: messages to changes of the accounts, and back. Who may call is the guard's matter."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from pilothouse.etcd.server.auth.accounts import Access, Accounts, Permission, User
from pilothouse.etcd.server.auth.passwords import PasswordTooLong
from pilothouse.etcd.server.auth.ranges import KeyRange
from pilothouse.etcd.server.core import Call, Core, Service, Streaming, Unary
from pilothouse.etcd.wire import etcd_pb2 as pb
from pilothouse.etcd.wire.errors import Code, Refused


class AuthService(Service):
    def __init__(self, core: Core) -> None:
        super().__init__(core)
        self._store = core.auth
        self._header = core.headers.now

    def handlers(self) -> Mapping[str, Unary | Streaming]:
        return {
            "AuthEnable": self.enable,
            "AuthDisable": self.disable,
            "AuthStatus": self.status,
            "Authenticate": self.authenticate,
            "UserAdd": self.user_add,
            "UserGet": self.user_get,
            "UserList": self.user_list,
            "UserDelete": self.user_delete,
            "UserChangePassword": self.user_change_password,
            "UserGrantRole": self.user_grant_role,
            "UserRevokeRole": self.user_revoke_role,
            "RoleAdd": self.role_add,
            "RoleGet": self.role_get,
            "RoleList": self.role_list,
            "RoleDelete": self.role_delete,
            "RoleGrantPermission": self.role_grant_permission,
            "RoleRevokePermission": self.role_revoke_permission,
        }

    # -- the switch -------------------------------------------------------------------------------------

    async def enable(self, request: pb.AuthEnableRequest, call: Call) -> pb.AuthEnableResponse:
        await self._store.change(Accounts.enable)
        return pb.AuthEnableResponse(header=self._header())

    async def disable(self, request: pb.AuthDisableRequest, call: Call) -> pb.AuthDisableResponse:
        await self._store.disable()
        return pb.AuthDisableResponse(header=self._header())

    async def status(self, request: pb.AuthStatusRequest, call: Call) -> pb.AuthStatusResponse:
        accounts = self._store.accounts
        return pb.AuthStatusResponse(
            header=self._header(), enabled=accounts.enabled, authRevision=accounts.revision
        )

    async def authenticate(self, request: pb.AuthenticateRequest, call: Call) -> pb.AuthenticateResponse:
        token = await self._store.authenticate(request.name, request.password)
        return pb.AuthenticateResponse(header=self._header(), token=token)

    # -- users ------------------------------------------------------------------------------------------

    async def user_add(self, request: pb.AuthUserAddRequest, call: Call) -> pb.AuthUserAddResponse:
        bare = request.options.no_password
        user = User(no_password=True) if bare else User(await self._password(request))
        await self._store.change(lambda accounts: accounts.add_user(request.name, user))
        return pb.AuthUserAddResponse(header=self._header())

    async def user_get(self, request: pb.AuthUserGetRequest, call: Call) -> pb.AuthUserGetResponse:
        roles = self._store.accounts.user(request.name).roles
        return pb.AuthUserGetResponse(header=self._header(), roles=roles)

    async def user_list(self, request: pb.AuthUserListRequest, call: Call) -> pb.AuthUserListResponse:
        return pb.AuthUserListResponse(header=self._header(), users=sorted(self._store.accounts.users))

    async def user_delete(self, request: pb.AuthUserDeleteRequest, call: Call) -> pb.AuthUserDeleteResponse:
        await self._store.change(lambda accounts: accounts.delete_user(request.name))
        self._store.forget_tokens(request.name)
        return pb.AuthUserDeleteResponse(header=self._header())

    async def user_change_password(
        self, request: pb.AuthUserChangePasswordRequest, call: Call
    ) -> pb.AuthUserChangePasswordResponse:
        password = await self._password(request)
        await self._store.change(lambda accounts: accounts.change_password(request.name, password))
        self._store.forget_tokens(request.name)
        return pb.AuthUserChangePasswordResponse(header=self._header())

    async def user_grant_role(
        self, request: pb.AuthUserGrantRoleRequest, call: Call
    ) -> pb.AuthUserGrantRoleResponse:
        await self._store.change(lambda accounts: accounts.grant_role(request.user, request.role))
        return pb.AuthUserGrantRoleResponse(header=self._header())

    async def user_revoke_role(
        self, request: pb.AuthUserRevokeRoleRequest, call: Call
    ) -> pb.AuthUserRevokeRoleResponse:
        await self._store.change(lambda accounts: accounts.revoke_role(request.name, request.role))
        return pb.AuthUserRevokeRoleResponse(header=self._header())

    async def _password(self, request: pb.AuthUserAddRequest | pb.AuthUserChangePasswordRequest) -> bytes:
        """Its hash: of the password, or as it was sent."""
        if request.password or not request.hashedPassword:
            try:
                return await self._store.hashed(request.password)
            except PasswordTooLong as error:
                raise Refused(str(error), Code.UNKNOWN) from error
        try:
            return base64.b64decode(request.hashedPassword, validate=True)
        except binascii.Error as error:
            raise Refused(
                "auth: authentication failed, password was given for no password user",
                Code.UNKNOWN,
            ) from error

    # -- roles ------------------------------------------------------------------------------------------

    async def role_add(self, request: pb.AuthRoleAddRequest, call: Call) -> pb.AuthRoleAddResponse:
        await self._store.change(lambda accounts: accounts.add_role(request.name))
        return pb.AuthRoleAddResponse(header=self._header())

    async def role_get(self, request: pb.AuthRoleGetRequest, call: Call) -> pb.AuthRoleGetResponse:
        permissions = self._store.accounts.role(request.role)
        return pb.AuthRoleGetResponse(header=self._header(), perm=[_message(p) for p in permissions])

    async def role_list(self, request: pb.AuthRoleListRequest, call: Call) -> pb.AuthRoleListResponse:
        return pb.AuthRoleListResponse(header=self._header(), roles=sorted(self._store.accounts.roles))

    async def role_delete(self, request: pb.AuthRoleDeleteRequest, call: Call) -> pb.AuthRoleDeleteResponse:
        await self._store.change(lambda accounts: accounts.delete_role(request.role))
        return pb.AuthRoleDeleteResponse(header=self._header())

    async def role_grant_permission(
        self, request: pb.AuthRoleGrantPermissionRequest, call: Call
    ) -> pb.AuthRoleGrantPermissionResponse:
        permission = _permission(request.perm) if request.HasField("perm") else None
        await self._store.change(lambda accounts: accounts.grant_permission(request.name, permission))
        return pb.AuthRoleGrantPermissionResponse(header=self._header())

    async def role_revoke_permission(
        self, request: pb.AuthRoleRevokePermissionRequest, call: Call
    ) -> pb.AuthRoleRevokePermissionResponse:
        keys = KeyRange(request.key, request.range_end)
        await self._store.change(lambda accounts: accounts.revoke_permission(request.role, keys))
        return pb.AuthRoleRevokePermissionResponse(header=self._header())


def _permission(m: pb.Permission) -> Permission:
    try:
        return Permission(Access(m.permType), KeyRange(m.key, m.range_end))
    except ValueError as error:
        raise Refused("etcdserver: invalid auth management") from error


def _message(permission: Permission) -> pb.Permission:
    return pb.Permission(
        permType=permission.access.value,  # type: ignore[arg-type]
        key=permission.keys.key,
        range_end=permission.keys.range_end,
    )
