//! Which layer a setting's value comes from.
//!
//! Each layer becomes a map of dotted names, the `config` crate lays them over each other, and every value
//! carries the text of its origin along.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use config::{FileFormat, Map, Source, Value, ValueKind};

use super::errors::{SettingProblem, shown};

/// Variables that begin with HOOKLINE_ and are not settings.
const NOT_SETTINGS: [&str; 2] = ["HOOKLINE_TOKEN", "HOOKLINE_URL"];
/// A secret of its own, as such variables are named elsewhere, and the setting that it is.
const SECRETS_KEY: (&str, &str) = ("HOOKLINE_SECRETS_KEY", "store.secrets_key");
/// Variables of OpenTelemetry's own that are settings as well. An empty one is none.
const STANDARD: [(&str, &str); 2] = [
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "telemetry.otlp_endpoint"),
    ("OTEL_SERVICE_NAME", "telemetry.service_name"),
];
/// What the tests and their scripts tell each other.
const TEST_VARIABLES: &str = "HOOKLINE_TEST_";

/// The defaults and the documentation of every setting.
pub const DEFAULTS: &str = include_str!("../../config.default.toml");

/// Which layers there are. The default is none: the compiled-in defaults alone.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// A file to read.
    pub file: Option<PathBuf>,
    /// A text in place of a file, with the name by which problems call it.
    pub text: Option<(String, String)>,
    /// Environment variables; those that do not begin with `HOOKLINE_` are skipped, but for two of OpenTelemetry's.
    pub env: Vec<(String, String)>,
    /// Command-line flags.
    pub flags: Vec<Flag>,
}

impl LoadOptions {
    /// A file over the environment of this process, under flags.
    pub fn of_process(file: Option<PathBuf>, flags: Vec<Flag>) -> Self {
        // Variables that are not UTF-8 cannot be ours: their names or values could not be shown.
        let env = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self { file, text: None, env, flags }
    }
}

/// A setting that was given on the command line.
#[derive(Debug, Clone)]
pub struct Flag {
    /// The setting, `bus.uri`.
    pub key: &'static str,
    /// Its value as text.
    pub value: String,
    /// The flag as a person wrote it, `--amqp`.
    pub flag: &'static str,
}

/// Where a value came from. Displays as it is shown: `default`, the file's name, `env NAME`, the flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingOrigin {
    /// Compiled in.
    Default,
    /// A file, by the name under which it was given.
    File(String),
    /// An environment variable.
    Env(String),
    /// A command-line flag.
    Flag(String),
}

impl fmt::Display for SettingOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(name) => f.write_str(name),
            Self::Env(name) => write!(f, "env {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// One setting as it was found.
#[derive(Debug, Clone)]
pub struct SettingValue {
    pub(super) kind: ValueKind,
    /// Where the value came from, as it is shown.
    pub origin: String,
    /// The value as TOML, passwords masked.
    pub value: String,
}

impl SettingValue {
    /// The value as JSON, passwords masked.
    pub fn json(&self) -> serde_json::Value {
        as_json(&self.kind, &self.value)
    }
}

fn as_json(kind: &ValueKind, shown: &str) -> serde_json::Value {
    match kind {
        ValueKind::Boolean(truth) => (*truth).into(),
        ValueKind::I64(number) => (*number).into(),
        ValueKind::Float(number) => (*number).into(),
        ValueKind::Array(items) => {
            items.iter().map(|item| as_json(&item.kind, &super::errors::shown("", &item.kind))).collect()
        }
        // What is shown of a text is its quoted form, which is JSON too.
        _ => serde_json::from_str(shown).unwrap_or_else(|_| shown.into()),
    }
}

/// Every setting in effect by its dotted name, with where its value came from.
#[derive(Debug, Clone, Default)]
pub struct SettingOrigins {
    settings: BTreeMap<String, SettingValue>,
}

impl SettingOrigins {
    /// The setting with a dotted name.
    pub fn get(&self, key: &str) -> Option<&SettingValue> {
        self.settings.get(key)
    }

    /// Every setting, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &SettingValue)> {
        self.settings.iter().map(|(key, setting)| (key.as_str(), setting))
    }
}

