//! A stream over a socket, where time goes by.

use std::rc::Rc;
use std::time::Duration;

use futures::StreamExt;
use http::uri::PathAndQuery;
use tokio::net::TcpListener;
use tokio::task::LocalSet;
use tonic::client::Grpc;
use tonic::transport::Endpoint;
use tonic_prost::ProstCodec;

use super::super::hub::{Hub, HubOptions};
use super::World;
use super::stream::key;
use crate::grpc::backend::Backends;
use crate::grpc::idle;
use crate::grpc::pb::etcdserverpb as pb;
use crate::grpc::pb::etcdserverpb::watch_request::RequestUnion;
use crate::grpc::server::{GrpcLimits, Server};
use crate::grpc::{Meter, MetricsPage};

const PATIENCE: Duration = Duration::from_secs(20);

fn no_metrics() -> MetricsPage {
    Rc::new(|| http::Response::new(http_body_util::Full::default()))
}

#[test]
fn who_is_silent_hears_so_again_and_again_though_it_has_said_all_that_it_will() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let world = World::new();
        let options = HubOptions { progress: Duration::from_millis(20), ..HubOptions::default() };
        let hub = Rc::new(Hub::new(world.clone(), options));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let backends: Backends = {
            let hub = hub.clone();
            Rc::new(move || idle::node(Some(&hub)))
        };
        let server = Rc::new(Server::new(
            GrpcLimits::default(),
            backends,
            no_metrics(),
            Rc::new(Meter::new()),
        ));
        let server = tokio::task::spawn_local(server.serve(listener));
        let running = tokio::task::spawn_local(hub.clone().run());
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let mut grpc = Grpc::new(endpoint.connect().await.unwrap());
        grpc.ready().await.unwrap();
        let create = pb::WatchCreateRequest { progress_notify: true, ..key(1) };
        let create = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        // The client's half ends with it.
        let requests = futures::stream::iter([create]);
        let path = PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
        let codec = ProstCodec::<pb::WatchRequest, pb::WatchResponse>::default();
        let answers = grpc.streaming(tonic::Request::new(requests), path, codec).await;
        let mut answers = answers.unwrap().into_inner();
        let mut next = async || {
            let next = tokio::time::timeout(PATIENCE, answers.next()).await;
            next.expect("nothing comes").expect("the stream ends").unwrap()
        };
        assert!(next().await.created);
        for _ in 0..3 {
            let message = next().await;
            assert_eq!((message.watch_id, message.events.len()), (0, 0));
            assert_eq!(message.header.unwrap().revision, 1);
        }
        world.put(1, 1);
        hub.moved(world.revision());
        let mut heard = next().await;
        while heard.events.is_empty() {
            heard = next().await;
        }
        assert_eq!(heard.events[0].kv.as_ref().unwrap().mod_revision, 2);
        assert_eq!(hub.figures().feeds, 1);
        drop(answers);
        let gone = async {
            while hub.figures().feeds > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, gone).await.expect("the watch is kept");
        assert_eq!(hub.figures().watches, 0);
        server.abort();
        running.abort();
    });
}
