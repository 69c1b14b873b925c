//! The whole engine through its public API: over a store in memory that behaves like S3, a folder or a drive, a real
//! local folder and a real database. Edits on both sides, faults and crashes at every step, then whole trees compared.

mod person;
mod support;

mod accounts;
mod audit;
mod bisync;
mod bisync_trees;
mod calls;
mod caution;
mod changes;
mod conflicts;
mod first_run;
mod guards;
mod histories;
mod hosts;
mod identity;
mod ingest;
mod lease;
mod machine;
mod mailbox;
mod max_change;
mod merge;
mod mirror;
mod odd_files;
mod random;
mod rows;
mod spellings;
mod stamps;
mod sweep;
mod trash;
