//! What the pipeline writes, read with what reads snapshots and with the programs of others; and what it leaves when
//! something fails.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use age::x25519;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use flate2::bufread::GzDecoder;
use flate2::{Decompress, FlushDecompress};
use ows::backup::entry::{Digest, EntryKind, RestartPoints, SnapshotEntry};
use ows::backup::extract::{ExtractOptions, Extracted, Extractor};
use ows::backup::gzip::memory;
use ows::backup::index::{IndexReader, IndexRecord};
use ows::backup::manifest::StoredObject;
use ows::backup::pipeline::{PipelineOptions, Progress, WriteError, Written, write};
use ows::backup::seal::{Keys, Seal};
use ows::backup::sink::{ObjectSink, ObjectWriter};
use ows::cancel::{Cancel, StopCause};
use ows_testkit::peers::find;
use ows_testkit::tree::{OwsFolder, TempTree, TreeEntry, snapshot_tree};
use secrecy::{ExposeSecret as _, SecretString};

use super::shelf::{Host, Shelf, name, options, random};

const MIB: u64 = 1 << 20;

/// The stored bytes of `object`, which are what was reported of them.
fn stored(shelf: &Shelf, object: &StoredObject) -> Vec<u8> {
    let bytes = shelf
        .objects()
        .remove(&object.name)
        .expect("it is finished");
    assert_eq!(object.size, bytes.len() as u64);
    assert_eq!(object.sha256, Digest::of(&bytes));
    bytes
}

fn opened(keys: Option<&Keys>, bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match keys {
        None => plain.extend_from_slice(bytes),
        Some(keys) => {
            let mut stream = keys.open(bytes).expect("opens");
            stream.read_to_end(&mut plain).expect("decrypts");
        }
    }
    plain
}

fn unzipped(bytes: &[u8]) -> Vec<u8> {
    let mut decoder = GzDecoder::new(bytes);
    let mut tar = Vec::new();
    decoder.read_to_end(&mut tar).expect("inflates");
    assert!(decoder.into_inner().is_empty(), "one member");
    tar
}

/// The entries of an index and the restart points of each volume.
fn read_index(bytes: &[u8]) -> (Vec<SnapshotEntry>, BTreeMap<u32, RestartPoints>) {
    let mut reader = IndexReader::open(bytes, name()).expect("an index");
    let (mut entries, mut points) = (Vec::new(), BTreeMap::<u32, RestartPoints>::new());
    while let Some(record) = reader.next_record().expect("reads") {
        match record {
            IndexRecord::Entry(entry) => entries.push(entry),
            IndexRecord::Blocks { volume, starts } => {
                let points = points.entry(volume).or_default();
                assert!(starts.into_iter().all(|start| points.push(start)));
            }
        }
    }
    (entries, points)
}

/// Unpacks all volumes with the index as proof.
fn extracted(shelf: &Shelf, written: &Written, keys: Option<&Keys>, target: &Path) -> Extracted {
    let index = opened(keys, &stored(shelf, &written.index));
    let dir = Dir::open_ambient_dir(target, ambient_authority()).expect("a folder");
    let proof = IndexReader::open(index.as_slice(), name()).expect("an index");
    let options = ExtractOptions {
        proof: Some(Box::new(proof)),
        most_paths: Some(written.totals.paths()),
        most_bytes: Some(written.totals.bytes),
        ..ExtractOptions::default()
    };
    let mut extractor = Extractor::new(&dir, options).expect("begins");
    for volume in &written.volumes {
        let tar = unzipped(&opened(keys, &stored(shelf, &volume.object)));
        assert_eq!(volume.tar_size, tar.len() as u64);
        extractor.volume(tar.as_slice()).expect("unpacks");
    }
    let done = extractor.finish().expect("ends");
    assert_eq!((done.bad_count, done.unproven), (0, 0), "{done:?}");
    let totals = written.totals;
    assert_eq!(
        (
            done.files,
            done.dirs,
            done.symlinks,
            done.hard_links,
            done.bytes
        ),
        (
            totals.files,
            totals.dirs,
            totals.symlinks,
            totals.hard_links,
            totals.bytes
        )
    );
    done
}

/// What a tree holds. The times of links are not restored by every program.
fn tree(root: &Path) -> BTreeMap<String, TreeEntry> {
    let mut tree = snapshot_tree(root, OwsFolder::Include);
    for entry in tree.values_mut() {
        if matches!(entry.kind, ows_testkit::tree::EntryKind::Symlink(_)) {
            entry.modified = std::time::SystemTime::UNIX_EPOCH;
        }
    }
    tree
}

