//! The CSIDriver object: how Kubernetes treats this driver's volumes.

use k8s_openapi::api::storage::v1::CSIDriver;

/// What is wrong with the object, in words; `None` where all is well.
///
/// Without `attachRequired` Kubernetes never asks for a volume to be attached: every pod would fail at its first mount,
/// and where a driver can do without, two servers would write to one volume.
pub(super) fn fault(name: &str, object: Option<&CSIDriver>) -> Option<String> {
    match object {
        None => Some(format!(
            "there is no CSIDriver object {name}: install it (the chart has it), or correct \"driverName\""
        )),
        // The API server fills in true where the field is left out.
        Some(object) if object.spec.attach_required == Some(false) => Some(format!(
            "the CSIDriver object {name} has spec.attachRequired: expected true, found false; the field cannot be \
             changed: delete the object and make it anew"
        )),
        Some(_) => None,
    }
}