/// Lays the layers over each other. What is wrong with a layer is a problem; the rest of it still counts.
pub(super) fn merge(options: &LoadOptions) -> (SettingOrigins, Vec<SettingProblem>) {
    let mut problems = Vec::new();
    let defaults = SettingsLayer::toml(DEFAULTS, &SettingOrigin::Default, &mut problems);
    let mut layers = vec![defaults.clone()];
    layers.extend(file_layer(options, &mut problems));
    layers.push(SettingsLayer::env(&options.env, &defaults));
    layers.push(SettingsLayer::flags(&options.flags, &defaults));

    let mut builder = config::Config::builder();
    for mut layer in layers {
        layer.drop_unknown(&defaults, &mut problems);
        builder = builder.add_source(layer);
    }
    match builder.build() {
        Ok(merged) => {
            let mut settings = BTreeMap::new();
            collect("", &merged.cache, &mut settings);
            (SettingOrigins { settings }, problems)
        }
        Err(error) => {
            problems.push(SettingProblem::unreadable("configuration", &one_line(&error.to_string())));
            (SettingOrigins::default(), problems)
        }
    }
}

fn file_layer(options: &LoadOptions, problems: &mut Vec<SettingProblem>) -> Option<SettingsLayer> {
    let (name, text) = match (&options.text, &options.file) {
        (Some((name, text)), _) => (name.clone(), text.clone()),
        (None, Some(path)) => match std::fs::read_to_string(path) {
            Ok(text) => (path.display().to_string(), text),
            Err(error) => {
                let why = format!("cannot be read: {error}; give the path of a TOML file");
                problems.push(SettingProblem::unreadable(&path.display().to_string(), &why));
                return None;
            }
        },
        (None, None) => return None,
    };
    Some(SettingsLayer::toml(&text, &SettingOrigin::File(name), problems))
}

/// One source: dotted names and values that know where they came from.
#[derive(Debug, Clone)]
struct SettingsLayer {
    values: Map<String, Value>,
}

impl Source for SettingsLayer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.values.clone())
    }
}

impl SettingsLayer {
    fn toml(text: &str, origin: &SettingOrigin, problems: &mut Vec<SettingProblem>) -> Self {
        let mut values = Map::new();
        match config::File::from_str(text, FileFormat::Toml).collect() {
            Ok(tables) => flatten("", tables, &origin.to_string(), &mut values),
            Err(error) => {
                let why = format!("is not TOML: {}", one_line(&error.to_string()));
                problems.push(SettingProblem::unreadable(&origin.to_string(), &why));
            }
        }
        Self { values }
    }

    fn env(env: &[(String, String)], defaults: &Self) -> Self {
        let mut values = Map::new();
        let standard = |name: &str| STANDARD.iter().find(|(standard, _)| *standard == name);
        for (name, text) in env.iter().filter(|(_, text)| !text.is_empty()) {
            if let Some((_, key)) = standard(name) {
                let origin = SettingOrigin::Env(name.clone()).to_string();
                values.insert((*key).to_owned(), Value::new(Some(&origin), defaults.typed(key, text)));
            }
        }
        for (name, text) in env {
            let Some(rest) = name.strip_prefix("HOOKLINE_") else {
                continue;
            };
            if NOT_SETTINGS.contains(&name.as_str()) || name.starts_with(TEST_VARIABLES) {
                continue;
            }
            let key = match name.as_str() {
                name if name == SECRETS_KEY.0 => SECRETS_KEY.1.to_owned(),
                _ => rest.to_lowercase().replace("__", "."),
            };
            let kind = defaults.typed(&key, text);
            values.insert(key, Value::new(Some(&SettingOrigin::Env(name.clone()).to_string()), kind));
        }
        Self { values }
    }

    fn flags(flags: &[Flag], defaults: &Self) -> Self {
        let value = |flag: &Flag| {
            let origin = SettingOrigin::Flag(flag.flag.to_owned()).to_string();
            Value::new(Some(&origin), defaults.typed(flag.key, &flag.value))
        };
        Self { values: flags.iter().map(|flag| (flag.key.to_owned(), value(flag))).collect() }
    }

