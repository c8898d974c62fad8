use std::path::PathBuf;

use proptest::prelude::*;
use secrecy::ExposeSecret as _;
use tempfile::TempDir;

use super::*;
use crate::http::Identity;

/// Files in a directory of their own.
struct Files(TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            std::fs::write(dir.path().join(name), content).unwrap();
        }
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn clouds(&self, cloud: Option<&str>) -> Result<Credentials, Vec<String>> {
        let source = Source::Clouds { file: self.path("clouds.yaml"), cloud: cloud.map(str::to_owned) };
        self.read(&source)
    }

    fn conf(&self, cloud: Option<&str>) -> Result<Credentials, Vec<String>> {
        let source = Source::Conf { files: vec![self.path("cloud.conf")], cloud: cloud.map(str::to_owned) };
        self.read(&source)
    }

    /// Faults without the directory.
    fn read(&self, source: &Source) -> Result<Credentials, Vec<String>> {
        let dir = format!("{}/", self.0.path().display());
        source
            .read(&Choice::default())
            .map_err(|faults| faults.iter().map(|fault| fault.to_string().replace(&dir, "")).collect())
    }
}

fn clouds(content: &str) -> Result<Credentials, Vec<String>> {
    Files::new(&[("clouds.yaml", content)]).clouds(None)
}

fn conf(content: &str) -> Result<Credentials, Vec<String>> {
    Files::new(&[("cloud.conf", content)]).conf(None)
}

fn password(credentials: &Credentials) -> &str {
    match &credentials.proof {
        Proof::Password { password, .. } => password.expose_secret(),
        other => panic!("{other:?}"),
    }
}

fn default_domain() -> Domain {
    Domain::Id("default".to_owned())
}

const EAST: &str = "clouds:
  east:
    region_name: RegionOne
    interface: internal
    auth:
      auth_url: http://keystone:5000
      username: csi
      password: geheim
      project_name: storage
      user_domain_name: people
";

#[test]
fn a_cloud_with_a_password_is_read() {
    let east = clouds(EAST).unwrap();
    assert_eq!((east.auth_url.as_str(), east.version), ("http://keystone:5000/v3", Version::V3));
    assert_eq!((east.region.as_deref(), east.interface), (Some("RegionOne"), Interface::Internal));
    assert_eq!(password(&east), "geheim");
    let people = Domain::Name("people".to_owned());
    let Proof::Password { user, .. } = &east.proof else { panic!() };
    assert_eq!(*user, Named::Name("csi".to_owned(), people.clone()));
    assert_eq!(east.scope, Scope::Project(Named::Name("storage".to_owned(), people)));
    assert!(!format!("{east:?}").contains("geheim"));
}

#[test]
fn every_fault_is_told_with_its_place_and_no_value_is_quoted() {
    let faults = clouds(
        "clouds:
  east:
    verify: perhaps
    auth:
      auth_url: keystone:5000
      password: [geheim]
      project_name: storage
",
    )
    .unwrap_err();
    let expected = [
        "clouds.yaml:2:3: \"password\" is missing",
        "clouds.yaml:2:3: \"username\" or \"user_id\" is missing",
        "clouds.yaml:3:13: \"verify\" is neither true nor false",
        "clouds.yaml:5:17: \"auth_url\" begins with neither http:// nor https://",
        "clouds.yaml:6:17: \"password\" must be one value",
    ];
    assert_eq!(faults, expected);
    let faults =
        clouds("clouds: {a: {auth: {auth_url: 'http://u:geheim@h/v3', token: geheim}}}").unwrap_err();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(
        faults[0].contains("has a user or password in it") && !faults[0].contains("geheim"),
        "{faults:?}"
    );
    // A file that is no YAML at a secret.
    let faults = clouds("clouds:\n  a:\n    auth:\n      password: \"geheim\n").unwrap_err();
    assert!(!faults.join(" ").contains("geheim"), "{faults:?}");
}

