//! `ows backup`, as people and scripts meet it.

mod keygen;
