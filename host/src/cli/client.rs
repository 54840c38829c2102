//! How a command talks to a running host, and how its failures read: one line with the cause.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde_json::Value;

use crate::harmless::harmless;
use crate::trust::TrustStore;

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// A file may be long in the making, and then long on its way.
const FILE_WITHIN: Duration = Duration::from_hours(24);

/// How to reach a running host; every command that talks to one takes these.
#[derive(Debug, Clone, Args)]
pub struct ClientArgs {
    /// Address of the host's HTTP API
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "HOOKLINE_URL",
        default_value = "http://127.0.0.1:8000"
    )]
    pub url: String,
    /// Access token; without it, the one in admin.token of --data
    #[arg(long, global = true, value_name = "TOKEN", env = "HOOKLINE_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// The host's data folder, for its admin.token
    #[arg(long, global = true, value_name = "DIR", env = "HOOKLINE_DATA_DIR", default_value = "data")]
    pub data: PathBuf,
}

/// A host's HTTP API with an access token.
#[derive(Debug)]
pub(super) struct HostClient {
    http: reqwest::Client,
    url: Url,
    token: String,
    token_from: String,
}

impl HostClient {
    pub(super) fn new(args: &ClientArgs) -> anyhow::Result<Self> {
        let client = Self::without_token(&args.url)?;
        let (token, token_from) = token(args)?;
        Ok(Self { token, token_from, ..client })
    }

    /// For the routes that want no token.
    pub(super) fn without_token(url: &str) -> anyhow::Result<Self> {
        let parsed = Url::parse(url).with_context(|| format!("--url: {url:?} is not an address"))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            bail!("--url: {url:?} is not an http:// or https:// address");
        }
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("hookline/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_WITHIN)
            .timeout(ANSWER_WITHIN)
            .redirect(reqwest::redirect::Policy::none())
            // Of a machine without authorities the library makes no client at all, not even for http.
            .tls_backend_preconfigured(TrustStore::of_system(None)?.client(&[b"http/1.1"])?);
        if is_local(&parsed) {
            // A proxy of the environment cannot reach what this machine calls itself.
            http = http.no_proxy();
        }
        let http = http.build().context("preparing the HTTP client")?;
        Ok(Self { http, url: parsed, token: String::new(), token_from: String::new() })
    }

    /// The JSON that a path (one text a segment) answers.
    pub(super) async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> anyhow::Result<Value> {
        let url = self.at(path, query)?;
        self.ask(Method::GET, url, |request| request).await
    }

    /// Posts a body and returns the JSON answer.
    pub(super) async fn post(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        content_type: &str,
        body: String,
    ) -> anyhow::Result<Value> {
        let url = self.at(path, query)?;
        self.ask(Method::POST, url, |request| request.header(CONTENT_TYPE, content_type).body(body)).await
    }

    /// Changes something by `{"data": …}` and returns the JSON answer.
    pub(super) async fn patch(&self, path: &[&str], body: String) -> anyhow::Result<Value> {
        let url = self.at(path, &[])?;
        let fill = |request: RequestBuilder| request.header(CONTENT_TYPE, "application/json").body(body);
        self.ask(Method::PATCH, url, fill).await
    }

    /// Puts a JSON body and returns the JSON answer.
    pub(super) async fn put(&self, path: &[&str], body: String) -> anyhow::Result<Value> {
        let url = self.at(path, &[])?;
        let fill = |request: RequestBuilder| request.header(CONTENT_TYPE, "application/json").body(body);
        self.ask(Method::PUT, url, fill).await
    }

    /// Deletes what a path names and returns the JSON answer.
    pub(super) async fn delete(&self, path: &[&str], query: &[(&str, &str)]) -> anyhow::Result<Value> {
        let url = self.at(path, query)?;
        self.ask(Method::DELETE, url, |request| request).await
    }

    /// A file that the host makes for this request, as it arrives.
    pub(super) async fn file(&self, path: &[&str]) -> anyhow::Result<Response> {
        let what = format!("POST /{}", path.join("/"));
        let request = self.http.post(self.at(path, &[])?).timeout(FILE_WITHIN);
        let answer = self.send(request).await?;
        match answer.status() {
            status if status.is_success() => Ok(answer),
            status => Err(self.refused(&what, status, &answer.bytes().await.unwrap_or_default())),
        }
    }

