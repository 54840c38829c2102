//! A whole host in the test's process, spoken to through its API as everybody else does.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hookline::app::{self, HostEnvironment, RunningHost};
use hookline::config::Config;
use hookline::delivery::resolve::NameResolver;
use hookline::module::program::ModuleProgram;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{cdylib, description, eventually, hookline};

/// A host with folders of its own. Dropping it drops its tasks with the test's runtime; [`stop`](Self::stop)
/// ends it as SIGTERM would.
pub struct TestHost {
    running: RunningHost,
    folders: Folders,
    token: String,
    http: reqwest::Client,
}

/// The folders of a host that does not run.
pub struct StoppedHost(Folders);

impl StoppedHost {
    /// Its folder, with `data` and `plugins` in it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.0.root.path()
    }

    /// Another host on the same folders with other settings.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start_configured(self, settings: &str) -> anyhow::Result<TestHost> {
        let folders = Folders { settings: settings.to_owned(), ..self.0 };
        TestHost::start_in(folders, HostEnvironment::default()).await
    }

    /// Another host on the same folders.
    ///
    /// # Panics
    /// It does not start.
    pub async fn start(self) -> TestHost {
        TestHost::start_in(self.0, HostEnvironment::default()).await.expect("the host should start again")
    }

    /// What a host on the same folders says that does not start.
    ///
    /// # Panics
    /// It does start.
    pub async fn refusal_to_start(self) -> String {
        match TestHost::start_in(self.0, HostEnvironment::default()).await {
            Ok(_) => panic!("the host started"),
            Err(error) => format!("{error:#}"),
        }
    }
}

struct Folders {
    root: TempDir,
    settings: String,
}

impl Folders {
    fn with_files(settings: &str, files: &[PathBuf]) -> Self {
        let root = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(root.path().join("plugins")).expect("a plugins folder");
        for file in files {
            let name = file.file_name().expect("a file name");
            std::fs::copy(file, root.path().join("plugins").join(name)).expect("a copy of a module");
        }
        Folders { root, settings: settings.to_owned() }
    }
}

/// What its API answered.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: StatusCode,
    /// Header names in lower case.
    pub headers: HeaderMap,
    /// The body; null when it is not JSON.
    pub json: Value,
}

impl TestHost {
    /// A host with these modules and nothing else.
    pub async fn with_modules(modules: &[&str]) -> Self {
        Self::configured("", modules).await
    }

    /// A host with these settings (TOML) and modules.
    ///
    /// # Panics
    /// It does not start.
    pub async fn configured(settings: &str, modules: &[&str]) -> Self {
        let files: Vec<PathBuf> = modules.iter().map(|module| cdylib(module)).collect();
        Self::with_files(settings, &files).await
    }

    /// A host with these settings (TOML) and files in its plugins folder.
    ///
    /// # Panics
    /// It does not start.
    pub async fn with_files(settings: &str, files: &[PathBuf]) -> Self {
        let folders = Folders::with_files(settings, files);
        Self::start_in(folders, HostEnvironment::default()).await.expect("the host should start")
    }

    /// A host with these settings (TOML) and modules that looks names up with this resolver.
    ///
    /// # Panics
    /// It does not start.
    pub async fn resolving(settings: &str, modules: &[&str], resolver: Arc<dyn NameResolver>) -> Self {
        let files: Vec<PathBuf> = modules.iter().map(|module| cdylib(module)).collect();
        let outside = HostEnvironment { resolver, ..HostEnvironment::default() };
        Self::start_in(Folders::with_files(settings, &files), outside).await.expect("the host should start")
    }

    /// What a host that does not start says.
    ///
    /// # Panics
    /// It does start.
    pub async fn refusal_to_start(settings: &str) -> String {
        let root = tempfile::tempdir().expect("a folder");
        let folders = Folders { root, settings: settings.to_owned() };
        match Self::start_in(folders, HostEnvironment::default()).await {
            Ok(_) => panic!("the host started"),
            Err(error) => format!("{error:#}"),
        }
    }

    async fn start_in(folders: Folders, outside: HostEnvironment) -> anyhow::Result<Self> {
        let root = folders.root.path().display();
        let own = format!("data_dir = '{root}/data'\nplugins_dir = '{root}/plugins'\n");
        let settings = format!("{own}{}", folders.settings);
        let mut config = Config::from_toml(&settings, "the test's settings")?;
        // Receivers of tests are local; a test of the guard says itself what is allowed.
        if !settings.contains("allow_targets") {
            config.delivery.allow_targets = vec!["127.0.0.0/8".parse()?, "::1/128".parse()?];
        }
        config.api.listen = "127.0.0.1:0".parse()?;
        // The test's own program knows no modules.
        config.modules.program = ModuleProgram::at(hookline());
        let running = app::start_with(config, outside).await?;
        let token = std::fs::read_to_string(folders.root.path().join("data/admin.token"))?;
        let token = token.trim().to_owned();
        Ok(TestHost { running, folders, token, http: reqwest::Client::new() })
    }

