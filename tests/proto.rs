//! Holds the files in `proto` against the released interfaces, which are fetched as Go modules.
//!
//! The files in this repository are written anew, so nothing but this comparison says that callers
//! and driver mean the same by the same bytes. Where a module cannot be had, the test says so and
//! counts as ignored.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use prost_reflect::{
    Cardinality, DescriptorPool, DynamicMessage, EnumDescriptor, ExtensionDescriptor, FieldDescriptor,
    FileDescriptor, Kind, MessageDescriptor, ServiceDescriptor,
};
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};

/// An interface, and where its release is.
#[derive(Clone, Copy)]
struct Interface {
    package: &'static str,
    /// Our file's name; the released one is read under it, too.
    file: &'static str,
    module: &'static str,
    released: &'static str,
    /// So many facts there are at least: two empty descriptions would be equal, too.
    facts: usize,
}

const CSI: Interface = Interface {
    package: "csi.v1",
    file: "csi.proto",
    module: "github.com/container-storage-interface/spec@v1.13.0",
    released: "csi.proto",
    facts: 500,
};

const REGISTRATION: Interface = Interface {
    package: "pluginregistration",
    file: "pluginregistration.proto",
    module: "k8s.io/kubelet@v0.36.3",
    released: "pkg/apis/pluginregistration/v1/api.proto",
    facts: 14,
};

