//! One gzip member, compressed on several threads, that can be entered at every MiB.
//!
//! The member is made of blocks of [`BLOCK_BYTES`] that need nothing of what stands before them, each ended by a full
//! flush, as `pigz -i` writes it; an empty block ends it. Every reader of gzip takes it for an ordinary member. Not many
//! members: Python's `tarfile` in stream mode, Perl's IO::Uncompress and one-shot zlib stop after the first. How one block
//! is compressed is told in `block`.
//!
//! The writer fills a block and hands it to the threads that compress; one more thread takes the blocks in their order,
//! writes them to the output and hands them back to be filled again. There are `2 * threads + 2` blocks and never
//! another: an output that is slow stops the writer. So the memory is
//!
//! ```text
//! (2 * threads + 2) * (1 MiB + 1.125 MiB + 4 KiB) + threads * 1 MiB
//! ```
//!
//! (content and compressed content of a block; what zlib keeps on a thread), see [`memory`].
//!
//! An error or a panic on any of the threads ends all of them and is what the next write, or [`ParallelGzip::finish`],
//! returns. Nothing but `finish` ends the member: when the writer is dropped, its threads end, and the output is dropped
//! without a trailer.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use flate2::Crc;

use super::block::{BlockCompressor, longest, room};
use super::entry::{BLOCK_BYTES, RestartPoints};

/// More threads than this compress faster than anything behind them encrypts, and each takes memory.
pub const MOST_THREADS: usize = 16;

/// [`BLOCK_BYTES`] as a length.
const BLOCK: usize = BLOCK_BYTES as usize;

/// Deflate, no name, no time, no word of how well it was compressed, on no particular system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// A last, empty block with the fixed code.
const LAST_BLOCK: [u8; 2] = [3, 0];

/// What stands behind the blocks: the last one, CRC and length.
const TRAILER: u64 = 2 + 8;

/// How many threads to compress on: one for each processor that this process may use.
pub fn default_threads() -> usize {
    thread::available_parallelism()
        .map_or(1, usize::from)
        .min(MOST_THREADS)
}

/// How many blocks there are for so many threads: each thread has one in work and one waiting, one is filled, one written.
const fn blocks(threads: usize) -> usize {
    2 * threads + 2
}

/// The memory that a [`ParallelGzip`] of so many threads takes at most, in bytes.
pub const fn memory(threads: usize) -> u64 {
    let block = (BLOCK + room(BLOCK)) as u64;
    blocks(threads) as u64 * block + threads as u64 * BLOCK_BYTES
}

/// A finished member.
#[derive(Debug)]
pub struct Finished<W> {
    /// What it was written to.
    pub output: W,
    /// Where each of its blocks begins.
    pub points: RestartPoints,
    /// Its length in bytes.
    pub compressed: u64,
    /// The length of what it holds.
    pub content: u64,
}

/// Writes one gzip member.
pub struct ParallelGzip<W: Write + Send + 'static> {
    /// What is filled at the moment.
    filling: Option<Block>,
    /// The threads and the ways to them; `None` once they have ended.
    threads: Option<Threads<W>>,
    content: u64,
    /// How many blocks came back, and where the last of them ends in the member.
    returned: u64,
    returned_end: u64,
}

struct Threads<W> {
    free: Receiver<Returned>,
    jobs: SyncSender<Job>,
    order: SyncSender<Next>,
    abandoned: Arc<AtomicBool>,
    compressing: Vec<JoinHandle<()>>,
    writing: JoinHandle<io::Result<Finished<W>>>,
}

#[derive(Default)]
struct Block {
    content: Vec<u8>,
    compressed: Vec<u8>,
}

/// A block that may be filled again. `end` is where its last content ended in the member, `None` for a new one.
struct Returned {
    block: Block,
    end: Option<u64>,
}

struct Job {
    block: Block,
    done: SyncSender<io::Result<(Block, Crc)>>,
}

/// What the output gets next.
enum Next {
    /// The block that will arrive here. When the thread that compresses it dies, the other end of this is dropped.
    Block(Receiver<io::Result<(Block, Crc)>>),
    /// The end of the member.
    End,
}

