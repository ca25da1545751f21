//! `etcdserverpb.Auth`, while it is off, of a cluster without users and roles.
//!
//! Users and roles are not kept yet: whoever would make one is told so, with UNIMPLEMENTED, and
//! everybody else that there is none. Nothing may pretend to protect what it does not.

use std::rc::Rc;

use tonic::body::Body;
use tonic::{Code, Status};

use super::backend::Backend;
use super::call::Call;
use super::header::header;
use super::pb::etcdserverpb as pb;
use crate::types::Revision;

/// Serves one connection.
pub struct Auth {
    pub backend: Rc<dyn Backend>,
}

/// Of a store of users that was never changed.
const AUTH_REVISION: u64 = 1;

impl Auth {
    pub async fn route(self: Rc<Self>, method: &str, call: Call) -> Option<http::Response<Body>> {
        let it = self;
        Some(match method {
            "AuthEnable" => {
                call.unary(async |_: pb::AuthEnableRequest, _| {
                    none::<pb::AuthEnableResponse>("etcdserver: root user does not exist")
                })
                .await
            }
            "AuthDisable" => {
                call.unary(async move |_: pb::AuthDisableRequest, _| {
                    Ok(pb::AuthDisableResponse { header: it.header() })
                })
                .await
            }
            "AuthStatus" => {
                call.unary(async move |_: pb::AuthStatusRequest, _| {
                    let (header, auth_revision) = (it.header(), AUTH_REVISION);
                    Ok(pb::AuthStatusResponse { header, enabled: false, auth_revision })
                })
                .await
            }
            "Authenticate" => {
                call.unary(async |_: pb::AuthenticateRequest, _| {
                    none::<pb::AuthenticateResponse>("etcdserver: authentication is not enabled")
                })
                .await
            }
            "UserList" => {
                call.unary(async move |_: pb::AuthUserListRequest, _| {
                    Ok(pb::AuthUserListResponse { header: it.header(), users: Vec::new() })
                })
                .await
            }
            "RoleList" => {
                call.unary(async move |_: pb::AuthRoleListRequest, _| {
                    Ok(pb::AuthRoleListResponse { header: it.header(), roles: Vec::new() })
                })
                .await
            }
            method => return of_one(method, call).await,
        })
    }

    fn header(&self) -> Option<pb::ResponseHeader> {
        let revision = self.backend.state().map_or(Revision(0), |state| state.revision());
        Some(header(&*self.backend, revision))
    }
}

/// What is about one user or one role.
async fn of_one(method: &str, call: Call) -> Option<http::Response<Body>> {
    Some(match method {
        "UserAdd" => {
            call.unary(async |request: pb::AuthUserAddRequest, _| {
                not_built::<pb::AuthUserAddResponse>(&request.name, "user")
            })
            .await
        }
        "RoleAdd" => {
            call.unary(async |request: pb::AuthRoleAddRequest, _| {
                not_built::<pb::AuthRoleAddResponse>(&request.name, "role")
            })
            .await
        }
        "UserGet" => {
            call.unary(async |_: pb::AuthUserGetRequest, _| no_user::<pb::AuthUserGetResponse>())
                .await
        }
        "UserDelete" => {
            call.unary(async |_: pb::AuthUserDeleteRequest, _| {
                no_user::<pb::AuthUserDeleteResponse>()
            })
            .await
        }
        "UserChangePassword" => {
            call.unary(async |_: pb::AuthUserChangePasswordRequest, _| {
                no_user::<pb::AuthUserChangePasswordResponse>()
            })
            .await
        }
        "UserGrantRole" => {
            call.unary(async |_: pb::AuthUserGrantRoleRequest, _| {
                no_user::<pb::AuthUserGrantRoleResponse>()
            })
            .await
        }
        "UserRevokeRole" => {
            call.unary(async |_: pb::AuthUserRevokeRoleRequest, _| {
                no_user::<pb::AuthUserRevokeRoleResponse>()
            })
            .await
        }
        "RoleGet" => {
            call.unary(async |_: pb::AuthRoleGetRequest, _| no_role::<pb::AuthRoleGetResponse>())
                .await
        }
        "RoleDelete" => {
            call.unary(async |_: pb::AuthRoleDeleteRequest, _| {
                no_role::<pb::AuthRoleDeleteResponse>()
            })
            .await
        }
        "RoleGrantPermission" => {
            call.unary(async |request: pb::AuthRoleGrantPermissionRequest, _| match request.perm {
                Some(_) => no_role::<pb::AuthRoleGrantPermissionResponse>(),
                None => Err(Status::invalid_argument("etcdserver: permission not given")),
            })
            .await
        }
        "RoleRevokePermission" => {
            call.unary(async |_: pb::AuthRoleRevokePermissionRequest, _| {
                no_role::<pb::AuthRoleRevokePermissionResponse>()
            })
            .await
        }
        _ => return None,
    })
}

fn none<A>(text: &str) -> Result<A, Status> {
    Err(Status::new(Code::FailedPrecondition, text))
}

fn no_user<A>() -> Result<A, Status> {
    none("etcdserver: user name not found")
}

fn no_role<A>() -> Result<A, Status> {
    none("etcdserver: role name not found")
}

fn not_built<A>(name: &str, what: &str) -> Result<A, Status> {
    if name.is_empty() {
        return Err(Status::invalid_argument(format!("etcdserver: {what} name is empty")));
    }
    let text = format!("etcdserver: {what}s are not kept yet: kvraft has no access control so far");
    Err(Status::unimplemented(text))
}
