//! blkid's low-level probe, with its exit codes told apart.

use std::path::Path;
use std::time::Duration;

use super::Signature;
use super::exec::{self, Finished};
use crate::error::{Error, Kind, Result};
use crate::volume::FsType;

/// A probe reads a few hundred kilobytes; a disk that needs longer is not well.
const DEADLINE: Duration = Duration::from_secs(60);

/// Probes a device. The caller has shown by a read of its own that the device answers, because blkid's exit code 2 means
/// both "nothing found" and "cannot be read" (blkid(8), EXIT STATUS).
///
/// # Errors
/// Where the probe failed: never to be taken for [`Signature::None`].
pub(super) async fn probe(blkid: &Path, device: &Path) -> Result<Signature> {
    let arguments = ["-p".as_ref(), "-o".as_ref(), "export".as_ref(), device.as_os_str()];
    judge(&exec::run(blkid, &arguments, DEADLINE).await?)
}

fn judge(finished: &Finished) -> Result<Signature> {
    match finished.code() {
        Some(0) => Ok(parse(&finished.stdout)),
        // Without a word, as it is where nothing is found; a probe that could not open the device says so.
        Some(2) if finished.stderr.trim().is_empty() => Ok(Signature::None),
        Some(8) => Ok(Signature::Ambivalent),
        _ => Err(finished.failure(Kind::Internal)),
    }
}

/// Reads `NAME=value` lines. What describes a partition as such (`PART_ENTRY_…`) is no content.
fn parse(output: &str) -> Signature {
    let value = |name: &str| {
        let mut pairs = output.lines().filter_map(|line| line.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value.replace('\\', ""))
    };
    match (value("TYPE"), value("PTTYPE")) {
        (Some(found), _) => match FsType::ALL.into_iter().find(|fs| fs.as_str() == found) {
            Some(fs) => Signature::Fs(fs),
            None => Signature::Other(found),
        },
        (None, Some(table)) => Signature::Other(format!("PTTYPE={table}")),
        (None, None) => match value("USAGE") {
            Some(usage) => Signature::Other(format!("USAGE={usage}")),
            None => Signature::None,
        },
    }
}

/// An error where blkid found something on a device that is to be blank.
pub(super) fn none_or_refuse(signature: &Signature) -> Result<()> {
    let found = match signature {
        Signature::None => return Ok(()),
        Signature::Fs(fs) => fs.to_string(),
        Signature::Other(words) => words.clone(),
        Signature::Ambivalent => "several signatures at once".to_owned(),
    };
    Err(Error::precondition(format!("the device is not blank: blkid finds {found}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_becomes_a_signature() {
        for (output, signature) in [
            ("DEVNAME=/dev/loop0\nUUID=x\nTYPE=ext4\nUSAGE=filesystem\n", Signature::Fs(FsType::Ext4)),
            ("DEVNAME=/dev/a\nTYPE=xfs\nPTTYPE=dos\n", Signature::Fs(FsType::Xfs)),
            ("TYPE=crypto_LUKS\nUSAGE=crypto\n", Signature::Other("crypto_LUKS".into())),
            ("DEVNAME=/dev/a\nPTUUID=1\nPTTYPE=gpt\n", Signature::Other("PTTYPE=gpt".into())),
            ("USAGE=raid\n", Signature::Other("USAGE=raid".into())),
            ("DEVNAME=/dev/sda1\nPART_ENTRY_SCHEME=gpt\nPART_ENTRY_TYPE=0fc6\n", Signature::None),
        ] {
            assert_eq!(parse(output), signature, "{output}");
        }
    }

    #[tokio::test]
    async fn exit_codes_are_told_apart() {
        let shell = |script: &'static str| async move {
            judge(&exec::run(Path::new("/bin/sh"), &["-c", script], DEADLINE).await.unwrap())
        };
        assert_eq!(shell("exit 2").await.unwrap(), Signature::None);
        assert_eq!(shell("echo ambivalent >&2; exit 8").await.unwrap(), Signature::Ambivalent);
        for failed in ["echo error: /dev/x: No such file >&2; exit 2", "exit 4", "exit 1", "kill -9 $$"] {
            assert_eq!(shell(failed).await.unwrap_err().kind(), Kind::Internal, "{failed}");
        }
    }
}
