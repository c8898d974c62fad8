//! What every RPC has around it: a span with the ids, one line in the log at the end, and the metrics.

use std::future::Future;
use std::time::{Duration, Instant};

use tonic::{Code, Request, Response, Status};
use tracing::{Instrument, Span, debug, error, info, info_span, warn};

use crate::csi::status::{self, Rpc};
use crate::error::Result;
use crate::metrics::Metrics;
use crate::proto::csi;

/// How much of an id is logged, in bytes: CSI's limit for a node's.
const MAX_ID: usize = 256;

/// The answer of an RPC.
pub(super) type Reply<T> = Result<Response<T>, Status>;

/// The ids in a request, for its span. Nothing else of a request is logged: never a secret, never a mount flag.
pub(super) trait Subject {
    /// Pairs of a span's field and the id that the caller sent.
    fn subject(&self) -> Vec<(&'static str, &str)>;
}

macro_rules! subjects {
    ($($message:ident { $($field:literal: $id:ident),* })*) => {
        $(impl Subject for csi::$message {
            fn subject(&self) -> Vec<(&'static str, &str)> {
                vec![$(($field, self.$id.as_str())),*]
            }
        })*
    };
}

subjects! {
    GetPluginInfoRequest {}
    GetPluginCapabilitiesRequest {}
    ProbeRequest {}
    CreateVolumeRequest { "order": name }
    DeleteVolumeRequest { "volume": volume_id }
    ControllerPublishVolumeRequest { "volume": volume_id, "node": node_id }
    ControllerUnpublishVolumeRequest { "volume": volume_id, "node": node_id }
    ValidateVolumeCapabilitiesRequest { "volume": volume_id }
    ListVolumesRequest {}
    ControllerListVolumeHealthRequest {}
    ControllerGetVolumeHealthRequest { "volume": volume_id }
    GetCapacityRequest {}
    ControllerGetCapabilitiesRequest {}
    CreateSnapshotRequest { "order": name, "volume": source_volume_id }
    DeleteSnapshotRequest { "snapshot": snapshot_id }
    ListSnapshotsRequest { "snapshot": snapshot_id, "volume": source_volume_id }
    GetSnapshotRequest { "snapshot": snapshot_id }
    ControllerExpandVolumeRequest { "volume": volume_id }
    ControllerGetVolumeRequest { "volume": volume_id }
    ControllerModifyVolumeRequest { "volume": volume_id }
    GroupControllerGetCapabilitiesRequest {}
    CreateVolumeGroupSnapshotRequest { "order": name }
    DeleteVolumeGroupSnapshotRequest { "group": group_snapshot_id }
    GetVolumeGroupSnapshotRequest { "group": group_snapshot_id }
    NodeStageVolumeRequest { "volume": volume_id }
    NodeUnstageVolumeRequest { "volume": volume_id }
    NodePublishVolumeRequest { "volume": volume_id }
    NodeUnpublishVolumeRequest { "volume": volume_id }
    NodeGetVolumeStatsRequest { "volume": volume_id }
    NodeGetVolumeHealthRequest { "volume": volume_id }
    NodeGetStorageHealthRequest {}
    NodeExpandVolumeRequest { "volume": volume_id }
    NodeGetCapabilitiesRequest {}
    NodeGetInfoRequest {}
}

/// Answers one RPC by `work`, observed from start to end.
pub(super) async fn observe<R: Subject, T, F>(
    metrics: &Metrics,
    rpc: Rpc,
    request: Request<R>,
    work: impl FnOnce(R) -> F,
) -> Reply<T>
where
    F: Future<Output = Result<T>>,
{
    let request = request.into_inner();
    let span = span(rpc, &request);
    let mut call = Call::start(metrics, rpc, span.clone());
    let result = work(request).instrument(span).await;
    match result {
        Ok(answer) => {
            call.end(Code::Ok, None);
            Ok(Response::new(answer))
        }
        Err(error) => {
            let status = status::status(&error, rpc);
            call.end(status.code(), Some(error.chain()));
            Err(status)
        }
    }
}

fn span(rpc: Rpc, request: &impl Subject) -> Span {
    use tracing::field::Empty;
    let span = info_span!(
        "rpc",
        rpc = rpc.as_str(),
        order = Empty,
        volume = Empty,
        node = Empty,
        snapshot = Empty,
        group = Empty
    );
    for (field, id) in request.subject() {
        if !id.is_empty() {
            span.record(field, printable(id));
        }
    }
    span
}

/// An id as the caller sent it, cut to a length that an id may have, and on one line.
fn printable(id: &str) -> String {
    let cut = id.get(..id.floor_char_boundary(MAX_ID)).unwrap_or_default();
    cut.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// A call that is being answered. Dropped before its end, it was cancelled by its caller.
struct Call<'a> {
    metrics: &'a Metrics,
    rpc: Rpc,
    span: Span,
    started: Instant,
    ended: bool,
}

impl<'a> Call<'a> {
    fn start(metrics: &'a Metrics, rpc: Rpc, span: Span) -> Self {
        metrics.rpc_started(rpc.as_str());
        Self { metrics, rpc, span, started: Instant::now(), ended: false }
    }

    fn count(&mut self, code: Code) -> (&'static str, Duration) {
        self.ended = true;
        let (code, took) = (status::name(code), self.started.elapsed());
        self.metrics.rpc_done(self.rpc.as_str(), code, took);
        (code, took)
    }

    fn end(&mut self, code: Code, chain: Option<String>) {
        let (name, took) = self.count(code);
        let seconds = took.as_secs_f64();
        let _entered = self.span.enter();
        match chain {
            None if self.rpc.chatty() => debug!(code = name, seconds, "answered"),
            None => info!(code = name, seconds, "answered"),
            Some(chain) if code == Code::Internal => error!(code = name, seconds, error = chain, "failed"),
            Some(chain) => warn!(code = name, seconds, error = chain, "failed"),
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let (code, took) = self.count(Code::Cancelled);
        let seconds = took.as_secs_f64();
        let _entered = self.span.enter();
        if std::thread::panicking() {
            error!(code, seconds, "the call panicked");
        } else {
            warn!(code, seconds, "cancelled by the caller; a change that is under way goes on");
        }
    }
}
