//! Sync and backup engine for an AI agent's workspace: what the `ows` command does, as a library.
//!
//! A run goes **observe both sides -> plan as a pure function -> guard -> apply -> commit**, over one storage trait
//! ([`ows_providers::Provider`]). The promise that outranks every feature: a file that exists on either side, and that no
//! person deleted, exists afterwards on at least one side or in a trash that the documentation names.
//!
//! # Map
//! - [`config`]: reads, expands and checks the configuration.
//! - [`sync`]: one run, readable from top to bottom: lock, observe, plan, guard, apply, drain. [`sync::connect`] makes a
//!   pair from a configuration, [`sync::status`] and [`sync::trash`] look at one.
//! - [`daemon`]: runs at intervals; the schedule is pure.
//! - [`plan`]: pure. The table for one path, the planner, the guards. No I/O, no clock, no async.
//! - [`apply`]: carries a plan out: order, concurrency, checks before and after, a commit per action.
//! - [`backup`]: snapshots: their names, formats and retention, and how one is read back.
//! - [`local`], [`pattern`]: the local folder, reached through one handle that no link can escape; rclone's patterns.
//! - [`state`]: everything that is remembered, in SQLite. The only SQL of the project.
//! - [`remote`]: opens a provider of the configuration, for sync and backup.
//! - [`secret_names`]: names of files that say that these hold secrets.
//! - [`error`], [`report`], [`cancel`]: what a person reads, what a run tells, what stops it.
//!
//! Dependencies point one way: `cli -> daemon -> sync -> apply, plan, state, local -> ows_providers`; `tree` and `ids` are plain
//! values for all.
//!
//! # Invariants
//! 1. Incomplete knowledge never deletes: nothing under a failed listing, an unreadable folder or a skipped link is
//!    deleted or overwritten on either side.
//! 2. No content is overwritten or removed before its replacement is durable or it is in the trash.
//! 3. The base says "agreed" for a path only after both sides were verified to hold that content.
//! 4. A process killed at any instruction and run again ends with the same trees as an undisturbed run.
//! 5. Whoever loses a race is detected by a precondition or a re-check, and left for the next run.
//! 6. Planning is deterministic and total.
//! 7. Converged means quiet: after a run without failures the next one does nothing.
//! 8. Secrets are types that cannot be printed.
//! 9. Names from the remote never escape the pair's folder.
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//!
//! use ows::cancel::Cancel;
//! use ows::config::{Environment, Invocation, load};
//! use ows::report::Silent;
//! use ows::sync::{SyncOptions, connect::pair_settings, sync};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let place = tempfile::tempdir()?;
//! # let root = place.path();
//! # std::fs::create_dir(root.join("workspace"))?;
//! # std::fs::write(root.join("workspace/notes.md"), "hello")?;
//! # std::fs::write(root.join("ows.json5"), format!(r#"{{ sync: {{
//! #     provider: "custom", custom: {{ type: "local", options: {{ path: {:?} }} }}, mode: "mailbox",
//! # }} }}"#, root.join("remote")))?;
//! let mut invocation = Invocation::new(Environment::from_process(), root);
//! invocation.config = Some(root.join("ows.json5"));
//! invocation.state_dir = Some(root.join("state"));
//! invocation.workspace = Some(root.join("workspace"));
//! let pair = pair_settings(&load(&invocation)?)?;
//!
//! let runtime = tokio::runtime::Runtime::new()?;
//! let finished = runtime.block_on(sync(&pair, &SyncOptions::default(), Arc::new(Silent), Cancel::new()));
//!
//! assert!(finished.failure.is_none());
//! assert_eq!(finished.report.counts.upload, 1);
//! assert_eq!(std::fs::read(root.join("remote/openclaw-share/notes.md"))?, b"hello");
//! # Ok(())
//! # }
//! ```

pub mod apply;
pub mod backup;
pub mod cancel;
pub mod config;
pub mod daemon;
pub mod error;
pub mod ids;
pub mod local;
pub mod pattern;
pub mod plan;
pub mod remote;
pub mod report;
pub mod secret_names;
pub mod state;
pub mod sync;
pub mod tree;
