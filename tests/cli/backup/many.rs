//! Much of everything in little memory: whole processes, watched from outside.

#[path = "../../../benches/shared/listed.rs"]
mod listed;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use listed::{listed_name, write_snapshot};

use super::world::{keygen, to_folder};
use crate::schemas::fits;
use crate::support::World;

/// What a process of any size of backup may hold, in MiB.
const MOST: u64 = 200;

/// These take longer than other runs.
const PATIENCE: Duration = Duration::from_secs(300);

#[test]
fn a_listing_of_many_files_takes_no_memory_in_json_either() {
    const FILES: u64 = 200_000;
    let world = to_folder("");
    let name = write_snapshot(&world.path("vault"), FILES).to_string();
    let started = world.start(&["backup", "ls", &name, "--json"]);
    let (ran, peak) = started.end_within(PATIENCE);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    // Held all at once, these alone would be more.
    assert!(ran.stdout.len() > 40 << 20, "{}", ran.stdout.len());
    assert!(peak < 100, "{peak} MiB");
    let json = ran.json();
    let entries = json["entries"].as_array().unwrap();
    assert_eq!(entries.len() as u64, FILES);
    for number in [0, 1, FILES / 2, FILES - 1] {
        let entry = &entries[usize::try_from(number).unwrap()];
        assert_eq!(entry["path"], listed_name(number).as_str());
    }
    assert_eq!(json["snapshot"], name.as_str());
    assert_eq!(json["errors"], serde_json::json!([]));
}

#[test]
fn a_listing_that_breaks_off_is_one_object_that_says_so() {
    let world = to_folder("");
    let name = write_snapshot(&world.path("vault"), 20_000).to_string();
    let index = world.path(&format!("vault/{name}.index"));
    let mut bytes = std::fs::read(&index).unwrap();
    let from = bytes.len() / 2;
    bytes[from..].fill(0);
    std::fs::write(&index, bytes).unwrap();
    // Else the data would go on where the index ends.
    world.remove(&format!("vault/{name}.tar.gz"));
    let json = world.json(&["backup", "ls", &name]);
    fits("backup-ls", &json);
    assert_eq!(json["exit_code"], 1);
    assert_eq!(json["ok"], false);
    let count = json["entries"].as_array().unwrap().len();
    assert!((1000..20_000).contains(&count), "{count}");
    let told = json["errors"][0]["message"].as_str().unwrap();
    assert!(told.contains("could not be listed to its end"), "{told}");
    // Where nothing was read there is the array all the same.
    let none = world.json(&["backup", "ls", &name, "workspace/nothing"]);
    fits("backup-ls", &none);
    assert_eq!(none["entries"], serde_json::json!([]));
}

/// A workspace with more in it than may be held: a file of holes, one that does not compress, and many small ones.
fn fill(world: &World, holes: u64, noise: usize, small: usize) {
    File::create(world.path("workspace/holes.bin"))
        .and_then(|file| file.set_len(holes))
        .unwrap();
    let mut file = File::create(world.path("workspace/noise.bin")).unwrap();
    let mut state = 1_u64;
    let mut block = Vec::with_capacity(1 << 20);
    for _ in 0..noise >> 20 {
        block.clear();
        while block.len() < 1 << 20 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            block.extend(state.to_le_bytes());
        }
        file.write_all(&block).unwrap();
    }
    for number in 0..small {
        if number % 500 == 0 {
            world.folder(&format!("workspace/small/{}", number / 500));
        }
        let path = format!("workspace/small/{}/note-{number}.md", number / 500);
        std::fs::write(world.path(&path), number.to_string()).unwrap();
    }
}

