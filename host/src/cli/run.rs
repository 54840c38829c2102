//! `hookline run`: which settings its flags are.

use std::path::PathBuf;

use clap::Args;

use crate::config::{Config, ConfigErrors, Flag, LoadOptions, SettingOrigins};

/// `hookline run`
#[derive(Debug, Clone, Default, Args)]
pub struct RunArgs {
    /// Settings (TOML); `hookline config` prints every name
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder with the compiled modules [setting: plugins_dir]
    #[arg(long, value_name = "DIR")]
    pub plugins: Option<PathBuf>,
    /// Folder of the database and of admin.token [setting: data_dir]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Address and port of the HTTP API; port 0 takes a free one [setting: api.listen]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Take events from this RabbitMQ [settings: bus.kind = "amqp", bus.uri]
    #[arg(long, value_name = "URI")]
    pub amqp: Option<String>,
    /// Keep documents in this CouchDB [settings: documents.kind = "couchdb", documents.url]
    // Hidden until there is one.
    #[arg(long, value_name = "URL", hide = true)]
    pub couchdb: Option<String>,
    /// Also start a receiver, an account with hooks and a stream of synthetic calls
    #[arg(long)]
    pub demo: bool,
}

impl RunArgs {
    /// The settings under these flags: flags over this process's environment over the file over the defaults.
    ///
    /// # Errors
    /// Every wrong setting.
    pub fn load_config(&self) -> Result<(Config, SettingOrigins), ConfigErrors> {
        Config::load(LoadOptions::of_process(self.config.clone(), self.flags()))
    }

    pub(super) fn flags(&self) -> Vec<Flag> {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.to_string_lossy().into_owned());
        let kind = |given: &Option<String>, kind: &str| given.as_ref().map(|_| kind.to_owned());
        let flags = [
            ("plugins_dir", path(&self.plugins), "--plugins"),
            ("data_dir", path(&self.data), "--data"),
            ("api.listen", self.listen.clone(), "--listen"),
            ("bus.kind", kind(&self.amqp, "amqp"), "--amqp"),
            ("bus.uri", self.amqp.clone(), "--amqp"),
            ("documents.kind", kind(&self.couchdb, "couchdb"), "--couchdb"),
            ("documents.url", self.couchdb.clone(), "--couchdb"),
        ];
        given(flags)
    }
}

/// The flags that were given.
pub(super) fn given<const N: usize>(flags: [(&'static str, Option<String>, &'static str); N]) -> Vec<Flag> {
    flags.into_iter().filter_map(|(key, value, flag)| Some(Flag { key, value: value?, flag })).collect()
}
