//! Nothing that is not blank is called blank, and looking changes nothing.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use fairlead::error::{Kind, Outcome};
use fairlead::host::{Host, Linux, Signature};
use fairlead::volume::FsType;

use crate::loopdev::{LoopDev, Place, sh};

const MIB: u64 = 1 << 20;
const SIZE: u64 = 512 * MIB;

fn write(image: &Path, offset: u64, bytes: &[u8]) {
    OpenOptions::new().write(true).open(image).unwrap().write_all_at(bytes, offset).unwrap();
}

/// Makes a part of the image zeros.
fn wipe(image: &Path, offset: u64, length: u64) {
    let (offset, length) = (offset.to_string(), length.to_string());
    sh("fallocate", &["--punch-hole", "-o", &offset, "-l", &length, image.to_str().unwrap()]);
}

fn tool(program: &str, arguments: &[&str], image: &Path) {
    let all: Vec<_> = arguments.iter().chain(&[image.to_str().unwrap()]).copied().collect();
    sh(program, &all);
}

fn ext4(image: &Path) {
    tool("mkfs.ext4", &["-q", "-F"], image);
}

fn xfs(image: &Path) {
    tool("mkfs.xfs", &["-q"], image);
}

fn luks2(image: &Path) {
    let key = image.with_extension("key");
    std::fs::write(&key, "correct horse battery staple").unwrap();
    let options = [
        "luksFormat",
        "--type",
        "luks2",
        "--batch-mode",
        "--pbkdf",
        "pbkdf2",
        "--pbkdf-force-iterations",
        "1000",
        "--key-file",
        key.to_str().unwrap(),
    ];
    tool("cryptsetup", &options, image);
}

