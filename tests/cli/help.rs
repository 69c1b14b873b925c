//! What the commands say about themselves.

use insta::assert_snapshot;

use crate::support::World;

fn help(arguments: &[&str]) -> String {
    World::bare().ok(arguments).stdout
}

#[test]
fn the_version_is_one_line() {
    let text = help(&["--version"]);
    assert_eq!(text, format!("ows {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn help_lists_the_commands() {
    assert_snapshot!(help(&["--help"]), @r"
    Keeps an agent's workspace in sync with cloud storage

    Usage: ows [OPTIONS] <COMMAND>

    Commands:
      demo           Show the main job with no account and no server, in a temporary place
      sync           Run one sync
      daemon         Run sync and backups again and again, every `interval` seconds, until it is stopped
      session        Run one sync for a session hook, when `onSessionStart` or `onSessionEnd` asks for
                     it
      status         Show the remote, what it enforces, the base, the last run, conflicts, the trash and
                     backups
      check          Compare both sides by content, and change nothing
      list           List remote files
      why            Tell what is known of one path, and what the next run would do about it and why
      conflicts      List conflict files, and settle them
      trash          Show, bring back or empty what was displaced
      backup         Make, list, restore and prove encrypted snapshots of the whole agent system
      import-rclone  Turn the plugin's setup, or a remote of rclone, into <state>/ows/config.json5
      completions    Print the completions for a shell
      man            Print the manual page
      help           Print this message or the help of the given subcommand(s)

    Options:
      -h, --help     Print help
      -V, --version  Print version

    Global options:
          --config <FILE>        Configuration file, instead of the first that exists of $OWS_CONFIG,
                                 <state>/ows/config.json5, $OPENCLAW_CONFIG_PATH and
                                 <state>/openclaw.json
          --state-dir <DIR>      State directory, instead of $OPENCLAW_STATE_DIR or ~/.openclaw
          --workspace <DIR>      Workspace, instead of the configured one
          --agent <ID>           Take the workspace of this agent
          --json                 Print one JSON object on standard output at the end
          --log-format <FORMAT>  Form of the log on standard error [default: text] [possible values:
                                 text, json]
      -v, --verbose...           Say more; twice for each step, three times for each request
      -q, --quiet                Say nothing but errors
          --no-progress          Draw no progress bar
    ");
}

#[test]
fn help_of_sync() {
    assert_snapshot!(commands_own(&["sync", "--help"]), @r"
    Run one sync

    Usage: ows sync [OPTIONS]

    Options:
          --dry-run                Show what would be done, and change nothing
          --direction <DIRECTION>  Make one side equal to the other, without a drain: `push` the remote,
                                   `pull` the workspace [possible values: pull, push]
          --resync                 Unite both sides as on a first run (bisync mode only)
          --force <GUARD>          Let this run pass a guard: local-root, remote-root, max-delete,
                                   max-change, first-sync, state-rollback, overlap; may be repeated
          --wait <SECONDS>         Wait so many seconds for another run to end
          --timeout <SECONDS>      Stop after so many seconds, instead of the configured `timeout`; what
                                   was finished counts
          --rebuild-state          Set a damaged database aside and start as without one
      -h, --help                   Print help
      -V, --version                Print version
    ");
}

#[test]
fn help_of_daemon() {
    assert_snapshot!(help(&["daemon", "--help"]), @r#"
    Run sync and backups again and again, every `interval` seconds, until it is stopped

    Usage: ows daemon [OPTIONS]

    Options:
      -h, --help     Print help
      -V, --version  Print version

    Global options:
          --config <FILE>        Configuration file, instead of the first that exists of $OWS_CONFIG,
                                 <state>/ows/config.json5, $OPENCLAW_CONFIG_PATH and
                                 <state>/openclaw.json
          --state-dir <DIR>      State directory, instead of $OPENCLAW_STATE_DIR or ~/.openclaw
          --workspace <DIR>      Workspace, instead of the configured one
          --agent <ID>           Take the workspace of this agent
          --json                 Print one JSON object on standard output at the end
          --log-format <FORMAT>  Form of the log on standard error [default: text] [possible values:
                                 text, json]
      -v, --verbose...           Say more; twice for each step, three times for each request
      -q, --quiet                Say nothing but errors
          --no-progress          Draw no progress bar

    The first sync starts after 5 seconds, the first backup after 30 or when the last one is due.
    SIGTERM and SIGINT end it cleanly within 10 seconds, with exit code 0; SIGHUP reads the
    configuration again. Not in this version: reacting to changes between intervals (`watch`), a port
    for health and metrics (`--listen`).
    "#);
}

#[test]
fn help_of_session_end() {
    assert_snapshot!(commands_own(&["session", "end", "--help"]), @r#"
    A session has ended: sync when `onSessionEnd` is true

    Usage: ows session end [OPTIONS]

    Options:
          --wait <SECONDS>  Wait so many seconds for another run to end; when it goes on longer, nothing
                            is done and the exit code is 0 [default: 10]
      -h, --help            Print help
      -V, --version         Print version
    "#);
}

#[test]
fn help_of_demo() {
    assert_snapshot!(commands_own(&["demo", "--help"]), @r#"
    Show the main job with no account and no server, in a temporary place

    Usage: ows demo [OPTIONS]

    Options:
          --keep     Leave the sample workspace and its remote folder for you to look at
      -h, --help     Print help
      -V, --version  Print version
    "#);
}

#[test]
fn help_of_status() {
    assert_snapshot!(commands_own(&["status", "--help"]), @r#"
    Show the remote, what it enforces, the base, the last run, conflicts, the trash and backups

    Usage: ows status [OPTIONS]

    Options:
      -h, --help     Print help
      -V, --version  Print version
    "#);
}

#[test]
fn help_of_list() {
    assert_snapshot!(commands_own(&["list", "--help"]), @r#"
    List remote files

    Usage: ows list [OPTIONS] [PATH]

    Arguments:
      [PATH]  Folder or file below the remote folder; everything without one

    Options:
      -R, --recursive  Also what lies in folders
      -h, --help       Print help
      -V, --version    Print version
    "#);
}

#[test]
fn help_of_trash() {
    assert_snapshot!(commands_own(&["trash", "--help"]), @r#"
    Show, bring back or empty what was displaced

    Usage: ows trash [OPTIONS] <COMMAND>

    Commands:
      list     List displaced files by their original path
      restore  Bring displaced files back into the workspace; nothing that is there is overwritten
      empty    Remove everything in the trash on both sides, for good
      help     Print this message or the help of the given subcommand(s)

    Options:
      -h, --help     Print help
      -V, --version  Print version
    "#);
}

#[test]
fn help_of_trash_restore() {
    assert_snapshot!(commands_own(&["trash", "restore", "--help"]), @r#"
    Bring displaced files back into the workspace; nothing that is there is overwritten

    Usage: ows trash restore [OPTIONS] [PATH]

    Arguments:
      [PATH]  Only this file or folder: the newest copy of each; everything of the newest run without
              one

    Options:
          --run <RUN>  Only what this run displaced, as the list shows it; RUN.1 is the first of several
                       folders of a run
          --dry-run    Show what would be brought back
      -h, --help       Print help
      -V, --version    Print version
    "#);
}

#[test]
fn help_of_trash_empty() {
    assert_snapshot!(commands_own(&["trash", "empty", "--help"]), @r#"
    Remove everything in the trash on both sides, for good

    Usage: ows trash empty [OPTIONS]

    Options:
          --dry-run  Show what would be removed
      -y, --yes      Do not ask; without a terminal, and with --json, nobody is asked
      -h, --help     Print help
      -V, --version  Print version
    "#);
}

/// Without the options that all commands share.
fn commands_own(arguments: &[&str]) -> String {
    let text = help(arguments);
    let (own, global) = text.split_once("\nGlobal options:").unwrap();
    assert!(global.contains("--json"));
    own.to_owned()
}

#[test]
fn nothing_typed_shows_help_and_is_wrong_usage() {
    let ran = World::bare().ows(&[]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.stdout.is_empty());
    assert!(ran.stderr.contains("Usage: ows [OPTIONS] <COMMAND>"));
}

#[test]
fn completions_and_manual_name_every_command() {
    let bash = help(&["completions", "bash"]);
    let man = help(&["man"]);
    for command in [
        "sync",
        "daemon",
        "session",
        "status",
        "list",
        "conflicts",
        "trash",
        "demo",
    ] {
        assert!(bash.contains(command), "{command}");
        assert!(man.contains(command), "{command}");
    }
    assert!(bash.contains("--dry-run"));
    assert!(man.starts_with(".ie"), "{man}");
}

#[test]
fn help_of_conflicts() {
    assert_snapshot!(commands_own(&["conflicts", "--help"]), @r"
    List conflict files, and settle them

    Usage: ows conflicts [OPTIONS] [COMMAND]

    Commands:
      resolve  Settle a conflict in the workspace; the next sync carries it to the remote
      help     Print this message or the help of the given subcommand(s)

    Options:
      -h, --help     Print help
      -V, --version  Print version
    ");
    assert_snapshot!(commands_own(&["conflicts", "resolve", "--help"]), @r"
    Settle a conflict in the workspace; the next sync carries it to the remote

    Usage: ows conflicts resolve [OPTIONS] --keep <SIDE> <PATH>

    Arguments:
      <PATH>  The copy, or the file that it lies beside

    Options:
          --keep <SIDE>  Whose content keeps the name, the other goes to the trash; with `both` the copy
                         gets an ordinary name [possible values: local, remote, both]
          --dry-run      Show what would be done
      -h, --help         Print help
      -V, --version      Print version
    ");
}

#[test]
fn help_of_backup() {
    assert_snapshot!(commands_own(&["backup", "--help"]), @r"
    Make, list, restore and prove encrypted snapshots of the whole agent system

    Usage: ows backup [OPTIONS] <COMMAND>

    Commands:
      now      Make a snapshot, then remove the older ones that `retain` does not keep
      list     List snapshots, and when each was proven to restore
      ls       List the files of a snapshot
      restore  Restore a snapshot, or parts of it, into a folder
      verify   Prove that snapshots are complete and undamaged
      drill    Restore the newest snapshot into a scratch folder, check everything, and clean up
      prune    Remove the snapshots that `retain` does not keep
      status   Show the last backup, the next one, what was proven, and the total size
      keygen   Make the key pair that snapshots are encrypted with: `recipients` of the configuration,
               and its identity
      help     Print this message or the help of the given subcommand(s)

    Options:
      -h, --help     Print help
      -V, --version  Print version
    ");
}

#[test]
fn help_of_each_backup_command() {
    let all = [
        "now", "ls", "restore", "verify", "prune", "status", "keygen",
    ];
    let all = all.map(|name| commands_own(&["backup", name, "--help"]));
    assert_snapshot!(all.join("\n"), @r"
    Make a snapshot, then remove the older ones that `retain` does not keep

    Usage: ows backup now [OPTIONS]

    Options:
          --dry-run  Show what a snapshot would hold, and store nothing
      -h, --help     Print help
      -V, --version  Print version

    List the files of a snapshot

    Usage: ows backup ls [OPTIONS] <SNAPSHOT> [PATH]

    Arguments:
      <SNAPSHOT>  Name of the snapshot as `ows backup list` shows it, or `latest`
      [PATH]      Only this file or folder, such as `workspace/notes`

    Options:
      -h, --help     Print help
      -V, --version  Print version

    Restore a snapshot, or parts of it, into a folder

    Usage: ows backup restore [OPTIONS]

    Options:
          --snapshot <NAME>  Name of the snapshot as `ows backup list` shows it, or `latest` [default:
                             latest]
          --to <DIR>         Folder to restore into, instead of <state>/.backup-restore/<snapshot>
          --path <PATH>      Only this file or folder, as `ows backup ls` shows it; may be repeated
          --dry-run          Show what would be restored, and write nothing
          --overwrite        Restore into a folder that is not empty; what is replaced is kept in
                             <target>.replaced-<time>
      -h, --help             Print help
      -V, --version          Print version

    Prove that snapshots are complete and undamaged

    Usage: ows backup verify [OPTIONS]

    Options:
          --snapshot <NAME>  Name of the snapshot as `ows backup list` shows it, or `latest` [default:
                             latest]
          --all              Every snapshot that is there, those of other profiles and of the old plugin
                             too
          --level <LEVEL>    How much is proven: `list` compares manifest and listing, `hash` reads the
                             stored objects again (no key is needed), `read` decrypts them and checks
                             every file; without it `read` where this host has the key, else `hash`
                             [possible values: list, hash, read]
      -h, --help             Print help
      -V, --version          Print version

    Remove the snapshots that `retain` does not keep

    Usage: ows backup prune [OPTIONS]

    Options:
          --dry-run        Show what would be removed, and remove nothing
          --legacy         Also the snapshots of the old plugin, by the same rules
          --unlisted       Also objects of snapshots that have no manifest, such as those of a host that
                           died in a backup
          --accept-shrink  Prune although the newest snapshot is much smaller than the largest one that
                           is kept (`minSize`)
      -h, --help           Print help
      -V, --version        Print version

    Show the last backup, the next one, what was proven, and the total size

    Usage: ows backup status [OPTIONS]

    Options:
          --max-age <SPAN>  Exit with 1 when the last good backup is older than this, such as `26h` or
                            `3d`
      -h, --help            Print help
      -V, --version         Print version

    Make the key pair that snapshots are encrypted with: `recipients` of the configuration, and its
    identity

    Usage: ows backup keygen [OPTIONS]

    Options:
      -o, --output <FILE>  File for the identity, readable by you alone; never overwritten. Without it
                           the identity is printed
      -h, --help           Print help
      -V, --version        Print version
    ");
}
