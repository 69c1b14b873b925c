//! Restoring with what `RECOVER.txt` says and nothing else: its commands are taken out of the file as it was stored, and
//! run with the distribution's tools where no `ows` is.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::world::{keygen, now, to_folder};
use crate::support::World;

/// Where the tools are.
const PATH: &str = "/usr/bin:/bin";

/// Whether the tools are there; said aloud when not.
fn has_tools() -> bool {
    let is_there = |tool: &&str| {
        PATH.split(':')
            .any(|folder| Path::new(folder).join(tool).exists())
    };
    let missing: Vec<&str> = ["age", "tar", "gzip", "sha256sum", "bash", "script"]
        .into_iter()
        .filter(|tool| !is_there(tool))
        .collect();
    if missing.is_empty() {
        return true;
    }
    let required = std::env::var("OWS_REQUIRE_PEERS").is_ok_and(|value| value == "1");
    assert!(!required, "required and not found: {missing:?}");
    writeln!(std::io::stderr(), "skipped: not found: {missing:?}").expect("stderr is open");
    false
}

/// The commands of the paragraph that begins with `begin`: the lines that are set in.
fn commands(text: &str, begin: &str) -> String {
    let is_command = |line: &&str| line.starts_with("     ");
    let mut lines = text
        .lines()
        .skip_while(|line| !line.trim_start().starts_with(begin))
        .skip(1)
        .skip_while(|line| !is_command(line))
        .take_while(|line| is_command(line) || line.is_empty());
    let commands: Vec<&str> = lines.by_ref().map(str::trim_start).collect();
    assert!(!commands.is_empty(), "{begin} in\n{text}");
    commands.join("\n")
}

/// What a person has who has downloaded everything: the objects, in a folder of their own.
struct Lab {
    folder: PathBuf,
    text: String,
    name: String,
}

impl Lab {
    fn of(world: &World, name: &str) -> Self {
        let folder = world.path("lab");
        std::fs::create_dir_all(folder.join(".openclaw/workspace")).unwrap();
        for object in std::fs::read_dir(world.path("vault")).unwrap() {
            let object = object.unwrap();
            if object.file_type().unwrap().is_file() {
                std::fs::copy(object.path(), folder.join(object.file_name())).unwrap();
            }
        }
        let text = std::fs::read_to_string(folder.join("RECOVER.txt")).unwrap();
        assert!(!text.to_ascii_lowercase().contains("ows backup"));
        Self {
            folder,
            text,
            name: name.to_owned(),
        }
    }

    /// The same on a terminal, for whoever is asked for a passphrase: `answers` are typed, each when it is asked for.
    fn types_and_answers(&self, paragraphs: &[&str], passphrase: &str, times: usize) {
        let script = self.script(paragraphs);
        std::fs::write(self.folder.join("typed.sh"), script).unwrap();
        let mut child = Command::new("/usr/bin/script")
            .args([
                "--quiet",
                "--return",
                "--flush",
                "--command",
                "bash typed.sh",
                "/dev/null",
            ])
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", &self.folder)
            .current_dir(&self.folder)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut keyboard = child.stdin.take().unwrap();
        let mut screen = child.stdout.take().unwrap();
        let mut seen = Vec::new();
        let mut asked = 0;
        let mut byte = [0];
        while screen.read(&mut byte).unwrap() > 0 {
            seen.extend(byte);
            let question = b"passphrase:";
            if seen.to_ascii_lowercase().ends_with(question) {
                asked += 1;
                keyboard
                    .write_all(format!("{passphrase}\n").as_bytes())
                    .unwrap();
            }
        }
        let status = child.wait().unwrap();
        assert!(status.success(), "{}", String::from_utf8_lossy(&seen));
        assert_eq!(asked, times, "{}", String::from_utf8_lossy(&seen));
    }

    /// Types the commands of these paragraphs, one after the other, in one shell.
    fn types(&self, paragraphs: &[&str]) -> String {
        let script = self.script(paragraphs);
        let ran = Command::new("/bin/bash")
            .args(["-c", &script])
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", &self.folder)
            .current_dir(&self.folder)
            .output()
            .unwrap();
        let (out, err) = (
            String::from_utf8_lossy(&ran.stdout).into_owned(),
            String::from_utf8_lossy(&ran.stderr).into_owned(),
        );
        assert!(ran.status.success(), "{script}\n{out}\n{err}");
        assert_eq!(err, "", "{script}");
        out
    }

