use std::fs;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;
use crate::error::FailureKind;

/// A state directory with everything in it, and the workspace where `workspace` says.
struct Host {
    folder: TempDir,
    workspace: String,
}

impl Host {
    fn new(workspace: &str) -> Self {
        let folder = TempDir::new().expect("a folder");
        let host = Self {
            folder,
            workspace: workspace.to_owned(),
        };
        for folder in [
            "state/ows",
            "state/cron",
            "state/sessions",
            "state/credentials",
            "state/hooks",
            "state/extensions",
            "state/agents/one/sessions",
            "state/agents/two",
            "state/.backup-restore",
        ] {
            fs::create_dir_all(host.path(folder)).expect("made");
        }
        fs::write(host.path("state/openclaw.json"), "{}").expect("written");
        for folder in ["memory", "skills", "pages", ".ows"] {
            fs::create_dir_all(host.path(workspace).join(folder)).expect("made");
        }
        for file in ["MEMORY.md", ".env"] {
            fs::write(host.path(workspace).join(file), "x").expect("written");
        }
        host
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder
            .path()
            .canonicalize()
            .expect("is there")
            .join(below)
    }

    fn places(&self) -> ItemPlaces {
        ItemPlaces {
            workspace: self.path(&self.workspace),
            state_dir: self.path("state"),
            own_dir: self.path("state/ows"),
            pair: None,
            destination: None,
        }
    }

    /// `place in the snapshot = place here, without [holes]` of each root.
    fn find(&self, include: &[Item]) -> Vec<String> {
        self.find_in(include, &self.places())
    }

    fn find_in(&self, include: &[Item], places: &ItemPlaces) -> Vec<String> {
        let items = Items::find(include, places).expect("found");
        let base = self.path("");
        let shown = |root: ItemRoot| {
            let mut holes: Vec<String> = root
                .holes
                .iter()
                .map(|hole| hole.display().to_string())
                .collect();
            holes.sort();
            holes.dedup();
            let path = root
                .path
                .strip_prefix(&base)
                .expect("within")
                .display()
                .to_string();
            let only = if root.only == Only::Transcripts {
                " *.jsonl"
            } else {
                ""
            };
            let without = if holes.is_empty() {
                String::new()
            } else {
                format!(" without {}", holes.join(" "))
            };
            format!("{} = {path}{only}{without}", root.prefix)
        };
        items.roots.into_iter().map(shown).collect()
    }
}

const ALL: [Item; 13] = [
    Item::Workspace,
    Item::Config,
    Item::Cron,
    Item::Memory,
    Item::Sessions,
    Item::Credentials,
    Item::Skills,
    Item::Hooks,
    Item::Extensions,
    Item::Env,
    Item::Agents,
    Item::Pages,
    Item::Transcripts,
];

#[test]
fn every_item_has_its_place_and_one_inside_another_is_stored_once() {
    let host = Host::new("somewhere/else");
    assert_eq!(
        host.find(&ALL),
        [
            "agents = state/agents",
            "credentials = state/credentials",
            "cron = state/cron",
            "extensions = state/extensions",
            "hooks = state/hooks",
            "openclaw.json = state/openclaw.json",
            "sessions = state/sessions",
            "workspace = somewhere/else without .ows",
        ]
    );
    let mut backwards = ALL;
    backwards.reverse();
    assert_eq!(host.find(&ALL), host.find(&backwards));
}

#[test]
fn parts_of_the_workspace_alone_keep_their_place_in_it() {
    let host = Host::new("state/workspace");
    assert_eq!(
        host.find(&[Item::Memory, Item::Skills, Item::Env, Item::Pages]),
        [
            "workspace/.env = state/workspace/.env",
            "workspace/MEMORY.md = state/workspace/MEMORY.md",
            "workspace/memory = state/workspace/memory",
            "workspace/pages = state/workspace/pages",
            "workspace/skills = state/workspace/skills",
        ]
    );
}

#[test]
fn transcripts_are_those_of_all_agents() {
    let host = Host::new("ws");
    assert_eq!(
        host.find(&[Item::Transcripts]),
        [
            "agents/one/sessions = state/agents/one/sessions *.jsonl",
            "sessions = state/sessions *.jsonl",
        ]
    );
    assert_eq!(
        host.find(&[Item::Transcripts, Item::Sessions]),
        [
            "agents/one/sessions = state/agents/one/sessions *.jsonl",
            "sessions = state/sessions",
        ]
    );
}

#[test]
fn a_workspace_inside_an_item_lies_under_workspace_and_nowhere_else() {
    let host = Host::new("state/agents/two/workspace");
    let expected = [
        "agents = state/agents without two/workspace two/workspace/.ows",
        "workspace = state/agents/two/workspace without .ows",
    ];
    assert_eq!(host.find(&[Item::Agents, Item::Workspace]), expected);
    assert_eq!(host.find(&[Item::Agents]), expected);
    assert_eq!(host.find(&[Item::Agents, Item::Memory]), expected);
}

#[test]
fn a_workspace_around_the_state_holds_it_but_for_what_is_ours() {
    let host = Host::new("");
    assert_eq!(
        host.find(&ALL),
        ["workspace =  without .ows state/.backup-restore state/ows"]
    );
    assert_eq!(
        host.find(&[Item::Config, Item::Cron]),
        [
            "workspace/state/cron = state/cron",
            "workspace/state/openclaw.json = state/openclaw.json",
        ]
    );
}

