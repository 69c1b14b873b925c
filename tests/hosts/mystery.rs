//! What two-way sync of one file may look like from outside, after Hughes, Pierce, Arts and Norell, "Mysteries of Dropbox":
//! hosts read and write, and between that uploads and downloads happen that nobody sees. What was seen is right when
//! some order of hidden uploads and downloads explains it; the model keeps every state that the world may be in.
//!
//! A host is *clean* when nobody has written there since it last agreed with the remote, and *fresh* when nobody else has
//! changed the remote since then. In a conflict either side may keep the name, and the other value lives on in a conflict
//! file. A run may be killed after it has changed a side and before it remembers that, so each change comes in two kinds;
//! and a conflict file may be made by a run that comes no further, since somebody writes at that moment.

use std::collections::BTreeSet;

/// A value by its number; `None` when there is no file.
pub type Value = Option<u32>;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Host {
    local: Value,
    is_clean: bool,
    is_fresh: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    remote: Value,
    conflicts: BTreeSet<u32>,
    hosts: Vec<Host>,
}

/// Whether a run may be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    Whole,
    Mortal,
}

/// One file.
pub struct Mystery {
    states: BTreeSet<State>,
    /// The runs that are under way, by their hosts.
    active: Vec<Option<Life>>,
    /// What was seen.
    seen: Vec<String>,
}

impl Mystery {
    /// A file that is nowhere.
    pub fn new(hosts: usize) -> Self {
        let host = Host {
            local: None,
            is_clean: true,
            is_fresh: true,
        };
        let state = State {
            remote: None,
            conflicts: BTreeSet::new(),
            hosts: vec![host; hosts],
        };
        Self {
            states: [state].into(),
            active: vec![None; hosts],
            seen: Vec::new(),
        }
    }

    pub fn run_begins(&mut self, host: usize, life: Life) {
        self.let_things_happen();
        self.active[host] = Some(life);
        self.seen.push(format!("run on {host} begins, {life:?}"));
    }

    pub fn run_ends(&mut self, host: usize) {
        self.let_things_happen();
        self.active[host] = None;
        self.seen.push(format!("run on {host} ends"));
    }

    /// Somebody looked at the file on this host.
    pub fn read(&mut self, host: usize, found: Value) -> Result<(), String> {
        self.let_things_happen();
        self.seen.push(format!("read on {host}: {found:?}"));
        self.states.retain(|state| state.hosts[host].local == found);
        self.explained()
    }

    /// Somebody replaced what was there, or deleted it.
    pub fn write(&mut self, host: usize, value: Value, replaced: Value) -> Result<(), String> {
        self.let_things_happen();
        let text = format!("write on {host}: {value:?} over {replaced:?}");
        self.seen.push(text);
        let states = std::mem::take(&mut self.states);
        let fits = states
            .into_iter()
            .filter(|state| state.hosts[host].local == replaced);
        self.states = fits
            .map(|mut state| {
                state.hosts[host].local = value;
                state.hosts[host].is_clean = false;
                state
            })
            .collect();
        self.explained()
    }

    /// Nothing happens any more: everybody holds this, and these values live in conflict files.
    pub fn end(&mut self, value: Value, conflicts: &BTreeSet<u32>) -> Result<(), String> {
        self.let_things_happen();
        self.seen
            .push(format!("in the end: {value:?}, conflicts {conflicts:?}"));
        self.states.retain(|state| {
            state.remote == value
                && state.conflicts == *conflicts
                && state.hosts.iter().all(|host| host.local == value)
        });
        self.explained()
    }

    fn explained(&self) -> Result<(), String> {
        if self.states.is_empty() {
            return Err(format!(
                "no order of hidden uploads and downloads explains this:\n  {}",
                self.seen.join("\n  ")
            ));
        }
        Ok(())
    }

