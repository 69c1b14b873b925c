//! The worlds, what happens in them, and how each engine leaves them.

use std::time::{Duration, SystemTime};

use ows_testkit::tree::TempTree;

use super::{Case, Ends, World, aged, owned};

/// How old the files are that both sides agree on.
pub const HOUR: Duration = Duration::from_secs(3600);

/// What most worlds have.
pub const ORDINARY: Case = Case {
    family: "",
    what: "",
    start: few,
    edit: |_| {},
    flags: &[],
    keys: "",
    with: (&[], &[]),
    rclone: Ends::Nothing,
    ows: Ends::Nothing,
};

fn few() -> Vec<(String, String)> {
    numbered(4)
}

fn many() -> Vec<(String, String)> {
    numbered(30)
}

/// Files `00`, `01`, ... with their numbers.
fn numbered(count: usize) -> Vec<(String, String)> {
    (0..count)
        .map(|number| (format!("{number:02}"), number.to_string()))
        .collect()
}

fn with(more: &str) -> Vec<(String, String)> {
    few().into_iter().chain(owned(more)).collect()
}

/// Removes the first `count` numbered files of one side.
fn remove_first(tree: &TempTree, count: usize) {
    for (path, _) in numbered(count) {
        tree.remove(&path);
    }
}

/// Two edits of one file, that in the workspace the newer one.
fn both_edited(world: &World) {
    aged(&world.there, "01", "there", HOUR / 6);
    world.here.write("01", "here");
}

/// The volume of the workspace is an older copy of itself: some files are not on it yet, and nobody has deleted them.
fn older_volume(world: &World) {
    for path in ["06", "07", "08", "09", "RCLONE_TEST", ".ows"] {
        if world.here.join(path).exists() {
            world.here.remove(path);
        }
    }
}

/// Each side lacks a file, and of two that differ each side has the newer one once.
fn drifted(world: &World) {
    world.there.remove("00");
    world.here.remove("01");
    world.there.write("02", "there, newer");
    aged(&world.here, "02", "here, older", HOUR * 5);
    world.here.write("03", "here, newer");
    aged(&world.there, "03", "there, older", HOUR * 5);
}

const ALL_OF_TEN: &str = "00=0 | 01=1 | 02=2 | 03=3 | 04=4 | 05=5 | 06=6 | 07=7 | 08=8 | 09=9";

const FOUR: &str = "00=0 | 01=1 | 02=2 | 03=3";

/// Both kept, `01` by the workspace's content.
const OURS_KEEPS: Ends = Ends::Agree("00=0 | 01=here | 01.conflict=there | 02=2 | 03=3");

/// The same with the names that rclone makes of the plugin's suffix.
const RCLONE_KEEPS_HERE: Ends = Ends::Agree("00=0 | 01=here | 01..conflict1=there | 02=2 | 03=3");

/// A resync by `ows`: nothing is lost, whatever differs.
const UNITED: Ends = Ends::Agree(
    "00=0 | 01=1 | 02=there, newer | 02.conflict=here, older | 03=here, newer | 03.conflict=there, older",
);

const LAST_TEN: &str =
    "20=20 | 21=21 | 22=22 | 23=23 | 24=24 | 25=25 | 26=26 | 27=27 | 28=28 | 29=29";

