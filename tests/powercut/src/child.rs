//! A process of the rig's own binary, its standard output taken down line by line with the order kept.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::failure::{Failure, check_interrupted};

const LOOK_EVERY: Duration = Duration::from_millis(2);

type Lines = Arc<Mutex<Vec<String>>>;

pub struct Child {
    process: std::process::Child,
    said: Lines,
    readers: Vec<JoinHandle<()>>,
    complaints: Lines,
}

impl Child {
    pub fn start(mode: &str, folder: &Path, arguments: &[String]) -> Result<Self, Failure> {
        let own = std::env::current_exe().map_err(Failure::io("finding the rig's own binary"))?;
        let mut process = Command::new(own)
            .arg(mode)
            .arg(folder)
            .args(arguments)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(Failure::io(format!("starting the {mode}")))?;
        let (said, complaints) = (Lines::default(), Lines::default());
        let mut readers = Vec::new();
        readers.extend(process.stdout.take().map(|from| take_down(from, said.clone())));
        readers.extend(process.stderr.take().map(|from| take_down(from, complaints.clone())));
        Ok(Self { process, said, readers, complaints })
    }

    /// Hands `text` over as the whole standard input.
    pub fn tell(&mut self, text: &str) -> Result<(), Failure> {
        match self.process.stdin.take() {
            Some(mut stdin) => stdin.write_all(text.as_bytes()).map_err(Failure::io("telling the child")),
            None => Ok(()),
        }
    }

    pub fn lines_so_far(&self) -> usize {
        locked(&self.said).len()
    }

    pub fn has_said(&self, from: usize, wanted: impl Fn(&str) -> bool) -> bool {
        locked(&self.said).iter().skip(from).any(|line| wanted(line))
    }

    /// Waits until `done` says so, the process ends or the time is over; says whether `done` did.
    pub fn wait_until(
        &mut self,
        patience: Duration,
        mut done: impl FnMut(&Self) -> bool,
    ) -> Result<bool, Failure> {
        let begun = Instant::now();
        loop {
            check_interrupted()?;
            if done(self) {
                return Ok(true);
            }
            if begun.elapsed() >= patience || self.has_ended()? {
                // What was said last may still be on its way.
                std::thread::sleep(LOOK_EVERY);
                return Ok(done(self));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    pub fn has_ended(&mut self) -> Result<bool, Failure> {
        let ended = self.process.try_wait().map_err(Failure::io("looking after the child"))?;
        Ok(ended.is_some())
    }

    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
    }

    /// Waits for the end; how it ended, and all it said and complained about.
    pub fn end(mut self) -> Result<(ExitStatus, Vec<String>, Vec<String>), Failure> {
        drop(self.process.stdin.take());
        let status = loop {
            if let Err(failure) = check_interrupted() {
                self.kill();
                let _ = self.process.wait();
                return Err(failure);
            }
            match self.process.try_wait().map_err(Failure::io("waiting for the child"))? {
                Some(status) => break status,
                None => std::thread::sleep(LOOK_EVERY),
            }
        };
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        Ok((status, std::mem::take(&mut locked(&self.said)), std::mem::take(&mut locked(&self.complaints))))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
        let _ = self.process.wait();
    }
}

fn locked(lines: &Lines) -> std::sync::MutexGuard<'_, Vec<String>> {
    lines.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn take_down(from: impl std::io::Read + Send + 'static, into: Lines) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while matches!(from.read_until(b'\n', &mut line), Ok(1..)) {
            // A line cut off by the kill was not said.
            if line.ends_with(b"\n") {
                locked(&into).push(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            line.clear();
        }
    })
}

/// Prints a line in one piece, so that a kill leaves it whole or unsaid.
pub fn say(line: &str) {
    let whole = format!("{line}\n");
    let mut out = std::io::stdout().lock();
    // The rig is gone when nobody listens; then there is nothing left to do.
    if out.write_all(whole.as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(4);
    }
}

/// A child must not outlive the rig, whatever happens to it.
pub fn die_with_parent() {
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
}

/// Holds the mount namespace until the rig is gone, and a moment longer.
///
/// Were the rig the last in its namespace, the kernel would unmount as part of the rig's own death, and wait for a
/// disk that is served by nobody while its connection is still open. Behind the guard, the connection has ended and
/// unmounting is quick.
pub struct Guard(std::process::Child);

impl Guard {
    pub fn start() -> Result<Self, Failure> {
        let own = std::env::current_exe().map_err(Failure::io("finding the rig's own binary"))?;
        let guard = Command::new(own)
            .arg("guard")
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        guard.map(Self).map_err(Failure::io("starting the guard"))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// The guard's whole life: standard input ends with the rig.
pub fn stand_guard() -> Result<(), String> {
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).map_err(|error| error.to_string())?;
    std::thread::sleep(Duration::from_millis(300));
    Ok(())
}