    /// Stops it as SIGTERM would, and starts another one on the same folders.
    ///
    /// # Panics
    /// It does not stop or not start.
    pub async fn restart(self) -> Self {
        self.stopped().await.start().await
    }

    /// Stops it as SIGTERM would, and keeps its folders.
    ///
    /// # Panics
    /// It does not stop well.
    pub async fn stopped(self) -> StoppedHost {
        self.running.stop().await.expect("the host should stop");
        StoppedHost(self.folders)
    }

    /// Stops it as SIGTERM would.
    ///
    /// # Panics
    /// It does not stop well.
    pub async fn stop(self) {
        self.running.stop().await.expect("the host should stop");
    }

    /// The parts and children behind the API, for faults that no client can cause.
    #[must_use]
    pub fn inside(&self) -> &RunningHost {
        &self.running
    }

    /// Its folder, with `data` and `plugins` in it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folders.root.path()
    }

    /// `http://127.0.0.1:PORT`
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.running.address)
    }

    /// The administrator's token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Asks the API with the administrator's token.
    ///
    /// # Panics
    /// The host does not answer.
    pub async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let method: Method = method.parse().expect("a method");
        let mut request =
            self.http.request(method, format!("{}{path}", self.url())).header("x-auth-token", &self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        Answer::of(request).await
    }

    /// Asks the API in the test's own way, without a token.
    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method: Method = method.parse().expect("a method");
        self.http.request(method, format!("{}{path}", self.url()))
    }

    /// A new account.
    ///
    /// # Panics
    /// It was not created.
    pub async fn account(&self, name: &str) -> String {
        let answer = self.ask("PUT", "/v2/accounts", Some(json!({"data": {"name": name}}))).await;
        answer.created_id()
    }

    /// A new account below another.
    ///
    /// # Panics
    /// It was not created.
    pub async fn account_below(&self, parent: &str, name: &str) -> String {
        let path = format!("/v2/accounts/{parent}");
        self.ask("PUT", &path, Some(json!({"data": {"name": name}}))).await.created_id()
    }

    /// A new hook of an account for one event; `more` goes over the defaults.
    ///
    /// # Panics
    /// It was not created.
    pub async fn hook(&self, account: &str, event: &str, uri: &str, more: Value) -> String {
        let mut hook = json!({"name": "test", "hook": event, "uri": uri, "format": "json", "retries": 0});
        let more = more.as_object().cloned().unwrap_or_default();
        hook.as_object_mut().expect("an object").extend(more);
        let path = format!("/v2/accounts/{account}/webhooks");
        self.ask("PUT", &path, Some(json!({"data": hook}))).await.created_id()
    }

    /// Posts an event and expects it to be taken.
    ///
    /// # Panics
    /// It was not taken.
    #[track_caller]
    pub fn publish(&self, event: Value) -> impl Future<Output = ()> {
        let place = std::panic::Location::caller();
        async move {
            let answer = self.ask("POST", "/events", Some(event)).await;
            assert_eq!(answer.status, 202, "{place}: {}", answer.json);
        }
    }

    /// Waits until every delivery of the events so far has its outcome: what was not sent will not be.
    ///
    /// # Panics
    /// It takes too long.
    #[track_caller]
    pub fn settled(&self) -> impl Future<Output = ()> {
        let store = self.running.parts.stores.ledger.clone();
        let settled = move || {
            let store = store.clone();
            async move { (store.counts().await.expect("counts").pending == 0).then_some(()) }
        };
        eventually("no delivery is pending", settled)
    }

    /// Waits until `/metrics` says this of a series, labels and all.
    ///
    /// # Panics
    /// It never does.
    #[track_caller]
    pub fn figure<'a>(&'a self, series: &'a str, expected: u64) -> impl Future<Output = ()> + 'a {
        let said = move || async move {
            let answer = self.request("GET", "/metrics").send().await.expect("an answer");
            let text = answer.text().await.expect("text");
            let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
            (line?.parse::<f64>().ok()? == expected as f64).then_some(())
        };
        eventually("the figure is as expected", said)
    }

    /// A loaded module as `GET /modules/{id}` shows it.
    ///
    /// # Panics
    /// The host has no such module.
    pub async fn module(&self, id: &str) -> Value {
        let answer = self.ask("GET", &format!("/modules/{id}"), None).await;
        assert_eq!(answer.status, 200, "{}", answer.json);
        answer.json["data"].clone()
    }

    /// The path of a file in its plugins folder.
    #[must_use]
    pub fn plugin(&self, file: &str) -> PathBuf {
        self.folder().join("plugins").join(file)
    }

    /// Puts a file into the plugins folder as an installer does: written under a hidden name, then renamed.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn install(&self, file: &str, bytes: &[u8]) {
        let hidden = self.plugin(&format!(".{file}.new"));
        std::fs::write(&hidden, bytes).expect("a file in the plugins folder");
        std::fs::rename(&hidden, self.plugin(file)).expect("a renamed file");
    }

    /// Waits until a module is loaded and shows what it should.
    ///
    /// # Panics
    /// It never does.
    #[track_caller]
    pub fn module_with<'a>(
        &'a self,
        id: &'a str,
        fact: impl Fn(&Value) -> bool + Copy + 'a,
    ) -> impl Future<Output = Value> + 'a {
        let shown = move || async move {
            let answer = self.ask("GET", &format!("/modules/{id}"), None).await;
            (answer.status == 200 && fact(&answer.json["data"])).then(|| answer.json["data"].clone())
        };
        eventually("the module is as expected", shown)
    }

    /// Waits until a generation of a module serves.
    ///
    /// # Panics
    /// It never does.
    #[track_caller]
    pub fn generation<'a>(&'a self, id: &'a str, number: u64) -> impl Future<Output = Value> + 'a {
        let place = std::panic::Location::caller();
        async move {
            let shown =
                self.module_with(id, move |module| module["generation"].as_u64() >= Some(number)).await;
            assert_eq!(shown["generation"], number, "{place}: more generations than files: {shown:#}");
            shown
        }
    }

    /// Waits until a module is gone.
    ///
    /// # Panics
    /// It never is.
    #[track_caller]
    pub fn gone<'a>(&'a self, id: &'a str) -> impl Future<Output = ()> + 'a {
        let gone = move || async move {
            (self.ask("GET", &format!("/modules/{id}"), None).await.status == 404).then_some(())
        };
        eventually("the module is gone", gone)
    }

    /// Waits until a file in the plugins folder is refused, and says why.
    ///
    /// # Panics
    /// It never is.
    #[track_caller]
    pub fn refused<'a>(&'a self, file: &'a str) -> impl Future<Output = String> + 'a {
        let refused = move || async move {
            let answer = self.ask("GET", "/modules", None).await;
            let refused = answer.json["refused"].as_array().cloned().unwrap_or_default();
            let of_file = |entry: &&Value| entry["file"].as_str().is_some_and(|path| path.ends_with(file));
            refused.iter().find(of_file).and_then(|entry| entry["reason"].as_str()).map(str::to_owned)
        };
        eventually("the file is refused", refused)
    }

    /// Why a file in the plugins folder was refused.
    ///
    /// # Panics
    /// It was not.
    pub async fn refusal_of(&self, file: &str) -> String {
        let answer = self.ask("GET", "/modules", None).await;
        let refused = answer.json["refused"].as_array().expect("a list");
        let of_file = |entry: &&Value| entry["file"].as_str().is_some_and(|path| path.ends_with(file));
        let entry = refused.iter().find(of_file).unwrap_or_else(|| panic!("{file} was not refused"));
        entry["reason"].as_str().expect("a reason").to_owned()
    }

    /// Makes a child panic again and again, and returns why the host ended.
    ///
    /// # Panics
    /// It did not end.
    pub async fn crash_until_the_end(self, child: &str) -> String {
        let children = self.running.children.clone();
        let mut restarts = children.restarts();
        let crash = async {
            loop {
                children.inject_panic(child);
                if restarts.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::select! {
            () = crash => unreachable!("it crashes until it is dropped"),
            ended = self.running.ended() => format!("{:#}", ended.expect_err("the host should fail")),
        }
    }

    /// Waits until a child was restarted.
    ///
    /// # Panics
    /// It never was.
    #[track_caller]
    pub fn restart_of(&self, child: &str) -> impl Future<Output = ()> {
        let children = self.running.children.clone();
        let child = child.to_owned();
        let restarted = move || {
            let children = children.children();
            let found = children.iter().any(|state| {
                state.name == child
                    && state.restarts > 0
                    && state.state == hookline::supervision::ChildPhase::Running
            });
            async move { found.then_some(()) }
        };
        eventually("the child is restarted", restarted)
    }
}

impl Answer {
    /// Sends a request and reads its answer.
    ///
    /// # Panics
    /// There is no answer, or it is not as the API's description says.
    pub async fn of(request: reqwest::RequestBuilder) -> Self {
        let (client, request) = request.build_split();
        let request = request.expect("a request");
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let response = client.execute(request).await.expect("an answer");
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.expect("a body");
        let answer = Answer { status, headers, json: serde_json::from_slice(&body).unwrap_or_default() };
        description::check(&method, &path, &answer);
        answer
    }

    pub(crate) fn created_id(self) -> String {
        assert_eq!(self.status, 201, "{}", self.json);
        self.json["data"]["id"].as_str().expect("an id").to_owned()
    }
}
