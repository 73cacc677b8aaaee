//! The real binary, as a shell would call it, and a server of its own in a temporary folder.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

pub const BINARY: &str = env!("CARGO_BIN_EXE_amtsbote");

/// What a command line came to.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ran {
    #[track_caller]
    pub fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

/// Runs the binary in `folder` with nobody at the keyboard.
pub fn amtsbote(folder: &Path, arguments: &[&str]) -> Ran {
    Command::new(BINARY)
        .args(arguments)
        .current_dir(folder)
        .env_remove("AMTSBOTE_CONFIG")
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs")
        .into()
}

/// An initialised folder with a server at work in it; killed when dropped.
pub struct Office {
    pub folder: tempfile::TempDir,
    process: Process,
    pub xta: String,
    pub osci: String,
    pub operator: String,
    /// Empty where the configuration has no portal door.
    pub portal: String,
}

impl Office {
    pub fn open() -> Self {
        Self::open_with("")
    }

    /// `more` stands at the end of the configuration.
    pub fn open_with(more: &str) -> Self {
        Self::open_with_changes(|text| format!("{text}{more}"))
    }

    /// `change` makes another configuration of the one that `init` wrote.
    pub fn open_with_changes(change: impl FnOnce(&str) -> String) -> Self {
        Self::open_in(tempfile::tempdir().expect("a folder"), |folder| {
            let config = folder.join("amtsbote.toml");
            let text = std::fs::read_to_string(&config).expect("the configuration");
            std::fs::write(&config, change(&text)).expect("writes");
        })
    }

    /// `change` sees the folder as `init` left it, participants and keys included.
    pub fn open_in(folder: tempfile::TempDir, change: impl FnOnce(&Path)) -> Self {
        let made =
            ["init", ".", "--xta", "127.0.0.1:0", "--osci", "127.0.0.1:0", "--operator", "127.0.0.1:0"];
        // The folder itself may exist; its files may not.
        amtsbote(folder.path(), &made).ends(0);
        change(folder.path());
        let (process, [xta, osci, operator, portal]) = serve(folder.path());
        let office = Self { folder, process, xta, osci, operator, portal };
        office
            .run(&["participant", "apply", "participants.toml", "--yes", "--reason", "first set-up"])
            .ends(0);
        office
    }

