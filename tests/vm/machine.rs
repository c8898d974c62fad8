//! A virtual machine with the driver's node in it: QEMU without KVM, so that it runs everywhere and the same.

use std::cell::{Cell, RefCell};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The server's id, which Nova would give the machine's firmware.
pub const SERVER: &str = "8c1e7a52-0f2d-4c3b-9a51-6d2f1e0b7c44";
/// PCI slots for disks.
pub const SLOTS: usize = 8;
/// What the machine may take to boot on two processors that others use too.
const BOOT: Duration = Duration::from_secs(180);

/// Where a disk is plugged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bus {
    Virtio,
    Scsi,
    /// A SCSI host that tells its guest nothing of what is plugged in and out.
    Mute,
}

/// A running machine. Dropping it ends it.
pub struct Machine {
    child: Child,
    directory: PathBuf,
    qmp: RefCell<BufReader<UnixStream>>,
    shell: u16,
    pub csi: u16,
    serial: Cell<u32>,
}

/// A plugged disk.
#[derive(Clone, Debug)]
pub struct Plug {
    id: String,
}

impl Machine {
    #[allow(clippy::disallowed_methods, reason = "the machine under test")]
    pub fn boot(directory: &Path, image: &Path) -> Self {
        let (csi, shell) = (free_port(), free_port());
        let ports = (1..=SLOTS).flat_map(|slot| {
            ["-device".to_owned(), format!("pcie-root-port,id=slot{slot},chassis={slot},slot={slot}")]
        });
        let console = directory.join("console");
        let socket = directory.join("qmp");
        let words = [
            "-machine q35 -accel tcg,thread=multi -cpu max -m 512 -smp 2 -nodefaults -no-reboot -display none",
            &format!("-uuid {SERVER} -smbios type=1,manufacturer=OpenStack,product=Nova,uuid={SERVER}"),
            &format!("-kernel {0}/vmlinuz -initrd {0}/initrd", image.display()),
            &format!("-serial file:{} -qmp unix:{},server=on,wait=off", console.display(), socket.display()),
            &format!("-netdev user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{csi}-:1000,hostfwd=tcp:127.0.0.1:{shell}-:1001"),
            "-device virtio-net-pci,netdev=net,romfile=",
            "-device virtio-scsi-pci,id=scsi -device virtio-scsi-pci,id=mute,hotplug=off",
        ]
        .join(" ");
        let child = Command::new("qemu-system-x86_64")
            .args(words.split(' '))
            .args(ports)
            .args(["-append", "console=ttyS0 quiet panic=-1"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("qemu-system-x86_64: {error}"));
        let begun = Instant::now();
        let console = || std::fs::read_to_string(&console).unwrap_or_default();
        let mut machine = None;
        let mut child = Some(child);
        while machine.is_none() || !console().contains("the machine is up") {
            assert!(begun.elapsed() < BOOT, "the machine does not boot:\n{}", console());
            std::thread::sleep(Duration::from_millis(100));
            if machine.is_none()
                && let Ok(stream) = UnixStream::connect(&socket)
                && let Some(child) = child.take()
            {
                // From here on dropping it ends the machine.
                machine = Some(Self {
                    child,
                    directory: directory.to_owned(),
                    qmp: RefCell::new(BufReader::new(stream)),
                    shell,
                    csi,
                    serial: Cell::new(0),
                });
            }
        }
        let machine = machine.unwrap();
        machine.read();
        machine.order("qmp_capabilities", json!({}));
        // Who listens on the ports may come up last.
        while !machine.send("true").is_ok_and(|(_, status)| status == "0") {
            assert!(begun.elapsed() < BOOT, "the machine's shell does not answer:\n{}", console());
            std::thread::sleep(Duration::from_millis(200));
        }
        eprintln!("the machine is up after {:.1} s", begun.elapsed().as_secs_f64());
        machine
    }

    /// Plugs a disk in; `serial` is what Nova gives it. The image is made where it is missing.
    pub fn plug(&self, bus: Bus, image: &str, serial: Option<&str>, mebibytes: u64) -> Plug {
        self.plug_at(bus, image, serial, mebibytes, None)
    }

    /// The same, at a place on the bus.
    pub fn plug_at(
        &self,
        bus: Bus,
        image: &str,
        serial: Option<&str>,
        mebibytes: u64,
        place: Option<u32>,
    ) -> Plug {
        self.serial.set(self.serial.get() + 1);
        let id = format!("disk{}", self.serial.get());
        let file = self.directory.join(image);
        if !file.exists() {
            std::fs::File::create(&file).unwrap().set_len(mebibytes << 20).unwrap();
        }
        let backing = json!({"driver": "file", "filename": file, "discard": "unmap"});
        self.order(
            "blockdev-add",
            json!({"driver": "raw", "node-name": format!("{id}-image"), "file": backing}),
        );
        let mut device = json!({"id": id, "drive": format!("{id}-image")});
        let mut set = |key: &str, value: Value| device[key] = value;
        match bus {
            Bus::Virtio => {
                set("driver", "virtio-blk-pci".into());
                set("bus", self.free_slot().into());
            }
            Bus::Scsi | Bus::Mute => {
                set("driver", "scsi-hd".into());
                set("bus", if bus == Bus::Scsi { "scsi.0" } else { "mute.0" }.into());
                if let Some(target) = place {
                    set("scsi-id", target.into());
                }
                // As libvirt gives both.
                if let Some(serial) = serial {
                    set("device_id", serial.into());
                }
            }
        }
        if let Some(serial) = serial {
            set("serial", serial.into());
        }
        self.order("device_add", device);
        Plug { id }
    }

    /// Takes the disk out as Nova does: it is gone when the guest has let it go.
    pub fn unplug(&self, plug: &Plug) {
        self.order("device_del", json!({"id": plug.id}));
        let begun = Instant::now();
        loop {
            let place = format!("/{}/", plug.id);
            let gone = self.order("query-block", json!({})).as_array().unwrap().iter().all(|disk| {
                let device = disk["qdev"].as_str().unwrap_or_default();
                device != plug.id && !device.contains(&place)
            });
            if gone {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{} is not let go of", plug.id);
            std::thread::sleep(Duration::from_millis(100));
        }
        // A device that is no longer listed still holds its image for a moment.
        let image = json!({"node-name": format!("{}-image", plug.id)});
        while let Err(refused) = self.try_order("blockdev-del", image.clone()) {
            assert!(begun.elapsed() < Duration::from_secs(60), "{refused}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Lets a disk grow as Cinder and Nova do.
    pub fn grow(&self, plug: &Plug, mebibytes: u64) {
        self.order(
            "block_resize",
            json!({"node-name": format!("{}-image", plug.id), "size": mebibytes << 20}),
        );
    }

    fn free_slot(&self) -> String {
        let buses = self.order("query-pci", json!({}));
        let bridges = buses[0]["devices"].as_array().unwrap();
        let free = bridges.iter().find(|device| {
            device["qdev_id"].as_str().unwrap_or_default().starts_with("slot")
                && device["pci_bridge"]["devices"].as_array().is_none_or(Vec::is_empty)
        });
        free.expect("no slot is free")["qdev_id"].as_str().unwrap().to_owned()
    }

    /// An order to QEMU; its answer.
    pub fn order(&self, command: &str, arguments: Value) -> Value {
        self.try_order(command, arguments).unwrap_or_else(|refused| panic!("{refused}"))
    }

    fn try_order(&self, command: &str, arguments: Value) -> Result<Value, String> {
        let line = json!({"execute": command, "arguments": arguments}).to_string();
        self.qmp.borrow_mut().get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
        loop {
            let answer = self.read();
            if let Some(value) = answer.get("return") {
                return Ok(value.clone());
            }
            if answer.get("event").is_none() {
                return Err(format!("{line}: {answer}"));
            }
        }
    }

    fn read(&self) -> Value {
        let mut line = String::new();
        self.qmp.borrow_mut().read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("QEMU says {line:?}: {error}"))
    }

    /// Runs a script in the machine; panics where it fails.
    pub fn run(&self, script: &str) -> String {
        let (output, status) = self.attempt(script);
        assert_eq!(status, "0", "{script}\n{output}");
        output
    }

    /// Runs a script in the machine: what it prints, and its status.
    pub fn attempt(&self, script: &str) -> (String, String) {
        self.send(script).unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    fn send(&self, script: &str) -> std::io::Result<(String, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.shell))?;
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        let text = format!("(set -e\n{script}\n) </dev/null 2>&1; printf '\\n%s' \"status $?\"; exit\n");
        stream.write_all(text.as_bytes())?;
        let mut output = String::new();
        stream.read_to_string(&mut output)?;
        let (output, status) = output.rsplit_once("\nstatus ").unwrap_or((&output, "lost"));
        Ok((output.to_owned(), status.trim().to_owned()))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Nothing in it is worth an orderly end.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
