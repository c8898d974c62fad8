//! Files that are made from the chart.

use std::path::Path;

use libtest_mimic::Failed;

use crate::helm::{ROOT, Tools, value_sets};

const HEADER: &str = "\
# Fairlead for `kubectl apply --filename`, without Helm. Generated from charts/fairlead with manifests/values.yaml by
# `make manifests`: change those, not this file. See manifests/README.md.
apiVersion: v1
kind: Namespace
metadata:
  name: fairlead
  labels:
    # The node's pods are privileged: Kubernetes lets only such a container show its mounts to the host.
    pod-security.kubernetes.io/enforce: privileged
";

/// Holds a file against what it should be, or writes it where UPDATE is set.
pub fn same(path: &str, wanted: &str) -> Result<(), Failed> {
    let file = Path::new(ROOT).join(path);
    if std::env::var("UPDATE").is_ok_and(|update| update == "1") {
        return Ok(std::fs::write(file, wanted)?);
    }
    let found =
        std::fs::read_to_string(file).map_err(|error| format!("{path}: {error}; write it with UPDATE=1"))?;
    if found == wanted {
        return Ok(());
    }
    let pairs = found.lines().chain([""]).zip(wanted.lines().chain([""])).enumerate();
    let (at, (old, new)) = pairs.into_iter().find(|(_, (old, new))| old != new).unwrap_or_default();
    Err(format!("{path} is not up to date from line {}:\n- {old}\n+ {new}\nwrite it with UPDATE=1", at + 1)
        .into())
}

/// Each value set, rendered alike by both.
pub fn golden(tools: &Tools) -> Result<(), Failed> {
    for values in value_sets().iter().filter(|path| !path.starts_with("manifests/")) {
        let old = tools.try_render("helm3", values, &[])?;
        let new = tools.try_render("helm4", values, &[])?;
        if old != new {
            let differs = old.lines().zip(new.lines()).find(|(old, new)| old != new);
            return Err(format!("with {values} Helm 3 and Helm 4 differ: {differs:?}").into());
        }
        let name = values.trim_start_matches("tests/").replace("chart/values/", "").replace('/', "-");
        same(&format!("tests/chart/golden/{name}"), &new)?;
    }
    Ok(())
}

pub fn manifests(tools: &Tools) -> Result<(), Failed> {
    let rendered = tools.render("manifests/values.yaml", &["--skip-tests"])?;
    let of_helm = ["# Source: ", "helm.sh/chart: ", "app.kubernetes.io/managed-by: Helm"];
    let lines =
        rendered.lines().filter(|line| !of_helm.iter().any(|mark| line.trim_start().starts_with(mark)));
    let text = lines.map(|line| format!("{line}\n")).collect::<String>();
    same("manifests/fairlead.yaml", &format!("{HEADER}{text}"))
}
