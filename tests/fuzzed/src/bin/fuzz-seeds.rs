//! Writes what a fuzzer begins from: `fuzz-seeds DIR` fills `DIR/<target>/`, and `DIR/<target>.dict` with its words.

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use ows_fuzzed::TARGETS;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os()
        .nth(1)
        .map(PathBuf::from)
        .ok_or("usage: fuzz-seeds DIR")?;
    for target in TARGETS {
        let place = folder.join(target.name);
        fs::create_dir_all(&place)?;
        for (number, seed) in (target.seeds)().iter().enumerate() {
            fs::write(place.join(format!("seed-{number}")), seed)?;
        }
        let words: String = target
            .words
            .iter()
            .map(|word| format!("\"{}\"\n", escaped(word)))
            .collect();
        fs::write(folder.join(format!("{}.dict", target.name)), words)?;
    }
    Ok(())
}

/// As libFuzzer wants them.
fn escaped(word: &str) -> String {
    word.bytes()
        .map(|byte| match byte {
            b'"' | b'\\' => format!("\\{}", char::from(byte)),
            b' '..=b'~' => char::from(byte).to_string(),
            _ => format!("\\x{byte:02X}"),
        })
        .collect()
}
