//! Elections: standing, announcing, resigning, and watching who leads.

use bytes::Bytes;
use tonic::{Status, Streaming};

use super::call::Method;
use super::error;
use super::watch::Reopening;
use super::{Client, Error, KeyValue, revision};
use crate::grpc::pb::v3electionpb as election;
use crate::types::{LeaseId, Revision};

const CAMPAIGN: Method = Method::wait("/v3electionpb.Election/Campaign");
const PROCLAIM: Method = Method::write("/v3electionpb.Election/Proclaim");
const LEADER: Method = Method::read("/v3electionpb.Election/Leader").with_leader(true);
const OBSERVE: Method = Method::wait("/v3electionpb.Election/Observe");
const RESIGN: Method = Method::write("/v3electionpb.Election/Resign");

/// The proof that one leads: as long as `key` has this create revision.
#[derive(Clone, Debug, PartialEq)]
pub struct Leadership(election::LeaderKey);

impl Leadership {
    /// The key that announces the leader.
    pub fn key(&self) -> &Bytes {
        &self.0.key
    }

    /// Its create revision, which grows from leader to leader: a fencing token.
    pub fn revision(&self) -> Revision {
        revision(self.0.rev)
    }
}

impl Client {
    /// Waits, without limit, until the holder of `lease` leads the election `name`, and announces
    /// `value`. Drop the future to give up.
    ///
    /// As for [`Client::lock`]: after an error that leaves the outcome open, take another lease.
    pub async fn campaign(
        &self,
        name: Bytes,
        lease: LeaseId,
        value: Bytes,
    ) -> Result<Leadership, Error> {
        let request = election::CampaignRequest { name, lease: lease.0 as i64, value };
        let answer: election::CampaignResponse = self.call(CAMPAIGN, request).await?;
        Ok(Leadership(answer.leader.unwrap_or_default()))
    }

    /// Announces another value.
    pub async fn proclaim(&self, leadership: &Leadership, value: Bytes) -> Result<(), Error> {
        let request = election::ProclaimRequest { leader: Some(leadership.0.clone()), value };
        self.call::<_, election::ProclaimResponse>(PROCLAIM, request).await.map(drop)
    }

    /// Who leads, and what it announces. Nobody leads: refused, `election: no leader`.
    pub async fn leader(&self, name: Bytes) -> Result<KeyValue, Error> {
        let request = election::LeaderRequest { name };
        let answer: election::LeaderResponse = self.call(LEADER, request).await?;
        Ok(answer.kv.unwrap_or_default())
    }

    pub async fn resign(&self, leadership: &Leadership) -> Result<(), Error> {
        let request = election::ResignRequest { leader: Some(leadership.0.clone()) };
        self.call::<_, election::ResignResponse>(RESIGN, request).await.map(drop)
    }

    /// Watches who leads; nothing is sent before the first [`Observer::next`].
    pub fn observe(&self, name: Bytes) -> Observer {
        let reopening = Reopening::new(self.options.timeout);
        Observer { client: self.clone(), name, stream: None, last: Revision(0), reopening }
    }
}

/// What an observer tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Observed {
    /// Who leads now, and what it announces.
    Leader(KeyValue),
    /// The connection broke, and another endpoint is looked for. Leaders that come and go meanwhile
    /// are not told.
    Interrupted { endpoint: String, why: String },
}

/// Watches an election over connections that break.
#[derive(Debug)]
pub struct Observer {
    client: Client,
    name: Bytes,
    stream: Option<(String, Streaming<election::LeaderResponse>)>,
    /// What was told last was put at this revision.
    last: Revision,
    reopening: Reopening,
}

impl Observer {
    /// The next that there is to tell. It may be dropped at any time and called again. It fails
    /// like [`Watcher::next`](super::Watcher::next).
    pub async fn next(&mut self) -> Result<Observed, Error> {
        loop {
            let Some((endpoint, answers)) = &mut self.stream else {
                self.open().await?;
                continue;
            };
            let endpoint = endpoint.clone();
            let broken = match answers.message().await {
                Ok(Some(answer)) => {
                    let kv = answer.kv.unwrap_or_default();
                    // What was told before the connection broke comes again first.
                    if std::mem::replace(&mut self.last, revision(kv.mod_revision)) != self.last {
                        return Ok(Observed::Leader(kv));
                    }
                    continue;
                }
                Ok(None) => Status::unavailable("the server ended the stream"),
                Err(status) => status,
            };
            self.stream = None;
            let place = self.client.pool.pick().clone();
            if place.name == endpoint {
                self.client.pool.failed(&place);
            }
            if let Some(error) = self.reopening.failed(&place, &broken) {
                return Err(error);
            }
            return Ok(Observed::Interrupted { endpoint, why: error::words(&broken) });
        }
    }

    async fn open(&mut self) -> Result<(), Error> {
        self.reopening.wait().await;
        let place = self.client.pool.pick().clone();
        let request = election::LeaderRequest { name: self.name.clone() };
        let one = futures::stream::iter([request]);
        match self.client.stream(&place, OBSERVE, one).await {
            Ok(answers) => {
                self.reopening.stands();
                self.stream = Some((place.name.clone(), answers));
            }
            Err(status) => {
                self.client.pool.failed(&place);
                if let Some(error) = self.reopening.failed(&place, &status) {
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}