const DOWNLOAD_DEADLINE: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let trials = vec![
        Trial::ignorable_test("csi_is_the_released_one", || is_the_released_one(CSI)),
        Trial::ignorable_test("registration_is_the_released_one", || is_the_released_one(REGISTRATION)),
        Trial::test("comparison_reports_every_difference", comparison_reports_every_difference),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

#[expect(clippy::print_stderr, reason = "a skipped comparison is to be seen without asking for it")]
fn is_the_released_one(interface: Interface) -> Result<Completion, Failed> {
    let module = match released_module(interface.module) {
        Ok(module) => module,
        Err(Unavailable::Skip(reason)) => {
            eprintln!("SKIPPED: {} is not compared with the released one: {reason}", interface.file);
            return Ok(Completion::ignored_with(reason));
        }
        Err(Unavailable::Fail(reason)) => return Err(reason.into()),
    };
    let source = std::fs::read_to_string(module.join(interface.released))?;
    let released = facts(interface, &compile(interface, source)?);
    let ours = facts(interface, &built()?);
    if released.len() < interface.facts {
        return Err(format!("only {} facts found in the released interface", released.len()).into());
    }
    let differences = differences(&ours, &released);
    if differences.is_empty() {
        return Ok(Completion::Completed);
    }
    let lines: Vec<_> = differences.iter().map(|(what, how)| format!("  {what}: {how}")).collect();
    Err(format!("{} differences from {}:\n{}", lines.len(), interface.module, lines.join("\n")).into())
}

/// The comparison above is worth nothing if it cannot fail, so each kind of change must show.
fn comparison_reports_every_difference() -> Result<(), Failed> {
    const CHANGES: &[(&str, &str, &[&str])] = &[
        ("int64 limit_bytes = 2;", "int64 limit_bytes = 3;", &["field csi.v1.CapacityRange.limit_bytes"]),
        (
            "int64 required_bytes = 1;",
            "uint64 required_bytes = 1;",
            &["field csi.v1.CapacityRange.required_bytes"],
        ),
        (
            "repeated string mount_flags = 2;",
            "string mount_flags = 2;",
            &["field csi.v1.VolumeCapability.MountVolume.mount_flags"],
        ),
        (
            "map<string, string> segments = 1;",
            "map<string, int64> segments = 1;",
            &["field csi.v1.Topology.SegmentsEntry.value"],
        ),
        (
            "string vendor_version = 2;",
            "optional string vendor_version = 2;",
            &[
                "field csi.v1.GetPluginInfoResponse.vendor_version",
                "oneof csi.v1.GetPluginInfoResponse._vendor_version",
            ],
        ),
        (
            "oneof access_type {",
            "oneof access {",
            &[
                "field csi.v1.VolumeCapability.block",
                "field csi.v1.VolumeCapability.mount",
                "oneof csi.v1.VolumeCapability.access",
                "oneof csi.v1.VolumeCapability.access_type",
            ],
        ),
        (
            " SINGLE_NODE_WRITER = 1;",
            " SINGLE_NODE_WRITER = 9;",
            &["value csi.v1.VolumeCapability.AccessMode.SINGLE_NODE_WRITER"],
        ),
        (
            "GET_SNAPSHOT = 15 [(alpha_enum_value) = true];",
            "",
            &["value csi.v1.ControllerServiceCapability.RPC.GET_SNAPSHOT"],
        ),
        (
            "SNAPSHOT_METADATA_SERVICE = 4 [(alpha_enum_value) = true];",
            "SNAPSHOT_METADATA_SERVICE = 4;",
            &["value csi.v1.PluginCapability.Service.SNAPSHOT_METADATA_SERVICE"],
        ),
        ("reserved 11;", "reserved 18;", &["enum csi.v1.ControllerServiceCapability.RPC.Type"]),
        (
            "secrets = 6 [(csi_secret) = true, (alpha_field) = true];",
            "secrets = 6 [(alpha_field) = true];",
            &["field csi.v1.NodeExpandVolumeRequest.secrets"],
        ),
        ("option (alpha_service) = true;", "", &["service csi.v1.SnapshotMetadata"]),
        (
            "returns (stream GetMetadataAllocatedResponse);",
            "returns (GetMetadataAllocatedResponse);",
            &["method csi.v1.SnapshotMetadata.GetMetadataAllocated"],
        ),
        ("rpc Probe(ProbeRequest)", "rpc Probe(GetPluginInfoRequest)", &["method csi.v1.Identity.Probe"]),
        (
            "message ProbeRequest {}",
            "message ProbeRequest { option deprecated = true; }",
            &["message csi.v1.ProbeRequest"],
        ),
        (
            "message NodeGetInfoRequest {}",
            "message NodeGetInfoRequest { reserved 1; } message Extra {}",
            &["message csi.v1.NodeGetInfoRequest", "message csi.v1.Extra"],
        ),
        ("bool alpha_enum = 1060;", "bool alpha_enum = 1061;", &["extension csi.v1.alpha_enum"]),
        ("/lib/go/csi\";", "/lib/go/other\";", &["file csi.proto"]),
    ];

    let ours = facts(CSI, &built()?);
    let mut source = include_str!("../proto/csi.proto").to_owned();
    let unchanged = differences(&ours, &facts(CSI, &compile(CSI, source.clone())?));
    if !unchanged.is_empty() {
        return Err(format!("the source differs from what was built from it: {unchanged:?}").into());
    }

    let mut expected = BTreeSet::new();
    for (from, to, keys) in CHANGES {
        if source.matches(from).count() != 1 {
            return Err(format!("to be changed, {from:?} must be in the interface once").into());
        }
        source = source.replacen(from, to, 1);
        expected.extend(keys.iter().map(|key| (*key).to_owned()));
    }
    let changed = facts(CSI, &compile(CSI, source)?);
    for (left, right) in [(&ours, &changed), (&changed, &ours)] {
        let reported: BTreeSet<_> = differences(left, right).into_keys().collect();
        if reported != expected {
            let missed: Vec<_> = expected.difference(&reported).collect();
            let extra: Vec<_> = reported.difference(&expected).collect();
            return Err(format!("not reported: {missed:?}; reported without cause: {extra:?}").into());
        }
    }
    Ok(())
}

/// The interfaces this crate was built with.
fn built() -> Result<DescriptorPool, Failed> {
    Ok(DescriptorPool::decode(fairlead::proto::FILE_DESCRIPTOR_SET)?)
}

fn compile(interface: Interface, source: String) -> Result<DescriptorPool, Failed> {
    struct OneFile(&'static str, String);

    impl FileResolver for OneFile {
        fn open_file(&self, name: &str) -> Result<File, protox::Error> {
            match name == self.0 {
                true => File::from_source(name, &self.1),
                false => Err(protox::Error::file_not_found(name)),
            }
        }
    }

    let mut resolver = ChainFileResolver::new();
    resolver.add(OneFile(interface.file, source));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.open_file(interface.file)?;
    Ok(compiler.descriptor_pool())
}

/// What a caller can tell about an interface, one line for each thing that has a name.
type Facts = BTreeMap<String, String>;

/// By the name of what differs. Positions in the file do not count: nobody on the wire sees them.
fn differences(ours: &Facts, theirs: &Facts) -> BTreeMap<String, String> {
    let names: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    names
        .into_iter()
        .filter_map(|name| {
            let how = match (ours.get(name), theirs.get(name)) {
                (Some(ours), Some(theirs)) if ours == theirs => return None,
                (Some(ours), Some(theirs)) => format!("ours is {ours}, theirs is {theirs}"),
                (Some(ours), None) => format!("ours alone, {ours}"),
                (None, theirs) => format!("missing, theirs is {}", theirs.map_or("", String::as_str)),
            };
            Some((name.clone(), how))
        })
        .collect()
}

fn facts(interface: Interface, pool: &DescriptorPool) -> Facts {
    let package = interface.package;
    let mut facts = Facts::new();
    for file in pool.files().filter(|file| file.package_name() == package) {
        facts.insert(format!("file {}", file.name()), file_fact(&file));
    }
    for message in pool.all_messages().filter(|message| message.package_name() == package) {
        message_facts(&message, &mut facts);
    }
    for values in pool.all_enums().filter(|values| values.package_name() == package) {
        enum_facts(&values, &mut facts);
    }
    for extension in pool.all_extensions().filter(|extension| extension.package_name() == package) {
        facts.insert(format!("extension {}", extension.full_name()), extension_fact(&extension));
    }
    for service in pool.services().filter(|service| service.package_name() == package) {
        service_facts(&service, &mut facts);
    }
    facts
}

fn file_fact(file: &FileDescriptor) -> String {
    let imports: BTreeSet<_> = file.dependencies().map(|import| import.name().to_owned()).collect();
    format!("{:?}, imports {imports:?}{}", file.syntax(), options(&file.options()))
}

fn message_facts(message: &MessageDescriptor, facts: &mut Facts) {
    let reserved: BTreeSet<_> = message.reserved_ranges().map(|range| format!("{range:?}")).collect();
    let names: BTreeSet<_> = message.reserved_names().collect();
    facts.insert(
        format!("message {}", message.full_name()),
        format!("reserved {reserved:?} {names:?}{}", options(&message.options())),
    );
    for field in message.fields() {
        facts.insert(format!("field {}", field.full_name()), field_fact(&field));
    }
    for oneof in message.oneofs() {
        facts.insert(format!("oneof {}", oneof.full_name()), format!("oneof{}", options(&oneof.options())));
    }
}

fn field_fact(field: &FieldDescriptor) -> String {
    format!(
        "{} = {}, JSON {}, packed {}, presence {}, in oneof {:?}{}",
        kind(field.cardinality(), &field.kind()),
        field.number(),
        field.json_name(),
        field.is_packed(),
        field.supports_presence(),
        field.containing_oneof().map(|oneof| oneof.name().to_owned()),
        options(&field.options()),
    )
}

fn extension_fact(extension: &ExtensionDescriptor) -> String {
    format!(
        "{} = {} of {}{}",
        kind(extension.cardinality(), &extension.kind()),
        extension.number(),
        extension.containing_message().full_name(),
        options(&extension.options()),
    )
}

fn enum_facts(values: &EnumDescriptor, facts: &mut Facts) {
    let reserved: BTreeSet<_> = values.reserved_ranges().map(|range| format!("{range:?}")).collect();
    let names: BTreeSet<_> = values.reserved_names().collect();
    facts.insert(
        format!("enum {}", values.full_name()),
        format!("reserved {reserved:?} {names:?}{}", options(&values.options())),
    );
    for value in values.values() {
        facts.insert(
            format!("value {}", value.full_name()),
            format!("{}{}", value.number(), options(&value.options())),
        );
    }
}

fn service_facts(service: &ServiceDescriptor, facts: &mut Facts) {
    facts.insert(
        format!("service {}", service.full_name()),
        format!("service{}", options(&service.options())),
    );
    for method in service.methods() {
        let stream = |yes| if yes { "stream " } else { "" };
        facts.insert(
            format!("method {}", method.full_name()),
            format!(
                "({}{}) returns ({}{}){}",
                stream(method.is_client_streaming()),
                method.input().full_name(),
                stream(method.is_server_streaming()),
                method.output().full_name(),
                options(&method.options()),
            ),
        );
    }
}

fn kind(cardinality: Cardinality, kind: &Kind) -> String {
    let name = match kind {
        Kind::Message(message) => message.full_name().to_owned(),
        Kind::Enum(values) => values.full_name().to_owned(),
        scalar => format!("{scalar:?}"),
    };
    format!("{cardinality:?} {name}")
}

/// The options that are set, those of the interface itself among them.
fn options(options: &DynamicMessage) -> String {
    let own = options.fields().map(|(field, value)| format!(", {} {value:?}", field.name()));
    let extensions =
        options.extensions().map(|(field, value)| format!(", ({}) {value:?}", field.full_name()));
    let set: BTreeSet<_> = own.chain(extensions).collect();
    set.into_iter().collect()
}

enum Unavailable {
    /// Nothing to compare with here.
    Skip(String),
    /// There is something, and it is not what was released.
    Fail(String),
}

/// The unpacked module in Go's own cache, fetched first if need be.
fn released_module(module: &'static str) -> Result<PathBuf, Unavailable> {
    let output = run_to_deadline(start_download(module).map_err(|error| {
        Unavailable::Skip(match error.kind() {
            std::io::ErrorKind::NotFound => "there is no go on the PATH".to_owned(),
            _ => format!("go does not start: {error}"),
        })
    })?)?;
    let answer: serde_json::Value = serde_json::from_slice(&output)
        .map_err(|error| Unavailable::Skip(format!("go says nothing of use about {module}: {error}")))?;
    match (answer["Error"].as_str(), answer["Dir"].as_str()) {
        (Some(error), _) if error.contains("SECURITY ERROR") || error.contains("checksum mismatch") => {
            Err(Unavailable::Fail(error.to_owned()))
        }
        (None, Some(dir)) => Ok(Path::new(dir).to_owned()),
        (error, _) => Err(Unavailable::Skip(error.unwrap_or("go names no directory").to_owned())),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test fetches its reference with the developer's own tool; host::exec is for the driver"
)]
fn start_download(module: &str) -> std::io::Result<Child> {
    std::process::Command::new("go")
        .args(["mod", "download", "-json", module])
        // Away from any go.mod, and from settings that would make go look for one.
        .current_dir(std::env::temp_dir())
        .env("GOFLAGS", "")
        .env("GOWORK", "off")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
}

/// What the process wrote. A network that swallows packets must not hold up the whole test run.
fn run_to_deadline(mut child: Child) -> Result<Vec<u8>, Unavailable> {
    let give_up = |error: std::io::Error| Unavailable::Skip(format!("go mod download: {error}"));
    let deadline = Instant::now() + DOWNLOAD_DEADLINE;
    // The answer is far smaller than a pipe, so nobody needs to read before the end.
    while child.try_wait().map_err(give_up)?.is_none() {
        if Instant::now() >= deadline {
            child.kill().map_err(give_up)?;
            child.wait().map_err(give_up)?;
            return Err(Unavailable::Skip(format!("go mod download took over {DOWNLOAD_DEADLINE:?}")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(child.wait_with_output().map_err(give_up)?.stdout)
}