/// Backs up and restores in processes of their own. Both are over in seconds: what compresses well is written in no time.
#[test]
fn a_backup_and_its_restore_take_little_memory_whatever_the_size() {
    const HOLES: u64 = 256 << 20;
    const NOISE: usize = 64 << 20;
    const SMALL: usize = 10_000;
    let owner = World::bare();
    let recipient = keygen(&owner);
    let world = to_folder(&format!(
        "compression: 1, encrypt: true, recipients: ['{recipient}'], identities: [{:?}]",
        owner.path("home/identity.txt")
    ));
    fill(&world, HOLES, NOISE, SMALL);
    let (made, peak) = world
        .start(&["backup", "now", "--json"])
        .end_within(PATIENCE);
    assert_eq!(made.code, Some(0), "{}", made.shown());
    assert!(peak < MOST, "backup now: {peak} MiB");
    assert_eq!(made.json()["files"], SMALL + 2 + 5);
    let arguments = ["backup", "restore", "--to", "restored", "--json"];
    let (restored, peak) = world.start(&arguments).end_within(PATIENCE);
    assert_eq!(restored.code, Some(0), "{}", restored.shown());
    assert!(peak < MOST, "restore: {peak} MiB");
    assert_eq!(restored.json()["files"], SMALL + 2 + 5);
    let size = |name: &str| {
        let path = format!("home/restored/workspace/{name}");
        std::fs::metadata(world.path(&path)).unwrap().len()
    };
    assert_eq!(
        (size("holes.bin"), size("noise.bin")),
        (HOLES, NOISE as u64)
    );
}

/// Whether two files hold the same bytes, read a piece at a time.
fn is_same(one: &Path, other: &Path) -> bool {
    let (mut one, mut other) = (File::open(one).unwrap(), File::open(other).unwrap());
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let read = one.read(&mut left).unwrap();
        if read == 0 {
            return other.read(&mut right).unwrap() == 0;
        }
        other.read_exact(&mut right[..read]).unwrap();
        if left[..read] != right[..read] {
            return false;
        }
    }
}

/// The field of tar's header ends at 8 GiB: a larger size is told another way, and so is what stands behind the file.
/// Two minutes of a release build on two cores: about 9 s of CPU for each GiB to back up, 6 s to restore.
#[test]
#[ignore = "8.1 GiB are read, packed, unpacked and written; the soak does it, for release"]
fn a_file_over_8_gib_comes_back() {
    const PATIENCE: Duration = Duration::from_secs(3600);
    const SIZE: u64 = (8 << 30) + (100 << 20) + 7;
    let world = to_folder("compression: 1");
    let large = world.path("workspace/large.bin");
    let file = File::create(&large).unwrap();
    file.set_len(SIZE).unwrap();
    for at in [0, (4 << 30) - 3, (8 << 30) - 3, (8 << 30) + 9, SIZE - 5] {
        file.write_all_at(b"mark!", at).unwrap();
    }
    world.write("workspace/zz behind it.md", "Behind.\n");
    let (made, peak) = world.start(&["backup", "now"]).end_within(PATIENCE);
    assert_eq!(made.code, Some(0), "{}", made.shown());
    assert!(peak < MOST, "backup now: {peak} MiB");
    let arguments = ["backup", "restore", "--to", "restored"];
    let (restored, peak) = world.start(&arguments).end_within(PATIENCE);
    assert_eq!(restored.code, Some(0), "{}", restored.shown());
    assert!(peak < MOST, "restore: {peak} MiB");
    let found = world.path("home/restored/workspace/large.bin");
    assert_eq!(found.metadata().unwrap().len(), SIZE);
    assert!(is_same(&large, &found));
    let behind = world.read("home/restored/workspace/zz behind it.md");
    assert_eq!(behind.as_deref(), Some("Behind.\n"));
    // By ranges, across the same border.
    let only = [
        "backup",
        "restore",
        "--to",
        "one",
        "--path",
        "workspace/zz behind it.md",
    ];
    world.ok(&only);
    let behind = world.read("home/one/workspace/zz behind it.md");
    assert_eq!(behind.as_deref(), Some("Behind.\n"));
}