    /// Every state that hidden steps lead to.
    fn let_things_happen(&mut self) {
        let mut new: Vec<State> = self.states.iter().cloned().collect();
        while let Some(state) = new.pop() {
            let active = self.active.iter().enumerate();
            let steps = active.filter_map(|(host, life)| Some(state.steps_of(host, (*life)?)));
            for next in steps.flatten() {
                if self.states.insert(next.clone()) {
                    new.push(next);
                }
            }
        }
    }
}

impl State {
    /// What a run on this host may do next.
    fn steps_of(&self, host: usize, life: Life) -> Vec<Self> {
        let Host {
            local,
            is_clean,
            is_fresh,
        } = self.hosts[host];
        let mut steps = Vec::new();
        match (is_clean, is_fresh) {
            (true, true) => {}
            (true, false) => self.downloads(host, life, &mut steps),
            (false, true) => self.uploads(host, life, &mut steps),
            (false, false) => match (local, self.remote) {
                (here, there) if here == there => steps.push(self.agreed(host)),
                // What was changed wins over what was deleted.
                (None, _) => self.downloads(host, life, &mut steps),
                (_, None) => self.uploads(host, life, &mut steps),
                (Some(here), Some(there)) => {
                    let with = |value| {
                        let mut kept = self.clone();
                        kept.conflicts.insert(value);
                        kept
                    };
                    steps.extend([with(here), with(there)]);
                    with(here).downloads(host, life, &mut steps);
                    with(there).uploads(host, life, &mut steps);
                }
            },
        }
        steps
    }

    fn downloads(&self, host: usize, life: Life, steps: &mut Vec<Self>) {
        let mut forgotten = self.clone();
        forgotten.hosts[host].local = self.remote;
        forgotten.hosts[host].is_clean = false;
        forgotten.hosts[host].is_fresh = false;
        steps.push(forgotten.agreed(host));
        if life == Life::Mortal {
            steps.push(forgotten);
        }
    }

    fn uploads(&self, host: usize, life: Life, steps: &mut Vec<Self>) {
        let mut forgotten = self.clone();
        forgotten.remote = self.hosts[host].local;
        // What others have seen is not there any more, and neither is what this one remembers.
        for other in &mut forgotten.hosts {
            other.is_fresh = false;
        }
        steps.push(forgotten.agreed(host));
        if life == Life::Mortal {
            steps.push(forgotten);
        }
    }

    fn agreed(&self, host: usize) -> Self {
        let mut agreed = self.clone();
        agreed.hosts[host].is_clean = true;
        agreed.hosts[host].is_fresh = true;
        agreed
    }
}

#[test]
fn what_no_hidden_step_explains_is_noticed() {
    let wrote = || {
        let mut file = Mystery::new(2);
        file.write(0, Some(1), None).expect("it was not there");
        file
    };
    // Nobody has run, and the value is elsewhere.
    assert!(wrote().read(1, Some(1)).is_err());
    let both_run = || {
        let mut file = wrote();
        for host in [0, 1] {
            file.run_begins(host, Life::Whole);
            file.run_ends(host);
        }
        file
    };
    assert!(both_run().read(1, Some(1)).is_ok());
    // A value that was replaced where it was seen may be gone; one that nobody saw may not.
    let mut file = both_run();
    file.read(1, Some(1)).expect("it came down");
    file.write(1, Some(2), Some(1)).expect("it is there");
    file.write(0, Some(3), Some(1)).expect("it is there");
    for host in [1, 0, 1] {
        file.run_begins(host, Life::Whole);
        file.run_ends(host);
    }
    let ends = |value, conflicts: &[u32]| {
        let mut file = Mystery {
            states: file.states.clone(),
            active: file.active.clone(),
            seen: Vec::new(),
        };
        file.end(value, &conflicts.iter().copied().collect())
    };
    assert!(ends(Some(3), &[2]).is_ok());
    assert!(ends(Some(2), &[3]).is_ok());
    assert!(ends(Some(3), &[]).is_err(), "2 is lost");
    assert!(ends(Some(2), &[]).is_err(), "3 is lost");
    assert!(ends(Some(1), &[2, 3]).is_err(), "1 was replaced");
}