fn assert_is(host: &Host, restored: &Path) {
    assert_eq!(
        tree(&restored.join("workspace")),
        tree(host.workspace.path())
    );
    let state: Vec<_> = tree(restored)
        .into_keys()
        .filter(|path| !path.starts_with("workspace"))
        .collect();
    assert_eq!(state, ["openclaw.json"]);
}

#[test]
fn a_snapshot_reads_back_whole_with_every_seal() {
    let host = Host::new();
    let passphrase = SecretString::from("correct horse");
    let identity = x25519::Identity::generate();
    let recipients = Seal::Recipients(vec![identity.to_public()]);
    for (seal, keys) in [
        (Seal::Plain, None),
        (
            Seal::Passphrase(passphrase.clone()),
            Some(Keys::new(Some(passphrase), Vec::new())),
        ),
        (recipients, Some(Keys::new(None, vec![identity]))),
    ] {
        let (shelf, target) = (Shelf::default(), TempTree::new());
        let written = host.write(&seal, &shelf, &options()).expect("writes");
        assert!(written.problems.is_empty(), "{:?}", written.problems);
        extracted(&shelf, &written, keys.as_ref(), target.path());
        assert_is(&host, target.path());
        let names: Vec<_> = shelf.objects().into_keys().collect();
        let ending = if seal.is_on() { ".age" } else { "" };
        assert_eq!(
            names,
            [
                format!("{}.index{ending}", name()),
                format!("{}.tar.gz{ending}", name())
            ]
        );
    }
}

#[test]
fn every_file_lies_where_the_index_says() {
    let (host, shelf) = (Host::new(), Shelf::default());
    let sizes = PipelineOptions {
        volume_size: Some(2 * MIB),
        ..options()
    };
    host.workspace.write("b/more.bin", random(2, 1_800_000));
    let written = host.write(&Seal::Plain, &shelf, &sizes).expect("writes");
    assert!(written.volumes.len() > 1);
    let (entries, points) = read_index(&stored(&shelf, &written.index));
    let volumes: Vec<_> = written
        .volumes
        .iter()
        .map(|volume| stored(&shelf, &volume.object))
        .collect();
    let mut files = 0;
    for entry in &entries {
        let EntryKind::File {
            size,
            sha256,
            place,
        } = &entry.kind
        else {
            continue;
        };
        let member = &volumes[place.volume as usize - 1];
        let (start, before) = points[&place.volume].enter(place.offset).expect("a block");
        let (before, size) = (before as usize, *size as usize);
        let mut inflated = Vec::with_capacity(before + size);
        Decompress::new(false)
            .decompress_vec(
                &member[start as usize..],
                &mut inflated,
                FlushDecompress::Sync,
            )
            .expect("inflates");
        assert_eq!(
            Digest::of(&inflated[before..before + size]),
            *sha256,
            "{}",
            entry.path
        );
        files += 1;
    }
    assert_eq!(files, written.totals.files);
    assert_eq!(entries.len() as u64, written.totals.paths());
}

#[test]
fn age_and_tar_open_it() {
    let (Some(age), Some(tar)) = (find("OWS_AGE", "age"), find("OWS_TAR", "tar")) else {
        return;
    };
    let (host, shelf, folder) = (Host::new(), Shelf::default(), TempTree::new());
    let identity = x25519::Identity::generate();
    let seal = Seal::Recipients(vec![identity.to_public()]);
    let written = host.write(&seal, &shelf, &options()).expect("writes");
    folder.write("data", stored(&shelf, &written.volumes[0].object));
    folder.write("key", identity.to_string().expose_secret());
    folder.folder("restored");
    let script = "\"$AGE\" -d -i key data | \"$TAR\" -xzpf - -C restored";
    let status = Command::new("bash")
        .args(["-o", "pipefail", "-c", script])
        .env("AGE", age)
        .env("TAR", tar)
        .current_dir(folder.path())
        .status()
        .expect("bash");
    assert!(status.success());
    assert_is(&host, &folder.join("restored"));
}