    /// A text as the type that the setting's default has. What does not fit stays text, and the setting's
    /// own rule then says what is wrong with it.
    fn typed(&self, key: &str, text: &str) -> ValueKind {
        let as_text = || ValueKind::String(text.to_owned());
        match self.values.get(key).map(|value| &value.kind) {
            Some(ValueKind::Boolean(_)) => text.parse().map_or_else(|_| as_text(), ValueKind::Boolean),
            Some(ValueKind::Float(_)) => text.parse().map_or_else(|_| as_text(), ValueKind::Float),
            Some(ValueKind::I64(_)) => text.parse().map_or_else(|_| as_text(), ValueKind::I64),
            Some(ValueKind::Array(example)) => {
                let numbers = matches!(example.first().map(|item| &item.kind), Some(ValueKind::I64(_)));
                list(text, numbers)
            }
            _ => as_text(),
        }
    }

    fn drop_unknown(&mut self, defaults: &Self, problems: &mut Vec<SettingProblem>) {
        let mut unknown: Vec<(String, Value)> =
            self.values.extract_if(|key, _| !defaults.values.contains_key(key)).collect();
        unknown.sort_by(|a, b| a.0.cmp(&b.0));
        for (key, value) in unknown {
            let origin = value.origin().unwrap_or_default().to_owned();
            let problem = if defaults.values.keys().any(|known| known.starts_with(&format!("{key}."))) {
                let why = format!("is the name of a section; write [{key}] and its settings below it");
                SettingProblem::wrong(&key, &value.kind, &origin, &why)
            } else {
                let known = defaults.values.keys().map(String::as_str);
                SettingProblem::unknown(&key, &origin, closest(&key, known))
            };
            problems.push(problem);
        }
    }
}

/// `a,b` or `["a", "b"]` as a list.
fn list(text: &str, numbers: bool) -> ValueKind {
    if text.trim_start().starts_with('[') {
        let parsed = config::File::from_str(&format!("list = {text}"), FileFormat::Toml).collect();
        return match parsed.map(|mut table| table.remove("list")) {
            Ok(Some(value)) => value.kind,
            _ => ValueKind::String(text.to_owned()),
        };
    }
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    let item = |item: &str| match item.parse::<i64>() {
        Ok(number) if numbers => ValueKind::I64(number),
        _ => ValueKind::String(item.to_owned()),
    };
    ValueKind::Array(items.map(|text| Value::new(None, item(text))).collect())
}

/// Tables into dotted names. A table that stands where a value belongs shows up as unknown names.
fn flatten(prefix: &str, table: Map<String, Value>, origin: &str, into: &mut Map<String, Value>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value.kind {
            ValueKind::Table(inner) => flatten(&key, inner, origin, into),
            kind => {
                into.insert(key, Value::new(Some(&origin.to_owned()), kind));
            }
        }
    }
}

fn collect(prefix: &str, value: &Value, into: &mut BTreeMap<String, SettingValue>) {
    if let ValueKind::Table(table) = &value.kind {
        for (name, inner) in table {
            let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            collect(&key, inner, into);
        }
        return;
    }
    let setting = SettingValue {
        kind: value.kind.clone(),
        origin: value.origin().unwrap_or_default().to_owned(),
        value: shown(prefix, &value.kind),
    };
    into.insert(prefix.to_owned(), setting);
}

/// The parser's message without the excerpt that it draws.
fn one_line(message: &str) -> String {
    let lines = message.lines().map(str::trim).filter(|line| !line.is_empty() && !line.contains('|'));
    lines.collect::<Vec<_>>().join(": ")
}

/// The setting that somebody may have meant: the same last part in another section, or a few letters off.
fn closest<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let last = |name: &str| name.rsplit('.').next().map(str::to_owned);
    let distance = |name: &'a str| {
        let apart = edits(key, name);
        let apart = if last(key) == last(name) { apart.min(1) } else { apart };
        (apart, name)
    };
    let (apart, name) = known.map(distance).min()?;
    (apart <= 1 + key.len() / 6).then_some(name)
}

/// Letters to insert, delete or replace to make one word the other.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, letter) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}
