//! `ows backup list`.

use chrono::{DateTime, SecondsFormat, Utc};
use ows::backup::catalog::{Catalog, Legacy, Snapshot};
use ows::backup::connect::backup_settings_to_look;
use ows::backup::settings::BackupSettings;
use ows::error::{Failure, FailureKind, Outcome};
use ows::report::{ApiCalls, PathProblem};
use serde_json::{Value, json};

use super::super::args::Global;
use super::super::open;
use super::super::output::{Answer, Output};
use super::super::text::{files, sanitise, size};
use super::proofs::{Proofs, known};

pub async fn run(global: &Global, output: &Output, answer: &mut Answer) -> Outcome<()> {
    let config = open::config(global, output, answer)?;
    let settings = backup_settings_to_look(&config)?;
    let result = list(&settings, output, answer).await;
    answer.report.api_calls = ApiCalls::from(&settings.counter.counts());
    result
}

async fn list(settings: &BackupSettings, output: &Output, answer: &mut Answer) -> Outcome<()> {
    let state = known(settings, output, answer).await;
    let catalog = Catalog::read(settings.provider.as_ref(), state.as_ref()).await?;
    let proofs = Proofs::of(state.as_ref(), &catalog.remote.id).await?;
    show(&catalog, &proofs, &settings.profile, output, answer)
}

/// Shows what the folder of the snapshots holds.
fn show(
    catalog: &Catalog,
    proofs: &Proofs,
    profile: &str,
    output: &Output,
    answer: &mut Answer,
) -> Outcome<()> {
    let mut rows = Vec::new();
    for snapshot in &catalog.snapshots {
        output.line(&line(snapshot, proofs, profile));
        rows.push(row(snapshot, proofs));
    }
    for legacy in &catalog.legacy {
        output.line(&legacy_line(legacy));
        rows.push(legacy_row(legacy));
    }
    answer.set("snapshots", Value::Array(rows));
    let damaged = catalog
        .unusable
        .iter()
        .map(|unusable| json!({ "name": unusable.name, "message": unusable.reason }));
    answer.set("damaged", damaged.collect::<Value>());
    let unlisted = catalog.unlisted.iter().map(|unlisted| {
        let bytes: u64 = unlisted.objects.values().map(|object| object.size).sum();
        json!({ "name": unlisted.name, "objects": unlisted.objects.len(), "size": bytes })
    });
    answer.set("unlisted", unlisted.collect::<Value>());
    sum_up(catalog, output);
    unusable(catalog, answer)
}

fn sum_up(catalog: &Catalog, output: &Output) {
    let count = catalog.snapshots.len() + catalog.legacy.len();
    let bytes: u64 = catalog
        .snapshots
        .iter()
        .map(Snapshot::stored_bytes)
        .chain(catalog.legacy.iter().map(|legacy| legacy.entry.size))
        .sum();
    output.line(&match count {
        0 => "no snapshots".to_owned(),
        1 => format!("1 snapshot, {}", size(bytes)),
        count => format!("{count} snapshots, {}", size(bytes)),
    });
    if !catalog.unlisted.is_empty() {
        output.line(&format!(
            "{} without a manifest (a backup that is under way, or was killed; `ows backup prune --unlisted` removes them): {}",
            match catalog.unlisted.len() {
                1 => "objects of 1 snapshot".to_owned(),
                count => format!("objects of {count} snapshots"),
            },
            names(catalog.unlisted.iter().map(|unlisted| unlisted.name.to_string()))
        ));
    }
}

/// Up to three names.
fn names(names: impl ExactSizeIterator<Item = String>) -> String {
    let more = names.len().saturating_sub(3);
    let shown: Vec<String> = names.take(3).collect();
    match more {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Manifests that cannot be read are told as what they are: snapshots that cannot be relied on.
fn unusable(catalog: &Catalog, answer: &mut Answer) -> Outcome<()> {
    let problems = catalog.unusable.iter().map(|unusable| PathProblem {
        path: unusable.name.to_string(),
        message: unusable.reason.clone(),
    });
    answer.report.errors.extend(problems);
    match catalog.unusable.len() {
        0 => Ok(()),
        count => Err(Failure::new(
            FailureKind::Partial,
            match count {
                1 => "1 snapshot cannot be used".to_owned(),
                count => format!("{count} snapshots cannot be used"),
            },
        )
        .with_hint("see above; nothing removes them, and docs/backup.md tells how to get at their data by hand")),
    }
}

fn line(snapshot: &Snapshot, proofs: &Proofs, profile: &str) -> String {
    let manifest = &snapshot.manifest;
    let sealed = match manifest.encryption.is_on() {
        true => "encrypted",
        false => "plain",
    };
    let proven = match proofs.best(&snapshot.name.to_string()) {
        None => "not proven".to_owned(),
        Some(proof) => format!(
            "proven {} ({})",
            proof.proven_at.format("%Y-%m-%d"),
            sanitise(&proof.level)
        ),
    };
    let mut line = format!(
        "{:<34}  {}  {:>10}  {:>12}  {sealed:<9}  {proven}",
        snapshot.name.to_string(),
        snapshot.name.taken_at().format("%Y-%m-%d %H:%M UTC"),
        size(snapshot.stored_bytes()),
        files(manifest.totals.files),
    );
    if manifest.profile != profile {
        line.push_str(&format!("  profile {}", sanitise(&manifest.profile)));
    }
    line
}

fn legacy_line(legacy: &Legacy) -> String {
    let time = legacy.name.taken_at().map_or_else(
        || format!("{:<20}", "-"),
        |time| time.format("%Y-%m-%d %H:%M UTC").to_string(),
    );
    format!(
        "{:<34}  {time}  {:>10}  {:>12}  {:<9}  legacy, carries no proof",
        sanitise(legacy.name.as_str()),
        size(legacy.entry.size),
        "-",
        if legacy.name.encrypted() {
            "encrypted"
        } else {
            "plain"
        },
    )
}

fn row(snapshot: &Snapshot, proofs: &Proofs) -> Value {
    let proof = proofs.best(&snapshot.name.to_string());
    json!({
        "name": snapshot.name,
        "profile": snapshot.manifest.profile,
        "host": snapshot.manifest.host,
        "created_at": time(snapshot.name.taken_at()),
        "size": snapshot.stored_bytes(),
        "files": snapshot.manifest.totals.files,
        "encrypted": snapshot.manifest.encryption.is_on(),
        "legacy": false,
        "proven_at": proof.as_ref().map(|proof| time(proof.proven_at)),
        "level": proof.as_ref().map(|proof| &proof.level),
    })
}

fn legacy_row(legacy: &Legacy) -> Value {
    json!({
        "name": legacy.name.as_str(),
        "profile": null,
        "host": null,
        "created_at": legacy.name.taken_at().map(time),
        "size": legacy.entry.size,
        "files": null,
        "encrypted": legacy.name.encrypted(),
        "legacy": true,
        "proven_at": null,
        "level": null,
    })
}

/// A time as JSON has it.
pub fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}