pub fn changes() -> Vec<Case> {
    vec![
        Case {
            family: "all changed",
            what: "only times changed, of all files",
            edit: |world| {
                for (path, _) in few() {
                    world.here.set_modified(&path, SystemTime::now());
                }
            },
            rclone: Ends::Stops(1),
            ows: Ends::Nothing,
            ..ORDINARY
        },
        Case {
            family: "all changed",
            what: "the content of many files changed on one side, all of them",
            start: many,
            edit: |world| {
                for (path, _) in many() {
                    world.here.write(&path, "encrypted");
                }
            },
            rclone: Ends::Stops(1),
            ows: Ends::Stops(4),
            ..ORDINARY
        },
        Case {
            family: "all changed",
            what: "the content of all of four files changed",
            edit: |world| {
                for (path, _) in few() {
                    world.here.write(&path, "new");
                }
            },
            rclone: Ends::Stops(1),
            ows: Ends::Agree("00=new | 01=new | 02=new | 03=new"),
            ..ORDINARY
        },
        Case {
            family: "basic",
            what: "one file edited on one side, one created on the other",
            edit: |world| {
                world.there.write("01", "edited");
                world.here.write("folder/new", "new");
            },
            rclone: BASIC,
            ows: BASIC,
            ..ORDINARY
        },
        Case {
            family: "changes",
            what: "everything that can happen to a file, at once",
            start: || with("04=4 | 05=5 | 06=6 | 07=7 | 08=8 | still=s"),
            edit: |world| {
                let (here, there) = (&world.here, &world.there);
                there.write("new there", "new");
                here.write("new here", "new");
                there.write("00", "edited");
                here.write("01", "edited");
                there.remove("02");
                here.remove("03");
                aged(there, "04", "there", HOUR / 6);
                here.write("04", "here");
                there.write("05", "edited");
                here.remove("05");
                here.write("06", "edited");
                there.remove("06");
                here.remove("07");
                there.remove("07");
                here.rename("08", "moved");
            },
            rclone: Ends::Agree(
                "00=edited | 01=edited | 04=here | 04..conflict1=there | 05=edited | 06=edited | moved=8 | new here=new | new there=new | still=s",
            ),
            ows: Ends::Agree(
                "00=edited | 01=edited | 04=here | 04.conflict=there | 05=edited | 06=edited | moved=8 | new here=new | new there=new | still=s",
            ),
            ..ORDINARY
        },
        Case {
            family: "changes",
            what: "edited on one side, renamed on the other",
            edit: |world| {
                world.there.write("01", "edited there");
                world.here.rename("01", "moved");
            },
            rclone: Ends::Agree("00=0 | 01=edited there | 02=2 | 03=3 | moved=1"),
            ows: Ends::Agree("00=0 | 02=2 | 03=3 | moved=edited there"),
            ..ORDINARY
        },
        Case {
            family: "dry run",
            what: "a run that only shows what it would do",
            edit: |world| {
                world.here.write("01", "edited");
                world.there.remove("02");
            },
            with: (&["--dry-run"], &["--dry-run"]),
            ..ORDINARY
        },
        Case {
            family: "equal",
            what: "the same edit on both sides",
            edit: |world| {
                world.here.write("01", "same");
                aged(&world.there, "01", "same", HOUR / 6);
            },
            rclone: SAME_EDIT,
            ows: SAME_EDIT,
            ..ORDINARY
        },
    ]
}

const BASIC: Ends = Ends::Agree("00=0 | 01=edited | 02=2 | 03=3 | folder/ | folder/new=new");

const SAME_EDIT: Ends = Ends::Agree("00=0 | 01=same | 02=2 | 03=3");