impl<W: Write + Send + 'static> ParallelGzip<W> {
    /// Begins a member in `output`, at a level of 0 (store everything) to 9, on 1 to [`MOST_THREADS`] threads.
    pub fn new(output: W, level: u32, threads: usize) -> io::Result<Self> {
        Self::with(output, threads, || {
            let mut compressor = BlockCompressor::new(level);
            move |content: &[u8], compressed: &mut Vec<u8>| compressor.compress(content, compressed)
        })
    }

    /// [`Self::new`] with anything that compresses a block.
    fn with<C>(output: W, threads: usize, compressor: impl Fn() -> C) -> io::Result<Self>
    where
        C: FnMut(&[u8], &mut Vec<u8>) -> io::Result<()> + Send + 'static,
    {
        let threads = threads.clamp(1, MOST_THREADS);
        let count = blocks(threads);
        // No channel is ever full: what passes through them are the blocks.
        let (free_sender, free) = sync_channel(count);
        let (jobs, jobs_receiver) = sync_channel(count);
        let (order, order_receiver) = sync_channel(count + 1);
        for _ in 0..count {
            let new = Returned {
                block: Block::default(),
                end: None,
            };
            free_sender.send(new).map_err(|_| ended())?;
        }
        let jobs_receiver = Arc::new(Mutex::new(jobs_receiver));
        let abandoned = Arc::new(AtomicBool::new(false));
        // A thread that cannot be started: those before it end, because their channels close.
        let mut compressing = Vec::with_capacity(threads);
        for _ in 0..threads {
            let (jobs, compress) = (Arc::clone(&jobs_receiver), compressor());
            let named = thread::Builder::new().name("ows-deflate".to_owned());
            compressing.push(named.spawn(move || compress_blocks(&jobs, compress))?);
        }
        let stop = Arc::clone(&abandoned);
        let writing = thread::Builder::new()
            .name("ows-gzip".to_owned())
            .spawn(move || write_blocks(output, order_receiver, &free_sender, &stop))?;
        Ok(Self {
            filling: None,
            threads: Some(Threads {
                free,
                jobs,
                order,
                abandoned,
                compressing,
                writing,
            }),
            content: 0,
            returned: 0,
            returned_end: HEADER.len() as u64,
        })
    }

    /// How many bytes were written to it.
    pub fn content(&self) -> u64 {
        self.content
    }

    /// How long the member is at most when it ends here: what is still compressed counts as if it were stored. The same
    /// content, written to the same number of threads, gives the same numbers.
    pub fn longest(&self) -> u64 {
        let pending = self
            .content
            .saturating_sub(self.returned.saturating_mul(BLOCK_BYTES));
        let per_block = (longest(BLOCK) - BLOCK) as u64;
        let stored = pending.saturating_add(pending.div_ceil(BLOCK_BYTES) * per_block);
        self.returned_end
            .saturating_add(stored)
            .saturating_add(TRAILER)
    }

    /// Ends the member and the threads. Without this the member is cut off.
    pub fn finish(mut self) -> io::Result<Finished<W>> {
        self.send_filled()?;
        let Some(threads) = self.threads.take() else {
            return Err(ended());
        };
        // An output that has ended has an error to tell, which is what joining returns.
        let told = threads.order.send(Next::End);
        let finished = threads.join()?;
        told.map_err(|_| ended())?;
        Ok(finished)
    }

    /// Hands the block that is being filled, when there is one, to the threads.
    fn send_filled(&mut self) -> io::Result<()> {
        let Some(block) = self.filling.take() else {
            return Ok(());
        };
        let Some(threads) = &self.threads else {
            return Err(ended());
        };
        let (done, arrives) = sync_channel(1);
        let sent = threads.jobs.send(Job { block, done }).is_ok()
            && threads.order.send(Next::Block(arrives)).is_ok();
        if sent { Ok(()) } else { Err(self.failure()) }
    }

    /// The block to fill; waits until the output has written one when there is no other.
    fn block(&mut self) -> io::Result<&mut Block> {
        if self.filling.is_none() {
            let Some(threads) = &self.threads else {
                return Err(ended());
            };
            let Ok(Returned { mut block, end }) = threads.free.recv() else {
                return Err(self.failure());
            };
            if let Some(end) = end {
                self.returned += 1;
                self.returned_end = end;
            }
            block.content.clear();
            block.content.reserve_exact(BLOCK);
            self.filling = Some(block);
        }
        self.filling.as_mut().ok_or_else(ended)
    }

    /// Why the threads ended before the member.
    fn failure(&mut self) -> io::Error {
        match self.threads.take().map(Threads::join) {
            Some(Err(error)) => error,
            _ => ended(),
        }
    }
}

