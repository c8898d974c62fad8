//! What must be so in every release, whatever its values.

use std::path::Path;
use std::process::Command;

use libtest_mimic::Failed;
use serde_json::{Value, json};

use crate::documents::{list, name, of_kind, parse, text};
use crate::helm::{EVERYTHING, MINIMAL, ROOT, Tools, value_sets};

/// Fails with what is wrong, if anything is.
pub fn verdict(wrong: Vec<String>) -> Result<(), Failed> {
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

pub fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(ROOT).join(path)).unwrap()
}

/// Each rule says who needs it, and none is wider than a reason could be.
pub fn permissions(tools: &Tools) -> Result<(), Failed> {
    let mut wrong = Vec::new();
    let source = read("charts/fairlead/templates/rbac.yaml");
    let lines: Vec<_> = source.lines().collect();
    let rules: Vec<_> = (1..lines.len()).filter(|at| lines[*at].starts_with("  - apiGroups:")).collect();
    wrong.extend(
        rules
            .iter()
            .filter(|at| !lines[**at - 1].starts_with("  # "))
            .map(|at| format!("rbac.yaml:{}: no reason", at + 1)),
    );
    let objects = parse(&tools.render(EVERYTHING, &[])?);
    let roles: Vec<_> = ["ClusterRole", "Role"].iter().flat_map(|kind| of_kind(&objects, kind)).collect();
    let rendered: Vec<_> = roles.iter().flat_map(|role| list(role, "/rules")).collect();
    assert_eq!(rendered.len(), rules.len(), "all rules were looked at");
    for rule in rendered {
        let (resources, verbs) = (&rule["resources"], &rule["verbs"]);
        let all = rule.to_string().contains('*');
        let secrets = list(rule, "/resources").contains(&json!("secrets"));
        if all || secrets {
            wrong.push(format!("too much is allowed: {verbs} of {resources}"));
        }
    }
    // Without the sidecar, its permissions go.
    let bare = parse(&tools.render("tests/chart/values/bare.yaml", &[])?);
    let left = of_kind(&bare, "ClusterRole")
        .iter()
        .flat_map(|role| list(role, "/rules"))
        .any(|rule| rule.to_string().contains("snapshot"));
    if left {
        wrong.push("permissions for snapshots without a snapshotter".to_owned());
    }
    verdict(wrong)
}

/// What the driver says that it asks the API server for is allowed.
pub fn rights(tools: &Tools) -> Result<(), Failed> {
    let objects = parse(&tools.render(MINIMAL, &[])?);
    let role = of_kind(&objects, "ClusterRole")[0];
    let code = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let text = read("docs/kubernetes.md");
    let (_, table) = text.split_once("| API group |").ok_or("docs/kubernetes.md has no table of rights")?;
    let rows: Vec<_> = table.lines().skip(2).take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() > 3, "{rows:?}");
    let mut wrong = Vec::new();
    for row in rows {
        let cells: Vec<_> = row.split('|').map(code).collect();
        let group = cells[1][0].trim_matches('"');
        for verb in &cells[3] {
            let allowed = list(role, "/rules").iter().any(|rule| {
                let has = |key: &str, value: &str| list(rule, key).contains(&json!(value));
                has("/apiGroups", group) && has("/resources", &cells[2][0]) && has("/verbs", verb)
            });
            if !allowed {
                wrong.push(format!("{verb} is not allowed: {row}"));
            }
        }
    }
    verdict(wrong)
}

/// A Deployment, DaemonSet, PodDisruptionBudget or Service concerns the pods of one driver and one component.
pub fn selectors(tools: &Tools) -> Result<(), Failed> {
    let objects = parse(&tools.render(EVERYTHING, &[])?);
    let matches = |selector: &Value, labels: &Value| {
        selector.as_object().unwrap().iter().all(|(key, value)| labels.get(key) == Some(value))
    };
    let pods: Vec<_> = objects
        .iter()
        .filter(|object| object.pointer("/spec/template/metadata/labels").is_some())
        .map(|owner| (name(owner), &owner["spec"]["template"]["metadata"]["labels"]))
        .collect();
    assert_eq!(pods.len(), 4, "two drivers, each with a controller and nodes");
    let mut wrong = Vec::new();
    for object in &objects {
        let selector = match text(object, "/kind") {
            "Deployment" | "DaemonSet" | "PodDisruptionBudget" => &object["spec"]["selector"]["matchLabels"],
            "Service" => &object["spec"]["selector"],
            _ => continue,
        };
        let found: Vec<_> =
            pods.iter().filter(|(_, labels)| matches(selector, labels)).map(|(owner, _)| owner).collect();
        if found.len() != 1 {
            wrong.push(format!("{} selects the pods of {found:?}", name(object)));
        }
        if text(object, "/metadata/name").len() > 63 {
            wrong.push(format!("{} is too long a name", name(object)));
        }
    }
    verdict(wrong)
}

