use std::io::Read as _;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use flate2::bufread::GzDecoder;
use flate2::{Decompress, FlushDecompress};
use ows_testkit::random::Seed;
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _};

use super::*;
use crate::backup::index::{IndexReader, IndexRecord, IndexWriter};

const NO_TIME: Duration = Duration::from_millis(50);

/// Content of every kind in pieces of any length.
fn content(rng: &mut StdRng, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let piece = rng.random_range(1..=600_000).min(length - bytes.len());
        let begin = bytes.len();
        match rng.random_range(0..4) {
            0 => bytes.resize(begin + piece, 0),
            1 => bytes.extend((0..piece).map(|at| b"a line of text\n"[at % 15])),
            kind => {
                bytes.resize(begin + piece, 0);
                rng.fill_bytes(&mut bytes[begin..]);
                if kind == 2 {
                    bytes[begin..].iter_mut().for_each(|byte| *byte &= 0x4f);
                }
            }
        }
    }
    bytes
}

/// Writes `content` in pieces of any length.
fn zipped(rng: &mut StdRng, content: &[u8], level: u32, threads: usize) -> Finished<Vec<u8>> {
    let mut gzip = ParallelGzip::new(Vec::new(), level, threads).expect("begins");
    let mut rest = content;
    while !rest.is_empty() {
        let most = *[1, 511, 70_000, 3 << 20]
            .get(rng.random_range(0..4))
            .expect("one");
        let (piece, behind) = rest.split_at(rng.random_range(1..=most).min(rest.len()));
        gzip.write_all(piece).expect("writes");
        gzip.flush().expect("flushes");
        rest = behind;
    }
    gzip.finish().expect("ends")
}

/// The content of a gzip stream of one member and nothing behind it.
fn unzipped(bytes: &[u8]) -> Vec<u8> {
    let mut decoder = GzDecoder::new(bytes);
    let mut content = Vec::new();
    decoder.read_to_end(&mut content).expect("inflates");
    assert!(decoder.into_inner().is_empty(), "one member");
    content
}

/// What the blocks from `start` on hold, up to `length` bytes.
fn entered(member: &[u8], start: u64, length: usize) -> Vec<u8> {
    let from = usize::try_from(start).expect("small");
    let mut content = Vec::with_capacity(length);
    let mut inflate = Decompress::new(false);
    inflate
        .decompress_vec(&member[from..], &mut content, FlushDecompress::Sync)
        .expect("inflates");
    content
}

#[test]
fn any_content_in_any_pieces_reads_back_and_can_be_entered_at_every_block() {
    let mut rng = Seed::new().rng();
    for round in 0..12 {
        let length = match round {
            0 => 0,
            1 => 1,
            2 => BLOCK,
            3 => 3 * BLOCK,
            4 => 2 * BLOCK + 1,
            _ => rng.random_range(0..=9 * BLOCK),
        };
        let content = content(&mut rng, length);
        let (level, threads) = (rng.random_range(0..=9), rng.random_range(1..=5));
        let finished = zipped(&mut rng, &content, level, threads);
        let member = &finished.output;
        assert!(unzipped(member) == content, "level {level}, {length} bytes");
        assert_eq!(finished.compressed, member.len() as u64);
        assert_eq!(finished.content, length as u64);
        let starts = finished.points.starts();
        assert_eq!(starts.len(), length.div_ceil(BLOCK));
        for (block, start) in content.chunks(BLOCK).zip(starts) {
            assert!(entered(member, *start, block.len()) == block);
        }
        for _ in 0..if length > 0 { 5 } else { 0 } {
            let offset = rng.random_range(0..length);
            let (start, before) = (finished.points.enter(offset as u64)).expect("a block");
            let before = usize::try_from(before).expect("small");
            let inflated = entered(member, start, before + 1);
            assert_eq!(inflated.last(), content.get(offset));
        }
    }
}

#[test]
fn the_index_stores_the_restart_points() {
    let mut rng = Seed::new().rng();
    let content = content(&mut rng, 5 * BLOCK + 5);
    let finished = zipped(&mut rng, &content, 1, 2);
    let name = "ows-20260131T235959Z-1a2b3c4d".parse().expect("a name");
    let mut index = IndexWriter::new(Vec::new(), name).expect("begins");
    index.blocks(1, &finished.points).expect("writes");
    let index = index.finish().expect("ends");
    let mut reader = IndexReader::open(index.as_slice(), name).expect("opens");
    assert_eq!(
        reader.next_record().expect("reads"),
        Some(IndexRecord::Blocks {
            volume: 1,
            starts: finished.points.starts().to_vec()
        })
    );
    assert_eq!(finished.points.starts()[0], 10, "behind the header");
}