#[test]
fn each_volume_is_about_as_long_as_asked_and_opens_by_itself() {
    const LIMIT: u64 = 4 * MIB;
    let (host, shelf) = (Host::new(), Shelf::default());
    for number in 0..12 {
        host.workspace
            .write(&format!("m/{number:02}"), random(number, 1_200_000));
    }
    host.workspace
        .write("m/05 larger than a volume", random(50, 5_000_000));
    let sizes = PipelineOptions {
        volume_size: Some(LIMIT),
        threads: 1,
        ..options()
    };
    let written = host.write(&Seal::Plain, &shelf, &sizes).expect("writes");
    let mut paths = BTreeSet::new();
    for (volume, number) in written.volumes.iter().zip(1..) {
        assert_eq!(
            volume.object.name,
            format!("{}.v{number:04}.tar.gz", name())
        );
        let mut archive =
            tar::Archive::new(io::Cursor::new(unzipped(&stored(&shelf, &volume.object))));
        let members: Vec<_> = (archive.entries().expect("an archive"))
            .map(|member| member.expect("a member").path_bytes().into_owned())
            .collect();
        let is_alone = members.len() == 1;
        assert!(is_alone || volume.object.size <= LIMIT, "{volume:?}");
        paths.extend(members);
        let target = TempTree::new();
        archive = tar::Archive::new(io::Cursor::new(unzipped(&stored(&shelf, &volume.object))));
        archive.unpack(target.path()).expect("it unpacks by itself");
    }
    assert!(
        (5..=10).contains(&written.volumes.len()),
        "{}",
        written.volumes.len()
    );
    assert_eq!(paths.len() as u64, written.totals.paths());
    let target = TempTree::new();
    extracted(&shelf, &written, None, target.path());
    assert_is(&host, target.path());
    let again = host
        .write(&Seal::Plain, &Shelf::default(), &sizes)
        .expect("writes");
    assert_eq!(again, written, "the same tree, the same volumes");
}

#[test]
fn the_same_tree_gives_the_same_bytes_on_any_number_of_threads() {
    let host = Host::new();
    let objects = |threads| {
        let shelf = Shelf::default();
        let options = PipelineOptions {
            threads,
            ..options()
        };
        host.write(&Seal::Plain, &shelf, &options).expect("writes");
        shelf.objects()
    };
    let one = objects(1);
    assert!(objects(1) == one && objects(4) == one);
}

#[test]
fn what_is_empty_is_a_snapshot_too() {
    let (host, shelf, target) = (Host::empty(), Shelf::default(), TempTree::new());
    let written = host
        .write(&Seal::Plain, &shelf, &options())
        .expect("writes");
    extracted(&shelf, &written, None, target.path());
    assert_eq!((written.totals.dirs, written.totals.paths()), (1, 1));
}

#[test]
fn what_is_no_file_is_left_out_and_counted() {
    let (host, shelf) = (Host::new(), Shelf::default());
    let status = Command::new("mkfifo")
        .arg(host.workspace.join("pipe"))
        .status();
    assert!(status.expect("mkfifo").success());
    let written = host
        .write(&Seal::Plain, &shelf, &options())
        .expect("writes");
    assert_eq!(written.left_out.special, 1);
    assert!(written.problems.is_empty());
}

#[test]
fn a_sink_that_fails_at_any_call_ends_it_and_leaves_no_snapshot() {
    let host = Host::new();
    for volume_size in [None, Some(MIB)] {
        let options = PipelineOptions {
            volume_size,
            level: 1,
            ..options()
        };
        let whole = Shelf::default();
        let written = host.write(&Seal::Plain, &whole, &options).expect("writes");
        let (calls, objects) = (whole.calls(), whole.objects());
        for call in 0..calls {
            let shelf = Shelf::failing_at(call);
            let error = host
                .write(&Seal::Plain, &shelf, &options)
                .expect_err("it fails");
            let WriteError::Object { object, source } = error else {
                panic!("{error}");
            };
            assert_eq!(source.to_string(), "made for this test");
            assert!(
                objects.contains_key(&object),
                "`{object}` is one of its objects"
            );
            // What was finished before stays, is whole, and is never all.
            let left = shelf.objects();
            assert!(left.iter().all(|(name, bytes)| objects[name] == *bytes));
            assert!(!left.contains_key(&written.index.name) && !left.contains_key(&object));
            if volume_size.is_none() && call + 1 < calls {
                assert!(left.is_empty(), "call {call}");
            }
        }
    }
}