/// The pod template and its containers of everything of a kind, in every value set.
fn each_pod(tools: &Tools, kind: &str, mut look: impl FnMut(&str, &Value)) -> Result<(), Failed> {
    let mut seen = 0;
    for values in value_sets() {
        for owner in of_kind(&parse(&tools.render(&values, &[])?), kind) {
            seen += 1;
            look(&format!("{values}: {}", name(owner)), &owner["spec"]["template"]["spec"]);
        }
    }
    assert!(seen >= value_sets().len(), "only {seen} objects of the kind {kind}");
    Ok(())
}

pub fn node(tools: &Tools) -> Result<(), Failed> {
    let mut wrong = Vec::new();
    each_pod(tools, "DaemonSet", |owner, pod| {
        let containers = list(pod, "/containers");
        let mut must = |right: bool, what: &str| {
            if !right {
                wrong.push(format!("{owner}: {what}"));
            }
        };
        must(containers.len() == 1 && list(pod, "/initContainers").is_empty(), "one container");
        must(pod["automountServiceAccountToken"] == false, "no token");
        must(
            containers[0]["securityContext"]["readOnlyRootFilesystem"] == true,
            "a read-only root file system",
        );
        let mounts = list(&containers[0], "/volumeMounts");
        let shared: Vec<_> =
            mounts.iter().filter(|mount| mount["mountPropagation"] == "Bidirectional").collect();
        must(shared.len() == 2, "pods and plugins are shared with the host, nothing else");
        // A mount inside a shared one would show on the host and stay there.
        let inside = |mount: &Value| {
            shared.iter().any(|outer| {
                text(mount, "/mountPath").starts_with(&format!("{}/", text(outer, "/mountPath")))
            })
        };
        must(!mounts.iter().any(inside), "no mount inside a shared one");
        let hosts = list(pod, "/volumes").iter().filter(|volume| volume.get("hostPath").is_some());
        must(
            hosts.into_iter().all(|volume| !text(volume, "/hostPath/type").is_empty()),
            "host paths say what they must be",
        );
    })?;
    verdict(wrong)
}

pub fn controller(tools: &Tools) -> Result<(), Failed> {
    let mut wrong = Vec::new();
    each_pod(tools, "Deployment", |owner, pod| {
        for container in list(pod, "/containers") {
            let context = &container["securityContext"];
            let confined = context["capabilities"]["drop"] == json!(["ALL"])
                && context["allowPrivilegeEscalation"] == false
                && context["readOnlyRootFilesystem"] == true
                && context.get("runAsUser").is_none();
            if !confined {
                wrong.push(format!("{owner}: {}: {context}", container["name"]));
            }
        }
        if pod["securityContext"]["seccompProfile"]["type"] != "RuntimeDefault" || pod["hostNetwork"] == true
        {
            wrong.push(format!("{owner}: {}", pod["securityContext"]));
        }
    })?;
    // A kind without directories of its own needs no root. There is none yet, so the schema has to look away.
    let other = ["--skip-schema-validation", "--set", "backends.here.kind=other"];
    let objects = parse(&tools.render(MINIMAL, &other)?);
    let context = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"]["securityContext"];
    if context["runAsNonRoot"] != true || context["runAsUser"] != 65532 || context["fsGroup"] != 65532 {
        wrong.push(format!("without a file back end: {context}"));
    }
    verdict(wrong)
}

pub fn resources(tools: &Tools) -> Result<(), Failed> {
    let mut wrong = Vec::new();
    for kind in ["Deployment", "DaemonSet"] {
        each_pod(tools, kind, |owner, pod| {
            for container in list(pod, "/containers") {
                let resources = &container["resources"];
                let limited = resources.pointer("/limits/cpu").is_some();
                if limited || resources.pointer("/requests/memory").is_none() {
                    wrong.push(format!("{owner}: {}: {resources}", container["name"]));
                }
            }
        })?;
    }
    verdict(wrong)
}

