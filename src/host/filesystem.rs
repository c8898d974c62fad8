//! Making, checking and growing file systems with their own tools.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use super::exec::{self, Finished};
use super::tools::{Tool, Tools};
use super::{device, mount, mountinfo};
use crate::backend::Device;
use crate::error::{Error, Kind, Result};
use crate::volume::{FsType, Mark};

/// mkfs writes little, but on slow storage.
const FORMAT_DEADLINE: Duration = Duration::from_secs(10 * 60);
/// A check reads all metadata where the file system was left unclean in earnest.
const CHECK_DEADLINE: Duration = Duration::from_secs(60 * 60);
/// Growing ext4 writes the tables of every new block group.
const GROW_DEADLINE: Duration = Duration::from_secs(30 * 60);

/// Makes a file system on a device that the caller has proven to be blank (or on which it knows its own unfinished mkfs):
/// the tools are told to overwrite whatever is there.
///
/// Nothing is discarded: a blank device has nothing to discard, and on some back ends discarding a large volume takes
/// minutes. ext4 keeps no blocks for root, because a data volume needs no reserve for the system; its inode tables are
/// zeroed by the kernel after the mount, as mke2fs does by default. The file system's UUID is `mark`; without one, a
/// random one.
pub(super) async fn format(tools: &Tools, device: &Device, fs: FsType, mark: Option<Mark>) -> Result<()> {
    let (tool, options, uuid): (_, &[&str], [&str; 2]) = match fs {
        FsType::Ext4 => (Tool::MkfsExt4, &["-q", "-F", "-m", "0", "-E", "nodiscard"], ["-U", ""]),
        FsType::Xfs => (Tool::MkfsXfs, &["-q", "-f", "-K"], ["-m", "uuid="]),
        FsType::Btrfs => (Tool::MkfsBtrfs, &["-q", "-f", "-K"], ["-U", ""]),
    };
    let marked = mark.map(|mark| (uuid[0], format!("{}{mark}", uuid[1])));
    let mut options = options.to_vec();
    options.extend(marked.iter().flat_map(|(option, value)| [*option, value.as_str()]));
    on_free_device(tools, tool, &options, device, FORMAT_DEADLINE).await?.success()?;
    let synced = device.clone();
    super::linux::blocking(move || {
        let file = device::open(&synced, device::Open::Shared)?;
        file.sync_all().map_err(|error| Error::io(format!("sync {}", synced.path.display()), error))
    })
    .await
}

/// Checks an unmounted ext4 (journal replay and safe repairs); xfs and btrfs check themselves at mount. A read-only device
/// is left alone.
pub(super) async fn check(tools: &Tools, device: &Device, fs: FsType) -> Result<()> {
    if fs != FsType::Ext4 {
        return Ok(());
    }
    let asked = device.clone();
    let readonly = super::linux::blocking(move || {
        // Exclusive: a file system that is mounted must not be repaired under the kernel's hands.
        drop(device::open(&asked, device::Open::Exclusive)?);
        device::is_readonly(&asked)
    })
    .await?;
    if readonly {
        return Ok(());
    }
    judge_check(&on_free_device(tools, Tool::E2fsck, &["-p"], device, CHECK_DEADLINE).await?)
}

/// The bits of e2fsck's exit code (e2fsck(8), EXIT CODE).
fn judge_check(finished: &Finished) -> Result<()> {
    const REBOOT: i32 = 2;
    const UNCORRECTED: i32 = 4;
    match finished.code() {
        // 0: clean; 1: faults corrected.
        Some(0 | 1) => Ok(()),
        Some(code @ 0..8) if code & UNCORRECTED != 0 => Err(Error::precondition(format!(
            "the ext4 has faults that need an operator (unmounted, run e2fsck on it by hand): {}",
            finished.words()
        ))),
        // e2fsck asks for a reboot where it repaired a file system that is mounted: not ours to go on with.
        Some(code @ 0..8) if code & REBOOT != 0 => Err(finished.failure(Kind::Busy)),
        // 8 operational error, 16 usage, 32 cancelled, 128 library, or a signal.
        _ => Err(finished.failure(Kind::Internal)),
    }
}