    /// Another server with the same keys, certificates and participants' file, in a folder of its own; `change` makes its
    /// configuration of this one's. Nothing is applied: it finds the participants in the store that both share.
    pub fn beside(&self, change: impl FnOnce(&str) -> String) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("tls")).expect("made");
        for file in std::fs::read_dir(self.path("tls")).expect("files").flatten() {
            std::fs::copy(file.path(), folder.path().join("tls").join(file.file_name())).expect("copied");
        }
        std::fs::copy(self.path("participants.toml"), folder.path().join("participants.toml"))
            .expect("copied");
        if self.path("portal.key").exists() {
            std::fs::copy(self.path("portal.key"), folder.path().join("portal.key")).expect("copied");
        }
        let config = std::fs::read_to_string(self.path("amtsbote.toml")).expect("the configuration");
        std::fs::write(folder.path().join("amtsbote.toml"), change(&config)).expect("writes");
        let (process, [xta, osci, operator, portal]) = serve(folder.path());
        Self { folder, process, xta, osci, operator, portal }
    }

    /// Stops the server in peace, does `work` in its folder, starts it again; how long the start took.
    pub fn restart_after(&mut self, work: impl FnOnce(&Path)) -> Duration {
        self.signal(rustix::process::Signal::TERM);
        assert_eq!(self.ended(), 0);
        work(self.folder.path());
        let begun = Instant::now();
        (self.process, [self.xta, self.osci, self.operator, self.portal]) = serve(self.folder.path());
        begun.elapsed()
    }

    /// Kills the server and starts it where a process may have `files` open until it asks for more.
    pub fn restart_with_open_files(&mut self, files: u32) {
        self.process.0.kill().expect("killed");
        self.process.0.wait().expect("ended");
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -Sn \"$1\" && exec \"$0\" serve", BINARY, &files.to_string()]);
        (self.process, [self.xta, self.osci, self.operator, self.portal]) =
            started(command, self.folder.path());
    }

    /// Starts the server again, after it was killed.
    pub fn start_again(&mut self) {
        let _ = self.process.0.wait();
        (self.process, [self.xta, self.osci, self.operator, self.portal]) = serve(self.folder.path());
    }

    /// Kills the server, as a power cut would, and starts it again.
    pub fn kill_and_restart(&mut self) {
        self.process.0.kill().expect("killed");
        self.process.0.wait().expect("ended");
        (self.process, [self.xta, self.osci, self.operator, self.portal]) = serve(self.folder.path());
    }

    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        amtsbote(self.folder.path(), arguments)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Arguments of `send` and `fetch` for one of the two offices.
    pub fn client(&self, name: &str) -> Vec<String> {
        let tls = |file: String| self.path("tls").join(file).display().to_string();
        vec![
            "--url".to_owned(),
            self.xta.clone(),
            "--cert".to_owned(),
            tls(format!("{name}.crt")),
            "--key".to_owned(),
            tls(format!("{name}.key")),
            "--ca".to_owned(),
            tls("ca.crt".to_owned()),
        ]
    }

    pub fn run_as(&self, name: &str, arguments: &[&str]) -> Ran {
        let client = self.client(name);
        let all: Vec<&str> = arguments.iter().copied().chain(client.iter().map(String::as_str)).collect();
        self.run(&all)
    }

    /// Arguments by which one of the two offices speaks OSCI, encrypted and signed.
    pub fn osci_client(&self, name: &str) -> Vec<String> {
        let tls = |file: String| self.path("tls").join(file).display().to_string();
        let mut arguments = vec!["--osci".to_owned(), "--url".to_owned(), self.osci.clone()];
        for (option, file) in [
            ("--cert", format!("{name}-cipher.crt")),
            ("--key", format!("{name}-cipher.key")),
            ("--sign-cert", format!("{name}-signature.crt")),
            ("--sign-key", format!("{name}-signature.key")),
            ("--intermediary", "osci-cipher.crt".to_owned()),
            ("--intermediary-signature", "osci-signature.crt".to_owned()),
        ] {
            arguments.extend([option.to_owned(), tls(file)]);
        }
        arguments
    }

    pub fn run_osci_as(&self, name: &str, arguments: &[&str]) -> Ran {
        let client = self.osci_client(name);
        let all: Vec<&str> = arguments.iter().copied().chain(client.iter().map(String::as_str)).collect();
        self.run(&all)
    }

    /// Posts a file as the registry office; the message's id.
    pub fn post(&self, content: &str) -> String {
        std::fs::write(self.path("notice.xml"), content).expect("writes");
        let arguments = ["send", "notice.xml", "--from", "psw:100411000000", "--to", "ags:10041100"];
        self.run_as("standesamt", &arguments).ends(0).stdout.trim().to_owned()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let id = i32::try_from(self.pid()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(id.expect("an id"), signal).expect("still there");
    }

    /// Waits for the process to end by itself; its exit code.
    pub fn ended(&mut self) -> i32 {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(20) {
            if let Some(status) = self.process.0.try_wait().expect("our child") {
                return status.code().unwrap_or(-1);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the server still runs");
    }
}

/// A child that is not left behind.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(folder: &Path) -> (Process, [String; 4]) {
    let mut command = Command::new(BINARY);
    command.arg("serve");
    started(command, folder)
}

/// Starts the server and reads its addresses from the one sentence that it says.
fn started(mut command: Command, folder: &Path) -> (Process, [String; 4]) {
    let said = folder.join("server.log");
    let server = command
        .current_dir(folder)
        .env_remove("AMTSBOTE_CONFIG")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&said).expect("a log"))
        .spawn();
    let process = Process(server.expect("the binary runs"));
    let begun = Instant::now();
    loop {
        let log = std::fs::read_to_string(&said).expect("the log");
        if let Some(line) = log.lines().find(|line| line.starts_with("XTA 2 at ")) {
            let mut urls = line.split([' ', ',']).filter(|word| word.starts_with("http"));
            let mut url = || urls.next().expect("three addresses").to_owned();
            let xta = url().replace("127.0.0.1", "localhost");
            let (osci, operator) = (url(), url().trim_end_matches("/metrics").to_owned());
            let portal = urls.next().unwrap_or_default().replace("127.0.0.1", "localhost");
            return (process, [xta, osci, operator, portal]);
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "no server: {log}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
