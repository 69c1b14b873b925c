//! What lies behind a followed link is sent to the remote and never written: a write would break the link, or change a file
//! under another name than the one that was edited.

use std::sync::Arc;

use super::Applier;
use super::outcome::Problem;
use super::upload::blocking;
use crate::plan::{Action, Keeps, Op, Side};

impl Applier {
    /// Refuses to change anything behind a link, before anything is done for it.
    pub(super) async fn leads_through_no_link(&self, action: &Action) -> Result<(), Problem> {
        let keeps_here = Op::Conflict {
            keeps: Keeps::Local,
        };
        let is_conflict = matches!(action.op, Op::Conflict { .. }) && action.op != keeps_here;
        if !is_conflict && action.op.writes_to() != Side::Local || !self.local.follows_links() {
            return Ok(());
        }
        let mut paths = vec![action.key.path.clone()];
        if let Op::MoveLocal { from, .. } = &action.op {
            paths.push((**from).clone());
        }
        let local = Arc::clone(&self.local);
        let link = blocking(move || paths.iter().find_map(|path| local.link_on(path))).await?;
        match link {
            None => Ok(()),
            Some(link) => Err(Problem::Failed(format!(
                "`{link}` is a symbolic link: with `copySymlinks` what it leads to is sent, but nothing is written through \
                 it, so it was left as it is; to take over what was done in the remote, replace the link by a copy of what \
                 it leads to, or leave it out with a pattern, and run again"
            ))),
        }
    }
}