/// Grows a file system to its device. Large enough already is `Ok`: the tools then do nothing.
///
/// ext4 grows by its device; where it is not mounted, resize2fs demands a full check before. Growing a mounted ext4 needs
/// CAP_SYS_RESOURCE.
pub(super) async fn grow(tools: &Tools, device: &Device, fs: FsType, mounted_at: &Path) -> Result<()> {
    match fs {
        FsType::Ext4 => grow_ext4(tools, device).await,
        FsType::Xfs => {
            verify_mount(device, fs, mounted_at).await?;
            let arguments = ["-d".as_ref(), mounted_at.as_os_str()];
            exec::run(tools.path(Tool::XfsGrowfs)?, &arguments, GROW_DEADLINE).await?.success().map(drop)
        }
        FsType::Btrfs => {
            verify_mount(device, fs, mounted_at).await?;
            let arguments: [&OsStr; 4] =
                ["filesystem".as_ref(), "resize".as_ref(), "max".as_ref(), mounted_at.as_os_str()];
            exec::run(tools.path(Tool::Btrfs)?, &arguments, GROW_DEADLINE).await?.success().map(drop)
        }
    }
}

async fn grow_ext4(tools: &Tools, device: &Device) -> Result<()> {
    let number = device.number;
    let mounted =
        super::linux::blocking(move || Ok(mountinfo::read()?.iter().any(|mount| mount.device == number)))
            .await?;
    if !mounted {
        judge_check(&on_free_device(tools, Tool::E2fsck, &["-f", "-p"], device, CHECK_DEADLINE).await?)?;
        let finished = on_free_device(tools, Tool::Resize2fs, &[], device, GROW_DEADLINE).await?;
        return finished.success().map(drop);
    }
    let verified = device.clone();
    super::linux::blocking(move || device::open(&verified, device::Open::Shared).map(drop)).await?;
    let arguments = [device.path.as_os_str()];
    let finished = exec::run(tools.path(Tool::Resize2fs)?, &arguments, GROW_DEADLINE).await?;
    if finished.code() != Some(0) && finished.stderr.contains("Permission denied") {
        let error = finished.failure(Kind::PermissionDenied);
        return Err(error.with("hint", "growing a mounted ext4 needs CAP_SYS_RESOURCE"));
    }
    finished.success().map(drop)
}

/// Runs a tool with options on a device that nobody else has, and claims the device for as long as the tool lives.
async fn on_free_device(
    tools: &Tools,
    tool: Tool,
    options: &[&str],
    device: &Device,
    deadline: Duration,
) -> Result<Finished> {
    let tool = tools.path(tool)?;
    let claimed = device.clone();
    let claim = super::linux::blocking(move || device::claim_free(&claimed)).await?;
    let mut arguments: Vec<&OsStr> = options.iter().map(|option| OsStr::new(*option)).collect();
    arguments.push(device.path.as_os_str());
    exec::run_holding(tool, &arguments, deadline, claim).await
}

/// Proves that this file system of this device is what is mounted there: btrfs grows whatever holds a path.
async fn verify_mount(device: &Device, fs: FsType, mounted_at: &Path) -> Result<()> {
    let (device, target) = (device.clone(), mounted_at.to_owned());
    super::linux::blocking(move || {
        drop(device::open(&device, device::Open::Shared)?);
        let mount = mount::top(&target)?;
        let same = match fs {
            // Its device number is anonymous; the source is what was mounted.
            FsType::Btrfs => {
                device::describe(Path::new(&mount.source)).is_ok_and(|found| found.number == device.number)
            }
            FsType::Ext4 | FsType::Xfs => mount.device == device.number,
        };
        if same && mount.fs_type == fs.as_str() {
            return Ok(());
        }
        Err(Error::precondition(format!(
            "{} on {} is mounted at {}, not the {fs} of {}",
            mount.fs_type,
            mount.source,
            target.display(),
            device.path.display()
        )))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_bits_of_a_checks_exit_code_are_told_apart() {
        for (code, kind) in [
            (0, None),
            (1, None),
            (2, Some(Kind::Busy)),
            (3, Some(Kind::Busy)),
            (4, Some(Kind::FailedPrecondition)),
            (5, Some(Kind::FailedPrecondition)),
            (8, Some(Kind::Internal)),
            (12, Some(Kind::Internal)),
            (32, Some(Kind::Internal)),
        ] {
            let script = format!("echo UNEXPECTED INCONSISTENCY; exit {code}");
            let finished =
                exec::run(Path::new("/bin/sh"), &["-c", &script], Duration::from_secs(10)).await.unwrap();
            let result = judge_check(&finished);
            assert_eq!(result.as_ref().err().map(Error::kind), kind, "{code}");
            if let Err(error) = result {
                assert!(error.to_string().contains("UNEXPECTED INCONSISTENCY"), "{error}");
            }
        }
    }
}
