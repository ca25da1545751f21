//! Which service is whose: with each service's own list of methods, the table that generated code
//! would hold.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use tonic::body::Body;

use super::auth::Auth;
use super::backend::Backend;
use super::bounds::Claim;
use super::call::Call;
use super::cluster::Cluster;
use super::election::Election;
use super::health::Health;
use super::kv::Kv;
use super::lease::Leases;
use super::lock::Lock;
use super::maintenance::Maintenance;
use super::meter::Meter;
use super::reflection::Reflection;
use super::status;
use super::watch::WatchService;
use super::youth::Youth;

/// The services of one connection.
pub struct Routes {
    backend: Rc<dyn Backend>,
    meter: Rc<Meter>,
    youth: Rc<Youth>,
    kv: Rc<Kv>,
    leases: Rc<Leases>,
    lock: Rc<Lock>,
    election: Rc<Election>,
    cluster: Rc<Cluster>,
    maintenance: Rc<Maintenance>,
    watch: Rc<WatchService>,
    auth: Rc<Auth>,
}

impl Routes {
    pub fn new(kv: Kv, meter: Rc<Meter>, youth: Rc<Youth>) -> Routes {
        let (backend, kv) = (Rc::clone(&kv.backend), Rc::new(kv));
        let leases = Rc::new(Leases { kv: Rc::clone(&kv) });
        let own = (Rc::clone(&kv), Rc::clone(&leases));
        let (election, lock) = (own.clone(), own);
        Routes {
            lock: Rc::new(Lock { kv: lock.0, leases: lock.1 }),
            election: Rc::new(Election { kv: election.0, leases: election.1 }),
            leases,
            cluster: Rc::new(Cluster { backend: Rc::clone(&backend), kv: Rc::clone(&kv) }),
            maintenance: Rc::new(Maintenance { backend: Rc::clone(&backend), kv: Rc::clone(&kv) }),
            kv,
            watch: Rc::new(WatchService { backend: Rc::clone(&backend) }),
            auth: Rc::new(Auth { backend: Rc::clone(&backend) }),
            backend,
            meter,
            youth,
        }
    }

    /// The answer to one call, which must have sent its message within `limit`.
    pub async fn answer(
        &self,
        request: Request<Body>,
        limit: Duration,
        claim: Arc<Claim>,
    ) -> http::Response<Body> {
        // The same bytes, held twice.
        let uri = request.uri().clone();
        let path = uri.path();
        let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or_default();
        let (backend, counted) = (Rc::clone(&self.backend), self.meter.begins(path));
        let call = Call { request, backend, counted, limit, claim };
        if call.wants_leader() && self.backend.leader().is_none() {
            return call.refuse(status::no_leader());
        }
        if self.backend.is_learner() && !learners_may(service, method) {
            return call.refuse(status::not_at_learner());
        }
        if !matches!(service, "etcdserverpb.Maintenance" | "grpc.health.v1.Health") {
            self.youth.over(&*self.backend).await;
        }
        if path == "/etcdserverpb.Cluster/MemberList" {
            self.youth.introductions(&*self.backend).await;
        }
        let answered = match service {
            "etcdserverpb.KV" => self.kv.clone().route(method, call).await,
            "etcdserverpb.Lease" => self.leases.clone().route(method, call).await,
            "v3lockpb.Lock" => self.lock.clone().route(method, call).await,
            "v3electionpb.Election" => self.election.clone().route(method, call).await,
            "etcdserverpb.Cluster" => self.cluster.clone().route(method, call).await,
            "etcdserverpb.Maintenance" => self.maintenance.clone().route(method, call).await,
            "etcdserverpb.Watch" => self.watch.clone().route(method, call).await,
            "etcdserverpb.Auth" => self.auth.clone().route(method, call).await,
            "grpc.health.v1.Health" => Health.route(method, call).await,
            "grpc.reflection.v1.ServerReflection" | "grpc.reflection.v1alpha.ServerReflection" => {
                Reflection.route(method, call).await
            }
            _ => return status::unknown_service(service).into_http(),
        };
        answered.unwrap_or_else(|| status::unknown_method(service, method).into_http())
    }
}

/// What a member without a vote answers. That a range must be a serializable one, its service sees.
fn learners_may(service: &str, method: &str) -> bool {
    match service {
        "etcdserverpb.Maintenance" => method == "Status",
        "etcdserverpb.KV" => method == "Range",
        service => !service.starts_with("etcdserverpb.") && !service.starts_with("v3"),
    }
}
