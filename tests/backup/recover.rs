//! `RECOVER.txt`, followed word for word by a shell that has `age` and `tar` and no `ows`.

use std::process::Command;

use ows::backup::name::RECOVER;
use ows::config::Encryption;
use ows_providers::memory::MemoryOptions;
use ows_testkit::tree::TempTree;
use secrecy::ExposeSecret as _;

use super::store::Host;

/// The commands of one step: the lines that are indented by five, from the line that begins with `heading` to the next
/// heading.
fn commands(text: &str, heading: &str) -> String {
    let step = text.lines().skip_while(|line| !line.starts_with(heading));
    let step = step.skip(1).take_while(|line| {
        let begins = line.trim_start().split(' ').next().unwrap_or_default();
        !(begins.len() == 2 && (begins.ends_with('.') || begins.ends_with(')')))
    });
    let lines: Vec<_> = step.filter_map(|line| line.strip_prefix("     ")).collect();
    assert!(!lines.is_empty(), "no commands under `{heading}`");
    lines.join("\n")
}

fn followed(host: &Host, headings: &[&str]) -> Option<TempTree> {
    if Command::new("age").arg("--version").output().is_err() {
        return None;
    }
    let folder = TempTree::new();
    for (name, content) in host.store.store.files() {
        folder.write(&name, content);
    }
    folder.write("key.txt", host.key.identity.expose_secret());
    let text = folder.read(RECOVER).unwrap();
    let text = String::from_utf8(text).unwrap();
    let catalog = host.store.names();
    let manifest = catalog.iter().find(|name| name.ends_with(".manifest.json"));
    let name = manifest.unwrap().strip_suffix(".manifest.json").unwrap();
    let steps: Vec<_> = headings
        .iter()
        .map(|heading| commands(&text, heading))
        .collect();
    let script = format!("set -eu\nNAME={name}\n{}", steps.join("\n"));
    let output = Command::new("/bin/sh")
        .args(["-c", &script])
        .current_dir(folder.path())
        .env("PATH", "/usr/bin:/bin")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{script}");
    Some(folder)
}

fn assert_restored(host: &Host, folder: &TempTree) {
    for path in ["openclaw.json", "cron/jobs.json", "workspace/notes/9.md"] {
        let restored = folder.read(&format!("restored/{path}"));
        assert_eq!(restored, host.state_dir.read(path), "{path}");
    }
}

#[tokio::test]
async fn the_instructions_restore_a_sealed_snapshot_in_volumes() {
    let mut host = Host::new(MemoryOptions::s3()).await;
    host.settings.volume_size = Some(100 << 10);
    host.settings.compression = 0;
    host.state_dir.write("workspace/big", vec![7; 150 << 10]);
    host.clean().await;
    if let Some(folder) = followed(&host, &["2. ", "   a)"]) {
        assert_restored(&host, &folder);
        assert_eq!(
            folder.read("restored/workspace/big"),
            Some(vec![7; 150 << 10])
        );
    }
}

#[tokio::test]
async fn the_instructions_restore_a_plain_snapshot() {
    let mut host = Host::new(MemoryOptions::s3()).await;
    host.settings.encryption = Encryption::None;
    host.clean().await;
    if let Some(folder) = followed(&host, &["2. ", "   c)"]) {
        assert_restored(&host, &folder);
    }
}