/// What is on a disk, how it gets there, and what the refusal must say.
type Case = (&'static str, fn(&Path), &'static [&'static str]);

const CASES: &[Case] = &[
    ("ext4", ext4, &["blkid finds ext4", "an ext4 superblock at offset 1024"]),
    (
        "ext4 without its first 64 MiB",
        |i| {
            ext4(i);
            wipe(i, 0, 64 * MIB);
        },
        &["a spare ext4 superblock at offset 134217728"],
    ),
    (
        "ext4 of 1 KiB blocks without its first 16 MiB",
        |i| {
            tool("mkfs.ext4", &["-q", "-F", "-b", "1024"], i);
            wipe(i, 0, 16 * MIB);
        },
        &["a spare ext4 superblock at offset 25166848"],
    ),
    ("xfs", xfs, &["blkid finds xfs", "an xfs superblock at offset 0"]),
    (
        "xfs without its first group",
        |i| {
            xfs(i);
            wipe(i, 0, 128 * MIB);
        },
        &["an xfs superblock at offset 134217728"],
    ),
    (
        "xfs of 6 groups without the first",
        |i| {
            tool("mkfs.xfs", &["-q", "-d", "agcount=6"], i);
            wipe(i, 0, 80 * MIB);
        },
        &["an xfs superblock at offset 89481216"],
    ),
    (
        "btrfs",
        |i| tool("mkfs.btrfs", &["-q"], i),
        &["blkid finds btrfs", "a btrfs superblock at offset 65536"],
    ),
    (
        "btrfs without its first 1 MiB",
        |i| {
            tool("mkfs.btrfs", &["-q"], i);
            wipe(i, 0, MIB);
        },
        &["a btrfs superblock at offset 67108864"],
    ),
    ("LUKS2", luks2, &["blkid finds crypto_LUKS", "a LUKS header at offset 0"]),
    (
        "LUKS2 without its first header",
        |i| {
            luks2(i);
            wipe(i, 0, 0x4000);
        },
        &["a second LUKS2 header at offset 16384"],
    ),
    (
        "GPT",
        |i| tool("sgdisk", &["-n", "1:0:0"], i),
        &["blkid finds PTTYPE=gpt", "a GPT header at offset 512"],
    ),
    (
        "GPT without its first 1 MiB",
        |i| {
            tool("sgdisk", &["-n", "1:0:0"], i);
            wipe(i, 0, MIB);
        },
        &["a spare GPT header at offset 536870400"],
    ),
    ("swap", |i| tool("mkswap", &[], i), &["blkid finds swap", "a swap header at offset 0"]),
    // Made by hand: a kernel without md cannot make one, and zfs' tools are not in Debian proper.
    (
        "md 0.90",
        |i| write(i, SIZE - 65536, &0xa92b_4efc_u32.to_le_bytes()),
        &["an md RAID superblock at offset 536805376"],
    ),
    (
        "md 1.0",
        |i| write(i, SIZE - 8192, &0xa92b_4efc_u32.to_le_bytes()),
        &["an md RAID superblock at offset 536862720"],
    ),
    ("md 1.1", |i| write(i, 0, &0xa92b_4efc_u32.to_le_bytes()), &["an md RAID superblock at offset 0"]),
    ("md 1.2", |i| write(i, 4096, &0xa92b_4efc_u32.to_le_bytes()), &["an md RAID superblock at offset 4096"]),
    (
        "zfs L0",
        |i| write(i, 128 << 10, &0x00ba_b10c_u64.to_le_bytes()),
        &["a zfs uberblock at offset 131072"],
    ),
    (
        "zfs L3",
        |i| write(i, SIZE - (128 << 10), &0x00ba_b10c_u64.to_le_bytes()),
        &["a zfs uberblock at offset 536739840"],
    ),
    ("a block at the head", |i| write(i, MIB - 4096, &[0xa5; 4096]), &["non-zero data at offset 1044480"]),
    ("a block at the tail", |i| write(i, SIZE - 4096, &[0xa5; 4096]), &["non-zero data at offset 536866816"]),
    ("a byte at the very end", |i| write(i, SIZE - 1, &[1]), &["non-zero data at offset 536870911"]),
];

async fn refused(host: &Linux, image: &Path, name: &str, words: &[&str]) {
    let copy = image.with_extension("copy");
    let (disk, copied) = (image.to_str().unwrap(), copy.to_str().unwrap());
    sh("cp", &["--sparse=always", disk, copied]);
    {
        let dev = LoopDev::attach(image);
        let device = host.device(&dev.path).await.unwrap();
        let error = host.prove_blank(&device).await.expect_err(name);
        assert_eq!(
            (error.kind(), error.outcome()),
            (Kind::FailedPrecondition, Outcome::Refused),
            "{name}: {error}"
        );
        for word in words {
            assert!(error.to_string().contains(word), "{name}: {word:?} is missing: {error}");
        }
        println!("{name}: {error}");
    }
    // Byte for byte; a difference is an exit code of 1, which is a panic.
    sh("cmp", &[disk, copied]);
}

#[tokio::test]
async fn whatever_is_on_a_disk_is_refused_named_and_left_as_it_is() {
    let host = Linux::new();
    for (name, make, words) in CASES {
        let place = Place::new();
        let image = place.image("disk", SIZE);
        make(&image);
        refused(&host, &image, name, words).await;
    }
}

#[tokio::test]
async fn an_lvm_disk_is_refused() {
    let (host, place) = (Linux::new(), Place::new());
    let image = place.image("disk", SIZE);
    {
        let dev = LoopDev::attach(&image);
        let here = format!("devices {{ use_devicesfile=0 filter=[\"a|^{}$|\",\"r|.*|\"] }}", dev.name());
        sh("pvcreate", &["-q", "--config", &here, dev.name()]);
    }
    refused(&host, &image, "LVM", &["blkid finds LVM2_member", "an LVM label at offset 512"]).await;
    wipe(&image, 0, 4096);
    let mut block = [0; 4096];
    File::open(&image).unwrap().read_exact_at(&mut block, 4096).unwrap();
    assert!(block.iter().any(|byte| *byte != 0), "pvcreate wrote no metadata area: nothing is tested");
    refused(&host, &image, "LVM without its label", &["LVM metadata at offset 4096"]).await;
}

#[tokio::test]
async fn blank_disks_of_one_and_sixteen_tebibytes_pass_at_once() {
    let host = Linux::new();
    // An image on ext4 can have 64 KiB less than 16 TiB.
    for (name, size) in [("1 TiB", 1 << 40), ("16 TiB", (16 << 40) - (64 << 10))] {
        let place = Place::new();
        let dev = LoopDev::attach(&place.image("disk", size));
        let device = host.device(&dev.path).await.unwrap();
        assert_eq!(device.size.get(), size);
        let begin = Instant::now();
        host.prove_blank(&device).await.unwrap();
        let took = begin.elapsed();
        println!("proof of {name}, blkid included: {took:?}");
        assert!(took < Duration::from_secs(10), "{name}: {took:?}");
    }
}

#[tokio::test]
async fn a_disk_that_someone_has_or_that_is_another_is_not_judged() {
    let (host, place) = (Linux::new(), Place::new());
    let image = place.image("disk", SIZE);
    ext4(&image);
    let dev = LoopDev::attach(&image);
    let other = LoopDev::attach(&place.image("other", 2 * SIZE));
    let device = host.device(&dev.path).await.unwrap();
    let directory = place.directory("mnt");
    host.mount(&dev.path, &directory, FsType::Ext4, &[]).await.unwrap();
    for error in [
        host.prove_blank(&device).await.unwrap_err(),
        host.signature(&device).await.unwrap_err(),
        host.format(&device, FsType::Xfs).await.unwrap_err(),
        host.check(&device, FsType::Ext4).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), Kind::Busy, "{error}");
    }
    host.unmount(&directory).await.unwrap();
    assert_eq!(host.signature(&device).await.unwrap(), Signature::Fs(FsType::Ext4));

    let mut moved = host.device(&other.path).await.unwrap();
    moved.number = device.number;
    for error in [
        host.prove_blank(&moved).await.unwrap_err(),
        host.format(&moved, FsType::Ext4).await.unwrap_err(),
        host.signature(&moved).await.unwrap_err(),
    ] {
        assert!(error.to_string().contains("another device took its name"), "{error}");
    }
    let mut shrunk = host.device(&other.path).await.unwrap();
    shrunk.size = device.size;
    let error = host.prove_blank(&shrunk).await.unwrap_err();
    assert!(error.to_string().contains("were expected"), "{error}");
}

#[tokio::test]
async fn a_disk_on_which_a_tool_of_an_earlier_try_still_works_is_not_touched() {
    let (host, place) = (Linux::new(), Place::new());
    let dev = LoopDev::attach(&place.image("disk", SIZE));
    let device = host.device(&dev.path).await.unwrap();
    // As the tool of a killed driver holds it: open for writing, not exclusively, with a lock that it inherited.
    let orphan = OpenOptions::new().write(true).open(&dev.path).unwrap();
    let lock = nix::libc::flock { l_type: 1, l_whence: 0, l_start: 0, l_len: 0, l_pid: 0 };
    nix::fcntl::fcntl(&orphan, nix::fcntl::FcntlArg::F_OFD_SETLK(&lock)).unwrap();
    for error in [
        host.prove_blank(&device).await.unwrap_err(),
        host.signature(&device).await.unwrap_err(),
        host.format(&device, FsType::Btrfs).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), Kind::Busy, "{error}");
        assert!(error.to_string().contains("an earlier try still works on"), "{error}");
    }
    drop(orphan);
    host.prove_blank(&device).await.unwrap();
    host.format(&device, FsType::Btrfs).await.unwrap();
}
