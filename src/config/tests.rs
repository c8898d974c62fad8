mod server_id;

use std::collections::BTreeMap;

use super::*;
use crate::backend::storpool::config::{IscsiSettings, Served};
use crate::volume::{Bytes, Topology};

#[derive(Default)]
struct Fake(BTreeMap<&'static str, &'static str>);

impl Environment for Fake {
    fn variable(&self, name: &str) -> Option<String> {
        self.0.get(name).map(|value| (*value).to_owned())
    }

    fn host_name(&self) -> Option<String> {
        Some("machine".to_owned())
    }
}

const SMALLEST: &str = "backends: {here: {kind: file, directory: /data}}\n";

fn good(text: &str) -> Config {
    parse("f.yaml", text.as_bytes(), &Overrides::default(), &Fake::default()).unwrap()
}

fn faults(text: &str) -> Vec<String> {
    let faults = parse("f.yaml", text.as_bytes(), &Overrides::default(), &Fake::default()).unwrap_err();
    faults.iter().map(ToString::to_string).collect()
}

#[test]
fn the_smallest_file_gives_the_documented_defaults() {
    let config = good(SMALLEST);
    assert_eq!(config.driver_name, "csi.fairlead.dev");
    assert_eq!(config.endpoint, Path::new("/run/csi/socket"));
    assert_eq!(config.http, Some("127.0.0.1:9810".parse().unwrap()));
    assert_eq!(config.log, LogConfig::default());
    assert_eq!(config.grace_period, Duration::from_secs(25));
    assert_eq!(config.kubernetes, KubernetesConfig::default());
    assert_eq!(config.node.name, "machine");
    assert_eq!(config.file_systems, FsType::ALL);
    assert_eq!(config.kubelet_dir, None);
    assert_eq!(config.backends[0].1, BackendConfig::File(FileConfig::new(PathBuf::from("/data"))));
}

