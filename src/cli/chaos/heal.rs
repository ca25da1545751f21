//! `kvctl chaos heal`.

use std::time::Duration;

use crate::cli::failure::{Failure, Outcome};
use crate::cli::output::{self, Format};
use crate::cli::units::short_duration;
use crate::cli::{Global, cluster};

pub async fn run(global: &Global, command: super::Heal) -> Outcome {
    let supervisor = cluster::supervisor(global).await?;
    let next = format!("see what is in force: kvctl{} chaos status", global.flag());
    let receipt =
        supervisor.heal(&command.faults).await.map_err(|error| Failure::from(error).next(next))?;
    for node in &receipt.unheard {
        output::warn(format!("node {node} does not answer; it hears of this when it does"));
    }
    match global.output {
        Format::Json => output::json(&receipt)?,
        Format::Name => {
            for healed in &receipt.healed {
                output::line(healed.id.to_string())?;
            }
        }
        Format::Table if receipt.healed.is_empty() => output::line("nothing was in force")?,
        Format::Table => {
            for healed in &receipt.healed {
                let lasted = short_duration(Duration::from_millis(healed.lasted_millis));
                let (id, what) = (healed.id, &healed.what);
                output::line(format!("healed fault {id}: {what} (in force for {lasted})"))?;
                output::line(format!("  meanwhile: {healed}"))?;
            }
        }
    }
    Ok(0)
}