#[test]
fn progress_ascends_to_all_that_was_written() {
    let (host, shelf) = (Host::new(), Shelf::default());
    let told = RefCell::new(vec![Progress::default()]);
    let tell = |progress| told.borrow_mut().push(progress);
    let written = write(
        host.scan(),
        &Seal::Plain,
        &shelf,
        &options(),
        &tell,
        &Cancel::new(),
    )
    .expect("writes");
    let told = told.into_inner();
    assert!(told.is_sorted_by(|one, next| one.bytes <= next.bytes && one.paths <= next.paths));
    let last = told.last().expect("some");
    assert_eq!(last.bytes, written.volumes[0].tar_size);
    assert_eq!(last.paths, written.totals.paths());
    assert!(told.len() > 3, "also within a file");
}

/// A workspace of one file of so many bytes that take no room.
fn with_large_file(bytes: u64) -> Host {
    let host = Host::empty();
    host.workspace.write("large", "");
    let file = std::fs::File::options()
        .write(true)
        .open(host.workspace.join("large"));
    file.and_then(|file| file.set_len(bytes))
        .expect("a sparse file");
    host
}

#[test]
fn a_stop_ends_it_in_the_middle_of_a_file() {
    let (host, shelf) = (with_large_file(1 << 40), Shelf::default());
    let cancel = Cancel::new();
    let reached = RefCell::new(0);
    let stop = |progress: Progress| {
        *reached.borrow_mut() = progress.bytes;
        if progress.bytes > 3 * MIB {
            cancel.stop(StopCause::Interrupted);
        }
    };
    let error = write(
        host.scan(),
        &Seal::Plain,
        &shelf,
        &options(),
        &stop,
        &cancel,
    )
    .expect_err("stopped");
    assert!(matches!(error, WriteError::Stopped));
    assert!(reached.into_inner() < 10 * MIB);
    assert!(shelf.objects().is_empty());
    // Before anything is written, too.
    let shelf = Shelf::default();
    let error = write(
        Host::empty().scan(),
        &Seal::Plain,
        &shelf,
        &options(),
        &|_| {},
        &cancel,
    );
    assert!(matches!(error, Err(WriteError::Stopped)));
    assert_eq!(shelf.calls(), 0);
}

/// Takes as many writes of data as it is let; the index goes through.
struct Gate(Arc<Mutex<Receiver<()>>>);

struct Gated(Option<Arc<Mutex<Receiver<()>>>>);

impl ObjectSink for Gate {
    fn create(&self, name: &str) -> io::Result<Box<dyn ObjectWriter>> {
        Ok(Box::new(Gated(
            (!name.contains(".index")).then(|| Arc::clone(&self.0)),
        )))
    }
}

impl Write for Gated {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(gate) = &self.0 {
            gate.lock()
                .expect("whole")
                .recv()
                .map_err(io::Error::other)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ObjectWriter for Gated {
    fn finish(self: Box<Self>) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_slow_sink_stops_the_reading_within_the_memory_that_is_documented() {
    const THREADS: usize = 2;
    const NO_TIME: Duration = Duration::from_millis(100);
    let host = with_large_file(40 * MIB);
    let scan = host.scan();
    let (open, gate) = channel();
    let (tell, told) = channel();
    let writer = std::thread::spawn(move || {
        let options = PipelineOptions {
            threads: THREADS,
            level: 1,
            ..options()
        };
        let sink = Gate(Arc::new(Mutex::new(gate)));
        let progress = |progress: Progress| tell.send(progress.bytes).expect("somebody listens");
        write(
            scan,
            &Seal::Plain,
            &sink,
            &options,
            &progress,
            &Cancel::new(),
        )
    });
    // Nothing but the reader can get further than the blocks hold.
    let blocks = (2 * THREADS + 2) as u64;
    let mut reached = 0;
    while reached < (blocks - 1) * MIB {
        reached = told.recv().expect("it goes on");
    }
    loop {
        match told.recv_timeout(NO_TIME) {
            Ok(bytes) => reached = bytes,
            Err(RecvTimeoutError::Timeout) => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(reached <= blocks * MIB, "{reached}");
    assert!(memory(THREADS) > 2 * blocks * MIB);
    for _ in 0..100 {
        // It may have ended.
        let _more = open.send(());
    }
    let written = writer.join().expect("no panic").expect("writes");
    assert_eq!(written.totals.bytes, 40 * MIB);
}
