//! Much of everything in little memory: whole processes, watched from outside.

#[path = "../../../benches/shared/listed.rs"]
mod listed;

use std::time::Duration;

use listed::{listed_name, write_snapshot};

use super::world::to_folder;
use crate::schemas::fits;

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
