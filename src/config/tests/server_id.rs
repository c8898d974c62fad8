use super::*;

/// An environment with the one variable.
struct Told<'a>(&'a str);

impl Environment for Told<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        (name == "FAIRLEAD_SERVER_ID" && !self.0.is_empty()).then(|| self.0.to_owned())
    }

    fn host_name(&self) -> Option<String> {
        Some("machine".to_owned())
    }
}

const SERVER: &str = "8C1E7A52-0f2d-4c3b-9a51-6d2f1e0b7c44";
const OTHER: &str = "0a1b2c3d-0f2d-4c3b-9a51-6d2f1e0b7c44";

/// The servers that the back ends of kind `cinder` believe to be on, or the faults.
fn servers(text: &str, options: &[&str], variable: &str) -> Result<Vec<Option<String>>, Vec<String>> {
    let environment = Told(variable);
    let server_ids = options.iter().map(|&option| option.to_owned()).collect();
    let overrides = Overrides { server_ids, ..Overrides::default() };
    let config = parse("f.yaml", text.as_bytes(), &overrides, &environment)
        .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    let of = |config: BackendConfig| match config {
        BackendConfig::Cinder(config) => Some(config.node.server),
        BackendConfig::File(_) | BackendConfig::Storpool(_) => None,
    };
    Ok(config.backends.into_iter().filter_map(|(_, config)| of(config)).collect())
}

#[test]
fn a_node_is_told_which_server_it_is_by_option_variable_or_file() {
    let here = Some(SERVER.to_lowercase());
    let other = Some(OTHER.to_owned());
    let text = format!(
        "backends: {{east: {{kind: cinder, node: {{server: {OTHER}}}}}, west: {{kind: cinder, cloud: w}}}}\n"
    );
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("id");
    std::fs::write(&file, format!("\n{SERVER}\n")).unwrap();
    let pair = |backend: &str, id: &str| format!("{backend}={id}");
    let (east, west) = (pair("east", SERVER), pair("west", SERVER));
    let from_file = pair("west", file.to_str().unwrap());
    for (options, variable, wanted) in [
        (vec![], String::new(), [&other, &None]),
        (vec![&east], String::new(), [&here, &None]),
        (vec![], format!("{east},{west}"), [&here, &here]),
        (vec![], format!(" {from_file}\n"), [&other, &here]),
        (vec![&from_file, &east], String::new(), [&here, &here]),
        (vec![&east], format!("{},{west}", pair("east", OTHER)), [&here, &here]),
    ] {
        let options: Vec<_> = options.into_iter().map(String::as_str).collect();
        let found = servers(&text, &options, &variable).unwrap();
        assert_eq!(found.iter().collect::<Vec<_>>(), wanted, "{options:?} {variable}");
    }
}

#[test]
fn a_bad_server_id_is_refused_with_what_is_wrong() {
    let text = "backends: {east: {kind: cinder}, here: {kind: file, directory: /data}}\n";
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let file = directory.path().join(name);
        std::fs::write(&file, content).unwrap();
        format!("east={}", file.display())
    };
    for (options, variable, wanted) in [
        (vec!["east".to_owned()], "", "option --server-id: \"east\" is not <back end>=<id"),
        (vec!["=x".to_owned()], "", "\"=x\" is not <back end>=<id"),
        (
            vec!["est=17".to_owned()],
            "",
            "option --server-id: no back end is named \"est\": there are east, here",
        ),
        (vec!["east=17".to_owned()], "", "option --server-id: east: \"17\" is no id of a server"),
        (vec!["east=".to_owned()], "", "east: \"\" is no id of a server"),
        (
            vec!["here=17".to_owned()],
            "",
            "here: kind file knows servers by their nodes' names: use --node-name",
        ),
        (vec![format!("east={SERVER}"), format!("east={OTHER}")], "", "east is named twice"),
        (vec![], "east=x", "environment variable FAIRLEAD_SERVER_ID: east: \"x\" is no id of a server"),
        (vec![file("empty", " \n")], "", "empty is empty: it must hold the server's id"),
        (vec![file("two", "a b")], "", "two holds more than one word"),
        (vec![file("bad", "17")], "", "bad: \"17\" is no id of a server"),
        (vec!["east=/no/such".to_owned()], "", "option --server-id: east: /no/such: cannot be read"),
    ] {
        let options: Vec<_> = options.iter().map(String::as_str).collect();
        let faults = servers(text, &options, variable).unwrap_err();
        assert!(faults.len() == 1 && faults[0].contains(wanted), "{options:?} {variable}: {faults:#?}");
    }
}
