//! How values are written for people. Names come from strangers and are escaped before they reach a terminal.

use ows::backup::entry::is_unsafe;
use ows::plan::Fate;
use ows::report::{ActionLine, Report};

/// A number of bytes for people.
pub fn size(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

/// `1 file`, `2 files`.
pub fn files(count: u64) -> String {
    match count {
        1 => "1 file".to_owned(),
        _ => format!("{count} files"),
    }
}

/// Escapes control characters and the invisible ones that reorder text, so that a name cannot speak to the terminal.
pub fn sanitise(text: &str) -> String {
    if !text.chars().any(is_unsafe) {
        return text.to_owned();
    }
    text.chars()
        .map(|character| {
            if is_unsafe(character) {
                character.escape_default().to_string()
            } else {
                character.to_string()
            }
        })
        .collect()
}

/// The same for a text of several lines. All but the first are indented, so that a name with a line break in it cannot
/// look like a line of ours.
pub fn sanitise_lines(text: &str) -> String {
    let lines: Vec<String> = text
        .lines()
        .map(|line| sanitise(line.trim_start()))
        .collect();
    lines.join("\n  ")
}

/// One action on one line.
pub fn action_line(action: &ActionLine) -> String {
    let bytes = if action.bytes > 0 {
        format!(" ({})", size(action.bytes))
    } else {
        String::new()
    };
    format!(
        "{:<17} {}{bytes}: {}",
        action.op.replace('_', " "),
        sanitise(&action.path),
        sanitise(&action.reason)
    )
}

/// One line for a run.
pub fn summary(report: &Report) -> String {
    let counts = &report.counts;
    let mut parts = Vec::new();
    let mut add = |count: u64, text: &str| {
        if count > 0 {
            parts.push(format!("{count} {text}"));
        }
    };
    let (uploaded, downloaded, renamed) = if report.dry_run {
        ("to upload", "to download", "to rename in the remote")
    } else {
        ("uploaded", "downloaded", "renamed in the remote")
    };
    add(counts.upload, uploaded);
    add(counts.download, downloaded);
    add(counts.moved, renamed);
    add(
        counts.delete_remote,
        &format!("remote {}", gone(report, report.fates.remote)),
    );
    add(
        counts.delete_local,
        &format!("local {}", gone(report, report.fates.local)),
    );
    add(counts.conflict, "in conflict");
    add(counts.skipped, "left alone");
    add(counts.failed, "failed");
    add(report.settling, "in `_outbox` not complete yet");
    if parts.is_empty() {
        parts.push("nothing to do".to_owned());
    }
    if counts.unchanged > 0 {
        parts.push(format!("{} unchanged", counts.unchanged));
    }
    let text = parts.join(", ");
    if report.dry_run {
        return format!("{text} (dry run: nothing was changed)");
    }
    let moved = report.bytes.up + report.bytes.down;
    let moved = if moved > 0 {
        format!("{}, ", size(moved))
    } else {
        String::new()
    };
    let took = (report.finished_at - report.started_at).num_milliseconds();
    format!(
        "{text} ({moved}{} calls, {:.1} s)",
        report.api_calls.total,
        took as f64 / 1000.0
    )
}

/// What happened, or would happen, to what was deleted.
fn gone(report: &Report, fate: Fate) -> &'static str {
    match (report.dry_run, fate) {
        (true, Fate::Trash) => "to the trash",
        (true, Fate::Provider) => "to remove (the provider keeps them)",
        (true, Fate::Dropped) => "to remove for good",
        (false, Fate::Trash) => "moved to the trash",
        (false, Fate::Provider) => "removed (the provider keeps them)",
        (false, Fate::Dropped) => "removed for good",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_says_what_becomes_of_what_was_deleted() {
        let mut report = Report::new("sync");
        report.counts.delete_local = 1;
        report.counts.delete_remote = 2;
        assert!(summary(&report).starts_with("2 remote moved to the trash, 1 local moved to the"));
        report.fates.remote = Fate::Provider;
        report.fates.local = Fate::Dropped;
        let told = "2 remote removed (the provider keeps them), 1 local removed for good";
        assert!(summary(&report).starts_with(told));
        report.dry_run = true;
        let told = "2 remote to remove (the provider keeps them), 1 local to remove for good";
        assert!(summary(&report).starts_with(told));
    }

    #[test]
    fn names_cannot_speak_to_the_terminal() {
        assert_eq!(sanitise("a\u{1b}[31mb"), "a\\u{1b}[31mb");
        assert_eq!(sanitise("x\ny"), "x\\ny");
        assert_eq!(sanitise("evil\u{202E}gpj.exe"), "evil\\u{202e}gpj.exe");
        assert_eq!(sanitise("line\u{2028}break"), "line\\u{2028}break");
        assert_eq!(sanitise("Größe 1"), "Größe 1");
    }

    #[test]
    fn a_line_break_in_a_name_cannot_look_like_a_line_of_ours() {
        assert_eq!(sanitise_lines("a\nhint: rm"), "a\n  hint: rm");
    }
}
