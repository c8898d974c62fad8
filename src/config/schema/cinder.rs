//! The keys of a back end of kind `cinder`.

mod node;

use std::path::Path;

use super::{Outside, count, prefix, values};
use crate::backend::cinder::config::{
    CLOUDS_FILE, CinderConfig, Interface, Rate, Rates, Source, TypeLimits, Variables,
};
use crate::backend::cinder::dialect::{Dialect, Quotas};
use crate::document::Faults;
use crate::document::section::Section;
use crate::volume::{Bytes, SizeRules};

/// Calls in a second beyond which nothing is limited any more.
const MAX_RATE: f64 = 10_000.0;

/// Reads them. `None` where something is wrong without which nothing can be judged.
pub(super) fn read(section: &mut Section<'_>, outside: &Outside<'_>) -> CinderConfig {
    let kind = section.parsed("dialect", dialect).map_or(Dialect::OPENSTACK, |found| found.value);
    let mut config = CinderConfig::of(kind, source(section, outside));
    config.choice.region = section.parsed("region", plain).map(|found| found.value);
    config.choice.interface = section.parsed("interface", interface).map(|found| found.value);
    if let Some(found) = section.parsed("clusterId", owner) {
        config.cluster = found.value;
    }
    if let Some(found) = section.parsed("namePrefix", prefix) {
        config.name_prefix = found.value;
    }
    if let Some(found) = section.number_or_text("ignoreVolumeAZ", values::truth) {
        config.ignore_volume_az |= found.value;
    }
    let key = |text: &str| values::topology_key(text).map(|()| text.to_owned());
    config.zone_key = section.parsed("topologyKey", key).map(|found| found.value);
    config.volume_type = section.parsed("type", plain).map(|found| found.value);
    config.availability_zone = section.parsed("availability", plain).map(|found| found.value);
    for found in section.texts("consistentGroupTypes").unwrap_or_default() {
        match plain(found.value) {
            Ok(name) => config.consistent_group_types.push(name),
            Err(text) => {
                section.fault(found.at, format!("{:?}: {text}", section.name("consistentGroupTypes")));
            }
        }
    }
    config.node = node::read(section, kind);
    if let Some(mut limits) = section.section("limits") {
        read_limits(&mut limits, &mut config, outside.faults);
        limits.finish();
    }
    if let Some(mut rates) = section.section("rates") {
        let Rates { read, write } = config.rates;
        config.rates =
            Rates { read: rate(&mut rates, "read", read), write: rate(&mut rates, "write", write) };
        rates.finish();
    }
    config
}

/// Where the credentials come from: one of three kinds of places. No file is opened here, for a node has none.
fn source(section: &mut Section<'_>, outside: &Outside<'_>) -> Source {
    let cloud = section.parsed("cloud", plain).map(|found| found.value);
    let clouds_file = section.parsed("cloudsFile", values::absolute);
    let conf_files = section.texts_or_text("cloudConfFile");
    let environment = section.number_or_text("environment", values::truth);
    let mut given: Vec<_> = clouds_file.iter().map(|found| ("cloudsFile", found.at)).collect();
    given.extend(conf_files.iter().flatten().take(1).map(|found| ("cloudConfFile", found.at)));
    given.extend(environment.iter().filter(|found| found.value).map(|found| ("environment", found.at)));
    if let [(first, _), (second, at), ..] = given.as_slice() {
        let text = format!(
            "{:?} and {:?} both say where the credentials are: leave one out",
            section.name(first),
            section.name(second)
        );
        section.fault(*at, text);
    }
    if let Some(found) = environment.filter(|found| found.value) {
        if cloud.is_some() {
            let text = "the environment names its own cloud, in OS_CLOUD: leave \"cloud\" out".to_owned();
            section.fault(found.at, text);
        }
        return Source::Environment(Variables::read(|name| outside.environment.variable(name)));
    }
    match conf_files {
        Some(files) => {
            let mut paths = Vec::new();
            for found in &files {
                match values::absolute(found.value) {
                    Ok(path) => paths.push(path),
                    Err(text) => {
                        section.fault(found.at, format!("{:?}: {text}", section.name("cloudConfFile")));
                    }
                }
            }
            Source::Conf { files: paths, cloud }
        }
        None => {
            let file = clouds_file.map(|found| found.value);
            CinderConfig::clouds(file.as_deref().unwrap_or_else(|| Path::new(CLOUDS_FILE)), cloud)
        }
    }
}

