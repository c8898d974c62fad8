//! Rendered objects held against Kubernetes' own description of them.

use std::path::Path;

use libtest_mimic::Failed;
use serde_json::{Value, json};

use crate::documents::{list, name, parse, text};
use crate::helm::{EVERYTHING, Tools, value_sets};
use crate::schemas;

/// Kinds of the Prometheus operator, whose description is not in Kubernetes'.
const FOREIGN: [&str; 2] = ["PodMonitor", "PrometheusRule"];

/// What kubeconform says of objects, for one release of Kubernetes.
fn judge(tools: &Tools, version: &str, objects: &[Value]) -> Result<Value, Failed> {
    let directory = tempfile::tempdir()?;
    schemas::write(tools, version, objects, directory.path())?;
    let file = directory.path().join("objects.yaml");
    // JSON is YAML.
    let all: Vec<_> = objects.iter().map(|object| format!("---\n{object}\n")).collect();
    std::fs::write(&file, all.concat())?;
    let schemas = format!("{}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json", directory.path().display());
    let foreign = FOREIGN.join(",");
    let arguments = [
        "-strict",
        "-summary",
        "-verbose",
        "-output",
        "json",
        "-kubernetes-version",
        version,
        "-skip",
        &foreign,
    ];
    let mut arguments = arguments.to_vec();
    let file = file.display().to_string();
    arguments.extend(["-schema-location", &schemas, &file]);
    let output = tools.run("kubeconform", &arguments);
    serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("kubeconform: {error}: {}", String::from_utf8_lossy(&output.stderr)).into())
}

/// The releases of which there is a description.
fn versions(tools: &Tools) -> Vec<String> {
    let files = std::fs::read_dir(tools.path("kubernetes")).unwrap();
    let name = |path: &Path| path.file_stem().unwrap().display().to_string();
    let mut versions: Vec<_> = files.map(|file| name(&file.unwrap().path())).collect();
    versions.sort();
    versions
}

pub fn takes_all(tools: &Tools) -> Result<(), Failed> {
    let versions = versions(tools);
    let minors: Vec<_> = versions.iter().map(|version| version.rsplit_once('.').unwrap().0).collect();
    assert_eq!(minors, ["1.34", "1.35", "1.36"]);
    for version in &versions {
        for values in value_sets() {
            let objects = parse(&tools.render(&values, &[])?);
            let foreign = objects.iter().filter(|object| FOREIGN.contains(&text(object, "/kind"))).count();
            if foreign > 0 {
                eprintln!(
                    "kubeconform {version}, {values}: {foreign} objects skipped: {}",
                    FOREIGN.join(", ")
                );
            }
            let verdict = judge(tools, version, &objects)?;
            let counts =
                ["valid", "invalid", "errors", "skipped"].map(|key| verdict["summary"][key].as_u64());
            let wanted = [objects.len() - foreign, 0, 0, foreign].map(|count| u64::try_from(count).ok());
            if counts != wanted {
                let bad = list(&verdict, "/resources")
                    .iter()
                    .filter(|found| !matches!(text(found, "/status"), "statusValid" | "statusSkipped"));
                let bad: Vec<_> = bad
                    .map(|found| {
                        format!(
                            "  {} {}: {}",
                            text(found, "/kind"),
                            text(found, "/name"),
                            text(found, "/msg")
                        )
                    })
                    .collect();
                return Err(format!(
                    "Kubernetes {version} with {values}: {}\n{}",
                    verdict["summary"],
                    bad.join("\n")
                )
                .into());
            }
        }
    }
    Ok(())
}

/// The check above is worth nothing if it cannot fail.
pub fn refuses_wrong(tools: &Tools) -> Result<(), Failed> {
    let changes: [(&str, &str, Value); 6] = [
        ("Deployment", "/spec/replicas", json!("two")),
        ("Deployment", "/spec/template/spec/containers/0/imagePolicy", json!("Always")),
        ("DaemonSet", "/spec/updateStrategy/rollingUpdate/maxUnavailable", json!([])),
        ("CSIDriver", "/spec/seLinuxMounts", json!(true)),
        ("VolumeSnapshotClass", "/deletionPolicy", json!("Perhaps")),
        ("VolumeGroupSnapshotClass", "/drivers", json!("x")),
    ];
    let objects = parse(&tools.render(EVERYTHING, &[])?);
    for version in versions(tools) {
        for (kind, pointer, wrong) in &changes {
            let mut object = objects.iter().find(|object| text(object, "/kind") == *kind).unwrap().clone();
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            object.pointer_mut(parent).unwrap()[key] = wrong.clone();
            let verdict = judge(tools, &version, std::slice::from_ref(&object))?;
            if verdict["summary"]["invalid"] != 1 {
                return Err(format!("{version} takes {} with {pointer}: {wrong}", name(&object)).into());
            }
        }
    }
    Ok(())
}