#[test]
fn neither_threads_nor_the_pieces_of_writing_change_the_bytes() {
    let mut rng = Seed::new().rng();
    let content = content(&mut rng, 4 * BLOCK + 77);
    let one = zipped(&mut rng, &content, 6, 1);
    let four = zipped(&mut rng, &content, 6, 4);
    assert!(one.output == four.output);
    assert_eq!(one.points, four.points);
}

#[test]
fn the_longest_length_is_one_and_is_the_same_every_time() {
    let mut rng = Seed::new().rng();
    let content = content(&mut rng, 12 * BLOCK);
    let lengths = || {
        let mut gzip = ParallelGzip::new(Vec::new(), 1, 2).expect("begins");
        let mut lengths = Vec::new();
        for piece in content.chunks(100_000) {
            gzip.write_all(piece).expect("writes");
            lengths.push(gzip.longest());
        }
        assert_eq!(gzip.content(), content.len() as u64);
        (lengths, gzip.finish().expect("ends").compressed)
    };
    let (first, compressed) = lengths();
    assert_eq!(lengths().0, first);
    let last = *first.last().expect("some");
    assert!(last >= compressed);
    assert!(last < content.len() as u64, "it follows what was written");
}

#[test]
fn an_empty_member_is_one() {
    let finished = (ParallelGzip::new(Vec::new(), 6, 2).expect("begins"))
        .finish()
        .expect("ends");
    assert_eq!(unzipped(&finished.output), b"");
    assert!(finished.points.starts().is_empty());
    assert_eq!(finished.output.len(), 20);
}

/// Fails at its n-th write.
#[derive(Debug)]
struct Failing(usize);

impl Write for Failing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "no room"));
        }
        self.0 -= 1;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_error_of_the_output_is_what_the_writer_gets_wherever_it_occurs() {
    // A header, 20 blocks, the last block, CRC and length.
    for writes in 0..25 {
        let written = |writes| {
            let mut gzip = ParallelGzip::new(Failing(writes), 1, 2)?;
            gzip.write_all(&vec![0; 20 * BLOCK])?;
            gzip.finish()
        };
        match written(writes) {
            Ok(_) => assert_eq!(writes, 24),
            Err(error) => {
                assert!(writes < 24);
                assert_eq!(error.kind(), io::ErrorKind::StorageFull);
            }
        }
    }
}

#[test]
fn after_an_error_nothing_is_written_and_nothing_finished() {
    let mut gzip = ParallelGzip::new(Failing(3), 1, 1).expect("begins");
    gzip.write_all(&vec![0; 20 * BLOCK]).expect_err("no room");
    gzip.write_all(b"x").expect_err("it has ended");
    gzip.finish().expect_err("it has ended");
}

#[test]
fn a_panic_of_a_thread_that_compresses_is_an_error() {
    for at in [0, 3] {
        for threads in [1, 3] {
            let left = Arc::new(Mutex::new(at));
            let compressor = || {
                let left = Arc::clone(&left);
                move |content: &[u8], compressed: &mut Vec<u8>| {
                    let mut left = left.lock().expect("whole");
                    *left -= 1;
                    assert!(*left >= 0, "made for this test");
                    BlockCompressor::new(1).compress(content, compressed)
                }
            };
            let mut gzip = ParallelGzip::with(Vec::new(), threads, compressor).expect("begins");
            let error = (gzip.write_all(&vec![0; 30 * BLOCK]))
                .and_then(|()| gzip.finish())
                .expect_err("a panic");
            assert!(error.to_string().ends_with("has panicked"), "{error}");
        }
    }
}

#[test]
fn an_error_of_a_thread_that_compresses_is_told() {
    let compressor = || |_: &[u8], _: &mut Vec<u8>| Err(io::Error::other("zlib"));
    let mut gzip = ParallelGzip::with(Vec::new(), 2, compressor).expect("begins");
    gzip.write_all(b"x").expect("not full yet");
    assert_eq!(gzip.finish().expect_err("zlib").to_string(), "zlib");
}

