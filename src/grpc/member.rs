//! Members as etcd's clients see them, and where they are.
//!
//! A member's peers reach it at an [`Address`]; etcd's clients write that as a URL: `tcp:…` is
//! `http://…`, and `unix:/path` is `unix:///path`. Peers speak no TLS to each other, so `https` is
//! taken for the same as `http`. A member has one address: of several URLs none could be left out
//! in silence, so they are refused.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use tonic::Status;

use super::pb::etcdserverpb as pb;
use super::status;
use crate::config::Address;
use crate::consensus::Configuration;
use crate::kv::Machine;
use crate::kv::version::MEMBERS_ARE_KNOWN;
use crate::types::NodeId;

use super::backend::Identity;

/// All members, by number. Of a state that knows no names yet, this one tells its own.
pub fn list(
    configuration: &Configuration,
    state: Option<&Machine>,
    own: &Identity,
) -> Vec<pb::Member> {
    let Configuration { voters, learners, addresses, .. } = configuration;
    let mut ids: Vec<NodeId> = voters.iter().chain(learners).copied().collect();
    ids.sort();
    let roster = state.filter(|it| it.version() >= MEMBERS_ARE_KNOWN).map(Machine::roster);
    let member = |id: NodeId| {
        let known = roster.and_then(|roster| roster.member(id));
        let (name, client_ur_ls) = match (roster, known) {
            (_, Some(known)) => (known.name.clone(), known.client_urls.clone()),
            (Some(_), None) => (String::new(), Vec::new()),
            (None, None) if id == own.node => (format!("node-{id}"), vec![own.url.clone()]),
            (None, None) => (format!("node-{id}"), Vec::new()),
        };
        pb::Member {
            id: id.0,
            name,
            peer_ur_ls: addresses.get(&id).map(|address| url_of(address)).into_iter().collect(),
            client_ur_ls,
            is_learner: learners.contains(&id) && !known.is_some_and(|it| it.is_enlisted),
        }
    };
    ids.into_iter().map(member).collect()
}

/// How etcd writes an address.
fn url_of(address: &str) -> String {
    match address.parse() {
        Ok(Address::Tcp(address)) => format!("http://{address}"),
        Ok(Address::Unix(path)) => format!("unix://{}", path.display()),
        Err(_) => address.to_owned(),
    }
}

/// The address that is meant by peer URLs.
pub fn address_of(urls: &[String]) -> Result<String, Status> {
    let [url] = urls else { return Err(status::invalid_member_urls()) };
    let address = parse(url.trim()).ok_or_else(status::invalid_member_urls)?;
    Ok(address.to_string())
}

fn parse(url: &str) -> Option<Address> {
    match url.split_once(':')? {
        ("http" | "https", rest) => {
            let (host, port) = rest.strip_prefix("//")?.rsplit_once(':')?;
            let host = match host {
                "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
                host => match host.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
                    Some(host) => IpAddr::V6(host.parse().ok()?),
                    None => IpAddr::V4(host.parse().ok()?),
                },
            };
            let port = port.parse().ok().filter(|port| *port != 0)?;
            Some(Address::Tcp(SocketAddr::new(host, port)))
        }
        ("unix" | "unixs", rest) => {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            path.starts_with('/').then(|| Address::Unix(PathBuf::from(path)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_an_address_and_back() {
        for (url, address) in [
            ("http://127.0.0.1:2380", "tcp:127.0.0.1:2380"),
            ("http://[::1]:2380", "tcp:[::1]:2380"),
            ("unix:///tmp/a b/peer.sock", "unix:/tmp/a b/peer.sock"),
        ] {
            assert_eq!(address_of(&[url.to_owned()]).unwrap(), address);
            assert_eq!(url_of(address), url);
        }
        for url in ["https://127.0.0.1:1", "http://localhost:1", " unixs:/p "] {
            assert!(address_of(&[url.to_owned()]).is_ok(), "{url}");
        }
    }

    #[test]
    fn what_no_peer_could_be_reached_at_is_refused() {
        for url in [
            "",
            "127.0.0.1:2380",
            "http://127.0.0.1",
            "http://127.0.0.1:",
            "http://127.0.0.1:0",
            "http://127.0.0.1:99999",
            "http://127.0.0.1:2380/path",
            "http://127.0.0.1:2380/",
            "http://somewhere.example:2380",
            "http:127.0.0.1:2380",
            "ftp://127.0.0.1:2380",
            "unix://relative",
        ] {
            let error = address_of(&[url.to_owned()]).unwrap_err();
            assert_eq!(error.message(), "etcdserver: given member URLs are invalid", "{url}");
        }
        assert!(address_of(&[]).is_err());
        let two = ["http://127.0.0.1:1", "http://127.0.0.1:2"].map(str::to_owned);
        assert!(address_of(&two).is_err());
    }
}
