//! Commands that prove something, from their begin to what is remembered of it: `backup verify`, `backup drill`, and a restore
//! of everything. The command line and the daemon call them.
//!
//! What was proven is remembered on this host. Where that cannot be written (another's disk, a rescue system) the proof
//! holds all the same, and a warning says so. What is found damaged is not proven any more, whatever was found of it before;
//! that it could not be looked at, for want of a key or of the network, takes nothing back.

use std::sync::Arc;

use ows_providers::RemoteIdentity;

use super::catalog::Catalog;
use super::drill::{Drilled, drill, sweep};
use super::extract::Bad;
use super::restore::{RestoreOptions, Restored, blocking, restore};
use super::run;
use super::settings::BackupSettings;
use super::source::{Chosen, Which};
use super::verify::{Level, Subject, Verified, verify};
use crate::cancel::Cancel;
use crate::error::{Failure, FailureKind, Outcome};
use crate::report::{PathProblem, Report, Reporter};
use crate::state::{BackupProof, State};

/// The command that verifies.
pub(super) const VERIFY: &str = "backup verify";

/// What is recorded for a drill that found nothing.
pub const DRILL: &str = "drill";

/// The proof that says most, of those the newest: that everything can be restored comes before that the objects are those
/// that were stored. A newer one that says less hides none that says more, and that the objects are there says nothing of
/// what is in them.
pub fn strongest(proofs: impl IntoIterator<Item = BackupProof>) -> Option<BackupProof> {
    let depth = |proof: &BackupProof| match proof.level.as_str() {
        DRILL | "read" => 2,
        "hash" => 1,
        _ => 0,
    };
    (proofs.into_iter())
        .filter(|proof| depth(proof) > 0)
        .max_by_key(|proof| (depth(proof), proof.proven_at))
}

/// How a command ended: the report is complete in either case.
#[derive(Debug)]
pub struct Finished<T> {
    /// What was done, in the words of all commands.
    pub report: Report,
    /// What was found out; `None` when it did not come to that.
    pub found: Option<T>,
    /// Why the exit code is not 0.
    pub failure: Option<Failure>,
}

/// Verifies snapshots and remembers what was proven. Without a level it is the deepest that the keys of this host allow.
pub async fn verify_command(
    settings: &BackupSettings,
    subject: Subject,
    level: Option<Level>,
    reporter: Arc<dyn Reporter>,
    cancel: Cancel,
) -> Finished<Vec<Verified>> {
    let command = Command::new(VERIFY, settings, cancel);
    let cancel = &command.cancel.clone();
    command
        .run(async |catalog| {
            let level = match level {
                Some(level) => level,
                None => deepest(settings, catalog, &subject)?,
            };
            verify(settings, catalog, &subject, level, reporter, cancel).await
        })
        .await
}

/// Drills with the newest snapshot and remembers that.
pub async fn drill_command(
    settings: &BackupSettings,
    reporter: Arc<dyn Reporter>,
    cancel: Cancel,
) -> Finished<Drilled> {
    let command = Command::new("backup drill", settings, cancel);
    let cancel = &command.cancel.clone();
    command
        .run(async |catalog| drill(settings, catalog, &Which::Latest, reporter, cancel).await)
        .await
}

/// Restores; a restore of everything that went well is remembered as a proof.
pub async fn restore_command(
    settings: &BackupSettings,
    options: RestoreOptions,
    reporter: Arc<dyn Reporter>,
    cancel: Cancel,
) -> Finished<Restored> {
    let is_proof = options.only.is_empty() && !options.dry_run;
    let mut command = Command::new("backup restore", settings, cancel);
    command.report.dry_run = options.dry_run;
    command.is_remembered = is_proof;
    command.is_cached = true;
    let cancel = &command.cancel.clone();
    command
        .run(async |catalog| restore(settings, catalog, options, reporter, cancel).await)
        .await
}

/// The deepest level that can be had with the keys of this host.
fn deepest(settings: &BackupSettings, catalog: &Catalog, subject: &Subject) -> Outcome<Level> {
    let keys = settings.keys()?;
    let opens = match subject {
        Subject::All => catalog
            .snapshots
            .iter()
            .any(|snapshot| keys.suit(&snapshot.manifest.encryption).is_ok()),
        Subject::One(which) => match Chosen::find(settings, catalog, which)? {
            Chosen::Snapshot(snapshot) => keys.suit(&snapshot.manifest.encryption).is_ok(),
            Chosen::Legacy(legacy) => !legacy.name.encrypted() || keys.passphrase().is_some(),
        },
    };
    Ok(if opens { Level::Read } else { Level::Hash })
}