    /// What a path answers to anybody, whichever its status.
    pub(super) async fn open(&self, path: &[&str]) -> anyhow::Result<(StatusCode, Value)> {
        let answer = self.send(self.http.get(self.at(path, &[])?)).await?;
        let status = answer.status();
        let body = answer.bytes().await.context("reading the answer")?;
        let json = serde_json::from_slice(&body);
        Ok((
            status,
            json.with_context(|| format!("the answer is not JSON; is {} a Hookline host?", self.url))?,
        ))
    }

    async fn send(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let request = match self.token.as_str() {
            "" => request,
            token => request.header("X-Auth-Token", token),
        };
        request.send().await.map_err(|error| self.unreachable(&error))
    }

    fn at(&self, path: &[&str], query: &[(&str, &str)]) -> anyhow::Result<Url> {
        let mut url = self.url.clone();
        match url.path_segments_mut() {
            Ok(mut segments) => segments.pop_if_empty().extend(path),
            Err(()) => bail!("--url: {} cannot have a path", self.url),
        };
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    async fn ask(
        &self,
        method: Method,
        url: Url,
        fill: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> anyhow::Result<Value> {
        let what = format!("{method} {}", url.path());
        let answer = self.send(fill(self.http.request(method, url))).await?;
        let status = answer.status();
        let body = answer.bytes().await.with_context(|| format!("{what}: reading the answer"))?;
        if !status.is_success() {
            return Err(self.refused(&what, status, &body));
        }
        serde_json::from_slice(&body)
            .with_context(|| format!("{what}: the answer is not JSON; is {} a Hookline host?", self.url))
    }

    fn unreachable(&self, error: &reqwest::Error) -> anyhow::Error {
        // The innermost cause says what happened; those around it repeat the address.
        let mut cause: &dyn Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        anyhow!("cannot reach the host at {}: {cause}; is `hookline run` running there?", self.url)
    }

    fn refused(&self, what: &str, status: StatusCode, body: &[u8]) -> anyhow::Error {
        let cause = match serde_json::from_slice::<Value>(body) {
            Ok(envelope) => explain(&envelope),
            Err(_) => {
                String::from_utf8_lossy(body).lines().next().unwrap_or_default().chars().take(200).collect()
            }
        };
        let mut line = format!("{what}: {status}");
        if !cause.is_empty() {
            line = format!("{line}: {}", harmless(&cause));
        }
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            line = format!("{line}; the token came from {}", self.token_from);
        }
        anyhow!(line)
    }
}

/// The message of an error envelope and, where it has one, the cause in its data.
fn explain(envelope: &Value) -> String {
    let text = |value: &Value, field: &str| value.get(field).and_then(Value::as_str).map(str::to_owned);
    let data = envelope.get("data").unwrap_or(&Value::Null);
    let cause = ["cause", "message"].iter().find_map(|field| text(data, field)).or_else(|| match data {
        Value::String(text) => Some(text.clone()),
        Value::Object(fields) if !fields.is_empty() => Some(data.to_string()),
        _ => None,
    });
    if text(envelope, "message").as_deref() == Some("bad_identifier") {
        return format!("there is nothing with the id {}", cause.unwrap_or_default());
    }
    let mut parts: Vec<String> = text(envelope, "message").into_iter().chain(cause).collect();
    parts.dedup();
    parts.join(": ")
}

/// The token, and where it came from.
fn token(args: &ClientArgs) -> anyhow::Result<(String, String)> {
    if let Some(token) = &args.token {
        return Ok((token.clone(), "--token or HOOKLINE_TOKEN".to_owned()));
    }
    let file = args.data.join("admin.token");
    let text = std::fs::read_to_string(&file).with_context(|| {
        format!(
            "no access token: give --token, set HOOKLINE_TOKEN or name the host's --data; {}",
            file.display()
        )
    })?;
    Ok((text.trim().to_owned(), file.display().to_string()))
}

fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}