pub fn access() -> Vec<Case> {
    let rclone_deletes = Ends::Agree("00=0 | 01=1 | 02=2 | 03=3 | 04=4 | 05=5");
    vec![
        Case {
            family: "check access",
            what: "the volume of the workspace is an older copy, and nobody thought of a check file",
            start: || numbered(10),
            edit: older_volume,
            rclone: rclone_deletes,
            ows: Ends::Agree(ALL_OF_TEN),
            ..ORDINARY
        },
        Case {
            family: "check access",
            what: "the same with --check-access and its file",
            start: || {
                [
                    numbered(10),
                    vec![("RCLONE_TEST".to_owned(), String::new())],
                ]
                .concat()
            },
            edit: older_volume,
            with: (&["--check-access"], &[]),
            rclone: Ends::Stops(7),
            ows: Ends::Agree(
                "00=0 | 01=1 | 02=2 | 03=3 | 04=4 | 05=5 | 06=6 | 07=7 | 08=8 | 09=9 | RCLONE_TEST=",
            ),
            ..ORDINARY
        },
        Case {
            family: "check access",
            what: "the workspace is not mounted: an empty folder",
            start: || numbered(10),
            edit: |world| {
                remove_first(&world.here, 10);
                older_volume(world);
            },
            rclone: Ends::Stops(7),
            ows: Ends::Agree(ALL_OF_TEN),
            ..ORDINARY
        },
        Case {
            family: "check access",
            what: "the remote is empty",
            edit: |world| remove_first(&world.there, 4),
            rclone: Ends::Stops(7),
            ows: Ends::Stops(4),
            ..ORDINARY
        },
        Case {
            family: "max delete",
            what: "more than half of many files deleted in the workspace",
            start: many,
            edit: |world| remove_first(&world.here, 20),
            rclone: Ends::Stops(1),
            ows: Ends::Stops(4),
            ..ORDINARY
        },
        Case {
            family: "max delete",
            what: "more than half of many files deleted in the remote",
            start: many,
            edit: |world| remove_first(&world.there, 20),
            rclone: Ends::Stops(1),
            ows: Ends::Stops(4),
            ..ORDINARY
        },
        Case {
            family: "max delete",
            what: "the same, let through",
            start: many,
            edit: |world| remove_first(&world.there, 20),
            with: (&["--max-delete", "70"], &["--force", "max-delete"]),
            rclone: Ends::Agree(LAST_TEN),
            ows: Ends::Agree(LAST_TEN),
            ..ORDINARY
        },
        Case {
            family: "max delete",
            what: "three of four files deleted",
            edit: |world| remove_first(&world.here, 3),
            rclone: Ends::Stops(1),
            ows: Ends::Agree("03=3"),
            ..ORDINARY
        },
    ]
}

pub fn folders() -> Vec<Case> {
    vec![
        Case {
            family: "createemptysrcdirs",
            what: "an empty folder is created",
            edit: |world| world.here.folder("empty"),
            rclone: Ends::Nothing,
            ows: WITH_EMPTY,
            ..ORDINARY
        },
        Case {
            family: "createemptysrcdirs",
            what: "the same with --create-empty-src-dirs",
            edit: |world| world.here.folder("empty"),
            flags: &["--create-empty-src-dirs"],
            rclone: WITH_EMPTY,
            ows: WITH_EMPTY,
            ..ORDINARY
        },
        Case {
            family: "rmdirs",
            what: "the last file of a folder is deleted",
            start: || with("d/a=a"),
            edit: |world| world.here.remove("d/a"),
            rclone: FOLDER_STAYS,
            ows: FOLDER_STAYS,
            ..ORDINARY
        },
        Case {
            family: "rmdirs",
            what: "the same with --remove-empty-dirs",
            start: || with("d/a=a"),
            edit: |world| world.here.remove("d/a"),
            flags: &["--remove-empty-dirs"],
            rclone: Ends::Agree(FOUR),
            ows: FOLDER_STAYS,
            ..ORDINARY
        },
        Case {
            family: "rmdirs",
            what: "a folder is deleted with what is in it",
            start: || with("d/a=a"),
            edit: |world| world.here.remove("d"),
            rclone: Ends::Agree(FOUR),
            ows: Ends::Agree(FOUR),
            ..ORDINARY
        },
    ]
}

const WITH_EMPTY: Ends = Ends::Agree("00=0 | 01=1 | 02=2 | 03=3 | empty/");

const FOLDER_STAYS: Ends = Ends::Agree("00=0 | 01=1 | 02=2 | 03=3 | d/");

