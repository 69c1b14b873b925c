//! `ows backup`, as people and scripts meet it.

mod errors;
mod golden;
mod heartbeat;
mod keygen;
mod made;
mod many;
mod names;
mod proven;
mod recover;
mod scheduled;
mod two_hosts;
mod world;
