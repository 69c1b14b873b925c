//! `ows import-rclone`.

use ows::config::import::{Import, ImportRequest, NoteKind, prepare};
use ows::error::Outcome;
use serde_json::json;

use super::args::{Global, ImportArgs};
use super::open;
use super::output::{Answer, Output};
use super::text::sanitise;

pub fn run(
    global: &Global,
    arguments: &ImportArgs,
    output: &Output,
    answer: &mut Answer,
) -> Outcome<()> {
    answer.report.dry_run = arguments.dry_run;
    let request = ImportRequest {
        file: arguments.file.clone(),
        section: arguments.section.clone(),
        mode: arguments.mode.map(Into::into),
        remote_path: arguments.remote_path.clone(),
    };
    let invocation = open::invocation(global)?;
    let import = prepare(&invocation, &request)?;
    let mode = import.config.sync.as_ref().and_then(|sync| sync.mode);
    answer.report.mode = mode.map(|mode| mode.name().to_owned());
    answer.set("source", import.source.display().to_string());
    answer.set("section", json!(import.section));
    answer.set("target", import.target.display().to_string());
    answer.set("notes", json!(import.notes));
    answer.set("config", import.shown());
    for warning in warnings(&import, &invocation) {
        output.warning(&warning);
        answer.report.warnings.push(warning);
    }
    if arguments.dry_run {
        for line in import.shown().lines() {
            output.line(&sanitise(line));
        }
        show_notes(&import, output);
        output.line(&format!(
            "would be written to `{}` (dry run: nothing was changed)",
            sanitise(&import.target.display().to_string())
        ));
        return Ok(());
    }
    let kept = import.write(arguments.replace)?;
    answer.set("written", true);
    show_notes(&import, output);
    if let Some(kept) = kept {
        let kept = kept.display().to_string();
        output.line(&format!(
            "the old configuration is now `{}`",
            sanitise(&kept)
        ));
        answer.set("moved_aside", kept);
    }
    output.line(&format!(
        "written to `{}`; {}",
        sanitise(&import.target.display().to_string()),
        next(&import)
    ));
    Ok(())
}

fn warnings(import: &Import, invocation: &ows::config::Invocation) -> Vec<String> {
    let mut warnings: Vec<String> = import.config.engine_warning.iter().cloned().collect();
    if let Some(other) = invocation.environment.get("OWS_CONFIG")
        && invocation.config.is_none()
        && !other.is_empty()
    {
        warnings.push(format!(
            "`$OWS_CONFIG` names `{other}`, which is read before `{}`",
            import.target.display()
        ));
    }
    warnings
}

fn show_notes(import: &Import, output: &Output) {
    for note in &import.notes {
        output.line(&format!(
            "{}: `{}`: {}",
            note.kind.text(),
            sanitise(&note.key),
            sanitise(&note.message)
        ));
    }
}

/// What to do now.
fn next(import: &Import) -> &'static str {
    if import.can_sync() {
        return "next: `ows sync --dry-run`";
    }
    let is_missing = |kind| import.notes.iter().any(|note| note.kind == kind);
    if is_missing(NoteKind::Missing) {
        "set `mode` in it, then `ows sync --dry-run`"
    } else {
        "this version does not sync with it yet"
    }
}
