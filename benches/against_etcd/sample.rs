//! The sample data, loaded alike into both.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, anyhow, ensure};
use bytes::Bytes;
use futures::StreamExt;
use kvraft::client::load::Target;

/// The records of a compressed file of JSON lines.
pub async fn read(path: &Path) -> Result<Vec<(Bytes, Bytes)>> {
    #[derive(serde::Deserialize)]
    struct Record {
        key: String,
        value: String,
    }
    let unpacked = tokio::process::Command::new("gzip")
        .arg("-dc")
        .arg(path)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("running gzip")?;
    ensure!(unpacked.status.success(), "gzip cannot read {}", path.display());
    let records = serde_json::Deserializer::from_slice(&unpacked.stdout).into_iter::<Record>();
    records
        .map(|record| {
            let record = record.with_context(|| format!("a record of {}", path.display()))?;
            Ok((record.key.into(), record.value.into()))
        })
        .collect()
}

/// Writes all of `data`, 64 writes at a time; every one must succeed.
pub async fn load<T: Target>(targets: &[T], data: &[(Bytes, Bytes)]) -> Result<()> {
    let mut writes = futures::stream::iter(data.iter().zip(targets.iter().cycle()))
        .map(|((key, value), target)| target.put(key.clone(), value.clone()))
        .buffer_unordered(64);
    while let Some(written) = writes.next().await {
        written.map_err(|error| anyhow!("a record was not written: {error}"))?;
    }
    Ok(())
}