impl<W: Write + Send + 'static> Write for ParallelGzip<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let block = self.block()?;
        let room = BLOCK - block.content.len().min(BLOCK);
        let taken = bytes.get(..room).unwrap_or(bytes);
        block.content.extend_from_slice(taken);
        let is_full = block.content.len() >= BLOCK;
        self.content += taken.len() as u64;
        if is_full {
            self.send_filled()?;
        }
        Ok(taken.len())
    }

    /// Does nothing: a block ends when it is full, or the restart points would lie elsewhere.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write + Send + 'static> Drop for ParallelGzip<W> {
    fn drop(&mut self) {
        if let Some(threads) = self.threads.take() {
            threads.abandoned.store(true, Ordering::Relaxed);
            // Whoever drops it has an error of its own, or does not want to know.
            drop(threads.join());
        }
    }
}

impl<W> Threads<W> {
    /// Closes the ways to the threads and waits until they have ended.
    fn join(self) -> io::Result<Finished<W>> {
        drop((self.jobs, self.order));
        let finished = self.writing.join();
        drop(self.free);
        let mut compressed = true;
        for thread in self.compressing {
            compressed &= thread.join().is_ok();
        }
        match finished {
            Err(_) => Err(io::Error::other(
                "the thread that writes a snapshot has panicked",
            )),
            Ok(Ok(_)) if !compressed => Err(panicked()),
            Ok(finished) => finished,
        }
    }
}

fn compress_blocks(
    jobs: &Mutex<Receiver<Job>>,
    mut compress: impl FnMut(&[u8], &mut Vec<u8>) -> io::Result<()>,
) {
    loop {
        // Nothing panics while the lock is held.
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { mut block, done }) = job else {
            return;
        };
        let mut crc = Crc::new();
        crc.update(&block.content);
        block.compressed.clear();
        block.compressed.reserve_exact(room(BLOCK));
        let result = compress(&block.content, &mut block.compressed);
        if done.send(result.map(|()| (block, crc))).is_err() {
            // The output has ended, and tells why.
            return;
        }
    }
}

fn write_blocks<W: Write>(
    mut output: W,
    order: Receiver<Next>,
    free: &SyncSender<Returned>,
    abandoned: &AtomicBool,
) -> io::Result<Finished<W>> {
    let mut compressed = HEADER.len() as u64;
    let (mut crc, mut content) = (Crc::new(), 0);
    let mut points = RestartPoints::new();
    output.write_all(&HEADER)?;
    for next in order {
        let Next::Block(arrives) = next else {
            output.write_all(&LAST_BLOCK)?;
            output.write_all(&crc.sum().to_le_bytes())?;
            output.write_all(&crc.amount().to_le_bytes())?;
            return Ok(Finished {
                output,
                points,
                compressed: compressed + TRAILER,
                content,
            });
        };
        let (block, block_crc) = arrives.recv().map_err(|_| panicked())??;
        if abandoned.load(Ordering::Relaxed) || !points.push(compressed) {
            return Err(ended());
        }
        output.write_all(&block.compressed)?;
        crc.combine(&block_crc);
        compressed += block.compressed.len() as u64;
        content += block.content.len() as u64;
        let returned = Returned {
            block,
            end: Some(compressed),
        };
        free.send(returned).map_err(|_| ended())?;
    }
    Err(ended())
}

fn panicked() -> io::Error {
    io::Error::other("a thread that compresses a snapshot has panicked")
}

fn ended() -> io::Error {
    io::Error::other("a snapshot is written no further: it has failed before")
}

#[cfg(test)]
mod tests;
