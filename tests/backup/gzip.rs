//! A gzip member of ours beside the programs of others, from a pipe and from a file.
//!
//! A program that is missing is skipped, aloud, unless `OWS_REQUIRE_PEERS=1`, which `.ci/run` sets.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use ows::backup::entry::Digest;
use ows::backup::gzip::ParallelGzip;
use ows_testkit::peers::find;
use ows_testkit::random::Seed;
use ows_testkit::tree::TempTree;
use rand::Rng as _;
use tar::{Builder, Header};

/// Checks a member with one-shot zlib and with `tarfile` from a file and from a pipe, and prints the SHA-256 of each file.
const PYTHON: &str = r#"
import gzip, hashlib, io, sys, tarfile, zlib
whole = open(sys.argv[1], "rb").read()
tar = zlib.decompress(whole, 31)
decompressor = zlib.decompressobj(31)
assert decompressor.decompress(whole) == tar and decompressor.eof and not decompressor.unused_data
assert gzip.decompress(whole) == tar
assert gzip.GzipFile(fileobj=io.BytesIO(whole)).read() == tar
def files(mode):
    with open(sys.argv[1], "rb") as file, tarfile.open(fileobj=file, mode=mode) as archive:
        return [(member.name, hashlib.sha256(archive.extractfile(member).read()).hexdigest()) for member in archive]
assert files("r:gz") == files("r|gz")
for name, digest in files("r|gz"):
    print(name, digest)
"#;

/// Files of every kind, some over the ends of blocks; 7 MiB.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    let mut random = vec![0; 1_500_000];
    Seed(1).rng().fill_bytes(&mut random);
    let text: Vec<u8> = (0..300_000)
        .flat_map(|line: u32| format!("{}\n", line % 5003).into_bytes())
        .collect();
    vec![
        ("empty", Vec::new()),
        ("text", text.clone()),
        ("random", random.clone()),
        ("zeros", vec![0; 2 << 20]),
        (
            "mixed",
            [&text[..300_000], &random[..700_000], &text[..70_000]].concat(),
        ),
        ("last", b"the end".to_vec()),
    ]
}

fn tar() -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, content) in files() {
        let mut header = Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder
            .append_data(&mut header, name, content.as_slice())
            .expect("a member");
    }
    builder.into_inner().expect("an archive")
}

fn zipped(content: &[u8], level: u32) -> Vec<u8> {
    let mut gzip = ParallelGzip::new(Vec::new(), level, 2).expect("begins");
    gzip.write_all(content).expect("writes");
    gzip.finish().expect("ends").output
}

/// Runs `name` with what is written to its standard input, and gives what it printed.
fn piped(name: &str, arguments: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let program = find(&format!("OWS_{}", name.to_uppercase()), name)?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it can be started");
    let mut stdin = child.stdin.take().expect("a pipe");
    let mut printed = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).expect("it reads to the end"));
        let mut stdout = child.stdout.take().expect("a pipe");
        stdout.read_to_end(&mut printed).expect("it prints");
    });
    assert!(child.wait().expect("it ends").success(), "{name}");
    Some(printed)
}

#[test]
fn every_program_inflates_the_member_from_a_pipe() {
    let tar = tar();
    for level in [0, 1, 6, 9] {
        let member = zipped(&tar, level);
        for (name, arguments) in [
            ("gzip", &["-dc"][..]),
            ("zcat", &[]),
            ("pigz", &["-dc"]),
            ("busybox", &["zcat"]),
            ("bsdcat", &[]),
        ] {
            if let Some(inflated) = piped(name, arguments, &member) {
                assert!(inflated == tar, "{name}, level {level}");
            }
        }
        for (name, arguments) in [
            ("gzip", &["-t"][..]),
            ("pigz", &["-t"]),
            ("busybox", &["gunzip", "-t"]),
        ] {
            piped(name, arguments, &member);
        }
    }
}

#[test]
fn every_tar_unpacks_the_member() {
    let member = zipped(&tar(), 6);
    for (name, arguments) in [
        ("tar", &["-xzf", "-", "-C"][..]),
        ("bsdtar", &["-xf", "-", "-C"]),
        ("busybox", &["tar", "-xzf", "-", "-C"]),
    ] {
        let target = TempTree::new();
        let path = target.path().to_str().expect("a plain path").to_owned();
        let arguments = [arguments, &[path.as_str()]].concat();
        if piped(name, &arguments, &member).is_some() {
            for (file, content) in files() {
                assert!(target.read(file) == Some(content), "{name}: {file}");
            }
        }
    }
}

#[test]
fn python_reads_it_at_once_and_as_a_stream() {
    let Some(python) = find("OWS_PYTHON3", "python3") else {
        return;
    };
    let folder = TempTree::new();
    let expected: String = files()
        .iter()
        .map(|(name, content)| format!("{name} {}\n", Digest::of(content)))
        .collect();
    for level in [0, 1, 6, 9] {
        folder.write("member.tar.gz", zipped(&tar(), level));
        assert_eq!(
            python_says(&python, &folder.join("member.tar.gz")),
            expected
        );
    }
}

fn python_says(python: &Path, member: &Path) -> String {
    let output = Command::new(python)
        .args(["-c", PYTHON])
        .arg(member)
        .stderr(Stdio::inherit())
        .output()
        .expect("it can be started");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn it_is_hardly_longer_than_what_gzip_makes() {
    let tar = tar();
    let Some(theirs) = piped("gzip", &["-6c"], &tar) else {
        return;
    };
    let ours = zipped(&tar, 6);
    // Blocks that know nothing of each other cost 0.4 % on source code, and more on what repeats itself as this does.
    assert!(
        ours.len() < theirs.len() + theirs.len() / 50,
        "{} against {}",
        ours.len(),
        theirs.len()
    );
}
