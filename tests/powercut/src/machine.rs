//! A machine with a power switch: the disk, a loop device on it, ext4 on that, mounted in a folder.
//!
//! Nothing can be left behind. The mounts live in a mount namespace of the rig's own and the loop device is set to
//! detach itself with its last user, so that even a SIGKILL of the rig makes the kernel tidy up; on every other path
//! [`Machine`] does it when dropped.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::mount::MountPropagationFlags;
use rustix::thread::UnshareFlags;

use crate::disk::Disk;
use crate::failure::Failure;
use crate::fuse;

const UNMOUNT_PATIENCE: Duration = Duration::from_secs(10);

/// Looks for all that the rig needs, and takes a mount namespace of its own. Before any thread is started.
pub fn prepare() -> Result<(), Failure> {
    let missing = |sentence: &str| Err(Failure::Missing(sentence.to_owned()));
    if !Path::new("/dev/fuse").exists() {
        return missing(
            "there is no /dev/fuse (load the fuse module, or give the container --device /dev/fuse)",
        );
    }
    if !Path::new("/dev/loop-control").exists() {
        return missing("there is no /dev/loop-control (load the loop module)");
    }
    for (program, package) in [("mkfs.ext4", "e2fsprogs"), ("mount", "mount")] {
        let found = Command::new(program).arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if found.is_err() {
            return missing(&format!("{program} is not installed (Debian package {package})"));
        }
    }
    if !rustix::process::geteuid().is_root() {
        return missing("mounting a loop device needs root");
    }
    // SAFETY: only file descriptor tables are dangerous to take apart, and this takes apart mounts alone.
    let unshared = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) };
    unshared
        .and_then(|()| {
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            rustix::mount::mount_change("/", private)
        })
        .or_else(|error| missing(&format!("no mount namespace of its own is allowed ({error})")))
}

/// The image of a new, empty ext4 of this size.
pub fn format(scratch: &Path, mebibytes: u64) -> Result<Vec<u8>, Failure> {
    let file = scratch.join("new.img");
    std::fs::File::create(&file)
        .and_then(|image| image.set_len(mebibytes << 20))
        .map_err(Failure::io("making the image"))?;
    // Everything is initialised at once: a background initialisation would write and flush on its own account.
    run(Command::new("mkfs.ext4")
        .args(["-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"])
        .arg(&file))?;
    let image = std::fs::read(&file).map_err(Failure::io("reading the image"))?;
    std::fs::remove_file(&file).map_err(Failure::io("removing the image file"))?;
    Ok(image)
}

fn run(command: &mut Command) -> Result<(), Failure> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(Failure::io(format!("starting {}", command.get_program().display())))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Failure::Rig(format!("{} failed ({}): {said}", command.get_program().display(), output.status)))
}

pub struct Machine {
    pub disk: Arc<Disk>,
    shown: Option<fuser::BackgroundSession>,
    fuse_folder: PathBuf,
    /// Where the ext4 is mounted.
    pub folder: PathBuf,
    mounted: bool,
    /// Removes both folders, last of all.
    _scratch: tempfile::TempDir,
}

impl Machine {
    /// Switches on with this image in the disk. Mounting replays the journal, as after a real cut.
    pub fn boot(scratch: &Path, image: Vec<u8>) -> Result<Self, Failure> {
        let scratch = tempfile::Builder::new()
            .prefix("machine-")
            .tempdir_in(scratch)
            .map_err(Failure::io("making a folder for the mounts"))?;
        let (fuse_folder, folder) = (scratch.path().join("fuse"), scratch.path().join("ext4"));
        std::fs::create_dir(&fuse_folder)
            .and_then(|()| std::fs::create_dir(&folder))
            .map_err(Failure::io("making the mount points"))?;
        let disk = Arc::new(Disk::of(image));
        let shown = fuse::show(disk.clone(), &fuse_folder)
            .map_err(|error| Failure::Missing(format!("FUSE does not mount ({error})")))?;
        let mut machine =
            Self { disk, shown: Some(shown), fuse_folder, folder, mounted: false, _scratch: scratch };
        // `-o loop` makes a device that detaches itself on unmounting.
        let file = machine.fuse_folder.join(fuse::FILE_NAME);
        run(Command::new("mount").args(["-t", "ext4", "-o", "loop"]).arg(&file).arg(&machine.folder))?;
        machine.mounted = true;
        Ok(machine)
    }

    fn switch_off(&mut self) -> Result<(), Failure> {
        // Unmounting writes.
        self.disk.go_on();
        if std::mem::take(&mut self.mounted) {
            unmount(&self.folder)?;
        }
        if let Some(shown) = self.shown.take() {
            unmount(&self.fuse_folder)?;
            shown.join().map_err(Failure::io("ending the FUSE session"))?;
        }
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Err(failure) = self.switch_off() {
            eprintln!("powercut: cleaning up: {failure}");
        }
    }
}

/// A killed process and a loop device take a moment to let go.
///
/// Another process does it: the one that serves the disk must never wait for the disk, or a SIGKILL at that moment
/// leaves a thread that waits for its own dead process, and the file systems with it.
fn unmount(folder: &Path) -> Result<(), Failure> {
    let begun = Instant::now();
    loop {
        match run(Command::new("umount").arg(folder)) {
            Ok(()) => return Ok(()),
            Err(_) if begun.elapsed() < UNMOUNT_PATIENCE => std::thread::sleep(Duration::from_millis(20)),
            Err(failure) => {
                // Out of sight at least; the kernel finishes when the last user is gone.
                let _ = run(Command::new("umount").arg("--lazy").arg(folder));
                return Err(failure);
            }
        }
    }
}
