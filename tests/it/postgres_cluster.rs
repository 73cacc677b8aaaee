//! PostgreSQL clusters of the tests' own: made in a temporary folder, on loopback and a socket there, gone afterwards.
//!
//! The programs are Debian's (`apt install postgresql`). Where they are missing, tests say so and are skipped; with
//! `AMTSBOTE_POSTGRES=required`, as `.ci/run` sets it, they fail. The server refuses to run as root, so under root it runs
//! as the user that Debian's package made for it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::ports::own_port;

/// Who owns every database that tests make, and logs in without a password.
pub const OWNER: &str = "amtsbote";

/// The folder of the newest server programs, or nothing after a sentence why tests are skipped.
pub fn programs() -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"))
        .filter(|folder| folder.join("initdb").is_file())
        .collect();
    found.sort();
    let found = found.pop();
    if found.is_none() {
        let required = std::env::var("AMTSBOTE_POSTGRES").is_ok_and(|wish| wish == "required");
        assert!(!required, "PostgreSQL is required, and there is none in /usr/lib/postgresql");
        println!("skipped: no PostgreSQL in /usr/lib/postgresql; `apt install postgresql` brings it");
    }
    found
}

/// A server with its data. Stopped and removed when dropped.
pub struct Cluster {
    folder: tempfile::TempDir,
    programs: PathBuf,
    pub port: u16,
    running: Mutex<bool>,
}

