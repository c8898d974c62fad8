//! From Kubernetes' description of its API, and from CRDs, to the files that kubeconform reads: one for each kind.
//! Nothing may be in an object that the description does not name, as with the API server's strict field validation.

use std::collections::BTreeSet;
use std::path::Path;

use libtest_mimic::Failed;
use serde_json::{Map, Value, json};

use crate::documents::{list, parse, text};
use crate::helm::Tools;

const REFERENCE: &str = "#/definitions/";

/// Writes the schemas of the kinds that these objects have.
pub fn write(tools: &Tools, version: &str, objects: &[Value], directory: &Path) -> Result<(), Failed> {
    let kinds: BTreeSet<_> =
        objects.iter().map(|object| (text(object, "/apiVersion"), text(object, "/kind"))).collect();
    let api: Value =
        serde_json::from_slice(&std::fs::read(tools.path(&format!("kubernetes/{version}.json")))?)?;
    let definitions = api["definitions"].as_object().ok_or("the API's description has no definitions")?;
    let crds = crds(tools)?;
    for (api_version, kind) in kinds {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let wanted = json!({"group": group, "kind": kind, "version": version});
        let built_in = definitions
            .iter()
            .find(|(_, definition)| list(definition, "/x-kubernetes-group-version-kind").contains(&wanted))
            .map(|(name, _)| with_references(name, definitions));
        let schema = built_in
            .or_else(|| crds.iter().find(|(known, _)| *known == wanted).map(|(_, schema)| schema.clone()));
        // What is in neither is skipped, and counted, by the caller.
        if let Some(schema) = schema {
            let first = group.split('.').next().filter(|first| !first.is_empty());
            let suffix = first.map_or_else(|| version.to_owned(), |first| format!("{first}-{version}"));
            std::fs::write(
                directory.join(format!("{}-{suffix}.json", kind.to_lowercase())),
                schema.to_string(),
            )?;
        }
    }
    Ok(())
}

/// A definition with all those that it refers to, directly or not.
fn with_references(name: &str, definitions: &Map<String, Value>) -> Value {
    let mut found = Map::new();
    let mut wanted = vec![name.to_owned()];
    while let Some(name) = wanted.pop() {
        if found.contains_key(&name) {
            continue;
        }
        // Kubernetes describes a quantity as a text, and takes a number too.
        let definition = match name.as_str() {
            "io.k8s.apimachinery.pkg.api.resource.Quantity" => json!({"type": ["string", "number"]}),
            _ => strict(&definitions[&name], &mut wanted),
        };
        found.insert(name, definition);
    }
    json!({"$ref": format!("{REFERENCE}{name}"), "definitions": found})
}

/// The same, with nothing allowed that is not named. Notes what it refers to.
fn strict(schema: &Value, references: &mut Vec<String>) -> Value {
    match schema {
        Value::Object(entries) => {
            if entries.get("format").is_some_and(|format| format == "int-or-string")
                || entries.get("x-kubernetes-int-or-string").is_some_and(|both| both == true)
            {
                return json!({"type": ["string", "integer"]});
            }
            if let Some(name) =
                entries.get("$ref").and_then(Value::as_str).and_then(|to| to.strip_prefix(REFERENCE))
            {
                references.push(name.to_owned());
            }
            let mut entries: Map<_, _> =
                entries.iter().map(|(key, value)| (key.clone(), strict(value, references))).collect();
            let named = entries.get("properties").is_some_and(Value::is_object);
            if named && !entries.contains_key("additionalProperties") {
                entries.insert("additionalProperties".to_owned(), false.into());
            }
            entries.into()
        }
        Value::Array(items) => items.iter().map(|item| strict(item, references)).collect(),
        other => other.clone(),
    }
}

/// The kinds of the CRDs with their schemas.
fn crds(tools: &Tools) -> Result<Vec<(Value, Value)>, Failed> {
    let mut kinds = Vec::new();
    for file in std::fs::read_dir(tools.path("crd"))? {
        for crd in parse(&std::fs::read_to_string(file?.path())?) {
            for version in list(&crd, "/spec/versions") {
                let kind = json!({
                    "group": text(&crd, "/spec/group"),
                    "kind": text(&crd, "/spec/names/kind"),
                    "version": text(version, "/name"),
                });
                kinds.push((kind, strict(&version["schema"]["openAPIV3Schema"], &mut Vec::new())));
            }
        }
    }
    Ok(kinds)
}
