//! Random requests, to etcd and to kvraft, one after another; each answer compared field by field.
//!
//! A sequence is decided by its seed and by etcd's answers: revisions that are asked for lie about
//! the one that it is at. What may differ is who answers, in which term, and how much of a lease's
//! time is left; all else must be the same, revisions included.

mod answer;
mod generate;
mod request;

use super::etcd_client::{self, Client, addresses, connect};
use super::kvctl_home::Home;
use super::reference::{CALM, Reference, in_memory};
use generate::Generator;

/// Requests of each sequence. `KVRAFT_DIFFERENTIAL` may ask for more.
const REQUESTS: usize = 5_000;

#[test]
fn one_node_answers_as_etcd_does() {
    compare(1, 1);
}

#[test]
fn three_nodes_answer_as_etcd_does_whoever_is_asked() {
    compare(3, 2);
}

fn compare(nodes: u32, seed: u64) {
    let requests = std::env::var("KVRAFT_DIFFERENTIAL").ok();
    let requests = requests.map_or(REQUESTS, |it| it.parse().expect("KVRAFT_DIFFERENTIAL"));
    let etcd = Reference::start(1, &[]);
    let (_home, addresses) = cluster(nodes);
    etcd_client::runtime().block_on(async {
        let theirs = Client::connect(&etcd.addresses[0]).await;
        let ours = connect(&addresses).await;
        let mut generator = Generator::new(seed);
        for number in 0..requests {
            let request = generator.next();
            let asked = generator.one_of(ours.len());
            let (expected, found) = tokio::join!(request.send(&theirs), request.send(&ours[asked]));
            generator.learn(&request, &expected);
            assert_eq!(
                found,
                expected,
                "request {number} of seed {seed}, to node {}: {request:#?}",
                asked + 1
            );
        }
        generator.check_that_it_was_worth_it(requests);
    });
}

/// A cluster that forgets nothing by itself, at revision 1.
fn cluster(nodes: u32) -> (Home, Vec<String>) {
    let home = Home::within(in_memory("kvraft-"));
    home.up_with(nodes, &[&CALM[..], &["history = \"all\""]].concat());
    let addresses = addresses(&home);
    (home, addresses)
}
