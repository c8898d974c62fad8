//! An operator's commands, as they are typed. Needs no root: it makes and removes volumes of the `file` back end.

#![allow(clippy::disallowed_methods, reason = "a test starts the binary itself, without a shell between")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};

struct Place {
    config: PathBuf,
    _directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (root, config) = (directory.path().display(), directory.path().join("c.yaml"));
        let backend = |name: &str| format!("  {name}: {{kind: file, directory: {root}/{name}}}\n");
        let text = format!(
            "endpoint: unix://{root}/s\nlog: {{level: debug}}\nkubernetes: {{enabled: auto}}\nbackends:\n{}{}",
            backend("here"),
            backend("lost")
        );
        std::fs::write(&config, text).unwrap();
        std::fs::create_dir(directory.path().join("here")).unwrap();
        Self { config, _directory: directory }
    }

    /// From now on it is said that there is none.
    fn without_kubernetes(&self) {
        let text = std::fs::read_to_string(&self.config).unwrap();
        let said = text.replace("enabled: auto", "enabled: false");
        assert_ne!(said, text);
        std::fs::write(&self.config, said).unwrap();
    }

    fn run(&self, line: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fairlead"));
        command.args(line.split(' ')).arg("--config").arg(&self.config).env_clear();
        command.output().unwrap()
    }

    fn json(&self, line: &str) -> Value {
        let output = self.run(&format!("{line} --output json"));
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn refused(&self, line: &str, code: i32) -> String {
        let output = self.run(line);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{line}: {text}");
        assert!(output.stdout.is_empty(), "{line}");
        text
    }
}

#[test]
fn a_volume_is_made_once_told_of_and_removed() {
    let place = Place::new();
    let create = "volume create disk --size 1GiB --backend here";
    std::fs::create_dir(place.config.with_file_name("lost")).unwrap();
    let made = place.json(create);
    assert_eq!(
        (&made["id"], &made["bytes"], &made["content"]),
        (&json!("here/disk"), &json!(1 << 30), &json!("new"))
    );
    assert_eq!(place.json(create), made);
    assert!(place.refused("volume create disk --size 2GiB --backend here", 1).contains("another size"));
    let copy = place.json("volume create copy --size 1GiB --backend here --from-volume here/disk");
    assert_eq!((&copy["content"], &copy["source"]), (&json!("data"), &json!({"volume": "disk"})));
    let listed = place.json("volume list");
    let ids: Vec<_> = listed.as_array().unwrap().iter().map(|volume| &volume["id"]).collect();
    assert_eq!(ids, ["here/copy", "here/disk"]);
    assert_eq!(place.json("volume list --backend lost"), json!([]));
    let inspected = place.json("volume inspect here/disk");
    assert_eq!((&inspected["faults"], &inspected["kubernetes"]), (&json!([]), &Value::Null));
    let table = place.run("volume list");
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.starts_with("ID         NAME  SIZE   ATTACHED TO  PERSISTENT VOLUME  CLAIM\n"), "{table}");
    assert!(place.refused("volume remove here/disk", 1).contains("no Kubernetes API is configured here"));
    place.without_kubernetes();
    assert_eq!(place.json("volume remove here/disk"), json!({"removed": "here/disk"}));
    assert!(place.refused("volume info here/disk", 1).contains("volume=disk, backend=here"));
    assert!(place.refused("volume remove here/disk", 1).contains("volume=disk, backend=here"));
}

#[test]
fn only_the_back_end_that_is_meant_has_to_be_there() {
    let place = Place::new();
    let text = place.refused("volume list", 1);
    assert!(text.contains("back end lost cannot be used (--backend leaves it out)"), "{text}");
    assert_eq!(place.json("volume list --backend here"), json!([]));
    assert!(place.refused("volume list --backend other", 1).contains("other"));
}

#[test]
fn a_bad_line_a_bad_file_and_no_cluster_are_told_apart() {
    let place = Place::new();
    place.refused("volume create disk --size big", 64);
    place.refused("volume create disk --size 1GiB --parameter noequals", 64);
    std::fs::create_dir(place.config.with_file_name("lost")).unwrap();
    assert!(place.refused("reconcile", 1).contains("no Kubernetes API is configured"));
    assert!(
        place
            .refused("volume create disk --size 1GiB --backend here --parameter colour=red", 1)
            .contains("colour")
    );
    std::fs::write(&place.config, "backends: {}\n").unwrap();
    place.refused("volume list", 2);
}
