//! Sync and backup engine for an AI agent's workspace.

pub mod error;