pub fn names() -> Vec<Case> {
    vec![
        Case {
            family: "ext paths",
            what: "folders and files with names in many scripts",
            start: || with("測試Русский  ěáñ/a=a"),
            edit: |world| {
                world.here.write("測試Русский  ěáñ/測試_file", "here");
                world.there.write("測試Русский  ěáñ/other", "there");
                world.here.write("日本語 👩‍👧.txt", "new");
            },
            rclone: SCRIPTS,
            ows: SCRIPTS,
            ..ORDINARY
        },
        Case {
            family: "extended filenames",
            what: "white space, quotes, control characters; created, edited, deleted",
            start: || with("Русский.txt=r | mañana.txt=m | sub_ࢺ/ě.txt=e"),
            edit: |world| {
                world.there.write("white \tspace\nline.txt", "w");
                world.here.write("back\\slash \"q\" \u{7}.txt", "b");
                world.here.write(" lead and trail ", "l");
                world.here.write("dot.", "d");
                world.here.remove("Русский.txt");
                world.there.write("mañana.txt", "edited");
                world.here.write("sub_ࢺ/new", "n");
                world.there.remove("sub_ࢺ/ě.txt");
            },
            rclone: EXTENDED,
            ows: EXTENDED,
            ..ORDINARY
        },
        Case {
            family: "extended filenames",
            what: "a name that is not UTF-8",
            edit: |world| {
                use std::os::unix::ffi::OsStrExt;
                let name = std::ffi::OsStr::from_bytes(b"raw_\xfe");
                std::fs::write(world.here.path().join(name), "r").expect("it can be written");
            },
            rclone: Ends::Agree("00=0 | 01=1 | 02=2 | 03=3 | raw_\u{fffd}=r"),
            ows: Ends::Stops(3),
            ..ORDINARY
        },
        Case {
            family: "normalization",
            what: "one name in two spellings (NFC here, NFD there) with different content",
            edit: |world| {
                aged(&world.here, "d/\u{e9}", "composed", HOUR / 6);
                world.there.write("d/e\u{301}", "decomposed");
            },
            rclone: Ends::Agree(
                "00=0 | 01=1 | 02=2 | 03=3 | d/ | d/e\u{301}=decomposed | d/\u{e9}..conflict1=composed",
            ),
            ows: Ends::Agree(
                "00=0 | 01=1 | 02=2 | 03=3 | d/ | d/e\u{301}=decomposed | d/\u{e9}=composed",
            ),
            ..ORDINARY
        },
        Case {
            family: "normalization",
            what: "two names that differ in case only",
            edit: |world| {
                world.here.write("HeLLo", "one");
                world.there.write("hello", "two");
            },
            rclone: TWO_CASES,
            ows: TWO_CASES,
            ..ORDINARY
        },
    ]
}

const SCRIPTS: Ends = Ends::Agree(
    "00=0 | 01=1 | 02=2 | 03=3 | 測試Русский  ěáñ/ | 測試Русский  ěáñ/a=a | 測試Русский  ěáñ/other=there | 測試Русский  ěáñ/測試_file=here | 日本語 👩‍👧.txt=new",
);

const EXTENDED: Ends = Ends::Agree(
    " lead and trail =l | 00=0 | 01=1 | 02=2 | 03=3 | back\\slash \"q\" \u{7}.txt=b | dot.=d | mañana.txt=edited | sub_ࢺ/ | sub_ࢺ/new=n | white \tspace\nline.txt=w",
);

const TWO_CASES: Ends = Ends::Agree("00=0 | 01=1 | 02=2 | 03=3 | HeLLo=one | hello=two");