#[test]
fn our_folders_and_that_of_the_snapshots_are_left_out_wherever_they_are() {
    let host = Host::new("ws");
    let mut places = host.places();
    places.own_dir = host.path("ws/tools/ows");
    places.pair = Some(host.path("ws/shared"));
    places.destination = Some(host.path("state/agents/snapshots"));
    assert_eq!(
        host.find_in(&[Item::Workspace, Item::Agents, Item::Hooks], &places),
        [
            "agents = state/agents without snapshots",
            "hooks = state/hooks",
            "workspace = ws without .ows shared/.ows tools/ows",
        ]
    );
    places.destination = Some(host.path(""));
    assert_eq!(
        host.find_in(&[Item::Hooks], &places),
        ["hooks = state/hooks"]
    );
    for (destination, own_dir) in [("state/hooks", "state/ows"), ("other", "state")] {
        places.destination = Some(host.path(destination));
        places.own_dir = host.path(own_dir);
        let failure = Items::find(&[Item::Hooks], &places).expect_err("refused");
        assert_eq!(failure.kind, FailureKind::Usage);
        assert!(
            failure
                .message
                .starts_with("the item `hooks` lies in the folder of"),
            "{}",
            failure.message
        );
    }
}

#[test]
fn our_folder_behind_a_link_is_left_out_too() {
    let host = Host::new("ws");
    fs::create_dir(host.path("ws/elsewhere")).expect("made");
    fs::remove_dir(host.path("ws/.ows")).expect("removed");
    symlink("elsewhere", host.path("ws/.ows")).expect("made");
    assert_eq!(
        host.find(&[Item::Workspace]),
        ["workspace = ws without .ows elsewhere"]
    );
}

#[test]
fn an_item_that_is_a_link_is_what_the_link_leads_to() {
    let host = Host::new("ws");
    fs::remove_dir(host.path("state/cron")).expect("removed");
    fs::create_dir(host.path("volume")).expect("made");
    symlink(host.path("volume"), host.path("state/cron")).expect("made");
    fs::remove_dir(host.path("ws/memory")).expect("removed");
    symlink("../volume/memory", host.path("ws/memory")).expect("made");
    fs::create_dir(host.path("volume/memory")).expect("made");
    assert_eq!(
        host.find(&[Item::Workspace, Item::Memory, Item::Cron]),
        ["cron = volume", "workspace = ws without .ows"],
        "what the memory leads to is in the cron item; the workspace has the link"
    );
    assert_eq!(
        host.find(&[Item::Workspace, Item::Memory]),
        [
            "workspace = ws without .ows memory",
            "workspace/memory = volume/memory",
        ]
    );
}

#[test]
fn an_item_that_is_a_link_into_another_is_that_link() {
    let host = Host::new("ws");
    fs::remove_dir(host.path("state/cron")).expect("removed");
    fs::create_dir(host.path("ws/jobs")).expect("made");
    symlink("../ws/jobs", host.path("state/cron")).expect("made");
    fs::remove_dir(host.path("ws/memory")).expect("removed");
    symlink("jobs", host.path("ws/memory")).expect("made");
    assert_eq!(
        host.find(&[Item::Workspace, Item::Cron, Item::Memory]),
        ["cron = state/cron", "workspace = ws without .ows"]
    );
}

#[test]
fn a_missing_item_is_told_and_a_missing_workspace_is_an_error() {
    let host = Host::new("ws");
    fs::remove_dir_all(host.path("state")).expect("removed");
    fs::remove_file(host.path("ws/MEMORY.md")).expect("removed");
    fs::remove_file(host.path("ws/.env")).expect("removed");
    let items = Items::find(&ALL, &host.places()).expect("found");
    assert_eq!(
        items.present,
        [Item::Workspace, Item::Memory, Item::Skills, Item::Pages]
    );
    assert_eq!(
        items.missing,
        [
            Item::Config,
            Item::Cron,
            Item::Sessions,
            Item::Credentials,
            Item::Hooks,
            Item::Extensions,
            Item::Env,
            Item::Agents,
            Item::Transcripts,
        ]
    );
    fs::remove_dir_all(host.path("ws")).expect("removed");
    for file in [false, true] {
        if file {
            fs::write(host.path("ws"), "no folder").expect("written");
        }
        let failure = Items::find(&[Item::Workspace], &host.places()).expect_err("missing");
        assert_eq!(failure.kind, FailureKind::Failed);
        assert_eq!(failure.path, Some(host.path("ws").display().to_string()));
        assert!(
            failure
                .hint
                .is_some_and(|hint| hint.contains("nothing was stored"))
        );
    }
}

#[test]
fn names_of_unfinished_downloads_are_known_exactly() {
    let is = |name: &str| is_temporary(OsStr::new(name));
    assert!(is(".ows-tmp-0123abcd-0123456789abcdef"));
    for other in [
        ".ows-tmp-",
        ".ows-tmp-0123abcd",
        ".ows-tmp-0123abcd-0123456789abcde",
        ".ows-tmp-0123abcd-0123456789abcdef.md",
        "ows-tmp-0123abcd-0123456789abcdef",
        ".ows-tmp-0123abcg-0123456789abcdef",
    ] {
        assert!(!is(other), "{other}");
    }
}
