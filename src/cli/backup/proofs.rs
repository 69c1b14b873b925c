//! What this host remembers of the snapshots: which were proven, and when.

use std::collections::BTreeMap;

use ows::backup::proving::strongest;
use ows::backup::settings::BackupSettings;
use ows::error::Outcome;
use ows::state::{BackupProof, State};

use super::super::output::{Answer, Output};

/// The database, for whoever only looks; `None` without one. A damaged one keeps nobody from the snapshots, which are
/// all in the storage.
pub async fn known(
    settings: &BackupSettings,
    output: &Output,
    answer: &mut Answer,
) -> Option<State> {
    match State::open_existing(&settings.own_dir).await {
        Ok(state) => state,
        Err(error) => {
            let warning =
                format!("what this host remembers of its backups cannot be read: {error}");
            output.warning(&warning);
            answer.report.warnings.push(warning);
            None
        }
    }
}

/// The proofs of one folder of snapshots.
#[derive(Debug, Default)]
pub struct Proofs(BTreeMap<String, Vec<BackupProof>>);

impl Proofs {
    /// Those of the folder that `remote` names.
    pub async fn of(state: Option<&State>, remote: &str) -> Outcome<Self> {
        let mut by_snapshot: BTreeMap<String, Vec<BackupProof>> = BTreeMap::new();
        let proofs = match state {
            Some(state) => state.backup_proofs(remote).await?,
            None => Vec::new(),
        };
        for proof in proofs {
            let of_one = by_snapshot.entry(proof.snapshot.clone()).or_default();
            of_one.push(proof);
        }
        Ok(Self(by_snapshot))
    }

    /// The strongest proof of a snapshot.
    pub fn best(&self, snapshot: &str) -> Option<BackupProof> {
        strongest(self.0.get(snapshot)?.iter().cloned())
    }
}
