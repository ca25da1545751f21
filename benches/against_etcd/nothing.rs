//! A gRPC server that does nothing: what HTTP/2 and protobuf cost alone.
//!
//! It answers every range with the same key and value, on one thread in a process of its own, with
//! the libraries that a node has. No store can answer faster that speaks gRPC by them.

use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use kvraft::client::load;
use kvraft::grpc::Gather;
use kvraft::grpc::pb::{etcdserverpb as pb, mvccpb};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::server::{Grpc, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::grpc::{self, Connection};

/// As many of them as a cluster has members.
pub struct Nothing {
    servers: Vec<Server>,
}

struct Server {
    process: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; then both fail, and that is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Nothing {
    pub async fn start(members: usize, value_bytes: usize) -> Result<Nothing> {
        let mut servers = Vec::new();
        for _ in 0..members {
            servers.push(Server::start(value_bytes).await.context("a server that does nothing")?);
        }
        Ok(Nothing { servers })
    }

    pub fn pids(&self) -> Vec<u32> {
        self.servers.iter().map(|server| server.process.id()).collect()
    }

    pub async fn connections(&self, clients: usize) -> Result<Vec<Connection>> {
        let addresses: Vec<_> = self.servers.iter().map(|it| it.address.clone()).collect();
        grpc::connections(addresses, 0, clients).await
    }
}

impl Server {
    /// This very program, told to serve. It dies with this thread, however that ends.
    async fn start(value_bytes: usize) -> Result<Server> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--serve-nothing", &value_bytes.to_string()]).stdin(Stdio::null());
        command.stdout(Stdio::piped());
        // SAFETY: prctl is a plain system call, allowed between fork and exec.
        unsafe {
            command.pre_exec(|| {
                let signal = Some(rustix::process::Signal::KILL);
                Ok(rustix::process::set_parent_process_death_signal(signal)?)
            });
        }
        let mut process = command.spawn()?;
        let said = process.stdout.take().context("its output")?;
        let mut server = Server { process, address: String::new() };
        let said = tokio::process::ChildStdout::from_std(said)?;
        BufReader::new(said).read_line(&mut server.address).await?;
        server.address.truncate(server.address.trim_end().len());
        ensure!(server.address.parse::<SocketAddr>().is_ok(), "it said {:?}", server.address);
        Ok(server)
    }
}

/// Serves until it is killed, and says where on its first line.
pub async fn serve(value_bytes: usize) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    std::io::stdout().flush()?;
    let value = load::value(value_bytes);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let value = value.clone();
        let service = hyper::service::service_fn(move |request: http::Request<_>| {
            let same = Same { value: value.clone() };
            async move {
                let mut grpc = Grpc::new(ProstCodec::default());
                Ok::<_, Infallible>(grpc.unary(same, request.map(Body::new)).await)
            }
        });
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(Gather(stream)), service);
        tokio::spawn(connection);
    }
}

struct Same {
    value: Bytes,
}

impl UnaryService<pb::RangeRequest> for Same {
    type Response = pb::RangeResponse;
    type Future = std::future::Ready<Result<Response<pb::RangeResponse>, Status>>;

    fn call(&mut self, request: Request<pb::RangeRequest>) -> Self::Future {
        let number = 1 << 40;
        let found = mvccpb::KeyValue {
            key: request.into_inner().key,
            create_revision: number,
            mod_revision: number,
            version: 1,
            value: self.value.clone(),
            lease: 0,
        };
        let header = pb::ResponseHeader {
            cluster_id: 1 << 50,
            member_id: 1,
            revision: number,
            raft_term: 1,
        };
        std::future::ready(Ok(Response::new(pb::RangeResponse {
            header: Some(header),
            kvs: vec![found],
            more: false,
            count: 1,
        })))
    }
}
