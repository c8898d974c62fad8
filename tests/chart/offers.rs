//! What is rendered fits what the driver advertises with the configuration that is rendered with it.

use std::collections::BTreeMap;

use libtest_mimic::Failed;
use serde_json::Value;

use crate::documents::{list, name, of_kind, parse, text};
use crate::facts::judged;
use crate::helm::{Tools, value_sets};

/// What a driver advertises, in its own words.
type Words = Vec<String>;

/// What the drivers of a release advertise, by their names.
fn advertised(objects: &[Value]) -> Result<BTreeMap<String, Words>, Failed> {
    let mut all = BTreeMap::new();
    for map in of_kind(objects, "ConfigMap") {
        let config = text(map, "/data/config.yaml");
        if config.is_empty() {
            continue;
        }
        let said = judged(config)?;
        let line = |start: &str| said.lines().find_map(|line| line.trim().strip_prefix(start));
        let driver = line("driver ").ok_or("no driver is named")?;
        let words = line("advertised ").ok_or("nothing is said of what is advertised")?;
        all.insert(driver.to_owned(), words.split(", ").map(str::to_owned).collect());
    }
    Ok(all)
}

/// The container of this name, and its arguments.
fn arguments<'a>(owner: &'a Value, container: &str) -> Option<Vec<&'a str>> {
    let containers = list(owner, "/spec/template/spec/containers");
    let found = containers.iter().find(|one| one["name"] == container)?;
    Some(list(found, "/args").iter().filter_map(Value::as_str).collect())
}

/// A sidecar is there where it finds something to do, and no other: csi-snapshotter ends at once, again and again, where the
/// driver advertises nothing that it could do. There is always something for csi-resizer: to tell a user what cannot be changed.
pub fn sidecars(tools: &Tools) -> Result<(), Failed> {
    let (mut wrong, mut without) = (Vec::new(), 0);
    for values in value_sets() {
        let objects = parse(&tools.render(&values, &[])?);
        let advertised = advertised(&objects)?;
        let rules = of_kind(&objects, "ClusterRole").iter().flat_map(|role| list(role, "/rules")).count();
        assert!(rules > 5, "{values}: {rules} rules");
        let may =
            |what: &str| of_kind(&objects, "ClusterRole").iter().any(|role| role.to_string().contains(what));
        for owner in of_kind(&objects, "Deployment") {
            let can = &advertised[text(owner, "/spec/template/metadata/labels/fairlead.dev~1driver")];
            let can = |word: &str| can.iter().any(|can| can.starts_with(word));
            let mut must = |right: bool, what: &str| {
                if !right {
                    wrong.push(format!("{values}: {}: {what}", name(owner)));
                }
            };
            must(arguments(owner, "csi-resizer").is_some(), "csi-resizer");
            let snapshotter = arguments(owner, "csi-snapshotter");
            // Who wants no snapshots leaves their permissions out, too.
            must(
                snapshotter.is_some() == (can("snapshots") && may("volumesnapshotcontents")),
                "csi-snapshotter",
            );
            if let Some(flags) = &snapshotter {
                let groups = can("group snapshots") && may("volumegroupsnapshotcontents");
                let flag = format!("--feature-gates=CSIVolumeGroupSnapshot={groups}");
                must(flags.contains(&flag.as_str()), &flag);
            }
            without += usize::from(!can("snapshots"));
        }
        for class in of_kind(&objects, "StorageClass") {
            let can = &advertised[text(class, "/provisioner")];
            let grows = can.iter().any(|word| word.starts_with("growth"));
            if class["allowVolumeExpansion"] == true && !grows {
                wrong.push(format!("{values}: {} allows growth that is not advertised", name(class)));
            }
        }
    }
    assert!(without > 0, "no driver without snapshots was looked at");
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}