/// The pods' templates, by owner.
fn templates(tools: &Tools, more: &[&str]) -> Result<Vec<(String, Value)>, Failed> {
    let objects = parse(&tools.render(MINIMAL, more)?);
    let owners = ["Deployment", "DaemonSet"].into_iter().flat_map(|kind| of_kind(&objects, kind));
    Ok(owners.map(|owner| (name(owner), owner["spec"]["template"].clone())).collect())
}

pub fn checksum(tools: &Tools) -> Result<(), Failed> {
    let before = templates(tools, &[])?;
    assert_eq!(before.len(), 2);
    if templates(tools, &["--set", "log.level=debug"])? != before {
        return Err("another log level restarts pods".into());
    }
    for setting in
        ["log.format=text", "backends.here.limits.perServer=3", "gracePeriod=26", "http.address=[::]"]
    {
        let after = templates(tools, &["--set", setting])?;
        if before.iter().zip(&after).any(|(before, after)| before == after) {
            return Err(format!("{setting} does not restart all pods").into());
        }
    }
    Ok(())
}

/// What an API server does not know is not sent to it.
pub fn versions(tools: &Tools) -> Result<(), Failed> {
    for (version, known) in [("1.30.0", false), ("1.32.9", false), ("1.33.0", true), ("v1.34.1-eks-1", true)]
    {
        let objects = parse(&tools.render(MINIMAL, &["--kube-version", version])?);
        let driver = of_kind(&objects, "CSIDriver")[0];
        if driver["spec"].get("nodeAllocatableUpdatePeriodSeconds").is_some() != known {
            return Err(format!("Kubernetes {version}: {}", driver["spec"]).into());
        }
    }
    Ok(())
}

/// A pod is not ready while one cloud is down: that must not keep nodes from being drained.
pub fn drains(tools: &Tools) -> Result<(), Failed> {
    let objects = parse(&tools.render(EVERYTHING, &[])?);
    let budgets = of_kind(&objects, "PodDisruptionBudget");
    assert!(!budgets.is_empty(), "there are budgets");
    let kept = |budget: &&&Value| text(budget, "/spec/unhealthyPodEvictionPolicy") != "AlwaysAllow";
    verdict(budgets.iter().filter(kept).map(|budget| name(budget)).collect())
}

/// What the driver says of a configuration, or its faults.
pub fn judged(config: &str) -> Result<String, String> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.yaml");
    std::fs::write(&file, config).unwrap();
    let mut driver = Command::new(env!("CARGO_BIN_EXE_fairlead"));
    let output =
        driver.arg("check-config").arg(&file).env_clear().env("NODE_NAME", "node-1").output().unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// Chart and driver know the same keys: every configuration that is rendered is judged by the driver itself.
pub fn configuration(tools: &Tools) -> Result<(), Failed> {
    let mut seen = 0;
    for values in value_sets() {
        for map in of_kind(&parse(&tools.render(&values, &[])?), "ConfigMap") {
            let config = text(map, "/data/config.yaml");
            if config.is_empty() {
                continue;
            }
            seen += 1;
            judged(config).map_err(|faults| format!("{values}: {}:\n{faults}{config}", name(map)))?;
        }
    }
    assert!(seen > value_sets().len(), "a configuration for each driver");
    Ok(())
}

pub fn notes(tools: &Tools) -> Result<(), Failed> {
    for (values, wanted) in [
        (
            EVERYTHING,
            &[
                "storageClassName: fast",
                "daemonset/fairlead-node\n",
                "daemonset/fairlead-there-fairlead-dev-node\n",
                "helm --namespace fairlead test fairlead",
                "no VolumeSnapshot CRDs",
            ][..],
        ),
        (MINIMAL, &["--set storageClasses.fairlead.backend=here", "deletes no volume"]),
    ] {
        let arguments = [
            "install",
            "fairlead",
            "charts/fairlead",
            "--namespace",
            "fairlead",
            "--dry-run=client",
            "--values",
            values,
        ];
        let output = tools.run("helm4", &arguments);
        let told = String::from_utf8_lossy(&output.stdout);
        let (_, told) = told.split_once("\nNOTES:\n").ok_or("no notes")?;
        if let Some(missing) = wanted.iter().find(|part| !told.contains(**part)) {
            return Err(format!("with {values} {missing:?} is not told:\n{told}").into());
        }
    }
    Ok(())
}
