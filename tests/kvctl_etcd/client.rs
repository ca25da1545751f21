//! The client of etcd's API: which endpoint it asks, and what it says of what it does not know.

use std::time::{Duration, Instant};

use kvraft::etcd_client::{Client, Error, Kind, Lost, Options, pb};
use kvraft::types::LeaseId;
use tonic::Code;

use crate::block_on;
use crate::proxy::Proxy;
use crate::reference::Reference;

fn client(endpoints: &[&str], timeout: u64) -> Client {
    let options = Options {
        timeout: Duration::from_millis(timeout),
        attempt_timeout: Duration::from_millis(300),
    };
    Client::new(endpoints, options).unwrap()
}

pub fn put(key: &str, value: &str) -> pb::PutRequest {
    let (key, value) = (key.to_owned().into(), value.to_owned().into());
    pb::PutRequest { key, value, ..Default::default() }
}

async fn value(client: &Client, key: &str) -> Result<String, Error> {
    let request = pb::RangeRequest { key: key.to_owned().into(), ..Default::default() };
    let found = client.range(request).await?;
    Ok(found.kvs.first().map_or(String::new(), |kv| String::from_utf8_lossy(&kv.value).into()))
}

/// Somewhere nobody listens.
fn nowhere() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[test]
fn whoever_is_not_there_is_passed_over_also_by_writes() {
    let etcd = Reference::start(1, &[]);
    let nowhere = nowhere();
    block_on(async {
        let client = client(&[&nowhere, &etcd.addresses[0]], 5_000);
        client.put(put("a", "1")).await.unwrap();
        assert_eq!(client.endpoint(), etcd.addresses[0]);
        assert_eq!(value(&client, "a").await.unwrap(), "1");
        let alone = &client.each()[0];
        let error = alone
            .with_options(Options { timeout: Duration::from_millis(50), ..Options::default() });
        let error = error.put(put("a", "2")).await.unwrap_err();
        assert_eq!((error.kind, error.endpoint), (Kind::Unavailable, nowhere.clone()));
        assert!(error.text.contains("refused"), "{}", error.text);
    });
}

#[test]
fn a_write_without_an_answer_is_in_doubt_and_is_not_sent_again_and_a_read_is() {
    let etcd = Reference::start(1, &[]);
    let (first, second) = (Proxy::to(&etcd.addresses[0]), Proxy::to(&etcd.addresses[0]));
    block_on(async {
        let client = client(&[&first.address, &second.address], 1_000);
        client.put(put("a", "1")).await.unwrap();
        first.stall();
        let error = client.put(put("a", "2")).await.unwrap_err();
        assert_eq!((error.kind, &error.endpoint), (Kind::Unknown, &first.address));
        assert!(!error.is_without_effect() && error.waited >= Duration::from_millis(900));
        // It was not sent over the other way. (Nor can it come late: the first holds it back.)
        assert_eq!(client.endpoint(), second.address);
        assert_eq!(value(&client, "a").await.unwrap(), "1");
        first.close();
        first.open();
        second.stall();
        assert_eq!(value(&client, "a").await.unwrap(), "1", "a read is asked elsewhere");
        assert_eq!(client.endpoint(), first.address);
    });
}

#[test]
fn a_refusal_keeps_the_servers_code_and_words() {
    let etcd = Reference::start(1, &[]);
    block_on(async {
        let client = client(&[&etcd.addresses[0]], 5_000);
        let refused = client.put(put("", "1")).await.unwrap_err();
        assert_eq!((refused.kind, refused.code), (Kind::Refused, Code::InvalidArgument));
        assert_eq!(refused.text, "etcdserver: key is not provided");
        let refused = client.lease_revoke(LeaseId(7)).await.unwrap_err();
        assert_eq!(refused.code, Code::NotFound);
        let refused = client.leader("nobody".into()).await.unwrap_err();
        assert_eq!((refused.code, &refused.text[..]), (Code::Unknown, "election: no leader"));
    });
}

