//! SIGINT and SIGTERM stop the run cleanly; a second one, later, ends the process at once.

use std::time::{Duration, Instant};

use ows::cancel::{Cancel, StopCause};
use ows::error::{Failure, FailureKind, Outcome};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::output::{Answer, Output};

/// A second signal within this time is the same wish: Ctrl-C reaches the whole process group, and a parent such as `npm`
/// or `docker` hands it on once more.
const SAME_WISH: Duration = Duration::from_millis(700);

/// Begins to listen.
pub fn listen(cancel: &Cancel, output: &Output, command: &'static str) -> Outcome<()> {
    let failed = |error| Failure::failed("could not listen for signals").with_source(error);
    let interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let terminate = signal(SignalKind::terminate()).map_err(failed)?;
    tokio::spawn(forward(
        [interrupt, terminate],
        cancel.clone(),
        *output,
        command,
    ));
    Ok(())
}

async fn forward(
    [mut interrupt, mut terminate]: [Signal; 2],
    cancel: Cancel,
    output: Output,
    command: &'static str,
) {
    let mut first: Option<Instant> = None;
    loop {
        let cause = tokio::select! {
            biased;
            Some(()) = interrupt.recv() => StopCause::Interrupted,
            Some(()) = terminate.recv() => StopCause::Terminated,
            else => return,
        };
        match first {
            None => {
                first = Some(Instant::now());
                cancel.stop(cause);
            }
            Some(time) if time.elapsed() < SAME_WISH => {}
            Some(_) => leave(&output, command, cause),
        }
    }
}

#[expect(
    clippy::exit,
    reason = "the second signal means now; every act survives being cut off"
)]
fn leave(output: &Output, command: &str, cause: StopCause) -> ! {
    let kind = match cause {
        StopCause::Terminated => FailureKind::Terminated,
        _ => FailureKind::Interrupted,
    };
    let failure = Failure::new(kind, "cut off by a second signal")
        .with_hint("what was finished before it counts; run again to go on");
    output.finish(Answer::new(command), Some(&failure));
    std::process::exit(i32::from(kind.exit_code()))
}
