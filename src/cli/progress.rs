//! A progress bar on a terminal; without one, nothing. Either way a run's phases and actions go to the log.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{
    HumanBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle,
};
use ows::report::{ActionLine, Phase, Reporter};

use super::text::sanitise;

/// A run that is over sooner shows no bar: it would only flicker.
const SHOW_AFTER: Duration = Duration::from_millis(300);

/// How often the bar is drawn, in Hertz.
const DRAWN: u8 = 8;

/// The one bar of a command.
#[derive(Debug, Clone)]
pub struct Progress {
    bar: ProgressBar,
    may_draw: bool,
}

impl Progress {
    /// A bar that is not to be seen yet, or never when it may not be drawn.
    pub fn new(may_draw: bool) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        bar.set_style(style("{spinner} {msg}"));
        Self { bar, may_draw }
    }

    /// The listener of a sync. Must be called on the runtime.
    pub fn reporter(&self) -> Arc<dyn Reporter> {
        self.listener(None)
    }

    /// The listener of other work, which is called `work`: such as a backup, whose size nobody knows before its end. Must
    /// be called on the runtime.
    pub fn reporter_saying(&self, work: &'static str) -> Arc<dyn Reporter> {
        self.listener(Some(work))
    }

    /// A listener that draws nothing, for commands whose lines are what is seen.
    pub fn log_only(&self) -> Arc<dyn Reporter> {
        Arc::new(Teller {
            bar: ProgressBar::hidden(),
            work: None,
            seen: AtomicU64::new(0),
            moved: AtomicU64::new(0),
        })
    }

    fn listener(&self, work: Option<&'static str>) -> Arc<dyn Reporter> {
        if self.may_draw {
            let bar = self.bar.clone();
            tokio::spawn(async move {
                tokio::time::sleep(SHOW_AFTER).await;
                if !bar.is_finished() {
                    bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(DRAWN));
                    bar.enable_steady_tick(Duration::from_millis(125));
                }
            });
        }
        Arc::new(Teller {
            bar: self.bar.clone(),
            work,
            seen: AtomicU64::new(0),
            moved: AtomicU64::new(0),
        })
    }

    /// Takes the bar off the terminal, before the result is printed.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Rate and time left; nothing while nothing has moved, when neither can be told.
fn speed(state: &ProgressState, out: &mut dyn std::fmt::Write) {
    if state.pos() > 0 {
        let rate = HumanBytes(state.per_sec() as u64);
        let left = HumanDuration(state.eta());
        // A text in memory takes all that is written to it.
        let _written = write!(out, "  {rate}/s  {left:#} left");
    }
}

struct Teller {
    bar: ProgressBar,
    work: Option<&'static str>,
    seen: AtomicU64,
    moved: AtomicU64,
}

impl Teller {
    /// What is done, how far it has come; the end is not known.
    fn tell_work(&self, work: &str) {
        let moved = HumanBytes(self.moved.load(Ordering::Relaxed));
        let text = match self.seen.load(Ordering::Relaxed) {
            0 => format!("{work}: {moved}"),
            seen => format!("{work}: {seen} paths, {moved} transferred"),
        };
        self.bar.set_message(text);
    }
}

impl Reporter for Teller {
    fn phase(&self, phase: Phase) {
        let (name, text) = match phase {
            Phase::Waiting => ("waiting", "waiting for the lock"),
            Phase::Observing => ("observing", "looking at both sides"),
            Phase::Comparing => ("comparing", "comparing"),
            Phase::Applying => ("applying", "syncing"),
            Phase::Draining => ("draining", "delivering"),
            Phase::Finishing => ("finishing", "finishing"),
        };
        tracing::info!(phase = name, "phase");
        match self.work {
            Some(work) if !matches!(phase, Phase::Waiting | Phase::Finishing) => {
                self.bar.set_message(work);
            }
            _ => self.bar.set_message(text),
        }
    }

    fn observed(&self, files: u64) {
        if let Some(work) = self.work {
            self.seen.store(files, Ordering::Relaxed);
            return self.tell_work(work);
        }
        self.bar
            .set_message(format!("looking at both sides: {files} paths"));
    }

    fn planned(&self, files: u64, bytes: u64) {
        tracing::info!(files, bytes, "planned");
        if bytes > 0 {
            self.bar.reset();
            self.bar.set_length(bytes);
            let transfer = style("{msg} {wide_bar} {bytes}/{total_bytes}{speed}");
            self.bar.set_style(transfer.with_key("speed", speed));
        }
    }

    fn moved(&self, bytes: u64) {
        self.moved.fetch_add(bytes, Ordering::Relaxed);
        match self.work {
            Some(work) if self.bar.length().is_none() => self.tell_work(work),
            _ => self.bar.inc(bytes),
        }
    }

    fn done(&self, action: &ActionLine) {
        tracing::debug!(op = %action.op, path = %action.path, bytes = action.bytes, reason = %action.reason, "done");
    }

    fn warning(&self, text: &str) {
        tracing::warn!("{text}");
    }
}

/// Standard error for the log: lines go above the bar instead of through it.
#[derive(Debug, Clone)]
pub struct LogWriter {
    bar: ProgressBar,
    sanitises: bool,
}

impl LogWriter {
    /// `sanitises` for text; JSON has its own way to write what a terminal must not see.
    pub fn new(progress: &Progress, sanitises: bool) -> Self {
        Self {
            bar: progress.bar.clone(),
            sanitises,
        }
    }
}

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.bar.suspend(|| {
            let mut out = io::stderr().lock();
            match std::str::from_utf8(line) {
                Ok(text) if self.sanitises => {
                    out.write_all(sanitise(text.trim_end_matches('\n')).as_bytes())?;
                    out.write_all(b"\n")
                }
                _ => out.write_all(line),
            }
        })?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
