//! `Debug` for the messages whose derived one would print credentials.
//!
//! The build script takes the derived `Debug` from every message with a `csi_secret` field or mount
//! flags. Secrets show as a count alone: the names of their keys say something about the backend, too.

use std::fmt;

use super::csi;

/// Writes out each `Debug`. The message is taken apart field by field, so that a field added to the
/// interface stops the build here instead of silently missing from the logs.
macro_rules! redacted {
    ($($message:path { $($shown:ident),* } hides $hidden:ident as $unit:literal,)+) => {
        $(
            impl fmt::Debug for $message {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    let Self { $($shown,)* $hidden } = self;
                    f.debug_struct(<Self as prost::Name>::NAME.rsplit('.').next().unwrap_or_default())
                        $(.field(stringify!($shown), $shown))*
                        .field(
                            stringify!($hidden),
                            &format_args!(concat!("<{} ", $unit, " redacted>"), $hidden.len()),
                        )
                        .finish()
                }
            }
        )+

        /// Every message given a `Debug` here.
        #[cfg(test)]
        fn by_hand() -> Vec<tests::Printer> {
            vec![$(tests::Printer::of::<$message>()),+]
        }
    };
}

redacted! {
    csi::CreateVolumeRequest {
        name, capacity_range, volume_capabilities, parameters, volume_content_source,
        accessibility_requirements, mutable_parameters
    } hides secrets as "keys",
    csi::volume_capability::MountVolume { fs_type, volume_mount_group } hides mount_flags as "flags",
    csi::DeleteVolumeRequest { volume_id } hides secrets as "keys",
    csi::ControllerPublishVolumeRequest {
        volume_id, node_id, volume_capability, readonly, volume_context
    } hides secrets as "keys",
    csi::ControllerUnpublishVolumeRequest { volume_id, node_id } hides secrets as "keys",
    csi::ValidateVolumeCapabilitiesRequest {
        volume_id, volume_context, volume_capabilities, parameters, mutable_parameters
    } hides secrets as "keys",
    csi::ControllerListVolumeHealthRequest { max_entries, starting_token } hides secrets as "keys",
    csi::ControllerGetVolumeHealthRequest { volume_id } hides secrets as "keys",
    csi::ControllerModifyVolumeRequest { volume_id, mutable_parameters } hides secrets as "keys",
    csi::CreateSnapshotRequest {
        source_volume_id, name, parameters, accessibility_requirements
    } hides secrets as "keys",
    csi::DeleteSnapshotRequest { snapshot_id } hides secrets as "keys",
    csi::ListSnapshotsRequest {
        max_entries, starting_token, source_volume_id, snapshot_id
    } hides secrets as "keys",
    csi::GetSnapshotRequest { snapshot_id } hides secrets as "keys",
    csi::ControllerExpandVolumeRequest {
        volume_id, capacity_range, volume_capability
    } hides secrets as "keys",
    csi::NodeStageVolumeRequest {
        volume_id, publish_context, staging_target_path, volume_capability, volume_context
    } hides secrets as "keys",
    csi::NodePublishVolumeRequest {
        volume_id, publish_context, staging_target_path, target_path, volume_capability, readonly,
        volume_context
    } hides secrets as "keys",
    csi::NodeGetStorageHealthRequest {} hides secrets as "keys",
    csi::NodeExpandVolumeRequest {
        volume_id, volume_path, capacity_range, staging_target_path, volume_capability
    } hides secrets as "keys",
    csi::CreateVolumeGroupSnapshotRequest { name, source_volume_ids, parameters } hides secrets as "keys",
    csi::DeleteVolumeGroupSnapshotRequest { group_snapshot_id, snapshot_ids } hides secrets as "keys",
    csi::GetVolumeGroupSnapshotRequest { group_snapshot_id, snapshot_ids } hides secrets as "keys",
    csi::GetMetadataAllocatedRequest { snapshot_id, starting_offset, max_results } hides secrets as "keys",
    csi::GetMetadataDeltaRequest {
        base_snapshot_id, target_snapshot_id, starting_offset, max_results
    } hides secrets as "keys",
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use prost::{Message, Name};
    use prost_reflect::{
        DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value,
    };

    use super::*;
    use crate::proto::FILE_DESCRIPTOR_SET;

    const SECRET: &str = "hunter2";

    /// Decodes one type of message and formats it, plainly and over several lines.
    pub struct Printer {
        name: String,
        print: fn(&[u8]) -> [String; 2],
    }

    impl Printer {
        pub fn of<M: Message + Name + Default + fmt::Debug>() -> Self {
            Self {
                name: M::full_name(),
                print: |bytes| {
                    let message = M::decode(bytes).unwrap();
                    [format!("{message:?}"), format!("{message:#?}")]
                },
            }
        }
    }

    /// Messages that hold one of those by hand and keep the derived `Debug`.
    fn derived() -> Vec<Printer> {
        vec![
            Printer::of::<csi::VolumeCapability>(),
            Printer::of::<csi::ValidateVolumeCapabilitiesResponse>(),
            Printer::of::<csi::validate_volume_capabilities_response::Confirmed>(),
            Printer::of::<csi::GetCapacityRequest>(),
            Printer::of::<csi::NodeGetStorageHealthResponse>(),
            Printer::of::<csi::node_get_storage_health_response::StorageBackendHealth>(),
        ]
    }

    fn is_secret(field: &FieldDescriptor) -> bool {
        let option = field.parent_pool().get_extension_by_name("csi.v1.csi_secret").unwrap();
        field.options().get_extension(&option).as_bool().unwrap() || field.name() == "mount_flags"
    }

    fn reaches_secret(message: &MessageDescriptor) -> bool {
        message
            .fields()
            .any(|field| is_secret(&field) || field.kind().as_message().is_some_and(reaches_secret))
    }

    /// The interface's messages that hold a secret, themselves or further in.
    fn with_secrets() -> BTreeMap<String, MessageDescriptor> {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
        pool.all_messages()
            .filter(|message| message.package_name() == "csi.v1" && reaches_secret(message))
            .map(|message| (message.full_name().to_owned(), message))
            .collect()
    }

    fn text(field: &FieldDescriptor) -> String {
        format!("text of {}", field.name())
    }

    /// A message with every field set. Of a oneof the last member stays.
    fn filled(message: &MessageDescriptor) -> DynamicMessage {
        let mut dynamic = DynamicMessage::new(message.clone());
        for field in message.fields() {
            let text = if is_secret(&field) { SECRET.to_owned() } else { text(&field) };
            let value = if field.is_map() {
                Value::Map([(MapKey::String(text.clone()), Value::String(text))].into())
            } else {
                let value = match field.kind() {
                    Kind::String => Value::String(text),
                    Kind::Message(inner) => Value::Message(filled(&inner)),
                    Kind::Bool => Value::Bool(true),
                    Kind::Int32 => Value::I32(7),
                    Kind::Int64 => Value::I64(7),
                    Kind::Enum(_) => Value::EnumNumber(1),
                    other => panic!("{}: no sample value for {other:?}", field.full_name()),
                };
                if field.is_list() { Value::List(vec![value]) } else { value }
            };
            dynamic.set_field(&field, value);
        }
        dynamic
    }

    #[test]
    fn no_message_is_left_out() {
        let held: BTreeSet<_> = with_secrets().into_keys().collect();
        let listed: BTreeSet<_> = by_hand().into_iter().chain(derived()).map(|p| p.name).collect();
        assert!(held.len() > 20, "only {} messages with secrets found", held.len());
        let unchecked: Vec<_> = held.difference(&listed).collect();
        let harmless: Vec<_> = listed.difference(&held).collect();
        assert!(unchecked.is_empty(), "messages that hold secrets and are not checked: {unchecked:?}");
        assert!(harmless.is_empty(), "listed here without holding a secret: {harmless:?}");
    }

    #[test]
    fn debug_never_prints_a_secret() {
        let messages = with_secrets();
        for Printer { name, print } in by_hand().into_iter().chain(derived()) {
            let bytes = filled(&messages[&name]).encode_to_vec();
            let holds_secret = bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
            assert!(holds_secret, "{name}: the sample has no secret to hide");
            for printed in print(&bytes) {
                assert!(!printed.contains(SECRET), "{name} prints its secrets: {printed}");
                assert!(printed.contains("<1 keys redacted>") || printed.contains("<1 flags redacted>"));
            }
        }
    }

    #[test]
    fn debug_prints_everything_else() {
        let messages = with_secrets();
        for Printer { name, print } in by_hand() {
            let message = &messages[&name];
            let [printed, _] = print(&filled(message).encode_to_vec());
            assert!(printed.starts_with(message.name()), "{name}: {printed}");
            for field in message.fields() {
                assert!(printed.contains(&format!("{}: ", field.name())), "{}: {printed}", field.full_name());
                if field.kind() == Kind::String && !is_secret(&field) {
                    assert!(printed.contains(&text(&field)), "{}: {printed}", field.full_name());
                }
            }
        }
    }
}