    fn script(&self, paragraphs: &[&str]) -> String {
        let mut script = "set -eu -o pipefail\n".to_owned();
        for begin in paragraphs {
            script.push_str(&commands(&self.text, begin));
            script.push('\n');
        }
        let example = "ows-20260131T235959Z-1a2b3c4d";
        assert!(script.contains(example), "{script}");
        script.replace(example, &self.name)
    }

    /// What was restored is what was there.
    fn holds_everything(&self, world: &World) {
        for (path, source) in [
            (
                "restored/workspace/notes/plan.md",
                "workspace/notes/plan.md",
            ),
            ("restored/workspace/readme.txt", "workspace/readme.txt"),
            ("restored/workspace/large.bin", "workspace/large.bin"),
            ("restored/openclaw.json", "state/openclaw.json"),
            ("restored/cron/jobs.json", "state/cron/jobs.json"),
            (".openclaw/workspace/readme.txt", "workspace/readme.txt"),
        ] {
            let restored = std::fs::read(self.folder.join(path)).unwrap();
            let original = std::fs::read(world.path(source)).unwrap();
            assert!(restored == original, "{path}");
        }
        let link = std::fs::read_link(self.folder.join("restored/workspace/link")).unwrap();
        assert_eq!(link, Path::new("readme.txt"));
    }
}

/// More than a volume of a MiB, and nothing that compresses.
fn fill(world: &World) {
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as u8
    })
    .take(1 << 20)
    .collect();
    world.write("workspace/large.bin", &noise);
    world.write("workspace/second.bin", &noise);
    world.tree().symlink("workspace/link", "readme.txt");
}

#[test]
fn the_words_of_recover_txt_restore_what_is_encrypted_to_a_key() {
    if !has_tools() {
        return;
    }
    for volumes in ["", "volumeSize: '1MiB',"] {
        let owner = World::bare();
        let recipient = keygen(&owner);
        let world = to_folder(&format!(
            "{volumes} encrypt: true, recipients: ['{recipient}']"
        ));
        fill(&world);
        let lab = Lab::of(&world, &now(&world));
        std::fs::copy(owner.path("home/identity.txt"), lab.folder.join("key.txt")).unwrap();
        let checked = lab.types(&["1. CHOOSE", "2. CHECK", "a) encrypted", "4. PUT IT BACK"]);
        lab.holds_everything(&world);
        let manifest = world
            .read(&format!("vault/{}.manifest.json", lab.name))
            .unwrap();
        let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
        let objects = manifest["volumes"].as_array().unwrap();
        assert_eq!(objects.len() > 1, !volumes.is_empty(), "{manifest:#}");
        for object in objects {
            let (hash, name) = (&object["sha256"], &object["name"]);
            let line = format!("{}  {}", hash.as_str().unwrap(), name.as_str().unwrap());
            assert!(checked.contains(&line), "{line} in {checked}");
        }
    }
}

#[test]
fn the_words_of_recover_txt_restore_what_is_not_encrypted() {
    if !has_tools() {
        return;
    }
    let world = to_folder("encrypt: false");
    fill(&world);
    let lab = Lab::of(&world, &now(&world));
    lab.types(&[
        "1. CHOOSE",
        "2. CHECK",
        "c) not encrypted",
        "4. PUT IT BACK",
    ]);
    lab.holds_everything(&world);
}

#[test]
fn the_words_of_recover_txt_restore_what_is_encrypted_with_a_passphrase() {
    if !has_tools() {
        return;
    }
    let passphrase = "correct horse battery staple";
    let world = to_folder(&format!(
        "volumeSize: '1MiB', encrypt: true, passphrase: '{passphrase}'"
    ));
    fill(&world);
    let lab = Lab::of(&world, &now(&world));
    let objects = std::fs::read_dir(&lab.folder).unwrap();
    let volumes = objects.filter(|object| {
        let name = object.as_ref().unwrap().file_name().into_string().unwrap();
        name.ends_with(".tar.gz.age")
    });
    let paragraphs = ["1. CHOOSE", "b) encrypted", "4. PUT IT BACK"];
    lab.types_and_answers(&paragraphs, passphrase, volumes.count());
    lab.holds_everything(&world);
}
