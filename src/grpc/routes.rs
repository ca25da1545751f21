//! Which service is whose: with each service's own list of methods, the table that generated code
//! would hold.

use std::rc::Rc;
use std::time::Duration;

use http::Request;
use tokio::sync::OwnedSemaphorePermit;
use tonic::body::Body;

use super::backend::Backend;
use super::call::Call;
use super::cluster::Cluster;
use super::election::Election;
use super::kv::Kv;
use super::lease::Leases;
use super::lock::Lock;
use super::maintenance::Maintenance;
use super::status;
use super::watch::WatchService;

/// The services of one connection.
pub struct Routes {
    backend: Rc<dyn Backend>,
    kv: Rc<Kv>,
    leases: Rc<Leases>,
    lock: Rc<Lock>,
    election: Rc<Election>,
    cluster: Rc<Cluster>,
    maintenance: Rc<Maintenance>,
    watch: Rc<WatchService>,
}

impl Routes {
    pub fn new(backend: Rc<dyn Backend>) -> Routes {
        let kv = Rc::new(Kv { backend: Rc::clone(&backend) });
        let leases = Rc::new(Leases { kv: Rc::clone(&kv) });
        let own = (Rc::clone(&kv), Rc::clone(&leases));
        let (election, lock) = (own.clone(), own);
        Routes {
            lock: Rc::new(Lock { kv: lock.0, leases: lock.1 }),
            election: Rc::new(Election { kv: election.0, leases: election.1 }),
            leases,
            kv,
            cluster: Rc::new(Cluster { backend: Rc::clone(&backend) }),
            maintenance: Rc::new(Maintenance { backend: Rc::clone(&backend) }),
            watch: Rc::new(WatchService { backend: Rc::clone(&backend) }),
            backend,
        }
    }

    /// The answer to one call, which must have sent its message within `limit`.
    pub async fn answer(
        &self,
        request: Request<Body>,
        limit: Duration,
        permit: OwnedSemaphorePermit,
    ) -> http::Response<Body> {
        let path = request.uri().path().to_owned();
        let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or_default();
        let call = Call { request, backend: Rc::clone(&self.backend), limit, permit };
        if call.wants_leader() && self.backend.leader().is_none() {
            return status::no_leader().into_http();
        }
        let answered = match service {
            "etcdserverpb.KV" => self.kv.clone().route(method, call).await,
            "etcdserverpb.Lease" => self.leases.clone().route(method, call).await,
            "v3lockpb.Lock" => self.lock.clone().route(method, call).await,
            "v3electionpb.Election" => self.election.clone().route(method, call).await,
            "etcdserverpb.Cluster" => self.cluster.clone().route(method, call).await,
            "etcdserverpb.Maintenance" => self.maintenance.clone().route(method, call).await,
            "etcdserverpb.Watch" => self.watch.clone().route(method, call).await,
            _ => return status::unknown_service(service).into_http(),
        };
        answered.unwrap_or_else(|| status::unknown_method(service, method).into_http())
    }
}