#[test]
fn the_right_cloud_is_chosen_or_named() {
    let two = "clouds: {a: {auth: {auth_url: 'http://a', token: t}}, b: {auth: {auth_url: 'http://b/v2.0', token: t}}}";
    let files = Files::new(&[("clouds.yaml", two)]);
    let b = files.clouds(Some("b")).unwrap();
    assert_eq!((b.auth_url.as_str(), b.version, b.scope), ("http://b/v2.0", Version::V2, Scope::Implied));
    assert!(files.clouds(None).unwrap_err()[0].contains("several clouds, a, b: name one"));
    assert!(files.clouds(Some("c")).unwrap_err()[0].contains("no cloud is named \"c\": there are a, b"));
    assert!(clouds("").unwrap_err()[0].contains("is empty"));
    assert!(clouds("cloud: {}").unwrap_err()[0].contains("\"clouds\" is missing"));
    assert!(clouds("clouds: {}").unwrap_err()[0].contains("is empty"));
    assert!(clouds("[]").unwrap_err()[0].contains("a mapping with \"clouds\""));
    let none = Files::new(&[]).clouds(None).unwrap_err();
    assert!(none[0].contains("cannot be read"), "{none:?}");
}

#[test]
fn secrets_and_profiles_come_from_the_files_beside() {
    let files = Files::new(&[
        (
            "clouds.yaml",
            "clouds:\n  east:\n    profile: vendor\n    auth: {username: csi, password: old, project_id: p1}\n",
        ),
        (
            "secure.yaml",
            "clouds:\n  east:\n    auth:\n      password: 4711\n  other: {auth: {password: x}}\n",
        ),
        (
            "clouds-public.yaml",
            "public-clouds:\n  vendor:\n    auth: {auth_url: 'https://v:5000/v3/'}\n    regions: [one]\n",
        ),
    ]);
    let east = files.clouds(Some("east")).unwrap();
    assert_eq!((password(&east), east.auth_url.as_str()), ("4711", "https://v:5000/v3"));
    assert_eq!(east.region.as_deref(), Some("one"));
    assert_eq!(east.scope, Scope::Project(Named::Id("p1".to_owned())));
    std::fs::remove_file(files.path("clouds-public.yaml")).unwrap();
    let faults = files.clouds(Some("east")).unwrap_err();
    assert!(
        faults[0].starts_with("clouds.yaml:3:") && faults[0].contains("the profile \"vendor\" is not in"),
        "{faults:?}"
    );
}

#[test]
fn a_region_is_among_those_that_there_are() {
    let with = |text: &str| clouds(&EAST.replace("    region_name: RegionOne\n", text));
    let one = with("    regions: [{name: RegionTwo, values: {}}]\n").unwrap();
    assert_eq!(one.region.as_deref(), Some("RegionTwo"));
    let several = with("    regions: [one, two]\n").unwrap_err();
    assert_eq!(several, ["clouds.yaml:3:5: there are several regions, one, two: name one"]);
    let wrong = with("    region_name: three\n    regions: [one, two]\n").unwrap_err();
    assert!(wrong[0].contains("\"three\" is not among"), "{wrong:?}");
    let files = Files::new(&[("clouds.yaml", EAST)]);
    let source = Source::Clouds { file: files.path("clouds.yaml"), cloud: None };
    let choice = Choice { region: Some("mine".to_owned()), interface: Some(Interface::Admin) };
    let chosen = source.read(&choice).unwrap();
    assert_eq!((chosen.region.as_deref(), chosen.interface), (Some("mine"), Interface::Admin));
}

#[test]
fn every_way_to_log_in_is_read() {
    let with = |auth: &str, beside: &str| {
        clouds(&format!("clouds: {{a: {{{beside} auth: {{auth_url: 'https://h/v3', {auth}}}}}}}")).unwrap()
    };
    let id = with("application_credential_id: i, application_credential_secret: s", "");
    let Proof::ApplicationCredential { credential, secret } = &id.proof else { panic!("{id:?}") };
    assert_eq!((credential, secret.expose_secret()), (&Credential::Id("i".to_owned()), "s"));
    assert_eq!(id.scope, Scope::Implied);
    let name = with("application_credential_name: n, username: u, application_credential_secret: s", "");
    let Proof::ApplicationCredential { credential, .. } = &name.proof else { panic!("{name:?}") };
    let user = Named::Name("u".to_owned(), default_domain());
    assert_eq!(*credential, Credential::Name("n".to_owned(), user));
    let token = with("token: t, project_id: p", "auth_type: v3token,");
    assert!(matches!(&token.proof, Proof::Token(token) if token.expose_secret() == "t"));
    let trust = with("user_id: u, password: p, trust_id: x", "");
    assert_eq!(trust.scope, Scope::Trust("x".to_owned()));
    let key =
        clouds("clouds: {r: {auth: {auth_url: 'https://rax', username: u, api_key: k, project_id: '12'}}}");
    let key = key.unwrap();
    assert_eq!((key.auth_url.as_str(), key.version), ("https://rax/v2.0", Version::V2));
    assert!(matches!(key.proof, Proof::ApiKey { .. }));
    let old = with("username: u, password: p, tenant_name: t", "identity_api_version: 2.0,");
    assert_eq!((old.auth_url.as_str(), old.version), ("https://h/v2.0", Version::V2));
}

