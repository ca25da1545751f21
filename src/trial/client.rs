//! One operation, done by the native client, and what is known of it afterwards.
//!
//! # What may be called `fail`
//!
//! Only what certainly had no effect and never will: that is what
//! [`ClientError::is_without_effect`] says. The client itself tries again, and a write carries its
//! session's stamp meanwhile, so that it is applied once however often it is sent; if *any* of its
//! tries may have arrived, the whole is `info`, whatever the last one was told. A read has no
//! effect, so that one that failed is never in doubt.
//!
//! # Appends
//!
//! The store has none. Here one is made of a read and a swap of exactly what was read, again and
//! again until the swap finds it: at that moment the value becomes itself and something more, which
//! is what an append is. The swaps that found something else changed nothing, so only the last one
//! can be in doubt.

use bytes::Bytes;

use super::recorder::Ended;
use super::wish::Wish;
use super::workload::Reads;
use crate::client::{Client, ClientError, Swap};
use crate::kv::Expected;
use crate::types::Revision;
use crate::verify::history::{Call, Found, Outcome};

/// Swaps that an append tries; with so much competition it fails.
const SWAPS: usize = 8;

/// Does it.
pub async fn perform(client: &Client, wish: &Wish, reads: Reads) -> Ended {
    let key = wish.key();
    let done = match &wish.call {
        Call::Read => {
            read(client, key, reads).await.map(|(found, rev)| ok(Found::Value(found), rev))
        }
        Call::Write(value) => client
            .put(key.to_owned(), value.clone())
            .await
            .map(|put| ok(Found::Nothing, put.revision)),
        Call::Cas { old, new } => swap(client, key, old, new.clone().unwrap_or_default()).await,
        Call::Append(more) => return append(client, key, more).await,
        Call::Delete => {
            client.delete(key.to_owned()).await.map(|deleted| ok(Found::Nothing, deleted.revision))
        }
        other => {
            let error = format!("the native client knows no {}", other.name());
            return Ended { outcome: Outcome::Failed, error: Some(error) };
        }
    };
    ended(done)
}

async fn read(
    client: &Client,
    key: &str,
    reads: Reads,
) -> Result<(Option<Bytes>, Revision), ClientError> {
    let got = client.get(key.to_owned(), reads.into()).await?;
    Ok((got.item.map(|item| item.value), got.revision))
}

async fn swap(
    client: &Client,
    key: &str,
    old: &Option<Bytes>,
    new: Bytes,
) -> Result<Outcome, ClientError> {
    let expected = old.clone().map_or(Expected::Absent, Expected::Value);
    Ok(match client.compare_and_swap(key.to_owned(), expected, new).await? {
        Swap::Swapped { revision } => ok(Found::Nothing, revision),
        Swap::Unchanged { .. } => Outcome::Mismatch,
    })
}

async fn append(client: &Client, key: &str, more: &Bytes) -> Ended {
    for _ in 0..SWAPS {
        // Always a linearizable read: a stale one would only make the swap fail.
        let old = match read(client, key, Reads::Linearizable).await {
            Ok((found, _)) => found,
            Err(error) => return ended(Err(error)),
        };
        let new = [old.as_deref().unwrap_or_default(), more].concat();
        match swap(client, key, &old, new.into()).await {
            Ok(Outcome::Mismatch) => {}
            done => return ended(done),
        }
    }
    let error = format!("{SWAPS} swaps found that somebody else was faster");
    Ended { outcome: Outcome::Failed, error: Some(error) }
}

fn ok(found: Found, revision: Revision) -> Outcome {
    Outcome::Ok { found, rev: Some(revision.0) }
}

fn ended(done: Result<Outcome, ClientError>) -> Ended {
    match done {
        Ok(outcome) => Ended { outcome, error: None },
        Err(error) => Ended { outcome: outcome(&error), error: Some(error.brief()) },
    }
}

fn outcome(error: &ClientError) -> Outcome {
    match error.is_without_effect() {
        true => Outcome::Failed,
        false => Outcome::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::client::Trouble;

    #[test]
    fn only_what_certainly_had_no_effect_is_a_failure() {
        let trouble = || {
            Box::new(Trouble {
                is_write: true,
                waited: Duration::from_secs(1),
                last: "silence".into(),
                endpoints: Vec::new(),
            })
        };
        let certain = [
            ClientError::Invalid("too long".into()),
            ClientError::Refused("the disk is full".into()),
            ClientError::NoQuorum(trouble()),
            ClientError::NotProposed(trouble()),
        ];
        assert!(certain.iter().all(|error| outcome(error) == Outcome::Failed));
        assert_eq!(outcome(&ClientError::Unknown(trouble())), Outcome::Unknown);
    }
}
