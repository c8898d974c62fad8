//! The keys under `kubernetes`.

use std::path::PathBuf;

use super::Outside;
use crate::config::{KubernetesAccess, KubernetesConfig, Pod, values};
use crate::document::section::Section;

/// Kubernetes sets these in every container; both are needed.
const HOST_VARIABLE: &str = "KUBERNETES_SERVICE_HOST";
const PORT_VARIABLE: &str = "KUBERNETES_SERVICE_PORT";
/// A pod is told these of itself where its manifest says so; all are needed.
const POD_VARIABLES: [&str; 3] = ["POD_NAMESPACE", "POD_NAME", "POD_UID"];
/// Where Kubernetes mounts a service account's credentials.
const CREDENTIALS: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Whether the Kubernetes API is to be asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Auto,
    Yes,
    No,
}

fn wanted(text: &str) -> Result<Wanted, String> {
    match text {
        "auto" => Ok(Wanted::Auto),
        "true" => Ok(Wanted::Yes),
        "false" => Ok(Wanted::No),
        _ => Err(format!("{text:?} is neither auto nor true nor false")),
    }
}

/// Reads them.
pub(super) fn read(top: &mut Section<'_>, outside: &Outside<'_>) -> KubernetesConfig {
    let (mut enabled, mut server, mut credentials) = (Wanted::Auto, None, None);
    if let Some(mut section) = top.section("kubernetes") {
        // A truth value or a word.
        enabled = section.number_or_text("enabled", wanted).map_or(enabled, |found| found.value);
        server = section.parsed("server", values::api_server).map(|found| found.value);
        credentials = section.parsed("credentials", values::absolute).map(|found| found.value);
        section.finish();
    }
    if enabled == Wanted::No {
        return KubernetesConfig { refused: true, ..KubernetesConfig::default() };
    }
    let named = server.is_some() || credentials.is_some();
    let credentials = credentials.unwrap_or_else(|| PathBuf::from(CREDENTIALS));
    let access =
        server.or_else(|| own_server(outside)).map(|server| KubernetesAccess { server, credentials, named });
    let [namespace, name, uid] = POD_VARIABLES.map(|variable| outside.environment.variable(variable));
    let pod = namespace.zip(name).zip(uid).map(|((namespace, name), uid)| Pod { namespace, name, uid });
    KubernetesConfig { required: enabled == Wanted::Yes, refused: false, access, pod }
}

/// The address that Kubernetes gives every pod.
fn own_server(outside: &Outside<'_>) -> Option<String> {
    let host = outside.environment.variable(HOST_VARIABLE)?;
    let port = outside.environment.variable(PORT_VARIABLE)?;
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let url = values::api_server(&format!("https://{host}:{port}"));
    outside.judge(format!("environment variables {HOST_VARIABLE} and {PORT_VARIABLE}"), url)
}