#[test]
fn what_cannot_work_together_is_told() {
    let faults = |auth: &str, beside: &str| {
        let text = format!("clouds: {{a: {{{beside} auth: {{auth_url: 'https://h', {auth}}}}}}}");
        clouds(&text).unwrap_err().join("\n")
    };
    let text = faults("username: u, password: p", "auth_type: kerberos, identity_api_version: 7, key: k,");
    for part in
        ["\"auth_type\" is not known", "neither 2 nor 3", "without \"cert\"", "\"project_name\" is missing"]
    {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    let text =
        faults("application_credential_id: i, application_credential_secret: s", "identity_api_version: 2,");
    assert!(text.contains("need version 3"), "{text}");
    let text = faults("username: u, api_key: s", "identity_api_version: 3,");
    assert!(text.contains("needs version 2.0"), "{text}");
    let text = faults("username: u, password: p, system_scope: all", "interface: somewhere,");
    assert!(text.contains("not in the system") && text.contains("not public, internal or admin"), "{text}");
}

#[test]
fn tls_is_read() {
    let with =
        |text: &str| clouds(&EAST.replace("    auth:\n", &format!("{text}    auth:\n"))).unwrap().trust;
    let trust = with("    cacert: /ca.pem\n    cert: /c.pem\n    key: /k.pem\n");
    assert_eq!(trust.ca_file, Some("/ca.pem".into()));
    assert_eq!(trust.identity, Some(Identity { certificate: "/c.pem".into(), key: "/k.pem".into() }));
    assert!(!trust.insecure && with("    verify: false\n").insecure && !with("    verify: True\n").insecure);
    assert_eq!(with("    cert: /both.pem\n").identity.unwrap().key, PathBuf::from("/both.pem"));
}

#[test]
fn a_cloud_conf_is_read_with_its_old_keys() {
    let found = conf(
        "; the driver before this one
[Global]
auth-url = https://keystone:5000/v3   # not quoted
username=csi
password = \"a;b#c \\\"d\\\" \"
tenant-name: no
domain-name=Default
tenant-name=storage
region=RegionOne
bs-version=v3
tls-insecure
os-endpoint-type=internalURL
[BlockStorage]
Node-Volume-Attach-Limit=25
ignore-volume-az
[Metadata]
search-order=configDrive
",
    );
    let faults = found.unwrap_err();
    assert_eq!(faults, ["cloud.conf:6:1: after a key comes \"=\""]);
    let found = conf(
        "[Global]
auth-url = https://keystone:5000/v3   # not quoted
username=csi
password = \"a;b#c \\\"d\\\" \"
domain-name=Default
tenant-name=stor\\
age
region=RegionOne
bs-version=v3
tls-insecure
os-endpoint-type=internalURL
[BlockStorage]
Node-Volume-Attach-Limit=25
ignore-volume-az
[Metadata]
search-order=configDrive
",
    )
    .unwrap();
    assert_eq!(password(&found), "a;b#c \"d\" ");
    assert_eq!(found.heritage, Heritage { per_server: Some(25), ignore_volume_az: true });
    assert_eq!((found.interface, found.trust.insecure), (Interface::Internal, true));
    let domain = Domain::Name("Default".to_owned());
    assert_eq!(found.scope, Scope::Project(Named::Name("storage".to_owned(), domain)));
}

#[test]
fn of_several_sections_one_is_chosen() {
    let two = "[Global \"a\"]\nauth-url=http://a\ntoken=t\ntrust-id=x\n[Global \"b\"]\nauth-url=http://b\nuser-id=u\npassword=p\ntenant-id=t\n";
    let files = Files::new(&[("cloud.conf", two)]);
    assert_eq!(files.conf(Some("b")).unwrap().auth_url.as_str(), "http://b/v3");
    assert_eq!(files.conf(Some("a")).unwrap().scope, Scope::Trust("x".to_owned()));
    let text = files.conf(None).unwrap_err().join("");
    assert!(text.contains("several clouds, [Global \"a\"], [Global \"b\"]: name one"), "{text}");
    let text = files.conf(Some("c")).unwrap_err().join("");
    assert!(text.contains("no section [Global \"c\"]"), "{text}");
    assert!(conf("[Metadata]\n").unwrap_err()[0].contains("no [Global] section"));
    let text = conf(
        "x=1\n[Global\n[Global]\npassword=\"open\n1=2\nkey=\\q\n[BlockStorage]\nnode-volume-attach-limit=0",
    )
    .unwrap_err()
    .join("\n");
    for part in [
        "1:1: this key stands before",
        "2:1: this is no section",
        "4:1: a quote is not closed",
        "5:1: this is no key",
        "6:1: a backslash",
        "8:1: node-volume-attach-limit",
        "\"auth_url\" is missing",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert!(!text.contains("open"), "{text}");
}

#[test]
fn later_files_stand_above_and_clouds_yaml_below() {
    let files = Files::new(&[
        ("clouds.yaml", EAST),
        ("cloud.conf", "[Global]\npassword=first\nregion=here\n"),
        ("more.conf", "[Global]\npassword=second\n"),
    ]);
    let pointer =
        format!("use-clouds=true\nclouds-file={}\ncloud=east\n", files.path("clouds.yaml").display());
    let mut more = std::fs::read_to_string(files.path("more.conf")).unwrap();
    more.push_str(&pointer);
    std::fs::write(files.path("more.conf"), more).unwrap();
    let source = Source::Conf { files: vec![files.path("cloud.conf"), files.path("more.conf")], cloud: None };
    let found = files.read(&source).unwrap();
    assert_eq!((password(&found), found.region.as_deref()), ("second", Some("here")));
    assert_eq!(found.auth_url.as_str(), "http://keystone:5000/v3");
}

#[test]
fn the_environment_is_read() {
    let variables = |list: &[(&str, &str)]| {
        let list: Vec<_> =
            list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Variables::read(|name| list.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()))
    };
    let set = variables(&[
        ("OS_AUTH_URL", "http://h:5000/identity/v3"),
        ("OS_USERNAME", "csi"),
        ("OS_PASSWORD", "geheim"),
        ("OS_TENANT_NAME", "old"),
        ("OS_PROJECT_NAME", "new"),
        ("OS_INSECURE", "True"),
        ("OS_ENDPOINT_TYPE", "internalURL"),
    ]);
    assert!(!format!("{set:?}").contains("geheim"));
    assert_ne!(set, variables(&[]));
    let found = Source::Environment(set).read(&Choice::default()).unwrap();
    assert_eq!(found.auth_url.as_str(), "http://h:5000/identity/v3");
    assert_eq!(found.scope, Scope::Project(Named::Name("new".to_owned(), default_domain())));
    assert_eq!((found.interface, found.trust.insecure), (Interface::Internal, true));
    let faults =
        Source::Environment(variables(&[("OS_AUTH_URL", "x")])).read(&Choice::default()).unwrap_err();
    let texts: Vec<_> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 4, "{texts:?}");
    assert!(texts.contains(&"the environment: \"password\" is missing".to_owned()), "{texts:?}");
    let files = Files::new(&[("clouds.yaml", EAST)]);
    let file = files.path("clouds.yaml").display().to_string();
    let pointer = Source::Environment(variables(&[("OS_CLOUD", "east"), ("OS_CLIENT_CONFIG_FILE", &file)]));
    assert_eq!(password(&pointer.read(&Choice::default()).unwrap()), "geheim");
    assert_eq!(pointer.files().len(), 3);
}

proptest! {
    #[test]
    fn no_text_hurts_the_readers(text in "(\\PC|[\n\"\\\\=\\[\\];# ]){0,200}") {
        let faults = Faults::new("x".to_owned());
        ini::parse(&text, &faults);
        let files = Files::new(&[("clouds.yaml", &text), ("cloud.conf", &text)]);
        prop_assert!(files.clouds(None).is_err());
        prop_assert!(files.conf(None).is_err());
    }

    #[test]
    fn a_quoted_value_comes_back_whole(value in "[^\r\n\0]{0,40}") {
        let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
        let faults = Faults::new("x".to_owned());
        let sections = ini::parse(&format!("[Global]\nkey = \"{quoted}\" ; a comment\n"), &faults);
        prop_assert!(faults.is_empty());
        prop_assert_eq!(&sections[0].entries[0].value, &value);
    }
}
