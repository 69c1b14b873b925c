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
      daemon         Run sync again and again, every `interval` seconds, until it is stopped
      session        Run one sync for a session hook, when `onSessionStart` or `onSessionEnd` asks for
                     it
      status         Show the remote, what it enforces, the base, the last run, conflicts and the trash
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
    Run sync again and again, every `interval` seconds, until it is stopped

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

    The first run starts after 5 seconds. SIGTERM and SIGINT end it cleanly within 10 seconds, with exit
    code 0; SIGHUP reads the configuration again. Not in this version: scheduled backups, reacting to
    changes between intervals (`watch`), a port for health and metrics (`--listen`).
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
    Show the remote, what it enforces, the base, the last run, conflicts and the trash

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
