//! What becomes of content that a run takes away, in the words that people read. A plan says that something gives way;
//! the configuration and the remote decide where it goes.

use super::{Action, Plan, Reason, Side};

/// What becomes of content that is removed or replaced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fate {
    /// It lies in `.ows/trash` afterwards.
    #[default]
    Trash,
    /// The provider keeps it, in its own bin or as an older version.
    Provider,
    /// Nothing keeps it: the configuration switched the trash off.
    Dropped,
}

/// The same for both sides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fates {
    /// Of local content.
    pub local: Fate,
    /// Of remote content.
    pub remote: Fate,
}

impl Fate {
    /// The second half of a sentence about what gives way.
    pub fn clause(self) -> &'static str {
        match self {
            Self::Trash => "goes to the trash",
            Self::Provider => "is kept by the provider",
            Self::Dropped => "is not kept, since the trash is switched off",
        }
    }
}

impl Fates {
    /// That of one side.
    pub fn on(self, side: Side) -> Fate {
        match side {
            Side::Local => self.local,
            Side::Remote => self.remote,
        }
    }

    /// Takes over what is true of the sides that `plan` deletes from: a run may make two passes, one for each side.
    pub fn learn(&mut self, plan: &Plan, fates: Self) {
        if plan.deletes_on(Side::Local).next().is_some() {
            self.local = fates.local;
        }
        if plan.deletes_on(Side::Remote).next().is_some() {
            self.remote = fates.remote;
        }
    }
}

impl Action {
    /// Why it is done, and what becomes of content that a person may miss.
    pub fn told(&self, fates: Fates) -> String {
        let fact = self.reason.text();
        match self.reason {
            Reason::Edited(side) => format!("{fact}; the edit {}", fates.on(side).clause()),
            Reason::Differs(side) => format!("{fact}; it {}", fates.on(side).clause()),
            _ => fact.to_owned(),
        }
    }
}