impl Cluster {
    /// A new cluster with these lines in its configuration, started.
    pub fn start(programs: &Path, lines: &[&str]) -> Self {
        let cluster = Self::make(programs);
        cluster.run(
            "initdb",
            &["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "-D", &cluster.data()],
        );
        cluster.configure(lines);
        cluster.begin();
        cluster.sql("postgres", &format!("CREATE ROLE {OWNER} LOGIN"));
        cluster.sql("postgres", &format!("GRANT pg_read_all_stats TO {OWNER}"));
        cluster
    }

    fn make(programs: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("amtsbote-pg-").tempdir().expect("a temporary folder");
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777))
            .expect("open to the server");
        Self { folder, programs: programs.to_owned(), port: own_port(), running: Mutex::new(false) }
    }

    /// A cluster, and its standby `second`, for which every commit waits.
    pub fn pair(programs: &Path) -> (Self, Self) {
        let primary = Self::start(programs, &["wal_level = replica", "max_wal_senders = 5"]);
        let standby = primary.standby("second");
        primary.reconfigure(&["synchronous_standby_names = 'second'"]);
        primary.wait_for_standby();
        (primary, standby)
    }

    /// A standby of this cluster that follows it, under that name.
    pub fn standby(&self, name: &str) -> Self {
        let standby = Self::make(&self.programs);
        let primary = format!("host=127.0.0.1 port={} user=postgres application_name={name}", self.port);
        standby.run(
            "pg_basebackup",
            &["-d", &primary, "-D", &standby.data(), "-R", "-X", "stream", "-c", "fast"],
        );
        // An order to be promoted that comes right behind the primary's loss is not heeded before this is over (5 s).
        standby.configure(&["wal_retrieve_retry_interval = 500ms"]);
        standby.begin();
        standby
    }

    fn configure(&self, lines: &[&str]) {
        let mut text = format!(
            "\nlisten_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = '{}'\nmax_connections = 60\n\
             shared_buffers = 32MB\nmax_wal_size = 256MB\nautovacuum_naptime = 5s\nlog_min_messages = warning\n",
            self.port,
            self.folder.path().display()
        );
        lines.iter().for_each(|line| text.push_str(&format!("{line}\n")));
        let script = format!("cat >> '{}/postgresql.conf'", self.data());
        let mut append = self.as_server("sh");
        let mut append = append.args(["-c", &script]).stdin(Stdio::piped()).spawn().expect("sh");
        std::io::Write::write_all(&mut append.stdin.take().expect("its input"), text.as_bytes())
            .expect("written");
        assert!(append.wait().expect("sh").success());
    }

    /// Adds lines to the configuration of a running server.
    pub fn reconfigure(&self, lines: &[&str]) {
        let settings: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let script = format!("printf '%s' \"{settings}\" >> '{}/postgresql.conf'", self.data());
        assert!(self.as_server("sh").args(["-c", &script]).status().expect("sh").success());
        self.run("pg_ctl", &["reload", "-D", &self.data()]);
    }

    /// From here on the server speaks TLS with this certificate, to whoever asks for it.
    pub fn secure(&self, chain: &str, key: &str) {
        for (name, text) in [("server.crt", chain), ("server.key", key)] {
            let script = format!("umask 077 && cat > '{}/{name}'", self.data());
            let mut write =
                self.as_server("sh").args(["-c", &script]).stdin(Stdio::piped()).spawn().expect("sh");
            let mut into = write.stdin.take().expect("its input");
            std::io::Write::write_all(&mut into, text.as_bytes()).expect("written");
            drop(into);
            assert!(write.wait().expect("sh").success());
        }
        self.reconfigure(&["ssl = on"]);
        let end = Instant::now() + Duration::from_secs(20);
        while self.sql("postgres", "SHOW ssl") != "on" {
            assert!(Instant::now() < end, "the server does not speak TLS");
            std::thread::sleep(Duration::from_millis(50));
        }
        // A changed certificate under the same setting is read by the next session after the reload.
        std::thread::sleep(Duration::from_millis(300));
    }

    /// From here on, nobody enters this database without a password.
    pub fn demand_passwords_for(&self, database: &str) {
        let script = format!(
            "sed -i '1i host {database} {OWNER} 127.0.0.1/32 scram-sha-256' '{}/pg_hba.conf'",
            self.data()
        );
        assert!(self.as_server("sh").args(["-c", &script]).status().expect("sh").success());
        self.run("pg_ctl", &["reload", "-D", &self.data()]);
    }

    pub fn data(&self) -> String {
        self.folder.path().join("data").display().to_string()
    }

    fn socket_lock(&self) -> String {
        self.folder.path().join(format!(".s.PGSQL.{}.lock", self.port)).display().to_string()
    }

    /// A command as the user the server runs as.
    fn as_server(&self, program: &str) -> Command {
        let mut command = match rustix::process::geteuid().is_root() {
            true => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", program]);
                command
            }
            false => Command::new(program),
        };
        command.current_dir(self.folder.path()).env("LC_ALL", "C");
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let path = self.programs.join(program).display().to_string();
        let output = self.as_server(&path).args(arguments).stdin(Stdio::null()).output().expect("started");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program}: {said}");
    }

    pub fn begin(&self) {
        let log = self.folder.path().join("log").display().to_string();
        // The server keeps what it inherits open; nobody waits for that.
        let path = self.programs.join("pg_ctl").display().to_string();
        let mut start = self.as_server(&path);
        start.args(["start", "-w", "-t", "60", "-D", &self.data(), "-l", &log]);
        let status = start.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        let status = status.expect("pg_ctl");
        assert!(status.success(), "the server does not start ({status}): {}", said());
        *self.running.lock().expect("a lock") = true;
    }

    /// SIGKILL to the server and all of its children, as when a machine is lost.
    pub fn kill(&self) {
        let file =
            std::fs::read_to_string(format!("{}/postmaster.pid", self.data())).expect("a running server");
        let server: i32 = file.lines().next().expect("a line").trim().parse().expect("a process id");
        let parent_of = |pid: i32| -> Option<i32> {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
        };
        let all = std::fs::read_dir("/proc").expect("/proc").flatten();
        let all = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let children: Vec<i32> = all.filter(|pid| parent_of(*pid) == Some(server)).collect();
        for pid in std::iter::once(server).chain(children) {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                // A child may have gone by itself meanwhile.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        // Where nobody takes the dead in, their process id looks alive, and the server would not start again.
        let files = [format!("{}/postmaster.pid", self.data()), self.socket_lock()];
        assert!(self.as_server("rm").arg("-f").args(files).status().expect("rm").success());
        *self.running.lock().expect("a lock") = false;
    }

    pub fn promote(&self) {
        self.run("pg_ctl", &["promote", "-w", "-D", &self.data()]);
    }

    /// Runs SQL as the superuser and returns what it printed.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let output = self.psql(database, sql);
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Runs SQL that the server may refuse, and says why it did.
    pub fn ask(&self, database: &str, sql: &str) -> Result<String, String> {
        let output = self.psql(database, sql);
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(said(&output.stdout)) } else { Err(said(&output.stderr)) }
    }

    /// Runs SQL that may be cut off.
    pub fn try_sql(&self, database: &str, sql: &str) {
        let _ = self.psql(database, sql);
    }

    fn psql(&self, database: &str, sql: &str) -> std::process::Output {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args([
            "-XAtq",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            "127.0.0.1",
            "-U",
            "postgres",
            "-d",
            database,
            "-c",
            sql,
        ]);
        psql.env("PGPORT", self.port.to_string()).output().expect("psql")
    }

    /// A new, empty database, and how to reach it.
    pub fn database(&self, name: &str) -> String {
        self.sql("postgres", &format!("CREATE DATABASE {name} OWNER {OWNER}"));
        self.connection(name)
    }

    /// A new, empty database whose tables lie in that folder.
    pub fn database_on(&self, name: &str, folder: &Path) -> String {
        let place = folder.join("tables").display().to_string();
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777)).expect("open to the server");
        assert!(self.as_server("mkdir").arg(&place).status().expect("mkdir").success());
        self.sql("postgres", &format!("CREATE TABLESPACE {name} OWNER {OWNER} LOCATION '{place}'"));
        self.sql("postgres", &format!("CREATE DATABASE {name} OWNER {OWNER} TABLESPACE {name}"));
        self.connection(name)
    }

    pub fn connection(&self, database: &str) -> String {
        format!("host=127.0.0.1 port={} user={OWNER} dbname={database}", self.port)
    }

    /// How to reach a database wherever its primary is: here or at one of these.
    pub fn connection_with(&self, others: &[&Self], database: &str) -> String {
        let all = || std::iter::once(self).chain(others.iter().copied());
        let hosts: Vec<&str> = all().map(|_| "127.0.0.1").collect();
        let ports: Vec<String> = all().map(|cluster| cluster.port.to_string()).collect();
        format!("host={} port={} user={OWNER} dbname={database}", hosts.join(","), ports.join(","))
    }

    /// Stops or continues what takes the primary's log in on this standby.
    pub fn signal_receiver(&self, signal: rustix::process::Signal) {
        let end = Instant::now() + Duration::from_secs(60);
        let receiver = loop {
            let found = self.sql("postgres", "SELECT pid FROM pg_stat_wal_receiver WHERE pid IS NOT NULL");
            if let Ok(pid) = found.parse() {
                break rustix::process::Pid::from_raw(pid).expect("a process id");
            }
            assert!(Instant::now() < end, "the standby takes nothing in");
            std::thread::sleep(Duration::from_millis(100));
        };
        rustix::process::kill_process(receiver, signal).expect("signalled");
    }

    /// A follower that takes the log and never says what it has, until it is dropped. (With `wal_sender_timeout` it would
    /// be asked.)
    pub fn mute_follower(&self) -> MuteFollower {
        let folder = tempfile::tempdir().expect("a folder");
        let mut follow = Command::new(self.programs.join("pg_receivewal"));
        follow.args(["-h", "127.0.0.1", "-U", "postgres", "-n", "-s", "0", "-D"]).arg(folder.path());
        follow.env("PGPORT", self.port.to_string()).stdin(Stdio::null()).stderr(Stdio::null());
        MuteFollower { child: follow.spawn().expect("pg_receivewal"), _folder: folder }
    }

    /// Lets this standby follow another primary.
    pub fn follow(&self, primary: &Self, name: &str) {
        let conninfo = format!("host=127.0.0.1 port={} user=postgres application_name={name}", primary.port);
        self.sql("postgres", &format!("ALTER SYSTEM SET primary_conninfo = '{conninfo}'"));
        self.sql("postgres", "SELECT pg_reload_conf()");
    }

    /// Waits until nothing comes in at this standby any more.
    pub fn wait_until_alone(&self) {
        let end = Instant::now() + Duration::from_secs(60);
        while self.sql("postgres", "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'")
            != "0"
        {
            assert!(Instant::now() < end, "the standby goes on following");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the standby follows as the primary's synchronous one.
    pub fn wait_for_standby(&self) {
        self.wait_for_standbys(1);
    }

    pub fn wait_for_standbys(&self, count: usize) {
        let end = Instant::now() + Duration::from_secs(60);
        let question = "SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')";
        while self.sql("postgres", question) != count.to_string() {
            assert!(Instant::now() < end, "the standby does not follow");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

pub struct MuteFollower {
    child: std::process::Child,
    _folder: tempfile::TempDir,
}

impl Drop for MuteFollower {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if *self.running.lock().expect("a lock") {
            let path = self.programs.join("pg_ctl").display().to_string();
            let mut stop = self.as_server(&path);
            let _ = stop.args(["stop", "-m", "immediate", "-w", "-D", &self.data()]).output();
        }
    }
}
