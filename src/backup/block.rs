//! One block of a gzip stream: raw deflate that begins and ends at a byte and needs nothing of what stands before it.
//!
//! Deflating what does not compress costs twenty times as much as storing it and saves nothing, so a block is looked at
//! in slices first. A slice whose bytes all occur about equally often may still repeat itself: one slice of each run of
//! such slices is deflated at level 1, and the run is stored when that saves less than 3 %. The other runs are
//! deflated, each without what stands before it, and stored after all when that does not make them shorter. Every run
//! ends with the empty stored block of a full flush.
//!
//! Knows nothing of threads and of gzip; that is `gzip`.

use std::io;

use flate2::{Compress, Compression, FlushCompress};

/// What is judged at once. The window of deflate is half of it.
const SLICE: usize = 64 << 10;

/// How many bytes of a slice are counted, in how many places.
const SAMPLE: usize = 4 << 10;
const PLACES: usize = 4;

/// From this entropy on, in bits a byte, no code for single bytes saves 3 %.
const FLAT_BITS: f64 = 8.0 * 0.97;

/// What a stored block of deflate holds at most, and what it costs.
const STORED: usize = 0xffff;
const STORED_HEADER: usize = 5;

/// An empty stored block: what a full flush ends with.
const MARK: [u8; STORED_HEADER] = [0, 0, 0, 0xff, 0xff];

/// The most bytes that compressing `content` bytes gives: every slice stored by itself.
pub const fn longest(content: usize) -> usize {
    content + content.div_ceil(SLICE) * (2 * STORED_HEADER + MARK.len())
}

/// The room that `content` bytes need in the output while they are compressed: the fixed code of level 1 takes up to nine
/// bits for a byte, and what grew is taken back only afterwards.
pub const fn room(content: usize) -> usize {
    content + content / 8 + (4 << 10)
}

/// Compresses blocks, one after the other. Keeps what zlib needs between them, about 300 KiB for each of its two levels.
pub struct BlockCompressor {
    level: u32,
    deflate: Option<Compress>,
    probe: Option<Compress>,
}

impl BlockCompressor {
    /// For a level of 0 (store everything) to 9.
    pub fn new(level: u32) -> Self {
        Self {
            level: level.min(9),
            deflate: None,
            probe: None,
        }
    }

    /// Appends `content`, compressed, to `output`; at most [`longest`] bytes.
    pub fn compress(&mut self, content: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
        if self.level == 0 {
            store(content, output);
            return Ok(());
        }
        let mut rest = content;
        for (slices, stored) in self.runs(content)? {
            let (run, behind) = rest.split_at(rest.len().min(slices * SLICE));
            rest = behind;
            if stored || !deflate(&mut self.deflate, self.level, run, output)? {
                store(run, output);
            }
        }
        Ok(())
    }

    /// The runs of `content` as counts of slices, each with whether it is stored.
    fn runs(&mut self, content: &[u8]) -> io::Result<Vec<(usize, bool)>> {
        let flat: Vec<bool> = content.chunks(SLICE).map(is_flat).collect();
        let mut runs: Vec<(usize, bool)> = Vec::new();
        let mut at = 0;
        for run in flat.chunk_by(|one, next| one == next) {
            // The middle one: at its ends a run may hold something of its neighbours.
            let middle = content.chunks(SLICE).nth(at + run.len() / 2);
            let stored = match (run.first(), middle) {
                (Some(true), Some(middle)) => !self.saves(middle)?,
                _ => false,
            };
            at += run.len();
            match runs.last_mut() {
                Some((slices, same)) if *same == stored => *slices += run.len(),
                _ => runs.push((run.len(), stored)),
            }
        }
        Ok(runs)
    }

    /// Whether level 1 makes `slice` shorter by 3 % or more.
    fn saves(&mut self, slice: &[u8]) -> io::Result<bool> {
        let mut output = Vec::with_capacity(room(slice.len()));
        let shorter = deflate(&mut self.probe, 1, slice, &mut output)?;
        Ok(shorter && output.len() + slice.len() * 3 / 100 <= slice.len())
    }
}

/// Appends `run`, deflated by what is in `kept` or a new compressor of `level`, to `output`; `false`, and nothing appended,
/// when storing it takes no more.
fn deflate(
    kept: &mut Option<Compress>,
    level: u32,
    run: &[u8],
    output: &mut Vec<u8>,
) -> io::Result<bool> {
    let mut zlib = (kept.take()).unwrap_or_else(|| Compress::new(Compression::new(level), false));
    let begin = output.len();
    let room = room(run.len());
    output.resize(begin + room, 0);
    let target = output.get_mut(begin..).unwrap_or_default();
    zlib.compress(run, target, FlushCompress::Full)
        .map_err(io::Error::other)?;
    let length = |count| usize::try_from(count).unwrap_or(usize::MAX);
    let (taken, written) = (length(zlib.total_in()), length(zlib.total_out()));
    // A flush that is done leaves room.
    let complete = taken == run.len() && written < room;
    let shorter = complete && written < stored_length(run.len());
    output.truncate(begin + if shorter { written } else { 0 });
    // zlib-rs 0.6 forgets, when it is reset, where in its buffer the bytes stand that it could not write, and panics later.
    // So only a compressor that has written all is used again.
    if complete {
        zlib.reset();
        *kept = Some(zlib);
    }
    Ok(shorter)
}

