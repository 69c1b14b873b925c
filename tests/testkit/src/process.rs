//! Child processes that do not outlive a test.

use std::io;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt as _;
use std::process::{ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::net::TcpSocket;

/// A process at the head of a group of its own; the whole group is killed when it ends or the value is dropped.
#[derive(Debug)]
pub struct Child {
    inner: std::process::Child,
    pid: Pid,
    status: Option<ExitStatus>,
}

impl Child {
    /// Starts `command` in a new process group.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        let inner = command.process_group(0).spawn()?;
        let pid = Pid::from_child(&inner);
        Ok(Self {
            inner,
            pid,
            status: None,
        })
    }

    /// The process id, which is the group's as well.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.inner.id()
    }

    /// Its stdin, once, when it is piped.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.inner.stdin.take()
    }

    /// Its stdout, once, when it is piped.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.inner.stdout.take()
    }

    /// Its stderr, once, when it is piped.
    pub fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.inner.stderr.take()
    }

    /// The most memory that the process has held so far, in KiB; `None` when it has ended.
    #[must_use]
    pub fn peak_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).ok()?;
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))?;
        peak.trim().trim_end_matches(" kB").parse().ok()
    }

    /// Sends SIGTERM to the process and its group.
    ///
    /// # Errors
    /// When the group cannot be signalled, other than because it has ended.
    pub fn terminate(&self) -> io::Result<()> {
        self.signal(Signal::TERM)
    }

    /// Sends SIGINT, as Ctrl-C does.
    ///
    /// # Errors
    /// As [`Self::terminate`].
    pub fn interrupt(&self) -> io::Result<()> {
        self.signal(Signal::INT)
    }

    /// Sends SIGHUP, which asks a daemon to read its configuration again.
    ///
    /// # Errors
    /// As [`Self::terminate`].
    pub fn hang_up(&self) -> io::Result<()> {
        self.signal(Signal::HUP)
    }

    /// Sends SIGSTOP: until [`Self::resume`] it does nothing at all, as on a host that is suspended.
    ///
    /// # Errors
    /// As [`Self::terminate`].
    pub fn suspend(&self) -> io::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Sends SIGCONT.
    ///
    /// # Errors
    /// As [`Self::terminate`].
    pub fn resume(&self) -> io::Result<()> {
        self.signal(Signal::CONT)
    }

    /// Kills the group with SIGKILL and waits for the process.
    ///
    /// # Errors
    /// As [`Self::terminate`].
    pub fn kill(&mut self) -> io::Result<ExitStatus> {
        self.signal(Signal::KILL)?;
        self.wait()
    }

    /// Waits until the process ended; what is left of its group is killed then.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        // Piped and unused, an open stdin would keep a process that reads it from ending.
        drop(self.inner.stdin.take());
        self.has_ended(WaitIdOptions::empty())?;
        self.reap()
    }

    /// As [`Self::wait`], but gives up after `limit` with `None`; the process goes on then.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn wait_for(&mut self, limit: Duration) -> io::Result<Option<ExitStatus>> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.status {
                return Ok(Some(status));
            }
            if self.has_ended(WaitIdOptions::NOHANG)? {
                return self.reap().map(Some);
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        if self.status.is_some() {
            return Ok(());
        }
        match kill_process_group(self.pid, signal) {
            Err(error) if error != rustix::io::Errno::SRCH => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Looks without reaping: while the process is not reaped its id cannot become that of a stranger.
    fn has_ended(&self, options: WaitIdOptions) -> io::Result<bool> {
        let options = options | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        loop {
            match waitid(WaitId::Pid(self.pid), options) {
                Err(rustix::io::Errno::INTR) => {}
                result => return Ok(result?.is_some()),
            }
        }
    }

    fn reap(&mut self) -> io::Result<ExitStatus> {
        self.signal(Signal::KILL)?;
        let status = self.inner.wait()?;
        self.status = Some(status);
        Ok(status)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Nothing can be done about a failure here, and the test has its result.
        let _ = self.kill();
    }
}

/// A port of 127.0.0.1 that was free a moment ago, for programs that cannot choose one themselves.
///
/// # Errors
/// When no port can be bound.
pub fn free_port() -> io::Result<u16> {
    // The socket is bound and never listens: a process that another thread forks at this moment holds a copy until it execs,
    // and a listening copy would keep the port taken.
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    Ok(socket.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader, Read as _};
    use std::net::TcpListener;
    use std::process::Stdio;

    fn shell(script: &str) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(Stdio::piped());
        Child::spawn(&mut command).unwrap()
    }

    #[test]
    fn dropping_ends_the_whole_group() {
        let mut child = shell("sleep 1000 & echo started; wait");
        let mut output = BufReader::new(child.take_stdout().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "started\n");
        drop(child);
        // The pipe ends only when the last holder, `sleep`, is gone.
        assert_eq!(output.read_to_end(&mut Vec::new()).unwrap(), 0);
    }

    #[test]
    fn what_a_process_leaves_behind_ends_with_it() {
        let mut child = shell("sleep 1000 & exit 3");
        let mut output = child.take_stdout().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(3));
        assert_eq!(output.read_to_end(&mut Vec::new()).unwrap(), 0);
        assert_eq!(child.wait().unwrap().code(), Some(3));
    }

    #[test]
    fn waiting_can_be_limited_and_taken_up_again() {
        let mut child = shell("exec sleep 1000");
        let none = child.wait_for(Duration::from_millis(1)).unwrap();
        assert_eq!(none, None);
        child.terminate().unwrap();
        assert_eq!(child.wait().unwrap().code(), None);
        assert!(child.wait_for(Duration::ZERO).unwrap().is_some());
    }

    #[test]
    fn the_peak_of_memory_rises_with_what_is_held() {
        let script = "x=$(head -c 30000000 /dev/zero | tr '\\0' x); echo ready; sleep 1000";
        let mut child = shell(script);
        let mut output = BufReader::new(child.take_stdout().unwrap());
        output.read_line(&mut String::new()).unwrap();
        let peak = child.peak_kib().unwrap();
        assert!(peak > 29_000, "{peak}");
        child.kill().unwrap();
        assert_eq!(child.peak_kib(), None);
    }

    #[test]
    fn a_free_port_can_be_bound() {
        let port = free_port().unwrap();
        assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
    }
}