pub fn filters() -> Vec<Case> {
    let filtered = Ends::Apart(
        0,
        "00=0 | 01=1 | 02=2 | 03=3 | sub/ | sub/z=edited",
        "00=0 | 01=1 | 02=2 | 03=3 | sub/ | sub/z=edited | z=of the remote",
    );
    vec![
        Case {
            family: "filters",
            what: "a pattern leaves out a file at the root, not its namesake in a folder",
            start: || with("sub/z=z"),
            edit: |world| {
                world.there.write("z", "of the remote");
                world.here.write("sub/z", "edited");
            },
            flags: &["--exclude", "/z"],
            keys: "exclude: ['/z'],",
            rclone: filtered,
            ows: filtered,
            ..ORDINARY
        },
        Case {
            family: "filters",
            what: "the patterns are others than at the last run (a filters file for rclone)",
            edit: |world| {
                world.here.remove("01");
                world.here.write("02", "edited");
                world.configure("exclude: ['/01'],");
            },
            with: (&["--filters-file", FILTERS], &[]),
            rclone: Ends::Stops(7),
            ows: Ends::Apart(
                0,
                "00=0 | 02=edited | 03=3",
                "00=0 | 01=1 | 02=edited | 03=3",
            ),
            ..ORDINARY
        },
    ]
}

/// A file of filters that the baseline did not have.
const FILTERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/interop/filters.txt");

pub fn conflicts() -> Vec<Case> {
    vec![
        Case {
            family: "equal",
            what: "different edits on both sides",
            edit: both_edited,
            rclone: RCLONE_KEEPS_HERE,
            ows: OURS_KEEPS,
            ..ORDINARY
        },
        Case {
            family: "resolve",
            what: "the remote's is to win",
            edit: both_edited,
            flags: &["--conflict-resolve", "path1"],
            keys: "conflictResolve: 'remote',",
            rclone: Ends::Agree("00=0 | 01=there | 01..conflict1=here | 02=2 | 03=3"),
            ows: Ends::Agree("00=0 | 01=there | 01.conflict=here | 02=2 | 03=3"),
            ..ORDINARY
        },
        Case {
            family: "resolve",
            what: "the workspace's is to win",
            edit: both_edited,
            flags: &["--conflict-resolve", "path2"],
            keys: "conflictResolve: 'local',",
            rclone: RCLONE_KEEPS_HERE,
            ows: OURS_KEEPS,
            ..ORDINARY
        },
        Case {
            family: "resolve",
            what: "rclone without a rule: neither keeps its name",
            edit: both_edited,
            flags: &["--conflict-resolve", "none"],
            rclone: Ends::Agree("00=0 | 01..conflict1=there | 01..conflict2=here | 02=2 | 03=3"),
            ows: OURS_KEEPS,
            ..ORDINARY
        },
        Case {
            family: "resolve",
            what: "rclone with --conflict-loser delete",
            edit: both_edited,
            flags: &["--conflict-loser", "delete"],
            rclone: Ends::Agree("00=0 | 01=here | 02=2 | 03=3"),
            ows: OURS_KEEPS,
            ..ORDINARY
        },
        Case {
            family: "resync",
            what: "both sides have drifted apart",
            edit: drifted,
            with: (&["--resync"], &["--resync"]),
            rclone: Ends::Agree("00=0 | 01=1 | 02=there, newer | 03=there, older"),
            ows: UNITED,
            ..ORDINARY
        },
        Case {
            family: "resync modes",
            what: "the same, the newer one is to win",
            edit: drifted,
            with: (&["--resync-mode", "newer"], &["--resync"]),
            rclone: Ends::Agree("00=0 | 01=1 | 02=there, newer | 03=here, newer"),
            ows: UNITED,
            ..ORDINARY
        },
        Case {
            family: "resync modes",
            what: "the same, the workspace is to win",
            edit: drifted,
            keys: "conflictResolve: 'local',",
            with: (&["--resync-mode", "path2"], &["--resync"]),
            rclone: Ends::Agree("00=0 | 01=1 | 02=here, older | 03=here, newer"),
            ows: Ends::Agree(
                "00=0 | 01=1 | 02=here, older | 02.conflict=there, newer | 03=here, newer | 03.conflict=there, older",
            ),
            ..ORDINARY
        },
    ]
}
