//! Names of owners and groups, for headers: a number means nothing on another host.
//!
//! Read from `/etc/passwd` and `/etc/group` themselves. The calls of the C library would ask directories over the network
//! as well, and a static binary has no way to do so; an owner that is not in the files goes by its number.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

/// No host has such long tables; what is longer is something else.
const LONGEST: u64 = 16 << 20;

/// Names by number.
#[derive(Debug, Default)]
pub(super) struct Owners {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Owners {
    /// Those of this host; none where the files cannot be read.
    pub fn of_this_host() -> Self {
        Self {
            users: names(&text(Path::new("/etc/passwd"))),
            groups: names(&text(Path::new("/etc/group"))),
        }
    }

    /// The name of a user.
    pub fn user(&self, uid: u32) -> Option<&str> {
        self.users.get(&uid).map(String::as_str)
    }

    /// The name of a group.
    pub fn group(&self, gid: u32) -> Option<&str> {
        self.groups.get(&gid).map(String::as_str)
    }
}

fn text(file: &Path) -> String {
    let mut bytes = Vec::new();
    let read =
        std::fs::File::open(file).and_then(|file| file.take(LONGEST).read_to_end(&mut bytes));
    match read {
        Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => {
            tracing::debug!(file = %file.display(), %error, "owners go by their numbers");
            String::new()
        }
    }
}

/// Both files have the name first and the number third. The first line of a number counts, as it does for the C library.
fn names(text: &str) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        let (Some(name), Some(number)) = (fields.next(), fields.nth(1)) else {
            continue;
        };
        let is_plain = !name.is_empty()
            && !name.starts_with(['+', '-', '#'])
            && !name.contains(|character: char| character.is_control() || character == '\u{fffd}');
        if let (true, Ok(number)) = (is_plain, number.parse()) {
            names.entry(number).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_of_a_number_counts_and_odd_lines_do_not() {
        let text = "root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:\n\n#note\n+nis:x:7::\nagent:x:1000:1000\nshort:x\nbad:x:-1:\n";
        let names = names(text);
        assert_eq!(names.len(), 2);
        assert_eq!(names[&0], "root");
        assert_eq!(names[&1000], "agent");
    }
}