/// What a command has found out, as far as all of them have it.
trait Findings {
    /// What is bad, the first of it.
    fn bad(&self) -> Vec<PathProblem>;
    /// How much is bad.
    fn bad_count(&self) -> u64;
    /// How much of that was asked for and never stored.
    fn missing(&self) -> u64 {
        0
    }
    /// What a person must know.
    fn warnings(&self) -> Vec<String>;
    /// Files that were looked at and are right, and their bytes.
    fn amount(&self) -> (u64, u64);
    /// Which snapshot it was about, when it was one.
    fn snapshot(&self) -> Option<String>;
    /// What was proven: snapshot and level.
    fn proofs(&self) -> Vec<(String, String)>;
    /// Snapshots that are damaged: what was proven of them before does not hold.
    fn disproven(&self) -> Vec<String>;
}

struct Command<'a> {
    settings: &'a BackupSettings,
    cancel: Cancel,
    report: Report,
    is_remembered: bool,
    /// Manifests that this host has read before are taken as they were read.
    is_cached: bool,
}

impl<'a> Command<'a> {
    fn new(name: &str, settings: &'a BackupSettings, cancel: Cancel) -> Self {
        settings.counter.reset();
        Self {
            settings,
            cancel,
            report: Report::new(name),
            is_remembered: true,
            // What is proven is proven of what is stored.
            is_cached: false,
        }
    }

    async fn run<T: Findings>(
        mut self,
        work: impl AsyncFnOnce(&Catalog) -> Outcome<T>,
    ) -> Finished<T> {
        let result = self.find(work).await;
        let (found, mut failure) = match result {
            Ok((found, remote)) => {
                let failure = self.tell(&found);
                self.remember(Some((&found, &remote)), failure.as_ref())
                    .await;
                (Some(found), failure)
            }
            Err(failure) => (None, Some(failure)),
        };
        let counts = self.settings.counter.counts();
        self.report.api_calls = (&counts).into();
        self.report.bytes.down = counts.bytes_down;
        if let Some(failure) = &mut failure
            && failure.kind == FailureKind::Partial
            && failure.hint.is_none()
        {
            failure.hint = Some(
                "what is bad stands above; everything else is as it was stored. Look whether another snapshot has it"
                    .to_owned(),
            );
        }
        self.report.close(failure.as_ref());
        Finished {
            report: self.report,
            found,
            failure,
        }
    }

    async fn find<T>(
        &self,
        work: impl AsyncFnOnce(&Catalog) -> Outcome<T>,
    ) -> Outcome<(T, RemoteIdentity)> {
        let own_dir = self.settings.own_dir.clone();
        // What a killed drill left is in the clear, and is not to wait for the next drill.
        blocking(move || {
            sweep(&own_dir);
            Ok(())
        })
        .await?;
        let provider = self.settings.provider.as_ref();
        // A damaged database keeps nobody from the snapshots.
        let state = match self.is_cached {
            true => State::open_existing(&self.settings.own_dir).await.ok(),
            false => None,
        };
        let state = state.flatten();
        let reading = self
            .cancel
            .unless_stopped(Catalog::read(provider, state.as_ref()))
            .await;
        if let Some(state) = state {
            state.close().await;
        }
        let catalog = reading.unwrap_or_else(|| Err(self.cancel.failure()))?;
        let found = work(&catalog).await?;
        Ok((found, catalog.remote))
    }

    /// Takes what was found into the report; damage is a failure.
    fn tell<T: Findings>(&mut self, found: &T) -> Option<Failure> {
        let (files, _) = found.amount();
        self.report.counts.download = files;
        self.report.counts.failed = found.bad_count();
        self.report.warnings.extend(found.warnings());
        self.report.errors = found.bad();
        let as_stored = |count| match count {
            1 => "1 thing is not as it was stored".to_owned(),
            count => format!("{count} things are not as they were stored"),
        };
        let in_it = |count| match count {
            1 => "1 path is not in the snapshot".to_owned(),
            count => format!("{count} paths are not in the snapshot"),
        };
        let missing = found.missing();
        let partial = |message| Failure::new(FailureKind::Partial, message);
        match (found.bad_count().saturating_sub(missing), missing) {
            (0, 0) => None,
            (0, missing) => Some(partial(in_it(missing)).with_hint(
                "`ows backup ls` shows which paths it holds; the others are as they were stored",
            )),
            (bad, 0) => Some(partial(as_stored(bad))),
            (bad, missing) => Some(partial(format!(
                "{}, and {}",
                as_stored(bad),
                in_it(missing)
            ))),
        }
    }

    async fn remember<T: Findings>(
        &mut self,
        found: Option<(&T, &RemoteIdentity)>,
        failure: Option<&Failure>,
    ) {
        let Some((found, remote)) = found.filter(|_| self.is_remembered) else {
            return;
        };
        if let Err(failure) = self.try_remember(found, remote, failure).await {
            self.report.warnings.push(format!(
                "what was proven could not be written down on this host: {failure}"
            ));
        }
    }