#[test]
fn many_calls_share_a_connection_and_do_not_wait_for_each_other() {
    let etcd = Reference::start(1, &[]);
    block_on(async {
        let client = client(&[&etcd.addresses[0]], 20_000);
        let puts = (0..1_000).map(|n| {
            let client = client.clone();
            async move { client.put(put(&format!("k{n:04}"), "v")).await }
        });
        let revisions = futures::future::try_join_all(puts).await.unwrap();
        let mut revisions: Vec<i64> =
            revisions.iter().map(|it| it.header.unwrap().revision).collect();
        revisions.sort_unstable();
        assert_eq!(revisions, (2..1_002).collect::<Vec<i64>>());
        let all = pb::RangeRequest { key: "k".into(), range_end: "l".into(), ..Default::default() };
        assert_eq!(client.range(all).await.unwrap().kvs.len(), 1_000);
    });
}

#[test]
fn members_are_asked_one_by_one() {
    let etcd = Reference::start(3, &[]);
    block_on(async {
        let endpoints: Vec<&str> = etcd.addresses.iter().map(String::as_str).collect();
        let client = client(&endpoints, 5_000);
        let mut ids = Vec::new();
        for member in client.each() {
            ids.push(member.status().await.unwrap().header.unwrap().member_id);
            member.defragment().await.unwrap();
        }
        ids.sort_unstable();
        let members = client.member_list(true).await.unwrap();
        assert_eq!(members.iter().map(|member| member.id).collect::<Vec<_>>(), ids);
        assert_eq!(client.alarms().await.unwrap(), []);
        let mut snapshot = client.snapshot().await.unwrap();
        let mut bytes = 0;
        while let Some(part) = snapshot.message().await.unwrap() {
            bytes += part.blob.len();
        }
        assert_eq!(bytes % 512, 32);
    });
}

#[test]
fn a_lease_that_cannot_be_renewed_counts_as_lost_before_it_ends() {
    let etcd = Reference::start(1, &[]);
    let proxy = Proxy::to(&etcd.addresses[0]);
    block_on(async {
        let direct = client(&[&etcd.addresses[0]], 5_000);
        let through = client(&[&proxy.address], 5_000);
        let lease = through.lease_grant(Duration::from_secs(4), LeaseId(0)).await.unwrap();
        let mut kept = through.lease_keep_alive(&lease);
        // Longer than it lasts by itself.
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(6) {
            assert_eq!(kept.renewed().await, Ok(Duration::from_secs(4)));
        }
        // A connection that breaks does no harm.
        proxy.close();
        proxy.open();
        assert_eq!(kept.renewed().await, Ok(Duration::from_secs(4)));
        proxy.stall();
        let lost = kept.lost().await;
        assert!(matches!(lost, Lost::NotRenewed(_)), "{lost}");
        let left = direct.lease_ttl(lease.id, false).await.unwrap();
        assert!(left.is_some(), "it is lost here before it ends there");

        let lease = direct.lease_grant(Duration::from_secs(60), LeaseId(0x1a)).await.unwrap();
        assert_eq!(lease.id, LeaseId(0x1a));
        let kept = direct.lease_keep_alive(&lease);
        assert_eq!(direct.leases().await.unwrap().len(), 2);
        direct.lease_revoke(lease.id).await.unwrap();
        assert_eq!(direct.lease_keep_alive_once(lease.id).await.unwrap(), None);
        assert_eq!(direct.lease_ttl(lease.id, true).await.unwrap(), None);
        drop(kept);
        let lease = direct.lease_grant(Duration::from_secs(3), LeaseId(0)).await.unwrap();
        let kept = direct.lease_keep_alive(&lease);
        direct.lease_revoke(lease.id).await.unwrap();
        assert_eq!(kept.lost().await, Lost::Gone);
    });
}