#[test]
fn every_key_is_read() {
    let config = good(
        "driverName: csi.example.org
endpoint: unix:///run/x.sock
http: off
log: {level: 'debug,h2=error', format: json}
gracePeriod: 90
kubernetes: {enabled: true, server: \"https://10.0.0.1:6443\", credentials: /etc/api/}
foreign: b
node:
  name: \"17\"
  topology: {topology.kubernetes.io/zone: a}
  maxVolumes: 7
  fileSystems: [xfs]
  kubeletDir: /var/lib/kubelet/
backends:
  a: {kind: file, directory: /a}
  b:
    kind: file
    directory: /b/
    limits: {perServer: 3, volumes: 4, bytes: 10TiB}
    thinFactor: 1.5
    topology: {rack: r-1}
",
    );
    assert_eq!((config.driver_name.as_str(), config.http), ("csi.example.org", None));
    assert_eq!(config.endpoint, Path::new("/run/x.sock"));
    assert_eq!(
        (config.log.level.to_string().as_str(), config.log.format),
        ("debug,h2=error", LogFormat::Json)
    );
    assert_eq!(config.grace_period, Duration::from_secs(90));
    let access = KubernetesAccess {
        server: "https://10.0.0.1:6443".to_owned(),
        credentials: PathBuf::from("/etc/api"),
        named: true,
    };
    assert_eq!(
        config.kubernetes,
        KubernetesConfig { required: true, refused: false, access: Some(access), pod: None }
    );
    let topology =
        |key: &str, value: &str| Topology([(key.to_owned(), value.to_owned())].into_iter().collect());
    let node = NodeConfig {
        name: "17".to_owned(),
        topology: topology("topology.kubernetes.io/zone", "a"),
        max_volumes: Some(7),
        foreign: Some("b".parse().unwrap()),
    };
    assert_eq!((config.node, config.file_systems), (node, vec![FsType::Xfs]));
    assert_eq!(config.kubelet_dir.as_deref(), Some(Path::new("/var/lib/kubelet")));
    let file = FileConfig {
        directory: PathBuf::from("/b"),
        reach: topology("rack", "r-1"),
        per_server: Some(3),
        max_volumes: Some(4),
        max_bytes: Some(Bytes::gib(10240)),
        thin_factor: 1.5,
    };
    assert_eq!(config.backends[1], ("b".parse().unwrap(), BackendConfig::File(file)));
}

#[test]
fn all_faults_come_at_once_with_their_places() {
    let found = faults(
        "driverName: 1csi
endpont: unix:///x
http: localhost
log:
  level: inof
  format: xml
  level: info
gracePeriod: 2d
foreign: nowhere
node:
  name: 17
  topology: {zone: 1, /x: a}
  maxVolumes: 0
  fileSystems: [ext4, ntfs, ext4]
  kubeletDir: ../kubelet
backends:
  A: {kind: file, directory: data}
  b: {kind: swift, cloud: east}
  c: {kind: file, directory: /c, limits: {perserver: 3, volumes: -1, bytes: ten}, thinFactor: 0.5}
  d: {directory: /d}
  e: [1]
  f: {kind: file}
  g: {kind: file, directory: /c}
",
    );
    let wanted = [
        r#"f.yaml:1:13: "driverName": "1csi" is no driver name"#,
        r#"f.yaml:2:1: the key "endpont" is not known (did you mean "endpoint"?): known here are driverName,"#,
        r#"f.yaml:3:7: "http": "localhost" is no address"#,
        r#"f.yaml:5:10: "log.level": "inof" is no log level"#,
        r#"f.yaml:6:11: "log.format": "xml" is no format"#,
        r#"f.yaml:7:3: the key "level" is here twice: first in line 5"#,
        r#"f.yaml:8:14: "gracePeriod": "2d" is no time"#,
        r#"f.yaml:9:10: "foreign": no back end is named "nowhere": there are A, b, c, d, e, f, g"#,
        r#"f.yaml:11:9: "node.name" must be a text, and YAML reads 17 as another type: put it in quotes"#,
        r#"f.yaml:12:20: "node.topology.zone" must be a text"#,
        r#"f.yaml:12:23: "node.topology": "/x" is no topology key"#,
        r#"f.yaml:13:15: "node.maxVolumes": "0" is no whole number from 1 to 4294967295"#,
        r#"f.yaml:14:23: "node.fileSystems": "ntfs" is not made here: known are ext4, xfs, btrfs"#,
        r#"f.yaml:14:29: "node.fileSystems" has ext4 twice"#,
        r#"f.yaml:15:15: "node.kubeletDir": "../kubelet" is no absolute path without"#,
        r#"f.yaml:17:3: "backends": "A" is no back-end name"#,
        r#"f.yaml:17:30: "backends.A.directory": "data" is no absolute path"#,
        r#"f.yaml:18:13: kind "swift" is not built in; known: cinder, file"#,
        r#"f.yaml:19:43: the key "backends.c.limits.perserver" is not known (did you mean "perServer"?)"#,
        r#"f.yaml:19:66: "backends.c.limits.volumes": "-1" is no whole number"#,
        r#"f.yaml:19:77: "backends.c.limits.bytes": "ten" is no size"#,
        r#"f.yaml:19:95: "backends.c.thinFactor": "0.5" is no number from 1.0 to 1000"#,
        r#"f.yaml:20:6: "backends.d.kind" is missing; known: cinder, file"#,
        r#"f.yaml:21:6: "backends.e" must be a mapping of keys to values, not a list"#,
        r#"f.yaml:22:6: "backends.f.directory" is missing"#,
        r#"f.yaml:23:3: the back ends "c" and "g" have the same directory"#,
    ];
    for (found, wanted) in found.iter().zip(wanted) {
        assert!(found.starts_with(wanted), "\nfound  {found}\nwanted {wanted}");
    }
    assert_eq!(found.len(), wanted.len(), "{found:#?}");
}

#[test]
fn each_fault_of_the_document_itself_is_told() {
    let table: [(&str, &[&str]); 16] = [
        ("", &["f.yaml: is empty"]),
        ("# nothing\n", &["f.yaml: is empty"]),
        ("~", &["f.yaml:1:1: the file must be a mapping of keys to values, not nothing"]),
        ("- a\n", &["f.yaml:1:1: the file must be a mapping of keys to values, not a list"]),
        ("driverName: x\n", &["f.yaml:1:1: \"backends\" is missing: configure at least one back end"]),
        ("backends: {}\n", &["f.yaml:1:11: \"backends\" is empty: configure at least one back end"]),
        ("backends:\n", &["f.yaml:1:9: \"backends\" has no value: give it one"]),
        (
            "backends: here\n",
            &["f.yaml:1:11: \"backends\" must be a mapping of keys to values, not \"here\""],
        ),
        ("a: [1\nb: 2\n", &["f.yaml:2:"]),
        ("a: \"open\n", &["f.yaml:"]),
        (
            "backends: &b {here: {kind: file, directory: /d}}\n",
            &["f.yaml:1:11: an anchor (&) is not supported"],
        ),
        ("backends: !x {here: {kind: file, directory: /d}}\n", &["f.yaml:1:11: a tag (!) is not supported"]),
        (
            "backends: {here: {kind: file, directory: /d}}\n---\na: 1\n",
            &["f.yaml:2:1: a second document begins here"],
        ),
        (
            "backends: {here: {kind: file, directory: /d}}\n[a]: 1\n",
            &["f.yaml:2:1: a key must be a plain word"],
        ),
        (
            "driverName: [csi]\nbackends: {here: {kind: file, directory: /d}}\n",
            &["f.yaml:1:13: \"driverName\" must be a text, not a list"],
        ),
        (
            "node: {maxVolumes: '3'}\nbackends: {here: {kind: file, directory: /d}}\n",
            &["f.yaml:1:20: \"node.maxVolumes\" must be a number, not the quoted text \"3\""],
        ),
    ];
    for (text, wanted) in table {
        let found = faults(text);
        assert_eq!(found.len(), wanted.len(), "{text:?}: {found:#?}");
        for (found, wanted) in found.iter().zip(wanted) {
            assert!(found.starts_with(wanted), "{text:?}\nfound  {found}\nwanted {wanted}");
        }
    }
}

#[test]
fn an_alias_is_refused_where_it_stands() {
    let found = faults(
        "node: {topology: &t {zone: a}}\nbackends: {here: {kind: file, directory: /d, topology: *t}}\n",
    );
    assert!(found.iter().any(|fault| fault.starts_with("f.yaml:2:56: an alias (*)")), "{found:#?}");
}

#[test]
fn size_depth_and_encoding_are_bounded() {
    let large = format!("{SMALLEST}# {}\n", "x".repeat(document::MAX_BYTES));
    assert_eq!(faults(&large), ["f.yaml: is larger than 256 KiB: this is no configuration"]);
    let deep = format!("a: {}{}", "[".repeat(40), "]".repeat(40));
    assert!(faults(&deep)[0].contains("nests deeper than 32 levels"), "{:?}", faults(&deep));
    assert_eq!(faults(&format!("a: {}", "[".repeat(100_000))).len(), 1);
    let bytes = b"a: 1\nb: \xff\n";
    let found = parse("f.yaml", bytes, &Overrides::default(), &Fake::default()).unwrap_err();
    assert_eq!(found[0].to_string(), "f.yaml:2:4: this is no UTF-8 text");
}

#[test]
fn a_file_that_cannot_be_read_is_one_fault() {
    let found = load(Path::new("/no/such/file"), &Overrides::default(), &Fake::default()).unwrap_err();
    assert!(found[0].to_string().starts_with("/no/such/file: cannot be read: "), "{found:?}");
    let found = load(Path::new("/"), &Overrides::default(), &Fake::default()).unwrap_err();
    assert_eq!(found[0].to_string(), "/: is no regular file: name the file itself");
}

#[test]
fn options_stand_above_the_file_and_the_file_above_the_environment() {
    let environment = Fake([("CSI_ENDPOINT", "unix:///env"), ("NODE_NAME", "env")].into_iter().collect());
    let read = |text: &str, overrides: &Overrides| {
        let config = parse("f.yaml", text.as_bytes(), overrides, &environment).unwrap();
        (config.endpoint.display().to_string(), config.node.name)
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    let none = Overrides::default();
    let file = format!("{SMALLEST}endpoint: unix:///file\nnode: {{name: file}}\n");
    assert_eq!(read(SMALLEST, &none), pair("/env", "env"));
    assert_eq!(read(&file, &none), pair("/file", "file"));
    let overrides = Overrides {
        endpoint: Some("unix:///option".to_owned()),
        node_name: Some("option".to_owned()),
        log_level: Some("trace".to_owned()),
        http: Some("off".to_owned()),
        kubelet_dir: Some("/option".to_owned()),
        server_ids: Vec::new(),
    };
    assert_eq!(read(&file, &overrides), pair("/option", "option"));
    let config = parse("f.yaml", file.as_bytes(), &overrides, &environment).unwrap();
    assert_eq!((config.log.level.level, config.http), (Level::Trace, None));
    assert_eq!(config.kubelet_dir.as_deref(), Some(Path::new("/option")));
}

#[test]
fn the_kubernetes_api_is_asked_where_there_is_one_unless_the_file_says_otherwise() {
    let pod = [("KUBERNETES_SERVICE_HOST", "fd00::1"), ("KUBERNETES_SERVICE_PORT", "443")];
    let access = |server: &str, credentials: &str, named| {
        Some(KubernetesAccess { server: server.to_owned(), credentials: PathBuf::from(credentials), named })
    };
    let (own, mounted) = ("https://[fd00::1]:443", "/var/run/secrets/kubernetes.io/serviceaccount");
    for (keys, variables, required, access) in [
        ("enabled: auto", 2, false, access(own, mounted, false)),
        ("enabled: auto", 1, false, None),
        ("enabled: auto", 0, false, None),
        ("enabled: true", 2, true, access(own, mounted, false)),
        ("enabled: \"true\"", 0, true, None),
        ("enabled: false, credentials: /k", 2, false, None),
        ("credentials: /k", 2, false, access(own, "/k", true)),
        ("credentials: /k", 0, false, None),
        ("server: \"http://localhost:8001\"", 2, false, access("http://localhost:8001", mounted, true)),
    ] {
        let environment = Fake(pod.into_iter().take(variables).collect());
        let text = format!("{SMALLEST}kubernetes: {{{keys}}}");
        let config = parse("f.yaml", text.as_bytes(), &Overrides::default(), &environment).unwrap();
        let refused = keys.contains("enabled: false");
        let wanted = KubernetesConfig { required, refused, access, pod: None };
        assert_eq!(config.kubernetes, wanted, "{keys} {variables}");
    }
    let told = [("POD_NAMESPACE", "storage"), ("POD_NAME", "fairlead-0"), ("POD_UID", "u-1")];
    for (count, wanted) in [(3, true), (2, false)] {
        let environment = Fake(pod.into_iter().chain(told.into_iter().take(count)).collect());
        let config = parse("f.yaml", SMALLEST.as_bytes(), &Overrides::default(), &environment).unwrap();
        let [namespace, name, uid] = told.map(|(_, value)| value.to_owned());
        assert_eq!(config.kubernetes.pod, wanted.then_some(Pod { namespace, name, uid }));
    }
    let found = faults(&format!(
        "{SMALLEST}kubernetes: {{enabled: yes, credentials: k, api: x, server: \"10.0.0.1\"}}"
    ));
    let wanted = [
        r#"f.yaml:2:23: "kubernetes.enabled": "yes" is neither auto nor true nor false"#,
        r#"f.yaml:2:41: "kubernetes.credentials": "k" is no absolute path"#,
        r#"f.yaml:2:44: the key "kubernetes.api" is not known"#,
        r#"f.yaml:2:60: "kubernetes.server": "10.0.0.1" is no API server: use https://<host>:<port>"#,
    ];
    assert_eq!(found.len(), wanted.len(), "{found:#?}");
    for (found, wanted) in found.iter().zip(wanted) {
        assert!(found.starts_with(wanted), "\nfound  {found}\nwanted {wanted}");
    }
    for bad in ["", "https://", "https://:1", "ftp://a", "https://a/b", "https://u@a", "https://a?b"] {
        assert!(values::api_server(bad).is_err(), "{bad}");
    }
}

#[test]
fn faults_from_outside_the_file_name_their_origin() {
    let environment = Fake([("CSI_ENDPOINT", "tcp://x"), ("NODE_NAME", "a b")].into_iter().collect());
    let overrides = Overrides { http: Some("9810".to_owned()), ..Overrides::default() };
    let found = parse("f.yaml", SMALLEST.as_bytes(), &overrides, &environment).unwrap_err();
    let found: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(found[0].starts_with("environment variable CSI_ENDPOINT: \"tcp://x\" is no endpoint"));
    assert!(found[1].starts_with("environment variable NODE_NAME: \"a b\" is no node id"));
    assert!(found[2].starts_with("option --http: \"9810\" is no address"));
}

#[test]
fn endpoints_are_absolute_unix_paths_that_fit() {
    let fits = format!("unix:///{}", "x".repeat(106));
    let long = format!("unix:///{}", "x".repeat(107));
    for good in ["unix:///a", "unix:/a/b", &fits] {
        assert!(values::endpoint(good).is_ok(), "{good}");
    }
    for bad in ["", "/a", "unix://a/b", "unix://", "unix:///", "unix:///a/../b", "tcp://h:1", &long] {
        assert!(values::endpoint(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_kubelet_directory_leaves_room_for_the_registration_socket() {
    let read = |directory: &str, driver: &str| values::kubelet_directory(directory, driver);
    assert_eq!(read("/var/lib/kubelet/", "a.b"), Ok(PathBuf::from("/var/lib/kubelet")));
    let longest = format!("/{}", "x".repeat(107 - "/plugins_registry/a-reg.sock".len() - 1));
    assert!(read(&longest, "a").is_ok());
    let text = read(&longest, "ab").unwrap_err();
    assert!(text.contains("/plugins_registry/ab-reg.sock has 108 bytes: Linux allows 107"), "{text}");
    for bad in ["", "kubelet", "/var/../kubelet"] {
        assert!(read(bad, "a").unwrap_err().contains("is no absolute path"), "{bad}");
    }
    let overrides = Overrides { kubelet_dir: Some("kubelet".to_owned()), ..Overrides::default() };
    let found = parse("f.yaml", SMALLEST.as_bytes(), &overrides, &Fake::default()).unwrap_err();
    assert!(found[0].to_string().starts_with("option --kubelet-dir: \"kubelet\" is no absolute path"));
    // The default name counts where the file has none.
    let long = format!("/{}", "x".repeat(80));
    let found = faults(&format!("{SMALLEST}node: {{kubeletDir: {long}}}\n"));
    assert!(
        found[0].starts_with("f.yaml:2:20: \"node.kubeletDir\": the registration socket /x"),
        "{found:?}"
    );
    assert!(found[0].contains("/plugins_registry/csi.fairlead.dev-reg.sock has 124 bytes"), "{found:?}");
}

#[test]
fn driver_names_have_letters_at_both_ends() {
    let longest = "x".repeat(63);
    for good in ["csi.fairlead.dev", "ab", "a-B_c.d", &longest] {
        assert!(values::driver_name(good).is_ok(), "{good}");
    }
    let long = "x".repeat(64);
    for bad in ["", "1a", "a1", ".a", "a.", "a/b", "a b", "ä", &long] {
        assert!(values::driver_name(bad).is_err(), "{bad}");
    }
}

#[test]
fn times_and_log_levels_are_read_strictly() {
    assert_eq!(values::duration("30"), Ok(Duration::from_secs(30)));
    assert_eq!(values::duration("5m"), Ok(Duration::from_secs(300)));
    assert_eq!(values::duration("24h"), Ok(Duration::from_secs(86_400)));
    for bad in ["", "s", "-1", "1.5s", "25h", "1d", "99999999999999999999", "18446744073709551615h", "+5"] {
        assert!(values::duration(bad).is_err(), "{bad}");
    }
    let filter: LogFilter = "fairlead::node=trace, warn".parse().unwrap();
    assert_eq!(filter.to_string(), "warn,fairlead::node=trace");
    for bad in ["", "info,debug", "x", "x=", "=info", "a=info,a=warn", "a b=info", "INFO"] {
        assert!(bad.parse::<LogFilter>().is_err(), "{bad}");
    }
}

#[test]
fn differences_name_what_needs_a_restart() {
    let old = good(SMALLEST);
    assert_eq!(old.differences(&good(&format!("{SMALLEST}log: {{level: debug}}\n"))), [""; 0]);
    let new = good(
        "http: off\ngracePeriod: 1\nkubernetes: {enabled: true}\nbackends: {here: {kind: file, directory: /other}}\n",
    );
    assert_eq!(old.differences(&new), ["http", "gracePeriod", "kubernetes", "backends"]);
    let new = good(&format!("{SMALLEST}foreign: here\nnode: {{fileSystems: []}}\nlog: {{format: text}}\n"));
    assert_eq!(old.differences(&new), ["log.format", "foreign", "node"]);
}

#[test]
fn the_example_is_good_and_says_the_defaults() {
    let example = good(include_str!("../../docs/fairlead.example.yaml"));
    let default = good(SMALLEST);
    assert_eq!(example.differences(&default), ["node", "backends"]);
    assert_eq!(example.log, default.log);
}

#[test]
fn a_cloud_is_configured_without_its_credentials_being_there() {
    use crate::backend::cinder::CinderConfig;
    use crate::backend::cinder::config::{Interface, Source};
    let cinder = |keys: &str| {
        let text = format!("backends: {{east: {{kind: cinder{keys}}}}}\n");
        match good(&text).backends.remove(0).1 {
            BackendConfig::Cinder(config) => *config,
            other => panic!("{other:?}"),
        }
    };
    let default = Source::Clouds { file: PathBuf::from("/etc/openstack/clouds.yaml"), cloud: None };
    assert_eq!(cinder(""), CinderConfig::new(default));
    let all = cinder(
        ", cloudsFile: /no/such/file, cloud: c, region: r, interface: internalURL, clusterId: prod, namePrefix: p-, \
         ignoreVolumeAZ: true, topologyKey: example.org/zone, type: fast, availability: az1, \
         limits: {perServer: 14, volumes: 50, bytes: 10TiB, sizes: {min: 75GiB, max: 1TiB, default: 100GiB}}, \
         rates: {read: {perSecond: 0.5, burst: 3}, write: {burst: 1}}",
    );
    assert_eq!(
        all.source,
        Source::Clouds { file: PathBuf::from("/no/such/file"), cloud: Some("c".to_owned()) }
    );
    assert_eq!(all.choice.interface, Some(Interface::Internal));
    assert_eq!(
        (all.per_server, all.max_volumes, all.max_bytes),
        (Some(14), Some(50), Some(Bytes::gib(10 << 10)))
    );
    assert_eq!(
        (all.sizes(None).min, all.sizes(None).default, all.sizes(None).step),
        (Bytes::gib(75), Bytes::gib(100), Bytes::gib(1))
    );
    assert_eq!((all.rates.read.per_second, all.rates.read.burst, all.rates.write.per_second), (0.5, 3, 25.0));
    assert!(all.ignore_volume_az && all.zone_key.as_deref() == Some("example.org/zone"));
    let files = vec![PathBuf::from("/a"), PathBuf::from("/b")];
    assert_eq!(cinder(", cloudConfFile: [/a, /b]").source, Source::Conf { files, cloud: None });
    assert!(matches!(cinder(", cloudConfFile: /a").source, Source::Conf { .. }));
    assert!(matches!(cinder(", environment: true").source, Source::Environment(_)));
}

#[test]
fn a_kind_of_cloud_brings_its_own_defaults() {
    use crate::backend::cinder::dialect::Dialect;
    let cinder = |text: &str| match good(text).backends.remove(0).1 {
        BackendConfig::Cinder(config) => *config,
        other => panic!("{other:?}"),
    };
    let example = cinder(include_str!("../../docs/rackspace.example.yaml"));
    let plain = cinder("backends: {dfw: {kind: cinder, dialect: rackspace}}");
    for config in [&example, &plain] {
        assert_eq!(config.dialect, Dialect::RACKSPACE);
        assert!(config.ignore_volume_az, "there are no zones");
        for (name, least) in [("SATA", 75), ("SSD", 50)] {
            let sizes = config.sizes(Some(name));
            assert_eq!(
                (sizes.min, sizes.max, sizes.default),
                (Bytes::gib(least), Bytes::gib(1024), sizes.min)
            );
        }
        assert_eq!(config.sizes(Some("other")).min, Bytes::gib(75));
    }
    assert_eq!((plain.sizes(None).min, example.sizes(None).min), (Bytes::gib(75), Bytes::gib(50)));
    let own = cinder(
        "backends: {dfw: {kind: cinder, dialect: rackspace, ignoreVolumeAZ: false, limits: {sizes: {min: 5GiB, max: 20GiB}, \
         types: {SATA: {volumes: 7}, ssd-large: {bytes: 1TiB, sizes: {min: 50GiB, max: 100GiB}}}}}}",
    );
    assert!(own.ignore_volume_az);
    let sizes = |name| (own.sizes(Some(name)).min, own.sizes(Some(name)).default, own.sizes(Some(name)).max);
    let gib = |sizes: [u64; 3]| sizes.map(Bytes::gib).into();
    assert_eq!(sizes("SATA"), gib([5, 20, 20]));
    assert_eq!(sizes("ssd-large"), gib([50, 50, 100]));
    assert_eq!(own.types["SATA"].volumes, Some(7));
    assert_eq!(own.types["ssd-large"].bytes, Some(Bytes::gib(1024)));
    let found = faults(
        "backends: {a: {kind: cinder, dialect: rackspce}, b: {kind: cinder, limits: {types: {fast: {volumes: 3, size: 1}}}}}",
    );
    for part in
        ["use one of openstack, rackspace", "tells and holds its limits itself", "did you mean \"sizes\"?"]
    {
        assert!(found.iter().any(|fault| fault.contains(part)), "{part}: {found:?}");
    }
}

#[test]
fn every_fault_of_a_cloud_is_told() {
    let found = faults(
        "backends:
  east:
    kind: cinder
    cloudsFile: clouds.yaml
    cloudConfFile: /b
    environment: true
    cloud: x
    interface: outer
    clusterId: ''
    namePrefix: 'a b'
    ignoreVolumeAZ: maybe
    topologyKey: '/zone'
    perServer: 3
    limits: {perServer: 0, bytes: 0, sizes: {step: 1MiB, min: 4GiB, max: 2GiB}}
    rates: {read: {perSecond: 0}}
  west: {kind: cinder}
  wset: {kind: cinder}
  far: {kind: cindre}
",
    );
    let text = found.join("\n");
    for part in [
        "f.yaml:4:17: \"backends.east.cloudsFile\": \"clouds.yaml\" is no absolute path",
        "\"backends.east.cloudConfFile\" and \"backends.east.environment\" both say where the credentials are",
        "the environment names its own cloud",
        "\"outer\" is no interface",
        "\"\" names no cluster",
        "\"backends.east.namePrefix\"",
        "\"maybe\" is neither true nor false",
        "\"backends.east.topologyKey\"",
        "the key \"backends.east.perServer\" is not known",
        "\"backends.east.limits.perServer\"",
        "0 leaves no room",
        "1 MiB is no whole number of gibibytes",
        "min 4 GiB, default 4 GiB and max 2 GiB must follow each other",
        "\"0\" is no number of calls in a second",
        "the back ends \"west\" and \"wset\" have the same cloud and region",
        "did you mean \"cinder\"?",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert_eq!(found.len(), 16, "{text}");
}

/// The Secrets of two back ends may name two clouds by one entry, and one cloud too.
#[test]
fn two_back_ends_on_perhaps_one_cloud_are_told_of() {
    let doubts = |east: &str, west: &str| {
        good(&format!("backends: {{east: {{kind: cinder{east}}}, west: {{kind: cinder{west}}}}}")).doubts()
    };
    let found = doubts(", cloudsFile: /a, region: r", ", cloudsFile: /b, region: r");
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("the back ends \"east\" and \"west\" have credentials of different files"));
    assert_eq!(doubts(", cloudConfFile: /a", ", cloudConfFile: [/a, /b]").len(), 1);
    for (east, west) in [
        (", cloudsFile: /a, cloud: e", ", cloudsFile: /b, cloud: w"),
        (", cloudsFile: /a, region: e", ", cloudsFile: /b, region: w"),
        (", cloudsFile: /a, clusterId: e", ", cloudsFile: /b, clusterId: w"),
        (", cloudsFile: /a", ", environment: true"),
    ] {
        assert_eq!(doubts(east, west), [""; 0], "{east} {west}");
    }
}

#[test]
fn what_the_nodes_of_a_cloud_read_is_checked() {
    use crate::backend::cinder::connector::settings::Source;
    const SERVER: &str = "8C1E7A52-0f2d-4c3b-9a51-6d2f1e0b7c44";
    let text = format!(
        "backends: {{east: {{kind: cinder, node: {{server: {SERVER}, zone: az1, sources: [metadata, dmi], byId: /by-id, \
         metadataUrl: 'http://10.0.0.1/x'}}}}}}\n"
    );
    let BackendConfig::Cinder(config) = good(&text).backends.remove(0).1 else { panic!() };
    assert_eq!(config.node.server, Some(SERVER.to_lowercase()));
    assert_eq!(config.node.sources, [Source::Metadata, Source::Dmi]);
    assert_eq!(
        (config.node.zone.as_deref(), config.node.by_id.as_deref()),
        (Some("az1"), Some(Path::new("/by-id")))
    );
    assert_eq!(config.node.metadata_url, "http://10.0.0.1/x");
    let found = faults(
        "backends: {east: {kind: cinder, node: {server: x17, sources: [dmi, bios, dmi], byId: x, metadataUrl: 'https://x', zne: a}}}\n",
    );
    let text = found.join("\n");
    for part in [
        "\"x17\" is no id of a server",
        "\"bios\" is no source of a server's identity: known are dmi, configDrive, metadata",
        "\"backends.east.node.sources\" has dmi twice",
        "\"backends.east.node.byId\"",
        "\"https://x\" is no URL that begins with http://",
        "\"backends.east.node.zne\" is not known",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
}

#[test]
fn the_nodes_of_a_cloud_with_numbers_have_numbers() {
    use crate::backend::cinder::dialect::Dialect;
    let read = |server: &str| {
        let text =
            format!("backends: {{sky: {{kind: cinder, dialect: cyclades, node: {{server: {server}}}}}}}\n");
        let BackendConfig::Cinder(config) = good(&text).backends.remove(0).1 else { panic!() };
        config
    };
    for server in ["42", "'42'"] {
        let config = read(server);
        assert_eq!((config.dialect, config.node.server.as_deref()), (Dialect::CYCLADES, Some("42")));
        assert_eq!(config.sizes(None).max, Bytes::gib(200));
    }
    let example = good(include_str!("../../docs/cyclades.example.yaml"));
    let BackendConfig::Cinder(config) = &example.backends[0].1 else { panic!() };
    assert_eq!((config.dialect, config.volume_type.as_deref()), (Dialect::CYCLADES, Some("archipelago")));
    let found = faults(
        "backends: {sky: {kind: cinder, dialect: cyclades, node: {server: snf-42}}, moon: {kind: cinder, dialect: klingon}}\n",
    );
    let text = found.join("\n");
    for part in
        ["\"snf-42\" is no id of a server: those of Cyclades are whole numbers", "\"klingon\"", "cyclades"]
    {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
}

fn storpool(keys: &str) -> StorpoolConfig {
    let text = format!("backends: {{fast: {{kind: storpool{keys}}}}}\n");
    match good(&text).backends.remove(0).1 {
        BackendConfig::Storpool(config) => *config,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_storpool_cluster_is_configured_without_its_token_being_there() {
    assert_eq!(storpool(""), StorpoolConfig::default(), "the hosts' own configuration names all else");
    let all = storpool(
        ", endpoint: ['http://10.0.0.1:81', 'https://sp.example'], tokenFile: /t, caFile: /ca, confFile: /c, \
         multiCluster: false, template: nvme, clusterId: prod, namePrefix: k8s-, attachTimeout: 20, \
         deleteAfter: 3600, limits: {perServer: 14, volumes: 50, bytes: 10TiB}, topology: {example.org/zone: z1}, \
         iscsi: {portalGroup: pg.1, nodes: all, multipath: true, hostRoot: /host}, \
         node: {clientId: 12, clusterId: D.n, byId: /byid, byName: /byname}",
    );
    let iscsi = all.iscsi.unwrap();
    assert_eq!((iscsi.portal_group.as_str(), iscsi.nodes, iscsi.multipath), ("pg.1", Served::All, true));
    assert_eq!(iscsi.host_root, Path::new("/host"));
    assert_eq!(storpool(", iscsi: {portalGroup: pg}").iscsi, Some(IscsiSettings::new("pg")));
    assert_eq!(all.endpoints, ["http://10.0.0.1:81", "https://sp.example"]);
    assert_eq!((all.template.as_deref(), all.cluster.as_str()), (Some("nvme"), "prod"));
    assert_eq!((all.prefix.to_string().as_str(), all.attach_timeout.as_secs()), ("k8s-", 20));
    assert_eq!(all.delete_after.map(|after| after.as_secs()), Some(3600));
    assert_eq!((all.per_server, all.max_volumes), (Some(14), Some(50)));
    assert_eq!((all.node.client, all.node.cluster_id.as_deref()), (Some(12), Some("d.n")));
    assert!(!all.multi_cluster && all.reach.0["example.org/zone"] == "z1");
    assert!(storpool(", multiCluster: true").multi_cluster);
    assert_eq!(storpool(", endpoint: 'http://10.0.0.1:81'").endpoints.len(), 1);
}

#[test]
fn every_fault_of_a_storpool_cluster_is_told() {
    let text = faults(
        "backends:
  fast:
    kind: storpool
    endpoint: [sp.example, 'http://user@host']
    tokenFile: token
    template: a b
    clusterId: ''
    namePrefix: a.b
    attachTimeout: 0
    multiCluster: perhaps
    iscsi: {nodes: some, hostRoot: host, portals: 3}
    node: {clientId: 4096, clusterId: d, byId: x, client: 3}
  both: {kind: storpool, clusterId: other, multiCluster: true, iscsi: {portalGroup: pg}}
  slow: {kind: storpool}
  slwo: {kind: storpool}
  far: {kind: storpol}
",
    )
    .join("\n");
    for part in [
        "f.yaml:4:16: \"backends.fast.endpoint\": \"sp.example\" is no management address",
        "\"http://user@host\" is no management address",
        "\"backends.fast.tokenFile\": \"token\" is no absolute path",
        "\"backends.fast.template\": \"a b\" is no name in StorPool",
        "\"backends.fast.clusterId\": \"\" names no cluster",
        "\"backends.fast.namePrefix\": \"a.b\" is no prefix",
        "\"backends.fast.attachTimeout\"",
        "\"perhaps\" is neither true nor false",
        "\"backends.fast.iscsi.portalGroup\" is missing",
        "\"some\" names no nodes: use withoutBlock or all",
        "\"host\" is no absolute path",
        "\"backends.fast.iscsi.portals\" is not known",
        "\"backends.fast.node.clientId\"",
        "\"d\" is no id of a StorPool cluster",
        "\"backends.fast.node.client\" is not known (did you mean \"clientId\"?)",
        "\"fast\" and \"slow\" have the same cluster, \"clusterId\" and \"namePrefix\"",
        "\"backends.both.iscsi\" and \"backends.both.multiCluster\" do not go together",
        "kind \"storpol\" is not built in (did you mean \"storpool\"?)",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn storpool_back_ends_that_share_a_cluster_know_each_others_prefixes() {
    let siblings = |one: &str, other: &str| -> Vec<Vec<String>> {
        let text = format!(
            "backends: {{one: {{kind: storpool, namePrefix: a-{one}}}, other: {{kind: storpool, namePrefix: b-{other}}}}}"
        );
        let prefixes = |backend: &BackendConfig| match backend {
            BackendConfig::Storpool(config) => config.siblings.iter().map(ToString::to_string).collect(),
            _ => Vec::new(),
        };
        good(&text).backends.iter().map(|(_, backend)| prefixes(backend)).collect()
    };
    assert_eq!(siblings("", ""), [["b-"], ["a-"]]);
    let same = ", endpoint: [http://h:81, http://i:81]";
    assert_eq!(siblings(same, ", endpoint: http://i:81, confFile: /other"), [["b-"], ["a-"]]);
    for (one, other) in
        [(", clusterId: a", ", clusterId: b"), (same, ", endpoint: http://j:81"), ("", ", confFile: /other")]
    {
        assert_eq!(siblings(one, other), [[""; 0]; 2], "{one} {other}");
    }
    let nested =
        faults("backends: {a: {kind: storpool, namePrefix: k-}, b: {kind: storpool, namePrefix: k-b-}}");
    let told = "the back ends \"a\" and \"b\" have the same cluster and \"clusterId\", and one \"namePrefix\" begins \
                with the other: give each its own";
    assert!(nested.len() == 1 && nested[0].ends_with(told), "{nested:?}");
}