    async fn try_remember<T: Findings>(
        &mut self,
        found: &T,
        remote: &RemoteIdentity,
        failure: Option<&Failure>,
    ) -> Outcome<()> {
        let state = State::open(&self.settings.own_dir).await?;
        let id = run::begin(&state, &mut self.report).await?;
        for snapshot in found.disproven() {
            state.forget_backup_proofs(&remote.id, &snapshot).await?;
        }
        let proven_at = self.settings.clock.now();
        for (snapshot, level) in found.proofs() {
            let proof = BackupProof {
                snapshot,
                level,
                proven_at,
            };
            state.record_backup_proof(&remote.id, &proof).await?;
        }
        let ended = run::Ended {
            settings: self.settings,
            snapshot: found.snapshot(),
            success: failure.is_none(),
            failure,
        };
        run::end(&state, &id, ended, &mut self.report).await;
        state.close().await;
        Ok(())
    }
}

fn problems(bad: &[Bad], about: Option<&str>) -> Vec<PathProblem> {
    let path = |bad: &Bad| match (about, bad.path.as_str()) {
        (Some(about), "") => about.to_owned(),
        (_, path) => path.to_owned(),
    };
    bad.iter()
        .map(|bad| PathProblem {
            path: path(bad),
            message: bad.message.clone(),
        })
        .collect()
}

impl Findings for Restored {
    fn bad(&self) -> Vec<PathProblem> {
        problems(&self.done.bad, Some(&self.snapshot))
    }

    fn bad_count(&self) -> u64 {
        self.done.bad_count
    }

    fn missing(&self) -> u64 {
        self.done.missing
    }

    fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }

    fn amount(&self) -> (u64, u64) {
        (self.done.files, self.done.bytes)
    }

    fn snapshot(&self) -> Option<String> {
        Some(self.snapshot.clone())
    }

    fn proofs(&self) -> Vec<(String, String)> {
        // Where no index vouched for the files, nothing was proven of them.
        if self.done.bad_count > 0 || self.done.unproven > 0 {
            return Vec::new();
        }
        vec![(self.snapshot.clone(), Level::Read.name().to_owned())]
    }

    fn disproven(&self) -> Vec<String> {
        // What stood in the way in a folder of the user's says nothing about the snapshot.
        let damaged = self.is_damaged.then(|| self.snapshot.clone());
        damaged.into_iter().collect()
    }
}

impl Findings for Drilled {
    fn bad(&self) -> Vec<PathProblem> {
        self.restored.bad()
    }

    fn bad_count(&self) -> u64 {
        self.restored.bad_count()
    }

    fn warnings(&self) -> Vec<String> {
        self.restored.warnings()
    }

    fn amount(&self) -> (u64, u64) {
        self.restored.amount()
    }

    fn snapshot(&self) -> Option<String> {
        self.restored.snapshot()
    }

    fn proofs(&self) -> Vec<(String, String)> {
        let drilled = |(snapshot, _)| (snapshot, DRILL.to_owned());
        self.restored.proofs().into_iter().map(drilled).collect()
    }

    fn disproven(&self) -> Vec<String> {
        // A database that is not whole, or something else on this host: each file is as it was stored all the same.
        self.restored.disproven()
    }
}

impl Findings for Vec<Verified> {
    fn bad(&self) -> Vec<PathProblem> {
        self.iter()
            .flat_map(|verified| problems(&verified.bad, Some(&verified.snapshot)))
            .collect()
    }

    fn bad_count(&self) -> u64 {
        self.iter().map(|verified| verified.bad_count).sum()
    }

    fn warnings(&self) -> Vec<String> {
        self.iter()
            .flat_map(|verified| verified.warnings.iter().cloned())
            .collect()
    }

    fn amount(&self) -> (u64, u64) {
        self.iter().fold((0, 0), |(files, bytes), verified| {
            (files + verified.files, bytes + verified.bytes)
        })
    }

    fn snapshot(&self) -> Option<String> {
        match self.as_slice() {
            [only] => Some(only.snapshot.clone()),
            _ => None,
        }
    }

    fn proofs(&self) -> Vec<(String, String)> {
        let proven = self.iter().filter_map(|verified| {
            let level = verified.proven?;
            Some((verified.snapshot.clone(), level.name().to_owned()))
        });
        proven.collect()
    }

    fn disproven(&self) -> Vec<String> {
        self.iter()
            .filter(|verified| !verified.is_whole())
            .map(|verified| verified.snapshot.clone())
            .collect()
    }
}
