//! Alerts and dashboard: that they ask for what there is, and see what they are for.

use std::collections::BTreeSet;

use libtest_mimic::Failed;
use serde_json::Value;

use crate::documents::{list, name, of_kind, parse, text};
use crate::facts::{read, verdict};
use crate::helm::{EVERYTHING, Tools};

/// Every metric that is named, is one of the driver's.
pub fn metrics(tools: &Tools) -> Result<(), Failed> {
    let known: BTreeSet<_> = words(&read("docs/metrics.md")).collect();
    let objects = parse(&tools.render(EVERYTHING, &[])?);
    let rules = of_kind(&objects, "PrometheusRule");
    let expressions: Vec<_> =
        list(rules[0], "/spec/groups/0/rules").iter().map(|rule| text(rule, "/expr").to_owned()).collect();
    let dashboard: Value = serde_json::from_str(&read("charts/fairlead/files/dashboard.json"))?;
    let panels: Vec<_> = list(&dashboard, "/panels")
        .iter()
        .flat_map(|panel| list(panel, "/targets"))
        .map(|target| text(target, "/expr").to_owned())
        .collect();
    assert!(expressions.len() > 5 && panels.len() > 5, "something was read");
    let mut wrong = Vec::new();
    for expression in expressions.iter().chain(&panels) {
        let mut named = words(expression).filter(|word| word != "fairlead_dev_driver").peekable();
        if named.peek().is_none() {
            wrong.push(format!("no metric: {expression}"));
        }
        for metric in named {
            let base = ["_count", "_bucket", "_sum"].iter().find_map(|end| metric.strip_suffix(end));
            if !known.contains(base.unwrap_or(&metric)) {
                wrong.push(format!("{metric} is not in docs/metrics.md: {expression}"));
            }
        }
    }
    verdict(wrong)
}

/// Seconds in a duration of Prometheus'.
fn seconds(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    Some(number.parse::<u64>().ok()? * unit)
}

/// What comes back every ten minutes is seen, and what happens once is no alert. A component that is gone is not hidden by
/// the pods of another one.
pub fn all(tools: &Tools) -> Result<(), Failed> {
    let objects = parse(&tools.render(EVERYTHING, &[])?);
    let rules = list(of_kind(&objects, "PrometheusRule")[0], "/spec/groups/0/rules");
    let of = |alert: &str| rules.iter().filter(|rule| rule["alert"] == alert).collect::<Vec<_>>();
    let mut wrong = Vec::new();
    for alert in ["FairleadCallsFail", "FairleadDetachBlocked", "FairleadOperationStuck"] {
        let [rule] = of(alert)[..] else { return Err(format!("{alert} is not one rule").into()) };
        let expression = text(rule, "/expr");
        let window = expression.split_once('[').and_then(|(_, rest)| seconds(rest.split_once(']')?.0));
        let lasts = seconds(text(rule, "/for"));
        if !(window > Some(600) && lasts > window) {
            wrong.push(format!("{alert}: within {window:?} s, for {lasts:?} s"));
        }
    }
    let calls = text(of("FairleadCallsFail")[0], "/expr");
    for code in ["CANCELLED", "DEADLINE_EXCEEDED"] {
        if !calls.contains(code) {
            wrong.push(format!("{code} is none that calls fail with: {calls}"));
        }
    }
    // Jobs on a cloud's attachments end after 600 s.
    let stuck = text(of("FairleadOperationStuck")[0], "/expr");
    let limit: u64 = stuck.rsplit_once("> ").ok_or("no limit")?.1.parse()?;
    if limit >= 600 {
        wrong.push(format!("nothing gets as old as this: {stuck}"));
    }
    let monitor = of_kind(&objects, "PodMonitor")[0];
    let given: BTreeSet<_> =
        list(monitor, "/spec/podTargetLabels").iter().filter_map(Value::as_str).collect();
    let mut watched = 0;
    for owner in ["Deployment", "DaemonSet"].into_iter().flat_map(|kind| of_kind(&objects, kind)) {
        let labels = &owner["spec"]["template"]["metadata"]["labels"];
        let select = ["app.kubernetes.io/component", "fairlead.dev/driver"].map(|label| {
            // As Prometheus' operator makes the name of a series' label from a pod's.
            let name = label.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
            assert!(given.contains(label), "{label} is not given to series");
            format!("{name}={}", labels[label])
        });
        let absent = |rule: &&Value| select.iter().all(|part| text(rule, "/expr").contains(part));
        match of("FairleadAbsent").iter().filter(|rule| absent(rule)).count() {
            1 => watched += 1,
            count => wrong.push(format!("{count} rules tell that {} is absent", name(owner))),
        }
    }
    assert!(watched > 2, "several drivers were looked at");
    verdict(wrong)
}

/// The names in a text that begin as the driver's metrics do.
fn words(text: &str) -> impl Iterator<Item = String> + use<> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let words: Vec<_> = words.filter(|word| word.starts_with("fairlead_")).map(str::to_owned).collect();
    words.into_iter()
}
