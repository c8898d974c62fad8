//! The Helm chart, without a cluster: what it renders, what it refuses, and whether Kubernetes would take it.
//!
//! `make chart` builds what these tests need (tests/chart/tools.sh). Without it they are ignored, and say so.
//! `UPDATE=1` writes tests/chart/golden, manifests and the chart's README anew.

#![allow(
    clippy::disallowed_methods,
    reason = "a test starts the binaries that it checks, and reads its environment"
)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "test code")]

#[path = "chart/alerts.rs"]
mod alerts;
#[path = "chart/documents.rs"]
mod documents;
#[path = "chart/facts.rs"]
mod facts;
#[path = "chart/files.rs"]
mod files;
#[path = "chart/helm.rs"]
mod helm;
#[path = "chart/kubeconform.rs"]
mod kubeconform;
#[path = "chart/offers.rs"]
mod offers;
#[path = "chart/readme.rs"]
mod readme;
#[path = "chart/refusals.rs"]
mod refusals;
#[path = "chart/schemas.rs"]
mod schemas;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use helm::Tools;

/// A check of the chart.
type Check = fn(&Tools) -> Result<(), Failed>;

const CHECKS: [(&str, Check); 20] = [
    ("helm_lint_has_nothing_to_say", helm::lint),
    ("both_helms_render_what_is_recorded", files::golden),
    ("manifests_are_up_to_date", files::manifests),
    ("values_that_make_no_sense_are_refused_with_path_and_reason", refusals::all),
    ("kubernetes_takes_every_object", kubeconform::takes_all),
    ("kubernetes_would_refuse_a_wrong_object", kubeconform::refuses_wrong),
    ("every_permission_has_a_reason", facts::permissions),
    ("the_driver_may_ask_what_it_asks", facts::rights),
    ("selectors_find_their_own_pods_alone", facts::selectors),
    ("the_node_has_one_container_and_no_token", facts::node),
    ("the_controller_is_confined", facts::controller),
    ("containers_ask_for_little_and_have_no_cpu_limit", facts::resources),
    ("a_new_log_level_restarts_nothing_and_all_else_does", facts::checksum),
    ("alerts_and_dashboard_use_metrics_that_there_are", alerts::metrics),
    ("what_hangs_or_is_gone_raises_an_alert", alerts::all),
    ("older_kubernetes_gets_no_unknown_field", facts::versions),
    ("a_cloud_that_is_down_keeps_no_node_from_being_drained", facts::drains),
    ("the_driver_takes_the_configuration", facts::configuration),
    ("sidecars_are_those_that_find_something_to_do", offers::sidecars),
    ("the_next_step_is_told", facts::notes),
];

fn main() -> ExitCode {
    let tools = Tools::find().map(Arc::new);
    if let Err(reason) = &tools {
        eprintln!("SKIPPED: the chart is not checked: {reason}");
    }
    let mut trials = vec![Trial::test("readme_is_up_to_date", readme::up_to_date)];
    for (name, check) in CHECKS {
        let tools = tools.clone();
        trials.push(Trial::ignorable_test(name, move || match &tools {
            Ok(tools) => check(tools).map(|()| Completion::Completed),
            Err(reason) => Ok(Completion::ignored_with(reason.clone())),
        }));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
