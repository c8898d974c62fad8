//! The log: lines on stderr, as text on a terminal and as JSON otherwise, with a level that can change while it runs.
//!
//! `Targets` filters by module path alone. It does what is needed without the regular expressions that the larger
//! filter brings into the binary.

use std::io::{self, IsTerminal as _};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::config::{Level, LogConfig, LogFilter, LogFormat};
use crate::error::{Error, Result};

/// Changes what is logged.
#[derive(Clone, Debug)]
pub struct LogHandle(reload::Handle<Targets, Registry>);

impl LogHandle {
    /// Logs by this filter from now on.
    ///
    /// # Errors
    /// Where the log is gone.
    pub fn set(&self, filter: &LogFilter) -> Result<()> {
        self.0
            .reload(targets(filter))
            .map_err(|error| Error::internal("cannot change the log level").caused_by(error))
    }
}

/// Begins to log on stderr. Once per process.
///
/// # Errors
/// Where a log was begun before.
pub fn start(config: &LogConfig) -> Result<LogHandle> {
    let json = match config.format {
        LogFormat::Auto => !io::stderr().is_terminal(),
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let colours = io::stderr().is_terminal();
    let (layer, handle) = layer(config, json, colours, io::stderr);
    tracing_subscriber::registry()
        .with(layer)
        .try_init()
        .map_err(|error| Error::internal("cannot begin to log").caused_by(error))?;
    Ok(LogHandle(handle))
}

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

fn layer<W>(
    config: &LogConfig,
    json: bool,
    colours: bool,
    writer: W,
) -> (BoxedLayer, reload::Handle<Targets, Registry>)
where
    W: for<'a> fmt::MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(targets(&config.level));
    let lines = fmt::layer().with_writer(writer).with_ansi(colours);
    let layer: BoxedLayer = if json {
        // The span's fields (volume, node, rpc) stand beside the message's, where a log store looks for them.
        lines.json().flatten_event(true).with_span_list(false).with_filter(filter).boxed()
    } else {
        lines.with_filter(filter).boxed()
    };
    (layer, handle)
}

/// Fairlead's own modules at the filter's level; libraries at `warn` at most, because they log at lower levels what
/// they send and receive; and what the filter names.
fn targets(filter: &LogFilter) -> Targets {
    Targets::new()
        .with_default(level(filter.level.min(Level::Warn)))
        .with_target("fairlead", level(filter.level))
        .with_targets(filter.targets.iter().map(|(target, wanted)| (target.clone(), level(*wanted))))
}

const fn level(level: Level) -> LevelFilter {
    match level {
        Level::Off => LevelFilter::OFF,
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
        }
    }

    fn begin(level: &str, json: bool) -> (Lines, LogHandle, tracing::subscriber::DefaultGuard) {
        let lines = Lines::default();
        let config = LogConfig { level: level.parse().unwrap(), format: LogFormat::Auto };
        let writer = lines.clone();
        let (layer, handle) = layer(&config, json, false, move || writer.clone());
        let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        (lines, LogHandle(handle), guard)
    }

    #[test]
    fn the_level_changes_while_it_runs() {
        let (lines, handle, _guard) = begin("info", false);
        tracing::debug!("one");
        assert_eq!(lines.take(), "");
        handle.set(&"debug".parse().unwrap()).unwrap();
        tracing::debug!("two");
        assert!(lines.take().contains("two"));
        handle.set(&"off".parse().unwrap()).unwrap();
        tracing::error!("three");
        assert_eq!(lines.take(), "");
    }

    #[test]
    fn libraries_stay_quiet_unless_they_are_named() {
        let (lines, handle, _guard) = begin("trace", false);
        tracing::info!(target: "h2::codec", "headers");
        tracing::warn!(target: "h2::codec", "odd");
        let text = lines.take();
        assert!(!text.contains("headers") && text.contains("odd"), "{text}");
        handle.set(&"error,h2=info".parse().unwrap()).unwrap();
        tracing::info!(target: "h2::codec", "headers");
        tracing::warn!("ours");
        let text = lines.take();
        assert!(text.contains("headers") && !text.contains("ours"), "{text}");
    }

    #[test]
    fn a_json_line_is_one_object_with_the_fields_of_its_span() {
        let (lines, _handle, _guard) = begin("info", true);
        tracing::info_span!("rpc", volume = "here/pvc-1")
            .in_scope(|| tracing::info!(code = "OK", "done\nit is"));
        let text = lines.take();
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (
                line["message"].as_str(),
                line["code"].as_str(),
                line["span"]["volume"].as_str(),
                line["level"].as_str()
            ),
            (Some("done\nit is"), Some("OK"), Some("here/pvc-1"), Some("INFO"))
        );
    }
}