#[test]
fn a_panic_of_the_output_is_an_error() {
    #[derive(Debug)]
    struct Panicking;
    impl Write for Panicking {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            panic!("made for this test");
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut gzip = ParallelGzip::new(Panicking, 1, 2).expect("begins");
    let error = (gzip.write_all(&vec![0; 30 * BLOCK]))
        .and_then(|()| gzip.finish())
        .expect_err("a panic");
    assert!(error.to_string().ends_with("has panicked"), "{error}");
}

/// Keeps what it gets where a test can see it, and tells when it is gone.
struct Shared {
    bytes: Arc<Mutex<Vec<u8>>>,
    gone: SyncSender<()>,
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.lock().expect("whole").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Nobody may listen any more.
        let _told = self.gone.try_send(());
    }
}

#[test]
fn dropping_it_ends_the_threads_and_leaves_the_member_cut_off() {
    for length in [0, 5, 5 * BLOCK] {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let (gone, is_gone) = sync_channel(1);
        let output = Shared {
            bytes: Arc::clone(&bytes),
            gone,
        };
        let alive = Arc::new(());
        let mut gzip = ParallelGzip::with(output, 3, || {
            let (alive, mut compressor) = (Arc::clone(&alive), BlockCompressor::new(1));
            move |content: &[u8], compressed: &mut Vec<u8>| {
                let _alive = &alive;
                compressor.compress(content, compressed)
            }
        })
        .expect("begins");
        gzip.write_all(&vec![1; length]).expect("writes");
        drop(gzip);
        // Not after a while: when `drop` returns.
        is_gone.try_recv().expect("the output's thread has ended");
        assert_eq!(Arc::strong_count(&alive), 1, "the others have ended");
        let cut_off = bytes.lock().expect("whole").clone();
        GzDecoder::new(cut_off.as_slice())
            .read_to_end(&mut Vec::new())
            .expect_err("cut off");
    }
}

/// Takes a write only when it is let.
struct Gate {
    let_through: Receiver<()>,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.let_through.recv().map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_slow_output_stops_the_writer_at_the_number_of_blocks() {
    for threads in [1, 3] {
        let (open, let_through) = channel();
        let (accepted, accepts) = channel();
        let writer = thread::spawn(move || {
            let mut gzip = ParallelGzip::new(Gate { let_through }, 1, threads)?;
            for _ in 0..40 {
                gzip.write_all(&vec![0; BLOCK])?;
                accepted.send(()).map_err(io::Error::other)?;
            }
            gzip.finish().map(|finished| finished.compressed)
        });
        let expect = |count| {
            for _ in 0..count {
                accepts.recv().expect("a block is free");
            }
            assert_eq!(
                accepts.recv_timeout(NO_TIME),
                Err(RecvTimeoutError::Timeout)
            );
        };
        expect(blocks(threads));
        // The header, then block after block.
        open.send(()).expect("waits");
        expect(0);
        for _ in 0..3 {
            open.send(()).expect("waits");
            expect(1);
        }
        for _ in 0..60 {
            open.send(()).expect("waits");
        }
        writer.join().expect("no panic").expect("ends");
    }
}

#[test]
fn the_memory_is_what_the_formula_says() {
    assert_eq!(memory(1), 4 * (17 * BLOCK_BYTES / 8 + 4096) + BLOCK_BYTES);
    assert!(memory(MOST_THREADS) < 90 << 20);
    // Neither part of a block grows beyond what was reserved, whatever it holds.
    let mut rng = Seed::new().rng();
    let content = content(&mut rng, 3 * BLOCK);
    let largest = Arc::new(Mutex::new(0));
    let mut gzip = ParallelGzip::with(Vec::new(), 2, || {
        let (largest, mut compressor) = (Arc::clone(&largest), BlockCompressor::new(6));
        move |content: &[u8], compressed: &mut Vec<u8>| {
            compressor.compress(content, compressed)?;
            let mut largest = largest.lock().expect("whole");
            *largest = compressed.capacity().max(*largest);
            Ok(())
        }
    })
    .expect("begins");
    gzip.write_all(&content).expect("writes");
    gzip.finish().expect("ends");
    assert_eq!(*largest.lock().expect("whole"), room(BLOCK));
}