/// Appends `run` as it is to `output`.
fn store(run: &[u8], output: &mut Vec<u8>) {
    for piece in run.chunks(STORED) {
        let length = u16::try_from(piece.len()).unwrap_or(u16::MAX);
        output.push(0);
        output.extend_from_slice(&length.to_le_bytes());
        output.extend_from_slice(&(!length).to_le_bytes());
        output.extend_from_slice(piece);
    }
    output.extend_from_slice(&MARK);
}

fn stored_length(run: usize) -> usize {
    run + run.div_ceil(STORED) * STORED_HEADER + MARK.len()
}

/// Whether the bytes of `slice` occur about equally often. A short one seems uneven: it is deflated and then measured.
fn is_flat(slice: &[u8]) -> bool {
    let mut counts = [0_u32; 256];
    let mut counted = 0_u32;
    let stride = slice.len().div_ceil(PLACES).max(1);
    for place in slice.chunks(stride) {
        for byte in place.iter().take(SAMPLE / PLACES) {
            if let Some(count) = counts.get_mut(usize::from(*byte)) {
                *count += 1;
            }
            counted += 1;
        }
    }
    let bits: f64 = (counts.iter().filter(|count| **count > 0))
        .map(|count| f64::from(*count) * (f64::from(counted) / f64::from(*count)).log2())
        .sum();
    bits >= f64::from(counted) * FLAT_BITS && counted > 0
}

#[cfg(test)]
mod tests {
    use flate2::{Decompress, FlushDecompress};
    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

    fn random(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        StdRng::seed_from_u64(7).fill_bytes(&mut bytes);
        bytes
    }

    fn text(length: usize) -> Vec<u8> {
        let words = random(length / 4);
        let words = words.iter().map(|byte| format!("word{} ", byte % 50));
        words.flat_map(String::into_bytes).take(length).collect()
    }

    fn compressed(level: u32, content: &[u8]) -> Vec<u8> {
        let mut compressor = BlockCompressor::new(level);
        // What was compressed before must not matter.
        let mut output = Vec::new();
        compressor
            .compress(&text(100_000), &mut output)
            .expect("compresses");
        output.clear();
        compressor
            .compress(content, &mut output)
            .expect("compresses");
        let mut inflated = Vec::with_capacity(content.len() + 1);
        let mut inflate = Decompress::new(false);
        inflate
            .decompress_vec(&output, &mut inflated, FlushDecompress::Sync)
            .expect("inflates");
        assert!(inflated == content, "level {level}");
        assert!(output.ends_with(&MARK[1..]), "a full flush");
        assert!(output.len() <= longest(content.len()));
        output
    }

    #[test]
    fn what_does_not_compress_is_stored() {
        for length in [1, 1000, SLICE, SLICE + 1, 1 << 20] {
            let content = random(length);
            for level in 0..=9 {
                assert!(compressed(level, &content).len() <= longest(length));
            }
        }
        let content = random(1 << 20);
        assert_eq!(compressed(6, &content).len(), stored_length(1 << 20));
    }

    #[test]
    fn level_0_stores_everything() {
        let content = text(200_000);
        assert_eq!(compressed(0, &content).len(), stored_length(200_000));
    }

    #[test]
    fn what_compresses_is_deflated_beside_what_does_not() {
        let (text, random) = (text(512 << 10), random(512 << 10));
        let alone = compressed(6, &text).len();
        assert!(alone < text.len() / 3);
        for content in [
            [&text[..], &random].concat(),
            [&random[..], &text].concat(),
            [
                &random[..SLICE],
                &text[..4 * SLICE],
                &random[SLICE..],
                &text[4 * SLICE..],
            ]
            .concat(),
        ] {
            let length = compressed(6, &content).len();
            assert!(
                length < random.len() + alone + alone / 20 + 1000,
                "{length}"
            );
        }
    }

    #[test]
    fn bytes_that_are_even_but_repeat_are_deflated() {
        let period = random(5000);
        let content: Vec<u8> = period.iter().copied().cycle().take(1 << 20).collect();
        assert!(content.chunks(SLICE).all(is_flat));
        assert!(compressed(6, &content).len() < 20_000);
        assert!(compressed(1, &content).len() < 40_000);
    }

    #[test]
    fn the_longest_output_is_that_of_slices_stored_one_by_one() {
        assert_eq!(longest(1 << 20), (1 << 20) + 16 * 15);
        let mut output = Vec::new();
        for slice in random(1 << 20).chunks(SLICE) {
            store(slice, &mut output);
        }
        assert_eq!(output.len(), longest(1 << 20));
    }
}