fn read_limits(limits: &mut Section<'_>, config: &mut CinderConfig, faults: &Faults) {
    config.per_server =
        count(limits, "perServer", u64::from(u32::MAX)).and_then(|count| u32::try_from(count).ok());
    config.max_volumes = count(limits, "volumes", i64::MAX.cast_unsigned());
    config.max_bytes = limits.number_or_text("bytes", values::room).map(|found| found.value);
    config.sizes = sizes(limits, config.dialect.sizes);
    let name = limits.name("types");
    for entry in limits.entries("types").unwrap_or_default() {
        if let Err(text) = plain(&entry.key) {
            faults.add(entry.at, format!("{name:?}: {text}"));
        }
        let Some(mut section) = Section::new(&format!("{name}.{}", entry.key), &entry.node, faults) else {
            continue;
        };
        let own = TypeLimits {
            sizes: sizes(&mut section, config.sizes(Some(&entry.key))),
            volumes: count(&mut section, "volumes", i64::MAX.cast_unsigned()),
            bytes: section.number_or_text("bytes", values::room).map(|found| found.value),
        };
        if config.dialect.quotas == Quotas::Told && (own.volumes.is_some() || own.bytes.is_some()) {
            let kind = config.dialect.name;
            let text = format!("{name:?}: a cloud of the dialect {kind:?} tells and holds its limits itself");
            faults.add(entry.at, format!("{text}: only \"sizes\" can be said of a type here"));
        }
        section.finish();
        config.types.insert(entry.key.clone(), own);
    }
}

fn sizes(limits: &mut Section<'_>, usual: SizeRules) -> Option<SizeRules> {
    let mut sizes = limits.section("sizes")?;
    let at = sizes.at();
    let mut size = |key, default| sizes.number_or_text(key, gibibytes).map_or(default, |found| found.value);
    let SizeRules { min, max, step, default } = usual;
    let (step, max) = (size("step", step), size("max", max));
    let min = size("min", min.max(step));
    let default = size("default", default.min(max).max(min));
    let whole = |size: Bytes| size.get().is_multiple_of(step.get());
    if !(min <= default && default <= max && whole(min) && whole(default) && whole(max)) {
        sizes.fault(
            at,
            format!(
                "{:?}: min {min}, default {default} and max {max} must follow each other and be multiples of step {step}",
                sizes.name("").trim_end_matches('.')
            ),
        );
    }
    sizes.finish();
    Some(SizeRules { min, max, step, default })
}

fn rate(rates: &mut Section<'_>, key: &'static str, mut rate: Rate) -> Rate {
    let Some(mut section) = rates.section(key) else { return rate };
    if let Some(found) = section.number("perSecond", per_second) {
        rate.per_second = found.value;
    }
    let burst = count(&mut section, "burst", u64::from(u32::MAX)).and_then(|count| u32::try_from(count).ok());
    rate.burst = burst.unwrap_or(rate.burst);
    section.finish();
    rate
}

fn per_second(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.parse().ok().filter(|number| *number > 0.0 && *number <= MAX_RATE);
    number
        .ok_or_else(|| format!("{text:?} is no number of calls in a second, above 0 and at most {MAX_RATE}"))
}

/// A size that Cinder can tell: in whole gibibytes.
fn gibibytes(text: &str) -> Result<Bytes, String> {
    let size: Bytes = text.parse().map_err(|error: crate::error::Error| error.to_string())?;
    if size == Bytes::ZERO || !size.get().is_multiple_of(Bytes::gib(1).get()) {
        return Err(format!("{size} is no whole number of gibibytes, in which Cinder counts"));
    }
    Ok(size)
}

fn dialect(text: &str) -> Result<&'static Dialect, String> {
    Dialect::named(text).ok_or_else(|| {
        let known = Dialect::ALL.map(|dialect| dialect.name).join(", ");
        format!("{text:?} is no kind of cloud that is known: use one of {known}")
    })
}

fn interface(text: &str) -> Result<Interface, String> {
    Interface::parse(text).ok_or_else(|| format!("{text:?} is no interface: use public, internal or admin"))
}

/// A name in the cloud.
fn plain(text: &str) -> Result<String, String> {
    match text.is_empty() || text.len() > 255 || text.chars().any(char::is_control) {
        true => Err(format!("{text:?} is no name: use 1 to 255 printable characters")),
        false => Ok(text.to_owned()),
    }
}

/// What is noted about each volume, so that it is known whose it is.
fn owner(text: &str) -> Result<String, String> {
    match text.is_empty() {
        true => Err("\"\" names no cluster".to_owned()),
        false => prefix(text),
    }
}
